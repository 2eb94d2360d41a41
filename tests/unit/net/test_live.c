/* Endpoints, renewal, back-off, and the version of Engine.IO. */
#include "talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Steps are made of pieces. NOLINTBEGIN(bugprone-suspicious-missing-comma) */

#define NEXT_UP   TALK_DIAL, TALK_OPEN, TALK_JOIN, "= up"
#define AGAIN     "= connecting", "= get", "url", NEXT_UP
#define FIRST_UP  "= connecting", "= get", "url 60000", NEXT_UP
#define FORBIDDEN "http HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
#define BYE       ">41/notifications,", "closed"

static const struct talk_row endpoints[] = {
	{ "no channel, then one",
	  { "= connecting", "= get", "error EOPNOTSUPP none", "= unsupported", ": EOPNOTSUPP",
	    AGAIN, TALK_HEARS } },
	{ "no channel, slower and slower",
	  { "= connecting",
	    "= get",
	    "error EOPNOTSUPP none",
	    "= unsupported",
	    "= connecting",
	    "after 16",
	    "= get",
	    "error EACCES none",
	    "= unsupported",
	    "= connecting",
	    "after 32",
	    "= get",
	    "error ENOENT none",
	    "= unsupported",
	    "= connecting",
	    "after 64",
	    "= get",
	    "error EOPNOTSUPP none",
	    "= unsupported",
	    "= connecting",
	    "after 128",
	    "= get",
	    "url",
	    NEXT_UP },
	  { .refused_ms = 20 } },
	{ "refused for now",
	  { "= connecting", "= get",    "error EACCES", "= down",        ": EACCES",
	    "= connecting", "after 40", "= get",        "error EAGAIN",  "= down",
	    "= connecting", "after 40", "= get",        "error EIO",     "= down",
	    "= connecting", "after 40", "= get",        "error EBADMSG", "= down",
	    "= connecting", "after 40", "= get",        "url",           NEXT_UP },
	  { .refused_ms = 50, .backoff_max_ms = 1 } },
	{ "not answered, which is no refusal",
	  { "= connecting", "= get", "error ENETDOWN", "= down", ": ENETDOWN", "= connecting",
	    "= get", "error ETIMEDOUT", "= down", AGAIN },
	  { .refused_ms = 3600000 } },
	{ "a URL that is none",
	  { "= connecting", "= get", "url= https://h.svc.ms:x/n?a", "= down", ": URL", AGAIN } },
	{ "a foreign host",
	  { "= connecting", "= get", "url= https://example.com/n?sEcReT", "= down", ": URL",
	    AGAIN } },
	{ "plain HTTP to elsewhere",
	  { "= connecting", "= get", "url= http://h.svc.ms/n?sEcReT", "= down", ": URL", AGAIN } },
	{ "userinfo",
	  { "= connecting", "= get", "url= https://sEcReT@h.svc.ms/n", "= down", ": URL", AGAIN } },
};

#define RENEWS                                              \
	{                                                   \
		.renew_before_ms = 60000, .renew_min_ms = 1 \
	}

