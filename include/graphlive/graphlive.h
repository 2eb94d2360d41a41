/*
 * libgraphlive: hear at once that a OneDrive or SharePoint drive changed.
 *
 * Microsoft Graph gives each drive a notification channel: a Socket.IO server, whose address is
 * asked for at {drive}/root/subscriptions/socketIo. This library keeps such a channel open for as
 * long as its owner wants: it dials, joins, answers heartbeats, notices lines that went dead,
 * renews the subscription before it ends (the new socket is up before the old one goes) and tries
 * again after every failure, with a growing and jittered pause. It can be used in two ways:
 *
 *   - as a Socket.IO client for notification URLs that you fetch yourself: set get_endpoint;
 *   - as the change channel of a drive: set graph_url, drive and get_token, and the library asks
 *     for the URL itself.
 *
 * A notification says "look", never what changed: ask delta then. Do the same at each
 * GRAPHLIVE_UP, because what happened before it was not notified.
 *
 * Any event loop: watch graphlive_fd() for input and call graphlive_dispatch() when there is some.
 *
 *   struct graphlive_options o = {
 *       .size = sizeof(o), .on_event = on_event, .get_token = get_token,
 *       .graph_url = "https://graph.microsoft.com/v1.0", .drive = "me",
 *   };
 *   struct graphlive *live;
 *   int r = graphlive_new(&o, &live);
 *   if (r == 0)
 *       r = graphlive_start(live);
 *   while (r == 0) {
 *       struct pollfd p = { .fd = graphlive_fd(live), .events = POLLIN };
 *       poll(&p, 1, -1);
 *       r = graphlive_dispatch(live);
 *   }
 *   graphlive_free(live);
 *
 * Threads: a handle is used by one thread at a time; different handles may live on different
 * threads, but graphlive_new() and graphlive_free() are not called by two threads at once.
 * Callbacks are made from inside graphlive_dispatch() only, on its caller's thread, and may call
 * every function of this header on their handle but graphlive_dispatch().
 *
 * Ownership: what you pass in is copied, unless said otherwise; what a callback or a function gives
 * you is borrowed, until the callback returns or the handle's next call.
 *
 * Errors: an int is 0 or a negative errno. What goes wrong later is told as an event.
 *
 * Blocking: never. graphlive_dispatch() does what is ready and returns; host names are looked up on
 * a thread of the library's own.
 *
 * Secrets: notification URLs and tokens are never logged, never sent over plain http except to this
 * machine, and wiped after use. TLS certificates are always verified.
 *
 * Process-wide: SIGPIPE is ignored from the first graphlive_new() on, as libwebsockets needs it,
 * and the process' libwebsockets log is silenced. A handle does not survive fork(2).
 */
#ifndef GRAPHLIVE_H
#define GRAPHLIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One channel; opaque. */
struct graphlive;

/* More may be added: take what you do not know for nothing. */
enum graphlive_event {
	GRAPHLIVE_CONNECTING = 1,   /* an attempt begins */
	GRAPHLIVE_UP = 2,           /* notified from here on: ask delta now */
	GRAPHLIVE_NOTIFICATION = 3, /* something changed: ask delta */
	GRAPHLIVE_SUSPECT = 4,      /* a heartbeat is late: what is known may be old. UP or DOWN
				     * follows */
	GRAPHLIVE_DOWN = 5,         /* not connected; tried again by itself */
	GRAPHLIVE_UNSUPPORTED = 6,  /* the service has no channel for this drive: poll delta. Asked
				     * again slowly */
};

/*
 * Set size to sizeof(struct graphlive_options) and leave what you do not need zero: later versions
 * of the library add members at the end and know by it what yours has.
 */
struct graphlive_options {
	size_t size;
	void *arg; /* for the callbacks */

	/* Needed. reason: for people, no secret; "" when there is nothing to say. */
	void (*on_event)(void *arg, struct graphlive *live, enum graphlive_event event,
			 const char *reason);

	/* Either: fetch the notification URL and answer, now or later, with
	 * graphlive_set_endpoint() or graphlive_fail_endpoint(). */
	void (*get_endpoint)(void *arg, struct graphlive *live);

