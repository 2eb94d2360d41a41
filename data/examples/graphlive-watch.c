/*
 * Prints what the notification channel of a drive says, as it comes.
 *
 *   cc graphlive-watch.c $(pkg-config --cflags --libs graphlive) -o graphlive-watch
 *   GRAPH_TOKEN=eyJ0... ./graphlive-watch [DRIVE [GRAPH_URL [CA_FILE]]]
 *
 * GRAPH_TOKEN is an access token with Files.Read for that drive (DRIVE: me, drives/ID, ...). A real
 * program would ask delta at each "up" and "notification", and would get a fresh token where this
 * one gives up.
 */
#include <graphlive/graphlive.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_event(void *arg, struct graphlive *live, enum graphlive_event event,
		     const char *reason)
{
	(void)arg;
	switch (event) {
	case GRAPHLIVE_CONNECTING:
		puts("connecting");
		break;
	case GRAPHLIVE_UP:
		printf("up at %s\n", graphlive_host(live));
		break;
	case GRAPHLIVE_NOTIFICATION:
		puts("notification");
		break;
	case GRAPHLIVE_SUSPECT:
		printf("suspect: %s\n", reason);
		break;
	case GRAPHLIVE_DOWN:
		printf("down: %s\n", reason);
		break;
	case GRAPHLIVE_UNSUPPORTED:
		printf("unsupported: %s\n", reason);
		break;
	}
	fflush(stdout);
}

static void get_token(void *arg, struct graphlive *live, int was_rejected)
{
	const char *token = arg;

	if (was_rejected)
		(void)graphlive_fail_token(live, -EACCES);
	else
		(void)graphlive_set_token(live, token);
}

int main(int argc, char **argv)
{
	char *token = getenv("GRAPH_TOKEN");
	struct graphlive_options options = {
		.size = sizeof(options),
		.arg = token,
		.on_event = on_event,
		.get_token = get_token,
		.drive = argc > 1 ? argv[1] : "me",
		.graph_url = argc > 2 ? argv[2] : "https://graph.microsoft.com/v1.0",
		.ca_file = argc > 3 ? argv[3] : NULL,
	};
	struct graphlive *live;
	int r;

	if (!token) {
		fprintf(stderr, "set GRAPH_TOKEN to an access token\n");
		return 2;
	}
	r = graphlive_new(&options, &live);
	if (r < 0) {
		fprintf(stderr, "cannot begin: %s\n", strerror(-r));
		return 1;
	}
	r = graphlive_start(live);
	while (r == 0) {
		struct pollfd p = { .fd = graphlive_fd(live), .events = POLLIN };

		/* Other descriptors of the program would stand beside it. */
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			break;
		r = graphlive_dispatch(live);
	}
	graphlive_free(live);
	return 1;
}