static const struct talk_row renewals[] = {
	{ "the new one is up before the old one goes",
	  { FIRST_UP, "= get", "url", TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,", "on 1",
	    TALK_HEARS, "open", "on 2", "<40/notifications,{\"sid\":\"S2\"}", "= up", TALK_HEARS,
	    "on 1", BYE, "on 2", "open" },
	  RENEWS },
	{ "to another host and port",
	  { FIRST_UP, "= get", "url2", TALK_DIAL, TALK_OPEN, TALK_JOIN, "= up", "on 1", BYE, "on 2",
	    TALK_HEARS },
	  RENEWS },
	{ "that fails twice leaves the old one",
	  { FIRST_UP, "= get", TALK_HEARS, "error EIO", "= get", TALK_HEARS,
	    "error EOPNOTSUPP none", "= get", TALK_HEARS, "open", "url", NEXT_UP, "on 1", BYE,
	    "on 2", TALK_HEARS },
	  RENEWS },
	{ "whose URL is none leaves the old one",
	  { FIRST_UP, "= get", "url= ftp://x/", "= get", TALK_HEARS, "url", NEXT_UP, "on 1", BYE },
	  RENEWS },
	{ "that is not answered leaves the old one",
	  { FIRST_UP, "= get", "error ENETDOWN", "= get", TALK_HEARS, "url", NEXT_UP, "on 1", BYE },
	  RENEWS },
	{ "whose socket is refused leaves the old one",
	  { FIRST_UP,
	    "= get",
	    "url",
	    "dial",
	    FORBIDDEN,
	    "= get",
	    "url",
	    TALK_DIAL,
	    TALK_OPEN,
	    ">40",
	    ">40/notifications,",
	    "<44/notifications,{\"message\":\"no\"}",
	    "closed",
	    "= get",
	    "on 1",
	    TALK_HEARS,
	    "open",
	    "url",
	    NEXT_UP,
	    "on 1",
	    BYE },
	  RENEWS },
	{ "waits after a failure, whatever pings say",
	  { FIRST_UP, "= get", "after 200", "error EIO", "on 1", "<2", ">3", "= get", "after 200",
	    "url", "dial", "rst", "on 1", "<2", ">3", "= get", "after 200", "url", NEXT_UP },
	  { .renew_before_ms = 60000, .renew_min_ms = 200 } },
	{ "when the old one goes meanwhile",
	  { FIRST_UP, "= get", "on 1", "rst", "= down", "url", NEXT_UP, TALK_HEARS },
	  RENEWS },
	{ "when the old one goes while the new one joins",
	  { FIRST_UP, "= get", "url", TALK_DIAL, TALK_OPEN, ">40", ">40/notifications,", "on 1",
	    "rst", "= down", "on 2", "<40/notifications,{\"sid\":\"S2\"}", "= up", TALK_HEARS },
	  RENEWS },
	{ "when both go",
	  { FIRST_UP, "= get", "url", TALK_DIAL, "on 1", "rst", "= down", "on 2", "x 8800",
	    "= down", AGAIN, TALK_HEARS },
	  RENEWS },
	{ "of a subscription that is over already",
	  { "= connecting", "= get", "url -3600000", NEXT_UP, "= get", "after 100", "url", NEXT_UP,
	    TALK_HEARS },
	  { .renew_min_ms = 100 } },
	{ "of a subscription that does not say",
	  { "= connecting", "= get", "url", NEXT_UP, "= get", "after 100", "url", NEXT_UP },
	  { .lifetime_ms = 300, .renew_before_ms = 150, .renew_min_ms = 1 } },
	{ "by the clock",
	  { "= connecting", "= get", "url 10400", NEXT_UP, "= get", "url", NEXT_UP },
	  { .renew_before_ms = 10000, .renew_min_ms = 1 } },
	{ "is not before its time",
	  { "= connecting", "= get", "url 150000000", NEXT_UP, "sleep 100", TALK_HEARS },
	  { .renew_before_ms = 1, .renew_min_ms = 1 } },
};

#define DROP "fin", "= down", "= connecting"

static const struct talk_row backoffs[] = {
	{ "accepted and dropped, again and again",
	  { TALK_UP, DROP, "after 8",   "= get", "url", NEXT_UP, DROP, "after 16",  "= get", "url",
	    NEXT_UP, DROP, "after 32",  "= get", "url", NEXT_UP, DROP, "after 64",  "= get", "url",
	    NEXT_UP, DROP, "after 128", "= get", "url", NEXT_UP, DROP, "after 240", "= get", "url",
	    NEXT_UP, DROP, "after 240", "= get", "url", NEXT_UP },
	  { .backoff_min_ms = 10, .backoff_max_ms = 300 } },
	/* Without the reset the second pause would be over in an hour. */
	{ "a ping proves that it works",
	  { TALK_UP, "<2", ">3", DROP, "= get", "url", NEXT_UP, "<2", ">3", DROP, "= get", "url",
	    NEXT_UP },
	  { .backoff_min_ms = 1, .backoff_max_ms = 3600000, .refused_ms = 1 } },
	{ "so does a time without a fault",
	  { TALK_UP, "sleep 30", DROP, "= get", "url", NEXT_UP, "sleep 30", DROP, "= get", "url",
	    NEXT_UP },
	  { .stable_ms = 10, .backoff_min_ms = 1, .backoff_max_ms = 3600000 } },
	{ "a ping of one that never joins proves nothing",
	  { TALK_ASK, TALK_DIAL, TALK_OPEN, ">40",      ">40/notifications,",
	    "<2",     ">3",      DROP,      "after 40", "= get",
	    "url",    TALK_DIAL, TALK_OPEN, ">40",      ">40/notifications,",
	    "<2",     ">3",      DROP,      "after 80", "= get",
	    "url",    NEXT_UP },
	  { .backoff_min_ms = 50, .backoff_max_ms = 1000 } },
};

