#include "simws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_accept(void **state)
{
	char accept[64];

	/* The example of RFC 6455, section 1.3. */
	simws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept);
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void test_lengths(void **state)
{
	static const struct {
		size_t len, head_len;
	} cases[] = { { 0, 2 }, { 125, 2 }, { 126, 4 }, { 65535, 4 }, { 65536, 10 } };
	static char payload[65536];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct simjson out = { 0 };
		struct simws_frame f;

		simws_write(&out, SIMWS_TEXT, true, payload, cases[i].len);
		assert_int_equal(out.len, cases[i].len + cases[i].head_len);
		for (size_t n = 0; n < cases[i].head_len; n++)
			assert_false(simws_parse(out.data, n, &f));
		assert_true(simws_parse(out.data, cases[i].head_len, &f));
		assert_int_equal(f.len, cases[i].len);
		assert_int_equal(f.head_len, cases[i].head_len);
		assert_true(f.is_final && !f.is_masked && f.reserved == 0);
		simjson_fini(&out);
	}
}

static void test_mask(void **state)
{
	/* RFC 6455, section 5.7: a masked "Hello". */
	uint8_t bytes[] = { 0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
	struct simws_frame f;

	assert_true(simws_parse(bytes, sizeof(bytes), &f));
	assert_true(f.is_masked);
	assert_int_equal(f.op, SIMWS_TEXT);
	simws_unmask(&f, (char *)bytes + f.head_len);
	assert_memory_equal(bytes + f.head_len, "Hello", 5);
}

static void test_fragments(void **state)
{
	struct simjson out = { 0 };
	struct simws_frame f;
	char joined[16] = "";
	size_t at = 0, n = 0;
	unsigned ping_n = 0;

	simws_write_message(&out, SIMWS_TEXT, "0123456789", 10, 3, true);
	for (; at < out.len; at += f.head_len + f.len) {
		assert_true(simws_parse(out.data + at, out.len - at, &f));
		if (f.op == SIMWS_PING) {
			ping_n++;
			continue;
		}
		assert_int_equal(f.op, n == 0 ? SIMWS_TEXT : SIMWS_MORE);
		memcpy(joined + n, out.data + at + f.head_len, f.len);
		n += f.len;
		assert_int_equal(f.is_final, n == 10);
	}
	assert_string_equal(joined, "0123456789");
	assert_int_equal(ping_n, 4);
	simjson_fini(&out);
}

static void test_utf8(void **state)
{
	assert_true(simws_is_utf8("Gr\xc3\xb6\xc3\x9f"
				  "e",
				  7));
	assert_false(simws_is_utf8("\xc0\x80", 2));
	assert_false(simws_is_utf8("\xed\xa0\x80", 3));
	assert_false(simws_is_utf8("\xff", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accept), cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_mask),   cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
