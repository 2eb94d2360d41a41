#include "socketio.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(s) s, sizeof(s) - 1

enum { NO_ACK = -1 };

static const struct packet_row {
	const char *data;
	size_t len;
	enum socketio_type type;
	const char *ns;
	int64_t ack;
	unsigned attachments_n;
	const char *json; /* NULL: none */
	bool is_notification;
} packet_rows[] = {
	{ TEXT("0"), SOCKETIO_CONNECT, "/", NO_ACK, 0, NULL },
	{ TEXT("0{\"sid\":\"S\"}"), SOCKETIO_CONNECT, "/", NO_ACK, 0, "{\"sid\":\"S\"}" },
	{ TEXT("0/notifications"), SOCKETIO_CONNECT, "/notifications", NO_ACK, 0, NULL },
	{ TEXT("0/notifications,"), SOCKETIO_CONNECT, "/notifications", NO_ACK, 0, NULL },
	{ TEXT("0/notifications,{\"sid\":\"S\"}"), SOCKETIO_CONNECT, "/notifications", NO_ACK, 0,
	  "{\"sid\":\"S\"}" },
	{ TEXT("0/notifications?token=T&applicationId=A,"), SOCKETIO_CONNECT, "/notifications",
	  NO_ACK, 0, NULL },
	{ TEXT("0/?token=T"), SOCKETIO_CONNECT, "/", NO_ACK, 0, NULL },
	{ TEXT("1"), SOCKETIO_DISCONNECT, "/", NO_ACK, 0, NULL },
	{ TEXT("1/n,"), SOCKETIO_DISCONNECT, "/n", NO_ACK, 0, NULL },
	{ TEXT("2"), SOCKETIO_EVENT, "/", NO_ACK, 0, NULL },
	{ TEXT("2/n,"), SOCKETIO_EVENT, "/n", NO_ACK, 0, NULL },
	{ TEXT("2[\"notification\"]"), SOCKETIO_EVENT, "/", NO_ACK, 0, "[\"notification\"]", true },
	{ TEXT("2/n,[\"notification\",\"{}\"]"), SOCKETIO_EVENT, "/n", NO_ACK, 0,
	  "[\"notification\",\"{}\"]", true },
	{ TEXT("2/n,17[\"notification\",null,1,2]"), SOCKETIO_EVENT, "/n", 17, 0,
	  "[\"notification\",null,1,2]", true },
	{ TEXT("20[\"notification\"]"), SOCKETIO_EVENT, "/", 0, 0, "[\"notification\"]", true },
	{ TEXT("2999999999999999999[\"a\"]"), SOCKETIO_EVENT, "/", 999999999999999999, 0,
	  "[\"a\"]" },
	{ TEXT("2 [ \"notification\" ] \r\n"), SOCKETIO_EVENT, "/", NO_ACK, 0,
	  " [ \"notification\" ] \r\n", true },
	{ TEXT("2[\"notific\\u0061tion\"]"), SOCKETIO_EVENT, "/", NO_ACK, 0,
	  "[\"notific\\u0061tion\"]", true },
	{ TEXT("2[\"notification\\u0000\"]"), SOCKETIO_EVENT, "/", NO_ACK, 0,
	  "[\"notification\\u0000\"]" },
	{ TEXT("2[\"Notification\"]"), SOCKETIO_EVENT, "/", NO_ACK, 0, "[\"Notification\"]" },
	{ TEXT("2[\"notification \"]"), SOCKETIO_EVENT, "/", NO_ACK, 0, "[\"notification \"]" },
	{ TEXT("2[\"x\",\"notification\"]"), SOCKETIO_EVENT, "/", NO_ACK, 0,
	  "[\"x\",\"notification\"]" },
	{ TEXT("2[\"a\",\"\xe2\x80\xa8\",\"\\ud83d\\ude00\",1e400]"), SOCKETIO_EVENT, "/", NO_ACK,
	  0, "[\"a\",\"\xe2\x80\xa8\",\"\\ud83d\\ude00\",1e400]" },
	{ TEXT("2[7,8]"), SOCKETIO_EVENT, "/", NO_ACK, 0, "[7,8]" },
	{ TEXT("2/,[\"notification\"]"), SOCKETIO_EVENT, "/", NO_ACK, 0, "[\"notification\"]",
	  true },
	{ TEXT("317[]"), SOCKETIO_ACK, "/", 17, 0, "[]" },
	{ TEXT("3/n,17[1]"), SOCKETIO_ACK, "/n", 17, 0, "[1]" },
	{ TEXT("4/n,\"Invalid namespace\""), SOCKETIO_ERROR, "/n", NO_ACK, 0,
	  "\"Invalid namespace\"" },
	{ TEXT("4"), SOCKETIO_ERROR, "/", NO_ACK, 0, NULL },
	{ TEXT("51-/n,[\"notification\",{\"_placeholder\":true,\"num\":0}]"), SOCKETIO_BINARY_EVENT,
	  "/n", NO_ACK, 1, "[\"notification\",{\"_placeholder\":true,\"num\":0}]", true },
	{ TEXT("50-[\"notification\"]"), SOCKETIO_BINARY_EVENT, "/", NO_ACK, 0,
	  "[\"notification\"]", true },
	{ TEXT("510-/n,3[\"a\"]"), SOCKETIO_BINARY_EVENT, "/n", 3, 10, "[\"a\"]" },
	{ TEXT("62-5[]"), SOCKETIO_BINARY_ACK, "/", 5, 2, "[]" },
};

