/* Packets: socketio.h and engineio.h say what they are; here is what a session makes of them. */
#include "talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Steps are made of pieces. NOLINTBEGIN(bugprone-suspicious-missing-comma) */

#define OPEN_FAST "<0{\"sid\":\"E\",\"pingInterval\":100,\"pingTimeout\":100}"
#define JOINED    "<40{\"sid\":\"S1\"}", "<40/notifications,{\"sid\":\"S2\"}"
#define GOES_DOWN(name, reason, ...)                                                          \
	{                                                                                     \
		name,                                                                         \
		{                                                                             \
			TALK_UP, __VA_ARGS__, "= down", reason, "closed", TALK_UP, TALK_HEARS \
		}                                                                             \
	}
/* Nothing comes of it but the session goes on. */
#define IGNORED(name, ...)                                       \
	{                                                        \
		name,                                            \
		{                                                \
			TALK_UP, __VA_ARGS__, "open", TALK_HEARS \
		}                                                \
	}
#define NOTIFIES(name, ...)                                                \
	{                                                                  \
		name,                                                      \
		{                                                          \
			TALK_UP, __VA_ARGS__, "= note", "open", TALK_HEARS \
		}                                                          \
	}

static const struct talk_row joining[] = {
	{ "as it should be", { TALK_UP, TALK_HEARS, "open" } },
	{ "own namespace first",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,",
	    "<40/notifications,{\"sid\":\"S2\"}", "= up", "<40{\"sid\":\"S1\"}", TALK_HEARS } },
	{ "a ping before it has joined",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,", "<2", ">3", JOINED, "= up",
	    TALK_HEARS } },
	{ "an open packet with nothing in it",
	  { TALK_ASK, TALK_DIAL, "<0{}", TALK_JOIN, "= up", TALK_HEARS } },
	{ "an open packet with strange members",
	  { TALK_ASK, TALK_DIAL, "<0{\"pingInterval\":\"x\",\"pingTimeout\":-1,\"new\":[{}]}",
	    TALK_JOIN, "= up", TALK_HEARS } },
	{ "noop before the open packet",
	  { TALK_ASK, TALK_DIAL, "<6", TALK_OPEN, TALK_JOIN, "= up" } },
	{ "joined twice", { TALK_UP, JOINED, "open", TALK_HEARS } },
	{ "an event before it has joined is part of the gap",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,", TALK_NOTE, JOINED, "= up",
	    TALK_HEARS } },
	{ "another namespace is not ours",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,",
	    "<40/other,{\"sid\":\"S3\"}", "<40{\"sid\":\"S1\"}", "= down", ": not joined" },
	  { .join_ms = 100 } },
	{ "no open packet",
	  { TALK_ASK, TALK_DIAL, "= down", ": no open packet", "closed", "= connecting", "= get" },
	  { .dial_ms = 100 } },
	{ "an open packet that comes too late",
	  { TALK_ASK, TALK_DIAL, "= down", ": no open packet", TALK_OPEN, "closed", "= connecting",
	    "= get" },
	  { .dial_ms = 100 } },
	{ "pings but never joined",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,", "<2", ">3", "= down",
	    ": not joined", "closed" },
	  { .join_ms = 100 } },
	{ "a join before the open packet",
	  { TALK_ASK, TALK_DIAL, "<40{\"sid\":\"S1\"}", "= down", ": before the open", TALK_UP } },
	{ "a ping before the open packet",
	  { TALK_ASK, TALK_DIAL, "<2", "= down", ": before the open", TALK_UP } },
	{ "a broken open packet",
	  { TALK_ASK, TALK_DIAL, "<0{\"sid\":", "= down", ": malformed open", TALK_UP } },
	{ "an open packet that is no object",
	  { TALK_ASK, TALK_DIAL, "<0[]", "= down", ": malformed open", TALK_UP } },
	{ "refused with an object",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,", "<40{\"sid\":\"S1\"}",
	    "<44/notifications,{\"message\":\"Invalid namespace\"}", "= down",
	    ": refused: Invalid namespace", "closed", TALK_UP } },
	{ "refused with a string",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,",
	    "<44/notifications,\"no such token\"", "= down", ": no such token", TALK_UP } },
	{ "refused with our secret in it",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,",
	    "<44/notifications,{\"message\":\"no such token=sEcReT\"}", "= down", ": no such token",
	    TALK_UP } },
	{ "only the default namespace is refused",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,", "<44{\"message\":\"no\"}",
	    "<40/notifications,{\"sid\":\"S2\"}", "= up", TALK_HEARS } },
	GOES_DOWN("refused when it was up", ": refused", "<44/notifications,{\"message\":\"x\"}"),
};

