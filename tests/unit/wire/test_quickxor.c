#include "quickxor.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { CONTENT_MAX = 1048576 };

static uint8_t text_at(size_t i)
{
	return (uint8_t) "The contents of the file goes here."[i];
}

static uint8_t count_at(size_t i)
{
	return (uint8_t)i;
}

static uint8_t zero_at(size_t i)
{
	return 0;
}

static uint8_t ones_at(size_t i)
{
	return 0xff;
}

static uint8_t prime_at(size_t i)
{
	return (uint8_t)(i % 251);
}

static uint8_t step_at(size_t i)
{
	return (uint8_t)(7 * i + 3);
}

/* Computed apart from this code, by rotating one big integer. */
static const struct {
	uint8_t (*at)(size_t i);
	size_t len;
	const char *want;
} vectors[] = {
	{ zero_at, 0, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
	{ text_at, 35, "ReSWVXEBRVw+tb7EXyMlJRtIB58=" },
	{ count_at, 20, "4AmQiIZEpgIY4AAIXIACFsCABjg=" },
	{ count_at, 160, "/+EGLlnQi0dVs5OErXWhEnz5wg4=" },
	{ count_at, 161, "X+EGLlnQi0dVs5OErHWhEnz5wg4=" },
	{ count_at, 256, "QkGEfSisZcA7k+FCh71r2dbCayY=" },
	{ zero_at, 4096, "AAAAAAAAAAAAAAAAABAAAAAAAAA=" },
	{ ones_at, 65536, "SlKSkpSkJCUpSUlKrWpUq1rVqlY=" },
	{ prime_at, 327680, "dVxjLVlWbbPTEZb19aiSkx+BLpI=" },
	{ step_at, 1048576, "XhQes7LH2XNgLdVXMMeilbw5oAI=" },
};

static uint8_t content[CONTENT_MAX];

static void fill(size_t row)
{
	for (size_t i = 0; i < vectors[row].len; i++)
		content[i] = vectors[row].at(i);
}

static void expect(const struct quickxor *x, size_t row)
{
	uint8_t hash[QUICKXOR_BYTES];
	char text[QUICKXOR_TEXT + 1];

	quickxor_finish(x, vectors[row].len, hash);
	quickxor_format(hash, text);
	assert_string_equal(text, vectors[row].want);
}

static void test_pieces_of_any_size(void **state)
{
	static const size_t pieces[] = { 1, 7, 159, 160, 161, 65537, CONTENT_MAX };

	for (size_t row = 0; row < array_n(vectors); row++) {
		fill(row);
		for (size_t p = 0; p < array_n(pieces); p++) {
			struct quickxor x;

			quickxor_init(&x);
			for (size_t at = 0; at < vectors[row].len; at += pieces[p]) {
				size_t left = vectors[row].len - at;

				quickxor_add(&x, at, content + at,
					     left < pieces[p] ? left : pieces[p]);
			}
			expect(&x, row);
		}
	}
}

/* Blocks that arrive last to first, each hashed on its own. */
static void test_blocks_out_of_order(void **state)
{
	enum { BLOCK = 4093 };
	size_t row = array_n(vectors) - 1, blocks_n = (vectors[row].len + BLOCK - 1) / BLOCK;
	struct quickxor all;

	fill(row);
	quickxor_init(&all);
	for (size_t i = blocks_n; i-- > 0;) {
		size_t at = i * BLOCK, left = vectors[row].len - at;
		struct quickxor block;

		quickxor_init(&block);
		quickxor_add(&block, at, content + at, left < BLOCK ? left : BLOCK);
		quickxor_combine(&all, &block);
	}
	expect(&all, row);
}

static void test_one_damaged_byte_shows(void **state)
{
	size_t row = array_n(vectors) - 2;
	uint8_t hash[QUICKXOR_BYTES], want[QUICKXOR_BYTES];
	struct quickxor x;

	fill(row);
	content[1234] ^= 1;
	quickxor_init(&x);
	quickxor_add(&x, 0, content, vectors[row].len);
	quickxor_finish(&x, vectors[row].len, hash);
	assert_int_equal(quickxor_parse(vectors[row].want, want), 0);
	assert_memory_not_equal(hash, want, QUICKXOR_BYTES);
}

static void test_text_is_checked(void **state)
{
	static const char *const bad[] = {
		"",
		"AAAA",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAAAAAA==",
		"AAAAAAAAAAAAA-AAAAAAAAAAAAA=",
		"=AAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAA=A",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAB=",
		"45e496557101455c3eb5bec45f2325251b48079f",
	};

	for (size_t i = 0; i < array_n(bad); i++) {
		uint8_t hash[QUICKXOR_BYTES] = { 0x55 };

		if (quickxor_parse(bad[i], hash) != -EBADMSG || hash[0] != 0x55)
			fail_msg("\"%s\" was taken for a hash", bad[i]);
	}
	for (size_t i = 0; i < array_n(vectors); i++) {
		uint8_t hash[QUICKXOR_BYTES];
		char text[QUICKXOR_TEXT + 1];

		assert_int_equal(quickxor_parse(vectors[i].want, hash), 0);
		quickxor_format(hash, text);
		assert_string_equal(text, vectors[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces_of_any_size),
		cmocka_unit_test(test_blocks_out_of_order),
		cmocka_unit_test(test_one_damaged_byte_shows),
		cmocka_unit_test(test_text_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
