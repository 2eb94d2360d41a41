#include "engineio.h"

#include "jget.h"

#include <errno.h>

enum { INTERVAL_MS = 25000, TIMEOUT_MS = 20000, SHORTEST_MS = 100, LONGEST_MS = 600000 };

int engineio_decode(const char *frame, size_t len, struct engineio_packet *ret)
{
	if (len == 0 || frame[0] < '0' || frame[0] > '6')
		return -EBADMSG;
	*ret = (struct engineio_packet){
		.type = (enum engineio_type)(frame[0] - '0'),
		.payload = frame + 1,
		.payload_len = len - 1,
	};
	return 0;
}

static uint64_t sane_ms(struct json_object *open, const char *key, uint64_t fallback)
{
	int64_t ms;

	if (jget_i64(open, key, &ms) != 0 || ms <= 0)
		return fallback;
	return ms < SHORTEST_MS ? SHORTEST_MS : ms > LONGEST_MS ? LONGEST_MS : (uint64_t)ms;
}

int engineio_decode_open(const char *payload, size_t len, struct engineio_open *ret)
{
	struct json_object *open;
	int r = jget_parse(payload, len, &open);

	if (r < 0)
		return r;
	if (json_object_is_type(open, json_type_object))
		*ret = (struct engineio_open){
			.ping_interval_ms = sane_ms(open, "pingInterval", INTERVAL_MS),
			.ping_timeout_ms = sane_ms(open, "pingTimeout", TIMEOUT_MS),
		};
	else
		r = -EBADMSG;
	json_object_put(open);
	return r;
}