static const struct talk_row kicks[] = {
	{ "replaces a socket that looks alive",
	  { TALK_UP, "kick", "= down", ": slept", "= connecting", "= get", "on 1", "closed", "url",
	    NEXT_UP, TALK_HEARS },
	  { .backoff_min_ms = 3600000, .backoff_max_ms = 3600000 } },
	{ "ends a pause",
	  { TALK_UP, "fin", "= down", "kick", "= connecting", "= get", "url", NEXT_UP },
	  { .backoff_min_ms = 3600000, .backoff_max_ms = 3600000 } },
	{ "asks a service that had no channel",
	  { "= connecting", "= get", "error EACCES none", "= unsupported", "kick", "= connecting",
	    "= get", "url", NEXT_UP },
	  { .refused_ms = 3600000 } },
	{ "gives up an attempt that may be half-open",
	  { TALK_ASK, TALK_DIAL, "kick", "= connecting", "= get", "on 1", "closed", "url", NEXT_UP,
	    TALK_HEARS } },
	{ "does not ask twice",
	  { "= connecting", "= get", "kick", "kick", "url", NEXT_UP, TALK_HEARS } },
	{ "during a renewal leaves no old socket",
	  { FIRST_UP, "= get", "kick", "= down", ": slept", "on 1", "closed", "url", NEXT_UP,
	    TALK_HEARS },
	  RENEWS },
};

#define OPEN_3 "<0{\"sid\":\"E\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":5000}"
#define JOIN_3 "dial3", "101", OPEN_3, "<40", ">40/notifications,", "<40/notifications,"
#define UP_3   TALK_ASK, JOIN_3, "= up"
#define REFUSED \
	"http HTTP/1.1 400 Bad Request\r\nContent-Length: 28\r\n\r\nUnsupported protocol version"

