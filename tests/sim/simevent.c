#include "simevent.h"

static void write_payload(const struct simsock_subscription *sub, enum simsock_payload kind,
			  struct simjson *out)
{
	const char *state = "system-managed:8082D436-D8DA-458D-96AD-34C902B73F37";
	char until[40];

	simjson_time_text(until, sub->until_wall_ms, 7);
	if (kind == SIMSOCK_FLAT) {
		simjson_format(out,
			       "{\"clientState\":\"%s\",\"subscriptionId\":\"%s\","
			       "\"subscriptionExpirationDateTime\":\"%s\",\"userId\":"
			       "\"0123456789abcdef\",\"resource\":\"me/drive/root\"}",
			       state, sub->id, until);
		return;
	}
	simjson_format(out,
		       "{\"value\":[{\"subscriptionId\":\"%s\",\"clientState\":\"%s\","
		       "\"expirationDateTime\":\"%s\",\"resource\":"
		       "\"52f0a6a1-5b3e-4d7b-8a51-2f6b6f1f8c0d\",\"tenantId\":"
		       "\"9188040d-6c67-4c5b-b112-36a304b66dad\",\"siteUrl\":\"/personal/"
		       "0123456789abcdef\",\"webId\":\"7d1ed2d0-6e3c-4a57-9d0a-1c8f3b1b5a11\"}]}",
		       sub->id, state, until);
}

void simevent_write(const struct simsock_knobs *knobs, const struct simsock_subscription *sub,
		    const char *space, struct simjson *out)
{
	struct simjson payload = { 0 };

	simjson_text(out, knobs->is_binary ? "451-" : "42");
	if (!knobs->is_in_root)
		simjson_format(out, "%s,", space);
	if (knobs->has_ack)
		simjson_text(out, "17");
	simjson_text(out, "[");
	if (knobs->is_escaped)
		simjson_text(out, "\"notific\\u0061tion\"");
	else
		simjson_str(out, NULL, knobs->event ? knobs->event : "notification");
	write_payload(sub, knobs->payload, &payload);
	if (knobs->is_binary)
		simjson_text(out, ",{\"_placeholder\":true,\"num\":0}");
	else if (knobs->payload == SIMSOCK_NULL)
		simjson_text(out, ",null");
	else if (knobs->payload == SIMSOCK_OBJECT)
		simjson_format(out, ",%s", payload.data);
	else if (knobs->payload != SIMSOCK_NOTHING)
		simjson_strn(out, NULL, payload.data, payload.len);
	simjson_text(out, "]");
	simjson_fini(&payload);
}
