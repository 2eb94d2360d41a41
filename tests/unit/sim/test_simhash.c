#include "simhash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The vectors of the service's facts sheet. */
static const struct {
	const char *text;
	const char *hash;
} texts[] = {
	{ "", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
	{ "a", "YQAAAAAAAAAAAAAAAQAAAAAAAAA=" },
	{ "abc", "YRDDGAAAAAAAAAAAAwAAAAAAAAA=" },
	{ "hello", "aCgDG9jwBgAAAAAABQAAAAAAAAA=" },
	{ "Hello, world!", "SCgDG9jwBhaA4A5vnQMbyBACAAA=" },
	{ "The contents of the file goes here.", "ReSWVXEBRVw+tb7EXyMlJRtIB58=" },
};

enum pattern { PATTERN_COUNT, PATTERN_ZERO, PATTERN_ONES, PATTERN_MOD_251, PATTERN_SEVENS };

static const struct {
	enum pattern pattern;
	size_t len;
	const char *hash;
} patterns[] = {
	{ PATTERN_COUNT, 20, "4AmQiIZEpgIY4AAIXIACFsCABjg=" },
	{ PATTERN_COUNT, 160, "/+EGLlnQi0dVs5OErXWhEnz5wg4=" },
	{ PATTERN_COUNT, 161, "X+EGLlnQi0dVs5OErHWhEnz5wg4=" },
	{ PATTERN_COUNT, 256, "QkGEfSisZcA7k+FCh71r2dbCayY=" },
	{ PATTERN_ZERO, 4096, "AAAAAAAAAAAAAAAAABAAAAAAAAA=" },
	{ PATTERN_ONES, 65536, "SlKSkpSkJCUpSUlKrWpUq1rVqlY=" },
	{ PATTERN_MOD_251, 327680, "dVxjLVlWbbPTEZb19aiSkx+BLpI=" },
	{ PATTERN_SEVENS, 1048576, "XhQes7LH2XNgLdVXMMeilbw5oAI=" },
};

static uint8_t byte_of(enum pattern pattern, size_t i)
{
	switch (pattern) {
	case PATTERN_COUNT:
		return (uint8_t)i;
	case PATTERN_ZERO:
		return 0;
	case PATTERN_ONES:
		return 0xff;
	case PATTERN_MOD_251:
		return (uint8_t)(i % 251);
	case PATTERN_SEVENS:
		return (uint8_t)(7 * i + 3);
	}
	return 0;
}

/* Hashes in pieces of this size. */
static void expect(const void *data, size_t len, size_t piece, const char *hash)
{
	struct simhash h = { 0 };
	uint8_t bytes[20];
	char text[29];

	for (size_t at = 0; at < len; at += piece)
		simhash_update(&h, (const char *)data + at, len - at < piece ? len - at : piece);
	simhash_final(&h, bytes);
	simhash_text(bytes, text);
	assert_string_equal(text, hash);
}

static void test_vectors(void **state)
{
	static const size_t pieces[] = { 1, 7, 160, 161, SIZE_MAX / 2 };

	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
			expect(texts[i].text, strlen(texts[i].text), pieces[p], texts[i].hash);
		for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
			uint8_t *data = malloc(patterns[i].len);

			for (size_t j = 0; j < patterns[i].len; j++)
				data[j] = byte_of(patterns[i].pattern, j);
			expect(data, patterns[i].len, pieces[p], patterns[i].hash);
			free(data);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