static const struct talk_row events[] = {
	NOTIFIES("value[]", "<42/notifications,[\"notification\","
			    "\"{\\\"value\\\":[{\\\"resource\\\":\\\"R\\\"}]}\"]"),
	NOTIFIES("flat", "<42/notifications,[\"notification\",\"{\\\"resource\\\":\\\"R\\\"}\"]"),
	NOTIFIES("an object", "<42/notifications,[\"notification\",{\"value\":[]}]"),
	NOTIFIES("null", "<42/notifications,[\"notification\",null]"),
	NOTIFIES("no payload", "<42/notifications,[\"notification\"]"),
	NOTIFIES("a payload that is no JSON", "<42/notifications,[\"notification\",\"{{{\"]"),
	NOTIFIES("more arguments", "<42/notifications,[\"notification\",\"{}\",1,{\"a\":[]}]"),
	NOTIFIES("in the default namespace", "<42[\"notification\",\"{}\"]"),
	NOTIFIES("with an escaped name", "<42/notifications,[\"notific\\u0061tion\",\"{}\"]"),
	NOTIFIES("with blanks", "<42/notifications, [ \"notification\" , \"{}\" ]"),
	NOTIFIES("wants an ack", "<42/notifications,17[\"notification\",\"{}\"]",
		 ">43/notifications,17[]"),
	NOTIFIES("wants ack 0 in the default namespace", "<420[\"notification\"]", ">430[]"),
	NOTIFIES("binary",
		 "<451-/notifications,[\"notification\",{\"_placeholder\":true,"
		 "\"num\":0}]",
		 "x 82 03 010203"),
	NOTIFIES("binary with two attachments and a ping between",
		 "<452-/notifications,[\"notification\"]", "x 82 01 01", "<2", ">3", "x 82 00"),
	NOTIFIES("binary with none", "<450-/notifications,[\"notification\"]"),
	NOTIFIES("binary that wants an ack", "<451-/notifications,3[\"notification\"]",
		 ">43/notifications,3[]", "x 82 01 ff"),
	{ "a burst",
	  { TALK_UP, "<*100 42/notifications,[\"notification\",\"{}\"]", "= note*100", "open",
	    TALK_HEARS } },
	{ "a burst of wanted acks",
	  { TALK_UP, "<*100 42/notifications,1[\"notification\"]", "= note*100",
	    ">43/notifications,1[]" } },
	IGNORED("another event", "<42/notifications,[\"other\",\"notification\"]"),
	IGNORED("another event that wants an ack", "<42/notifications,5[\"other\"]",
		">43/notifications,5[]"),
	IGNORED("an event in another namespace", "<42/other,[\"notification\",\"{}\"]"),
	IGNORED("an ack is wanted in another namespace", "<42/other,9[\"notification\"]"),
	IGNORED("a binary event of another name", "<451-/notifications,[\"other\"]", "x 82 01 01"),
	IGNORED("a name that only begins so", "<42/notifications,[\"notifications\",\"{}\"]"),
	IGNORED("a number for a name", "<42/notifications,[7]"),
	IGNORED("42", "<42"),
	IGNORED("42 with a namespace", "<42/notifications,"),
	IGNORED("an ack of ours that is none", "<43/notifications,1[]"),
	IGNORED("a binary ack", "<461-/notifications,1[]", "x 82 01 01"),
};

