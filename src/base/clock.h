/*
 * Time. Any thread.
 *   monotonic: for timers, deadlines and ages; does not run while the machine is suspended
 *   real:      wall clock, for file times and for what the service says only
 */
#pragma once

#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
int64_t clock_real_ns(void);
int64_t clock_real_s(void);