static void check_packet(const struct packet_row *row)
{
	struct socketio_packet got;

	assert_int_equal(socketio_decode(row->data, row->len, &got), 0);
	assert_int_equal(got.type, row->type);
	assert_true(socketio_is_ns(&got, row->ns));
	assert_int_equal(got.ns_len, strlen(row->ns));
	assert_int_equal(got.has_ack, row->ack != NO_ACK);
	assert_true(!got.has_ack || got.ack == (uint64_t)row->ack);
	assert_int_equal(got.attachments_n, row->attachments_n);
	assert_int_equal(got.json != NULL, row->json != NULL);
	if (row->json) {
		assert_int_equal(got.json_len, strlen(row->json));
		assert_memory_equal(got.json, row->json, got.json_len);
	}
	assert_int_equal(socketio_is_event(&got, "notification"), row->is_notification);
}

static void test_packets(void **state)
{
	for (size_t i = 0; i < array_n(packet_rows); i++) {
		print_message("row %zu\n", i);
		check_packet(&packet_rows[i]);
	}
}

static const struct refused_row {
	const char *data;
	size_t len;
} refused_rows[] = {
	{ TEXT("") },
	{ TEXT("7") },
	{ TEXT("9[\"a\"]") },
	{ TEXT("abc") },
	{ TEXT("-1") },
	{ TEXT(" 2[\"a\"]") },
	{ TEXT("\0") },
	{ TEXT("2{}") },
	{ TEXT("2[]") },
	{ TEXT("2[null]") },
	{ TEXT("2[{}]") },
	{ TEXT("2[[\"a\"]]") },
	{ TEXT("2[true]") },
	{ TEXT("2[1.5]") },
	{ TEXT("2null") },
	{ TEXT("2\"notification\"") },
	{ TEXT("2abc[\"x\"]") },
	{ TEXT("2[\"a\"") },
	{ TEXT("2[\"a\"]]") },
	{ TEXT("2[\"a\"]\0") },
	{ TEXT("2['a']") },
	{ TEXT("2/n,1 2[\"a\"]") },
	{ TEXT("2-1[\"a\"]") },
	{ TEXT("29999999999999999999[\"a\"]") },
	{ TEXT("1[\"bye\"]") },
	{ TEXT("1/n,{}") },
	{ TEXT("0{") },
	{ TEXT("0/n,{\"sid\":") },
	{ TEXT("0/n,null") },
	{ TEXT("4/n,oops") },
	{ TEXT("4/n,null") },
	{ TEXT("3[]") },
	{ TEXT("3/n,[]") },
	{ TEXT("31") },
	{ TEXT("31{}") },
	{ TEXT("31\"a\"") },
	{ TEXT("5[\"a\"]") },
	{ TEXT("5-[\"a\"]") },
	{ TEXT("5-1-[\"a\"]") },
	{ TEXT("51[\"a\"]") },
	{ TEXT("51.5-[\"a\"]") },
	{ TEXT("511-[\"a\"]") },
	{ TEXT("599999999999999999999-[\"a\"]") },
	{ TEXT("5") },
	{ TEXT("51") },
	{ TEXT("51-") },
	{ TEXT("51-{}") },
	{ TEXT("6[]") },
	{ TEXT("61-[]") },
	{ TEXT("61-1") },
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < array_n(refused_rows); i++) {
		struct socketio_packet got = { .ns = "untouched" };

		print_message("row %zu\n", i);
		assert_int_equal(socketio_decode(refused_rows[i].data, refused_rows[i].len, &got),
				 -EBADMSG);
		assert_string_equal(got.ns, "untouched");
	}
}