static const struct talk_row packets[] = {
	{ "a ping with a payload",
	  { TALK_UP, "<2abc", ">3abc", "<2probe", ">3probe", "<2", ">3" } },
	IGNORED("noop", "<6"),
	IGNORED("upgrade", "<5"),
	IGNORED("a pong", "<3"),
	IGNORED("a second open packet", "<0{\"pingInterval\":100,\"pingTimeout\":100}"),
	IGNORED("a second open packet that is broken", "<0{"),
	GOES_DOWN("close", ": closed by the service", "<1"),
	GOES_DOWN("kicked", ": ended the session", "<41/notifications,"),
	GOES_DOWN("kicked without a comma", ": ended the session", "<41/notifications"),
	GOES_DOWN("kicked from the default namespace", ": ended the session", "<41"),
	IGNORED("kicked from another namespace", "<41/other,"),
	GOES_DOWN("empty", ": Engine.IO", "x 8100"),
	GOES_DOWN("4", ": Socket.IO", "<4"),
	GOES_DOWN("9", ": Engine.IO", "<9"),
	GOES_DOWN("base64", ": Engine.IO", "<bAQID"),
	GOES_DOWN("an old base64", ": Engine.IO", "<b4AQID"),
	GOES_DOWN("no packet", ": Engine.IO", "<hello"),
	GOES_DOWN("HTML", ": Engine.IO", "<<html><body>Sign in</body></html>"),
	GOES_DOWN("a byte order mark", ": Engine.IO",
		  "<\xef\xbb\xbf"
		  "2"),
	GOES_DOWN("49", ": Socket.IO", "<49"),
	GOES_DOWN("4abc", ": Socket.IO", "<4abc"),
	GOES_DOWN("42{}", ": Socket.IO", "<42{}"),
	GOES_DOWN("42[]", ": Socket.IO", "<42[]"),
	GOES_DOWN("42abc", ": Socket.IO", "<42abc[\"x\"]"),
	GOES_DOWN("broken JSON", ": Socket.IO", "<42/notifications,[\"notification\",\"{}\""),
	GOES_DOWN("an ack without id", ": Socket.IO", "<43/notifications,[]"),
	GOES_DOWN("a kick with a payload", ": Socket.IO", "<41/notifications,{}"),
	GOES_DOWN("eleven attachments", ": Socket.IO", "<4511-/notifications,[\"notification\"]"),
	GOES_DOWN("attachments are not counted", ": Socket.IO",
		  "<45/notifications,[\"notification\"]"),
	GOES_DOWN("450-", ": Socket.IO", "<450-"),
	GOES_DOWN("a stray attachment", ": nothing announced", "x 82 01 00"),
	GOES_DOWN("an attachment too many", ": nothing announced",
		  "<451-/notifications,[\"other\"]", "x 82 01 00 82 01 00"),
	GOES_DOWN("text where an attachment was due", ": attachment was due",
		  "<451-/notifications,[\"notification\"]", TALK_NOTE),
};

static const struct talk_row heartbeats[] = {
	{ "silence",
	  { TALK_ASK, TALK_DIAL, OPEN_FAST, TALK_JOIN, "= up", "= late", "= down", ": silent",
	    "closed", TALK_UP } },
	{ "only pings count",
	  { TALK_ASK, TALK_DIAL, "<0{\"pingInterval\":100,\"pingTimeout\":600}", TALK_JOIN, "= up",
	    TALK_NOTE, "= note", "= late", TALK_NOTE, "= note", "= down", ": silent" } },
	{ "a ping that is late may follow a gap",
	  { TALK_ASK, TALK_DIAL, "<0{\"pingInterval\":100,\"pingTimeout\":4000}", TALK_JOIN, "= up",
	    "= late", "<2", ">3", "= up", TALK_HEARS, "= late", "<2x", ">3x", "= up" } },
	{ "values are kept within limits",
	  { TALK_ASK, TALK_DIAL, "<0{\"pingInterval\":1,\"pingTimeout\":1}", TALK_JOIN, "= up",
	    "= late", "= down" } },
	{ "three pings at once", { TALK_UP, "<*3 2", ">3", ">3", ">3", "open" } },
	{ "a flood of pings", { TALK_UP, "<*2000 2", "= down", ": too much", "closed" } },
};

/* NOLINTEND(bugprone-suspicious-missing-comma) */

static void run(const struct talk_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		talk_run(&rows[i]);
}

static void test_joining(void **state)
{
	run(joining, array_n(joining));
}

static void test_events(void **state)
{
	run(events, array_n(events));
}

static void test_packets(void **state)
{
	run(packets, array_n(packets));
}

static void test_heartbeats(void **state)
{
	run(heartbeats, array_n(heartbeats));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_joining),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_packets),
		cmocka_unit_test(test_heartbeats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
