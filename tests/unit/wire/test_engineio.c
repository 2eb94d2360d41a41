#include "engineio.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(s) s, sizeof(s) - 1

static const struct packet_row {
	const char *frame;
	size_t len;
	int want;
	enum engineio_type type;
	const char *payload;
	size_t payload_len;
} packet_rows[] = {
	{ TEXT("0{}"), 0, ENGINEIO_OPEN, TEXT("{}") },
	{ TEXT("1"), 0, ENGINEIO_CLOSE, TEXT("") },
	{ TEXT("2"), 0, ENGINEIO_PING, TEXT("") },
	{ TEXT("2probe"), 0, ENGINEIO_PING, TEXT("probe") },
	{ TEXT("3"), 0, ENGINEIO_PONG, TEXT("") },
	{ TEXT("4"), 0, ENGINEIO_MESSAGE, TEXT("") },
	{ TEXT("42[\"n\"]"), 0, ENGINEIO_MESSAGE, TEXT("2[\"n\"]") },
	{ TEXT("4\0\xff"), 0, ENGINEIO_MESSAGE, TEXT("\0\xff") },
	{ TEXT("5"), 0, ENGINEIO_UPGRADE, TEXT("") },
	{ TEXT("6"), 0, ENGINEIO_NOOP, TEXT("") },

	{ TEXT(""), -EBADMSG },
	{ TEXT("7"), -EBADMSG },
	{ TEXT("9"), -EBADMSG },
	{ TEXT("/"), -EBADMSG },
	{ TEXT(":"), -EBADMSG },
	{ TEXT("b"), -EBADMSG },
	{ TEXT("bAQID"), -EBADMSG },
	{ TEXT("b4AQID"), -EBADMSG },
	{ TEXT(" 2"), -EBADMSG },
	{ TEXT("\n2"), -EBADMSG },
	{ TEXT("\0"), -EBADMSG },
	{ TEXT("\x04"), -EBADMSG },
	{ TEXT("\xb2"), -EBADMSG },
	{ TEXT("\xef\xbb\xbf"
	       "2"),
	  -EBADMSG },
	{ TEXT("HTTP/1.1 400 Bad Request"), -EBADMSG },
};

static void check_packet(const struct packet_row *row)
{
	struct engineio_packet got = { .payload = "untouched" };

	assert_int_equal(engineio_decode(row->frame, row->len, &got), row->want);
	if (row->want < 0) {
		assert_string_equal(got.payload, "untouched");
		return;
	}
	assert_int_equal(got.type, row->type);
	assert_ptr_equal(got.payload, row->frame + 1);
	assert_int_equal(got.payload_len, row->payload_len);
	assert_memory_equal(got.payload, row->payload, row->payload_len);
}

static void test_packets(void **state)
{
	for (size_t i = 0; i < array_n(packet_rows); i++) {
		print_message("row %zu\n", i);
		check_packet(&packet_rows[i]);
	}
}

enum { INTERVAL = 25000, TIMEOUT = 20000, MIN = 100, MAX = 600000 };

static const struct open_row {
	const char *payload;
	int want;
	uint64_t interval_ms, timeout_ms;
} open_rows[] = {
	{ "{\"sid\":\"a\",\"upgrades\":[],\"pingInterval\":300,\"pingTimeout\":200,"
	  "\"maxPayload\":1000000}",
	  0, 300, 200 },
	{ "{\"pingInterval\":100,\"pingTimeout\":600000}", 0, MIN, MAX },
	{ " { \"pingTimeout\" : 60000 ,\"new\":{\"member\":[1,2]}}\r\n", 0, INTERVAL, 60000 },
	{ "{}", 0, INTERVAL, TIMEOUT },
	{ "{\"pingInterval\":1,\"pingTimeout\":99}", 0, MIN, MIN },
	{ "{\"pingInterval\":600001,\"pingTimeout\":2147483648}", 0, MAX, MAX },
	{ "{\"pingInterval\":0,\"pingTimeout\":-1}", 0, INTERVAL, TIMEOUT },
	{ "{\"pingInterval\":-9223372036854775808,\"pingTimeout\":9223372036854775806}", 0,
	  INTERVAL, MAX },
	{ "{\"pingInterval\":99999999999999999999,\"pingTimeout\":1e9}", 0, INTERVAL, TIMEOUT },
	{ "{\"pingInterval\":\"25\",\"pingTimeout\":null}", 0, INTERVAL, TIMEOUT },
	{ "{\"pingInterval\":300.5,\"pingTimeout\":[200]}", 0, INTERVAL, TIMEOUT },
	{ "{\"pingInterval\":true,\"pingTimeout\":{}}", 0, INTERVAL, TIMEOUT },
	{ "{\"pingInterval\":300,\"pingInterval\":400}", 0, 400, TIMEOUT },

	{ "", -EBADMSG },
	{ "{", -EBADMSG },
	{ "null", -EBADMSG },
	{ "[]", -EBADMSG },
	{ "\"sid\"", -EBADMSG },
	{ "25000", -EBADMSG },
	{ "{\"pingInterval\":300}x", -EBADMSG },
	{ "{\"pingInterval\":300}{}", -EBADMSG },
	{ "{pingInterval:300}", -EBADMSG },
};

static void test_open(void **state)
{
	for (size_t i = 0; i < array_n(open_rows); i++) {
		const struct open_row *row = &open_rows[i];
		struct engineio_open got = { 7, 7 };

		print_message("row %zu\n", i);
		assert_int_equal(engineio_decode_open(row->payload, strlen(row->payload), &got),
				 row->want);
		assert_int_equal(got.ping_interval_ms, row->want < 0 ? 7 : row->interval_ms);
		assert_int_equal(got.ping_timeout_ms, row->want < 0 ? 7 : row->timeout_ms);
	}
}

static void test_open_too_deep(void **state)
{
	struct engineio_open got;
	char payload[4096] = "{\"a\":";

	memset(payload + 5, '[', sizeof(payload) - 5);
	assert_int_equal(engineio_decode_open(payload, sizeof(payload), &got), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_too_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
