#include "pace.h"

enum {
	SAMPLE_MIN = 256 << 10,
	TIMES_FIRST = 20,    /* waiting is then a twentieth of the transfer */
	LONGEST_US = 1000000 /* a reader who comes now shall not wait longer for a connection */
};

static uint64_t smooth(uint64_t old, uint64_t sample)
{
	return old ? (old * 3 + sample) / 4 : sample;
}

static void update(struct pace *pace)
{
	uint64_t us = pace->first_us * TIMES_FIRST, bytes = PACE_SEGMENT_MIN;

	if (us > LONGEST_US)
		us = LONGEST_US;
	if (pace->first_us && pace->bytes_s)
		bytes = pace->bytes_s * us / 1000000;
	if (bytes < PACE_SEGMENT_MIN)
		bytes = PACE_SEGMENT_MIN;
	if (bytes > PACE_SEGMENT_MAX)
		bytes = PACE_SEGMENT_MAX;
	pace->segment = bytes;
}

void pace_init(struct pace *pace)
{
	pace->first_us = pace->bytes_s = 0;
	pace->segment = PACE_SEGMENT_MIN;
}

void pace_note_first(struct pace *pace, uint64_t us)
{
	/* Beyond a minute it is no measurement, and products stay within 64 bits. */
	pace->first_us = smooth(pace->first_us, us < 60000000 ? us + 1 : 60000000);
	update(pace);
}

void pace_note_bytes(struct pace *pace, uint64_t bytes, uint64_t us)
{
	if (bytes < SAMPLE_MIN || bytes > UINT64_C(1) << 30)
		return;
	pace->bytes_s = smooth(pace->bytes_s, bytes * 1000 / (us / 1000 + 1));
	update(pace);
}

uint64_t pace_segment(const struct pace *pace)
{
	return pace->segment;
}

/* Every connection has its request, and while the first of them is being read two more follow. */
uint64_t pace_window(const struct pace *pace)
{
	return pace->segment * (PACE_CONNECTIONS + 2);
}
