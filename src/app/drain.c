#include "drain.h"

#include "control.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_MIN_MS = 50, LOOK_MAX_MS = 1000 };

static unsigned long long number_of(struct json_object *status, const char *key)
{
	struct json_object *value;
	int64_t n =
		json_object_object_get_ex(status, key, &value) ? json_object_get_int64(value) : 0;

	return n > 0 ? (unsigned long long)n : 0;
}

struct drain_state drain_state_of(struct json_object *status)
{
	struct json_object *stuck = NULL, *state = NULL;

	(void)json_object_object_get_ex(status, "stuck", &stuck);
	(void)json_object_object_get_ex(status, "state", &state);
	return (struct drain_state){
		.unsent_n = number_of(status, "unsent"),
		.refused_n = number_of(status, "refused"),
		.is_stuck = json_object_get_boolean(stuck),
		.is_offline = state && strcmp(json_object_get_string(state), "offline") == 0,
	};
}

void drain_print(FILE *to, const struct drain_state *state)
{
	unsigned long long n =
		state->unsent_n > state->refused_n ? state->unsent_n - state->refused_n : 0;

	fprintf(to, "%llu to send", n);
	if (state->is_offline)
		(void)fputs(", the service cannot be reached", to);
	if (state->refused_n > 0)
		fprintf(to, ", %llu refused", state->refused_n);
}

/* Over what was there before; NULL: nothing. */
static void show(const struct drain_state *state)
{
	if (!isatty(STDERR_FILENO))
		return;
	(void)fputs("\r\033[K", stderr);
	if (state)
		drain_print(stderr, state);
	(void)fflush(stderr);
}

int drain_wait(int dir, const char *name)
{
	struct drain_state state;

	for (int ms = LOOK_MIN_MS;; ms = 2 * ms < LOOK_MAX_MS ? 2 * ms : LOOK_MAX_MS) {
		struct json_object *status;
		int r = control_ask(dir, name, "status", &status);

		if (r < 0) {
			show(NULL);
			return r;
		}
		state = drain_state_of(status);
		json_object_put(status);
		if (state.unsent_n == 0 || state.is_stuck)
			break;
		show(&state);
		poll(NULL, 0, ms);
	}
	show(NULL);
	if (state.unsent_n == 0)
		return 0;
	(void)fputs("graphfs: not everything is sent: ", stderr);
	drain_print(stderr, &state);
	(void)fputs("; user.graphfs.state of each file tells why, and the log\n", stderr);
	return 1;
}
