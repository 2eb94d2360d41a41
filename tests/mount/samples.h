/*
 * What no proper service would send, as tables. D-.., S-.. and W-.. are the usual names of such
 * faults: pages of delta, HTTP, the notification channel.
 */
#pragma once

#include <stddef.h>

struct sample {
	const char *what;  /* a body, an action of the fault table, or members of an admin call */
	const char *names; /* what the log has to say about it; NULL: it does no harm at all */
};

struct samples {
	const struct sample *v;
	size_t n;
};

/* Bodies of delta that are to be refused as a whole. {next} and {delta} are links that work. */
extern const struct samples samples_page;
/* Bodies of delta that are sound as pages, and whose items change nothing that can be seen. $ROOT,
 * $DIR and $SUB stand for the ids of folders, $SUB below $DIR below $ROOT. */
extern const struct samples samples_odd;
/* Items with a wrong field; $ID stands for an id that is new. */
extern const struct samples samples_item;
/* Actions for a listing, for the facts about a file, for the redirect to its content, and for the
 * content: the folder cannot be listed, the file not read. */
extern const struct samples samples_listing, samples_info, samples_redirect, samples_content;
/* Actions for the subscription, and for the token when signing in. */
extern const struct samples samples_subscription, samples_code, samples_token;
/* Members of POST /socket, for the next connection, and of POST /socket/send. */
extern const struct samples samples_handshake, samples_frame;

size_t samples_count(void);