static const struct talk_row versions[] = {
	{ "4 is answered with 400",
	  { TALK_ASK, "dial", REFUSED, "= down", ": 400", UP_3, TALK_HEARS } },
	{ "4 is answered with 101 and raw text",
	  { TALK_ASK, TALK_DIAL, REFUSED, "= down", UP_3, TALK_HEARS } },
	{ "4 is answered with an old join",
	  { TALK_ASK, TALK_DIAL, OPEN_3, "<40", "= down", ": older Socket.IO", UP_3, TALK_HEARS } },
	{ "4 is answered with an old join to the namespace",
	  { TALK_ASK, TALK_DIAL, OPEN_3, ">40", ">40/notifications,", "<40/notifications,",
	    "= down", ": older Socket.IO", UP_3, TALK_HEARS } },
	{ "other refusals do not change it",
	  { TALK_ASK,  "dial",    "http HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
	    "= down",  TALK_ASK,  "dial",
	    "fin",     "= down",  TALK_ASK,
	    TALK_DIAL, "x 8800",  "= down",
	    TALK_ASK,  TALK_DIAL, TALK_OPEN,
	    ">40",     "fin",     "= down",
	    TALK_ASK,  TALK_DIAL, "<garbage",
	    "= down",  TALK_UP,   "x c100",
	    "= down",  TALK_UP } },
	{ "3 is remembered",
	  { TALK_ASK, "dial", REFUSED, "= down", UP_3, "fin", "= down", UP_3, "<41/notifications,",
	    "= down", UP_3, "kick", "= down", UP_3, TALK_HEARS } },
	{ "3 gives way to 4 when it is refused",
	  { TALK_ASK, "dial", REFUSED, "= down", UP_3, "fin", "= down", TALK_ASK, "dial3", "101",
	    REFUSED, "= down", TALK_UP, "fin", "= down", TALK_UP } },
	{ "4 is tried again later, and only then",
	  { TALK_ASK,    "dial", REFUSED,  "= down", UP_3,  "sleep 300", "fin",    "= down",
	    TALK_ASK,    "dial", REFUSED,  "= down", UP_3,  "fin",       "= down", UP_3,
	    "sleep 300", "fin",  "= down", TALK_UP,  "fin", "= down",    TALK_UP },
	  { .eio4_again_ms = 300 } },
	{ "3 goes on while 4 is tried in a renewal",
	  { TALK_ASK, "dial", REFUSED,    "= down", "= connecting", "= get", "url 700",
	    JOIN_3,   "= up", "= get",    "url",    "dial",         REFUSED, "closed",
	    "= get",  "on 2", TALK_HEARS, "url",    JOIN_3,         "= up",  TALK_HEARS },
	  { .eio4_again_ms = 400, .renew_before_ms = 1, .renew_min_ms = 1 } },
	{ "3 is asked for", { UP_3, TALK_HEARS }, { .eio = 3 } },
	{ "3 is asked for and refused",
	  { TALK_ASK, "dial3", REFUSED, "= down", TALK_ASK, "dial3", "101", REFUSED, "= down",
	    UP_3 },
	  { .eio = 3 } },
	{ "4 is asked for and refused",
	  { TALK_ASK, "dial", REFUSED, "= down", TALK_ASK, TALK_DIAL, OPEN_3, "<40", "= down",
	    TALK_UP },
	  { .eio = 4 } },
	{ "in 3 the client pings",
	  { "= connecting", "= get", "url", "dial3", "101",
	    "<0{\"pingInterval\":100,\"pingTimeout\":10000}", "<40", ">40/notifications,",
	    "<40/notifications,", "= up", ">2", "<3", ">2", "<3", ">2", "<3", "<2", TALK_HEARS },
	  { .eio = 3 } },
	{ "in 3 silence is noticed",
	  { "= connecting", "= get", "url", "dial3", "101",
	    "<0{\"pingInterval\":100,\"pingTimeout\":100}", "<40", ">40/notifications,",
	    "<40/notifications,", "= up", ">2", "= late", "= down", ": silent", UP_3 },
	  { .eio = 3 } },
	{ "in 3 refused with a string",
	  { TALK_ASK, "dial3", "101", OPEN_3, "<40", ">40/notifications,",
	    "<44/notifications,\"Invalid namespace\"", "= down", ": Invalid namespace", UP_3 },
	  { .eio = 3 } },
	{ "in 3 a binary event",
	  { UP_3, "<451-/notifications,[\"notification\"]", "x 82 04 04010203", "= note",
	    TALK_HEARS },
	  { .eio = 3 } },
	{ "in 3 an ack",
	  { UP_3, "<42/notifications,1[\"notification\"]", ">43/notifications,1[]", "= note" },
	  { .eio = 3 } },
};

/* NOLINTEND(bugprone-suspicious-missing-comma) */

static void run(const struct talk_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		talk_run(&rows[i]);
}

static void test_endpoints(void **state)
{
	run(endpoints, array_n(endpoints));
}

static void test_renewals(void **state)
{
	run(renewals, array_n(renewals));
}

static void test_backoffs(void **state)
{
	run(backoffs, array_n(backoffs));
}

static void test_kicks(void **state)
{
	run(kicks, array_n(kicks));
}

static void test_versions(void **state)
{
	run(versions, array_n(versions));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoints), cmocka_unit_test(test_renewals),
		cmocka_unit_test(test_backoffs),  cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
