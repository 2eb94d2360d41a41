/* What is below the packets: the answer to the upgrade, and frames. */
#include "talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Steps are made of pieces. NOLINTBEGIN(bugprone-suspicious-missing-comma) */

/* The row's step is a reason to go down, and the next attempt is like the first. */
#define GOES_DOWN(name, ...)                                         \
	{                                                            \
		name,                                                \
		{                                                    \
			TALK_UP, __VA_ARGS__, TALK_AGAIN, TALK_HEARS \
		}                                                    \
	}
/* The answer to the upgrade is one to give up on. */
#define REFUSED(name, reason, ...)                                                           \
	{                                                                                    \
		name,                                                                        \
		{                                                                            \
			TALK_ASK, "dial", __VA_ARGS__, "= down", reason, TALK_UP, TALK_HEARS \
		}                                                                            \
	}

#define FIELDS "Upgrade: websocket\r\nConnection: Upgrade\r\n"

static const struct talk_row upgrades[] = {
	REFUSED("200", ": 200", "http HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
	REFUSED("a redirect", ": 302",
		"http HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
		"Content-Length: 0\r\n\r\n"),
	REFUSED("401", ": 401", "http HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
	REFUSED("403", ": 403", "http HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
	REFUSED("426", ": 426", "http HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"),
	REFUSED("429", ": 429",
		"http HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n"
		"Content-Length: 0\r\n\r\n"),
	REFUSED("502 without a length", ": 502", "http HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
		"fin"),
	REFUSED("a proxy's page", ": ", "http HTTP/1.0 503 No\r\nConnection: close\r\n\r\nno",
		"fin"),
	REFUSED("a wrong Sec-WebSocket-Accept", ": ",
		"http HTTP/1.1 101 Switching Protocols\r\n" FIELDS
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
	REFUSED("no Sec-WebSocket-Accept", ": ",
		"http HTTP/1.1 101 Switching Protocols\r\n" FIELDS "\r\n"),
	REFUSED("101 without Upgrade", ": ",
		"http HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"),
	REFUSED("an extension that was not offered", ": ",
		"http HTTP/1.1 101 Switching Protocols\r\n" FIELDS
		"Sec-WebSocket-Extensions: permessage-deflate\r\n"
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
	REFUSED("no HTTP", ": ", "http SSH-2.0-OpenSSH_9.2\r\n", "fin"),
	REFUSED("no answer", ": ", "fin"),
	REFUSED("reset", ": ", "rst"),
	REFUSED("half a head", ": ", "http HTTP/1.1 101 Swi", "fin"),
	{ "a silent server is left",
	  { TALK_ASK, "dial", "= down", ": no open packet", "closed", "= connecting", "= get" },
	  { .dial_ms = 50 } },
	{ "half a head and silence",
	  { TALK_ASK, "dial", "http HTTP/1.1 101 Swi", "= down", ": no open packet", "closed",
	    "= connecting", "= get" },
	  { .dial_ms = 50 } },
	{ "nobody listens",
	  { "= connecting", "= get", "url= http://127.0.0.1:1/n?a", "= down", ": cannot connect",
	    TALK_UP } },
	{ "a token of 8 kB",
	  { "= connecting", "= get", "url8k", TALK_DIAL, TALK_OPEN, TALK_JOIN, "= up",
	    TALK_HEARS } },
};

static const struct talk_row endings[] = {
	GOES_DOWN("FIN", "fin"),
	GOES_DOWN("RST", "rst"),
	GOES_DOWN("close without a code", "x 8800"),
	GOES_DOWN("close with 1000", "x 8802 03e8"),
	GOES_DOWN("close with 1001", "x 8802 03e9"),
	GOES_DOWN("close with 1008 and a reason", "x 8806 03f0 62796521"),
	GOES_DOWN("close with 1009", "x 8802 03f1"),
	GOES_DOWN("close with 1012", "x 8802 03f4"),
	GOES_DOWN("close with 4999", "x 8802 1387"),
	GOES_DOWN("close with a code that is none", "x 8802 03ee"),
	GOES_DOWN("close with one byte", "x 8801 03"),
	GOES_DOWN("close with a reason that is not UTF-8", "x 8804 03e8 c328"),
	GOES_DOWN("half a frame, then FIN", "x 81 05 34", "fin"),
};

static const struct talk_row frames[] = {
	{ "fragments of a byte, with pings",
	  { TALK_ASK, TALK_DIAL, "<<0{\"sid\":\"E\",\"pingInterval\":25000,\"pingTimeout\":20000}",
	    ">40", ">40/notifications,", "<<40{\"sid\":\"S1\"}",
	    "<<40/notifications,{\"sid\":\"S2\"}", "= up",
	    "<<42/notifications,[\"notification\",\"{}\"]", "= note", "open", "pongs 2" } },
	{ "empty fragments", { TALK_UP, "x 0100 0000 0001 36 8000", "open" } },
	{ "a character in two fragments", { TALK_UP, "x 01 02 36c3 80 01 a9", "open" } },
	{ "a pong that was not asked for", { TALK_UP, "x 8a 02 6869", "open" } },
	{ "lengths of 16 and 64 bits", { TALK_UP, "big 126", "big 65535", "big 65536", "open" } },
	{ "a mebibyte", { TALK_UP, "big 1048576", "open" } },
	{ "a byte more", { TALK_UP, "big 1048577", "= down", ": too long", "closed" } },
	{ "two mebibytes", { TALK_UP, "big 2097152", "= down", ": too long", TALK_UP } },
	/* Forbidden, but the library does not mind. */
	{ "a masked frame", { TALK_UP, "x 81 81 01020304 37", "open" } },
	{ "text that is not UTF-8",
	  { TALK_UP, "x 81 03 36c328", "= down", ": UTF-8", "closed", TALK_UP } },
	{ "UTF-8 that ends early",
	  { TALK_UP, "x 81 02 36c3", "= down", ": UTF-8", "closed", TALK_UP } },
	{ "a surrogate", { TALK_UP, "x 81 04 36eda080", "= down", ": UTF-8", "closed" } },
	GOES_DOWN("10 GiB are announced", "x 81 7f 0000000280000000", "big 1048576", "big 32768"),
	GOES_DOWN("a length over 63 bits", "x 81 7f 8000000000000000"),
	GOES_DOWN("RSV1", "x c1 01 36"),
	GOES_DOWN("RSV2", "x a1 01 36"),
	GOES_DOWN("RSV3", "x 91 01 36"),
	GOES_DOWN("opcode 3", "x 83 01 36"),
	GOES_DOWN("opcode 7", "x 87 01 36"),
	GOES_DOWN("opcode 11", "x 8b 00"),
	GOES_DOWN("opcode 15", "x 8f 00"),
	GOES_DOWN("a ping in fragments", "x 09 01 61"),
	GOES_DOWN("a ping of 126 bytes", "x 89 7e 007e", "big 126"),
	GOES_DOWN("a continuation of nothing", "x 80 01 36"),
	GOES_DOWN("a message inside another", "x 01 01 36 81 01 36"),
	GOES_DOWN("HTTP", "x 485454502f312e312034303020426164"),
};

/* NOLINTEND(bugprone-suspicious-missing-comma) */

static void run(const struct talk_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		talk_run(&rows[i]);
}

static void test_upgrades(void **state)
{
	run(upgrades, array_n(upgrades));
}

static void test_endings(void **state)
{
	run(endings, array_n(endings));
}

static void test_frames(void **state)
{
	run(frames, array_n(frames));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upgrades),
		cmocka_unit_test(test_endings),
		cmocka_unit_test(test_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
