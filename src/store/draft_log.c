#include "draft_log.h"

#include <errno.h>
#include <string.h>

#define MIX_1 UINT64_C(0x9e3779b97f4a7c15)
#define MIX_2 UINT64_C(0xd6e8feb86659fd93)

/* --- checksums --- */

static uint64_t mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * MIX_1;
	return sum ^ sum >> 29;
}

/* Four lanes, so that one multiplication need not wait for the one before. */
uint64_t draft_log_sum(const void *data, size_t len, uint64_t seed)
{
	const uint8_t *in = data;
	uint64_t lane[4] = { seed, seed ^ MIX_2, seed + MIX_2, seed ^ len };
	uint64_t word[4] = { 0 }, sum = len;

	for (; len >= sizeof(word); len -= sizeof(word)) {
		memcpy(word, in, sizeof(word));
		in += sizeof(word);
		for (size_t i = 0; i < 4; i++)
			lane[i] = mix(lane[i], word[i]);
	}
	memset(word, 0, sizeof(word));
	if (len > 0)
		memcpy(word, in, len);
	for (size_t i = 0; i < 4; i++)
		sum = mix(sum, mix(lane[i], word[i])) * MIX_2;
	return sum ^ sum >> 32;
}

/* --- records --- */

static uint32_t sum_of(uint64_t cid, uint64_t at, const uint8_t *record, size_t bytes)
{
	const size_t skip = sizeof(uint32_t);

	return (uint32_t)draft_log_sum(record + skip, bytes - skip, cid * MIX_1 ^ at);
}

static size_t whole_bytes(size_t payload_bytes)
{
	return DRAFT_LOG_RECORD_BYTES + ((payload_bytes + 7) & ~(size_t)7);
}

size_t draft_log_encode(uint64_t cid, uint64_t at, const struct draft_log_record *record,
			const void *payload, size_t payload_bytes, struct draft_log_buf *ret)
{
	size_t bytes = whole_bytes(payload_bytes);
	struct draft_log_record head = *record;

	head.payload_bytes = (uint16_t)payload_bytes;
	memset(ret->data + DRAFT_LOG_RECORD_BYTES, 0, bytes - DRAFT_LOG_RECORD_BYTES);
	memcpy(ret->data, &head, sizeof(head));
	if (payload_bytes > 0)
		memcpy(ret->data + DRAFT_LOG_RECORD_BYTES, payload, payload_bytes);
	head.sum = sum_of(cid, at, ret->data, bytes);
	memcpy(ret->data, &head.sum, sizeof(head.sum));
	return bytes;
}

int draft_log_decode(uint64_t cid, const uint8_t *log, uint64_t len, uint64_t at,
		     struct draft_log_record *ret, const uint8_t **ret_payload, size_t *ret_bytes)
{
	struct draft_log_record head;
	size_t bytes;

	if (len - at < sizeof(head))
		return -EAGAIN;
	memcpy(&head, log + at, sizeof(head));
	bytes = whole_bytes(head.payload_bytes);
	if (head.payload_bytes > DRAFT_LOG_PAYLOAD_MAX || head.kind < DRAFT_LOG_HEADER ||
	    head.kind > DRAFT_LOG_MARK)
		return -EBADMSG;
	if (len - at < bytes)
		return -EAGAIN;
	if (head.sum != sum_of(cid, at, log + at, bytes))
		return -EBADMSG;
	*ret = head;
	*ret_payload = log + at + sizeof(head);
	*ret_bytes = bytes;
	return 0;
}

/* --- headers --- */

void draft_header_fini(struct draft_header *h)
{
	free(h->dir_path);
	free(h->name);
	free(h->item_id);
	free(h->drive_id);
	free(h->base_etag);
	*h = (struct draft_header){ 0 };
}

/* The strings in the order in which they are written. */
enum { STRINGS_N = 5 };

static void list_strings(struct draft_header *h, char **ret[STRINGS_N])
{
	ret[0] = &h->dir_path;
	ret[1] = &h->name;
	ret[2] = &h->item_id;
	ret[3] = &h->drive_id;
	ret[4] = &h->base_etag;
}

int draft_header_copy(const struct draft_header *h, struct draft_header *ret)
{
	struct draft_header from = *h, to = *h;
	char **in[STRINGS_N], **out[STRINGS_N];
	int r = 0;

	list_strings(&from, in);
	list_strings(&to, out);
	for (size_t i = 0; i < STRINGS_N; i++) {
		*out[i] = *in[i] ? strdup(*in[i]) : NULL;
		if (*in[i] && !*out[i])
			r = -ENOMEM;
	}
	if (r < 0)
		draft_header_fini(&to);
	else
		*ret = to;
	return r;
}

/* Each string is its length and its bytes; a length of this is NULL. */
#define NO_STRING UINT16_MAX

int draft_log_pack(const struct draft_header *h, uint8_t ret[DRAFT_LOG_PAYLOAD_MAX],
		   size_t *ret_bytes)
{
	const uint64_t numbers[] = { h->ino, h->base_cid, h->base_size };
	struct draft_header copy = *h;
	char **strings[STRINGS_N];
	size_t at = sizeof(numbers);

	list_strings(&copy, strings);
	for (size_t i = 0; i < STRINGS_N; i++)
		if (*strings[i] && strlen(*strings[i]) > (i ? DRAFT_TEXT_MAX : DRAFT_PATH_MAX))
			return -ENAMETOOLONG;
	memcpy(ret, numbers, sizeof(numbers));
	for (size_t i = 0; i < STRINGS_N; i++) {
		const char *s = *strings[i];
		uint16_t len = s ? (uint16_t)strlen(s) : NO_STRING;

		memcpy(ret + at, &len, sizeof(len));
		at += sizeof(len);
		if (s)
			memcpy(ret + at, s, len);
		at += s ? len : 0;
	}
	*ret_bytes = at;
	return 0;
}

static int unpack_string(const uint8_t *payload, size_t bytes, size_t *at, char **ret)
{
	uint16_t len;

	if (bytes - *at < sizeof(len))
		return -EBADMSG;
	memcpy(&len, payload + *at, sizeof(len));
	*at += sizeof(len);
	if (len == NO_STRING)
		return 0;
	if (len > bytes - *at || memchr(payload + *at, '\0', len))
		return -EBADMSG;
	*ret = strndup((const char *)payload + *at, len);
	*at += len;
	return *ret ? 0 : -ENOMEM;
}

int draft_log_unpack(const uint8_t *payload, size_t bytes, struct draft_header *ret)
{
	struct draft_header h = { 0 };
	char **strings[STRINGS_N];
	uint64_t numbers[3];
	size_t at = sizeof(numbers);
	int r = 0;

	if (bytes < sizeof(numbers))
		return -EBADMSG;
	memcpy(numbers, payload, sizeof(numbers));
	h.ino = numbers[0];
	h.base_cid = numbers[1];
	h.base_size = numbers[2];
	list_strings(&h, strings);
	for (size_t i = 0; r == 0 && i < STRINGS_N; i++)
		r = unpack_string(payload, bytes, &at, strings[i]);
	if (r == 0 && (at != bytes || h.base_size > DRAFT_SIZE_MAX))
		r = -EBADMSG;
	if (r < 0)
		draft_header_fini(&h);
	else
		*ret = h;
	return r;
}
