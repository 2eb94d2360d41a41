/*
 * Conversations between the channel (live, session, ws) and a scripted WebSocket server on
 * loopback. Both run on the test's thread, so a row says what happens in which order, and nothing
 * waits by the clock but for a deadline of 20 s for each step. The steps of a row:
 *
 *   = EVENT       the next event of live: connecting up note late down unsupported, or get, which
 *                 asks for an endpoint; "= note*100" is a hundred of them
 *   : TEXT        the reason of that event has this in it
 *   after N       that event came N ms or more after the one before it
 *   url [N]       answers get: a new URL, whose subscription ends in N ms (none: does not say)
 *   url2 [N]      the same on another host and port
 *   url8k         the same with a token of 8 kB
 *   url= URL      answers with this one
 *   error NAME    answers with an error; "error NAME none": the drive has no channel
 *   kick          live_kick()
 *   dial          a connection, whose upgrade request must be right in every byte; dial3: for
 *                 Engine.IO 3. Later steps are about it.
 *   on N          later steps are about the Nth connection
 *   101           accepts the upgrade
 *   http TEXT     sends these bytes
 *   < TEXT        sends a text message; << in fragments of a byte with pings between them
 *   <*N TEXT      sends it N times
 *   x HEX         sends these bytes
 *   big N         sends a text message of N bytes
 *   > TEXT        the client's next message
 *   pongs N       N or more WebSocket pongs came
 *   fin, rst      ends the TCP connection
 *   closed        the client ended it
 *   open          it is open after all that the client was told so far
 *   sleep N       lets timers of N ms run out
 *
 * Checked all the time: frames are masked, nothing is sent before the open packet, no packet has
 * a "?", Engine.IO 4 sends no ping, 3 no pong and no bare "40", and no line of the log holds the
 * secret of a URL.
 */
#pragma once

#include "live.h"

enum { TALK_STEPS_MAX = 160 };

struct talk_row {
	const char *name;
	const char *steps[TALK_STEPS_MAX];
	struct live_options options; /* 0: long enough not to be met */
};

void talk_run(const struct talk_row *row);

#define TALK_OPEN                                            \
	"<0{\"sid\":\"E\",\"upgrades\":[],\"pingInterval\":" \
	"25000,\"pingTimeout\":20000,\"maxPayload\":1000000}"
#define TALK_JOIN \
	">40", ">40/notifications,", "<40{\"sid\":\"S1\"}", "<40/notifications,{\"sid\":\"S2\"}"
#define TALK_ASK  "= connecting", "= get", "url"
#define TALK_DIAL "dial", "101"
#define TALK_UP   TALK_ASK, TALK_DIAL, TALK_OPEN, TALK_JOIN, "= up"
#define TALK_NOTE "<42/notifications,[\"notification\",\"{}\"]"
/* An event that proves that nothing else was told before it. */
#define TALK_HEARS TALK_NOTE, "= note"
/* It went down, and takes a fresh endpoint. */
#define TALK_AGAIN "= down", TALK_UP