	/* Or: the base of Graph with its version; the drive as "me", "drives/ID", "groups/ID",
	 * "sites/ID", "sites/ID/lists/ID" or "users/ID"; and access tokens for it. Answer, now or
	 * within a minute, with graphlive_set_token() or graphlive_fail_token(). was_rejected: the
	 * service refused your last token; get a new one. */
	const char *graph_url;
	const char *drive;
	void (*get_token)(void *arg, struct graphlive *live, int was_rejected);

	const char *ca_file;    /* PEM file of the authorities to trust; NULL: the system's */
	const char *user_agent; /* for requests to Graph; NULL: the library's */
	/* Notification hosts must end in one of these (".svc.ms"); NULL-terminated. NULL: any. */
	const char *const *host_suffixes;

	/* Milliseconds; 0: the default in brackets. */
	uint64_t dial_ms;         /* until the server greets [15 s] */
	uint64_t join_ms;         /* until the namespace is joined [15 s] */
	uint64_t backoff_min_ms;  /* first pause after a failure; doubles [1 s] */
	uint64_t backoff_max_ms;  /* [60 s] */
	uint64_t stable_ms;       /* up for so long, the pause begins anew [30 s] */
	uint64_t renew_before_ms; /* before the subscription's end [2 min] */
	uint64_t renew_min_ms;    /* not sooner after the last one [60 s] */
	uint64_t lifetime_ms;     /* of a subscription that does not tell its end [30 min] */
	uint64_t refused_ms;      /* asked again after Graph refused to give the address; without a
				   * channel for the drive doubling up to an hour [60 s] */
};

/* -EINVAL: size is not one that ever was, on_event is missing, not exactly one of get_endpoint and
 * get_token, or graph_url or drive is missing or malformed (graph_url: https, or http to this
 * machine) | -E2BIG: options set that this version does not know | -ENOMEM | -EMFILE and the like |
 * -EIO: libwebsockets' libuv plug-in is missing. */
int graphlive_new(const struct graphlive_options *options, struct graphlive **ret);
/* Ends the channel; waits for nobody. No callback afterwards. NULL does nothing. */
void graphlive_free(struct graphlive *live);

/* Begins, from the next graphlive_dispatch() on. -EALREADY. */
int graphlive_start(struct graphlive *live);

/* The descriptor to watch for input (poll, epoll, a GSource ...), the same one for the life of the
 * handle. Timers are in it, too. Never read from it. */
int graphlive_fd(const struct graphlive *live);
/* Does what is ready. Call it when graphlive_fd() is readable; calling it in vain does no harm.
 * -EBUSY from inside a callback. */
int graphlive_dispatch(struct graphlive *live);

/* The answer to get_endpoint: the notification URL, as Graph gave it, and when it expires (seconds
 * since 1970; 0: not known). -EINVAL: nobody asked, or asked and was answered. */
int graphlive_set_endpoint(struct graphlive *live, const char *url, int64_t expires_s);
/* Or: there is none. error: a negative errno; -EOPNOTSUPP means that the drive has no channel.
 * reason: handed on to on_event; NULL: the errno's text. -EINVAL as above. */
int graphlive_fail_endpoint(struct graphlive *live, int error, const char *reason);

/* The answer to get_token; each is used for the request it was asked for. -EINVAL as above. */
int graphlive_set_token(struct graphlive *live, const char *token);
/* Or: none can be had. error: a negative errno. -EINVAL as above. */
int graphlive_fail_token(struct graphlive *live, int error);

/* The machine woke up or the network changed: the line is dialled anew, without a pause. -EINVAL:
 * not started. */
int graphlive_kick(struct graphlive *live);

/* For status displays. */
int graphlive_is_up(const struct graphlive *live);
const char *graphlive_host(const struct graphlive *live); /* "" before the first connection */
/* Seconds since 1970; 0: not connected, or never. */
int64_t graphlive_connected_since(const struct graphlive *live);
int64_t graphlive_last_notification(const struct graphlive *live);

/* For debugging: log lines of all handles, without a newline at the end; level 3 (error), 4, 6 or 7
 * (debug) as in syslog(3), at most max_level. fn may be called by any thread that uses a handle.
 * NULL: none, as at the start. Not while another thread uses a handle. */
void graphlive_set_log(void (*fn)(int level, const char *line), int max_level);

/* "MAJOR.MINOR.PATCH" of the library that is loaded. */
const char *graphlive_version(void);

#ifdef __cplusplus
}
#endif

#endif