static void test_too_deep(void **state)
{
	struct socketio_packet got;
	char data[100000] = "2[\"a\",";

	memset(data + 6, '[', sizeof(data) - 6);
	assert_int_equal(socketio_decode(data, sizeof(data), &got), -EBADMSG);
}

static void test_namespaces(void **state)
{
	static const struct {
		const char *data, *ns;
		bool want;
	} rows[] = {
		{ "0/n,", "/n", true },   { "0/n?a=b,", "/n", true },  { "0/na,", "/n", false },
		{ "0/n,", "/na", false }, { "0/N,", "/n", false },     { "0", "/", true },
		{ "0", "/n", false },     { "0/n/m,", "/n/m", true },  { "0/n/,", "/n", false },
		{ "0/,", "/", true },     { "0/?n=/n,", "/n", false },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct socketio_packet got;

		assert_int_equal(socketio_decode(rows[i].data, strlen(rows[i].data), &got), 0);
		assert_int_equal(socketio_is_ns(&got, rows[i].ns), rows[i].want);
	}
}

static void test_sid(void **state)
{
	static const struct {
		const char *data;
		bool want;
	} rows[] = {
		{ "0{\"sid\":\"S\"}", true },
		{ "0/n,{\"pid\":\"P\",\"sid\":\"S\"}", true },
		{ "0", false },
		{ "0/n,", false },
		{ "0/n,{}", false },
		{ "0/n,{\"sid\":null}", false },
		{ "0/n,{\"sid\":7}", false },
		{ "0/n,[\"sid\"]", false },
		{ "2[\"a\",{\"sid\":\"S\"}]", false },
		{ "4{\"sid\":\"S\"}", false },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct socketio_packet got;

		assert_int_equal(socketio_decode(rows[i].data, strlen(rows[i].data), &got), 0);
		assert_int_equal(socketio_has_sid(&got), rows[i].want);
	}
}

static void test_error_text(void **state)
{
	static const struct {
		const char *data, *want;
	} rows[] = {
		{ "4/n,\"Invalid namespace\"", "Invalid namespace" },
		{ "4/n,{\"message\":\"Invalid namespace\",\"data\":{}}", "Invalid namespace" },
		{ "4/n,{\"message\":{}}", "no reason given" },
		{ "4/n,{}", "no reason given" },
		{ "4/n,[1]", "no reason given" },
		{ "4/n", "no reason given" },
		{ "4\"0123456789012345678901234567890123456789\"",
		  "0123456789012345678901234567890" },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct socketio_packet got;
		char text[32];

		assert_int_equal(socketio_decode(rows[i].data, strlen(rows[i].data), &got), 0);
		socketio_error_text(&got, text, sizeof(text));
		assert_string_equal(text, rows[i].want);
	}
}

static void take(struct buf *frame, int error, const char *want)
{
	assert_int_equal(error, 0);
	assert_string_equal(frame->data, want);
	buf_clear(frame);
}

static void test_encode(void **state)
{
	static const char asked[] = "2/n?token=T,17[\"a\"]", plain[] = "20[\"a\"]";
	struct socketio_packet p;
	struct buf frame;

	buf_init(&frame, 100);
	take(&frame, socketio_encode_connect(&frame, "/"), "40");
	take(&frame, socketio_encode_connect(&frame, "/n"), "40/n,");
	take(&frame, socketio_encode_disconnect(&frame, "/"), "41");
	take(&frame, socketio_encode_disconnect(&frame, "/n"), "41/n,");
	assert_int_equal(socketio_decode(asked, sizeof(asked) - 1, &p), 0);
	take(&frame, socketio_encode_ack(&frame, &p), "43/n,17[]");
	assert_int_equal(socketio_decode(plain, sizeof(plain) - 1, &p), 0);
	take(&frame, socketio_encode_ack(&frame, &p), "430[]");
	buf_fini(&frame);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_deep), cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_sid),      cmocka_unit_test(test_error_text),
		cmocka_unit_test(test_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
