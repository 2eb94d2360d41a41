/*
 * Clean-up by scope and hand-over of ownership. Headers only; any thread.
 *
 *   auto_free char *s = ...;   freed at the end of the scope
 *   auto_close int fd = -1;    closed at the end of the scope
 *   return take_ptr(&s);       the caller owns it from here; s becomes NULL
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define must_check             __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

static inline void mem_free_ptr(void *ptr_to_ptr)
{
	free(*(void **)ptr_to_ptr);
}

static inline void mem_close_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define auto_free     __attribute__((cleanup(mem_free_ptr)))
#define auto_close    __attribute__((cleanup(mem_close_fd)))
#define auto_call(fn) __attribute__((cleanup(fn)))

/* Moves a pointer out of a variable that scope clean-up would otherwise free. */
#define take_ptr(ptr)                               \
	({                                          \
		__typeof__(*(ptr)) taken_ = *(ptr); \
		*(ptr) = NULL;                      \
		taken_;                             \
	})

/* The same for a descriptor guarded by auto_close. */
#define take_fd(fd)                 \
	({                          \
		int taken_ = *(fd); \
		*(fd) = -1;         \
		taken_;             \
	})

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define array_n(a)                      (sizeof(a) / sizeof((a)[0]))
