#include "simbytes.h"
#include "simhash.h"
#include "simjson.h"

#include <string.h>

enum { CAP_MIN = 1024, CHUNK_BYTES = 64 << 10 };

static const uint64_t HASH_MAX_BYTES = 1u << 30;

/* What cannot be computed from the item alone. version 0: unused slot. */
struct simbytes_entry {
	uint32_t item, version;
	uint32_t kind;
	bool has_hash, is_past;
	uint64_t size;
	int64_t mtime_ms;
	char *literal;
	uint64_t at, seed; /* seed 0: computed from item and version */
	char hash[29];
};

void simbytes_init(struct simbytes *b, struct simtree *tree, struct simspool *spool)
{
	*b = (struct simbytes){
		.tree = tree, .spool = spool, .cap = CAP_MIN, .hash_max_bytes = HASH_MAX_BYTES
	};
	b->entries = simjson_alloc(b->cap * sizeof(*b->entries));
}

void simbytes_fini(struct simbytes *b)
{
	for (size_t i = 0; i < b->cap; i++)
		free(b->entries[i].literal);
	free(b->entries);
}

bool simbytes_parse_kind(const char *name, enum simbytes_kind *ret)
{
	static const char *const names[] = {
		[SIMBYTES_RANDOM] = "random",
		[SIMBYTES_TEXT] = "text",
		[SIMBYTES_ZERO] = "zero",
	};

	for (unsigned i = 0; i < array_n(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum simbytes_kind)i;
			return true;
		}
	}
	return false;
}

static struct simbytes_entry *slot(const struct simbytes *b, uint32_t item, uint32_t version)
{
	size_t at = simid_mix((uint64_t)item << 32 | version) & (b->cap - 1);

	while (b->entries[at].version &&
	       (b->entries[at].item != item || b->entries[at].version != version))
		at = (at + 1) & (b->cap - 1);
	return &b->entries[at];
}

static void grow(struct simbytes *b)
{
	struct simbytes_entry *old = b->entries;
	size_t old_cap = b->cap;

	b->cap *= 2;
	b->entries = simjson_alloc(b->cap * sizeof(*old));
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].version)
			*slot(b, old[i].item, old[i].version) = old[i];
	free(old);
}

static struct simbytes_entry *entry_of(struct simbytes *b, uint32_t item, uint32_t version)
{
	struct simbytes_entry *e;

	if (b->entry_n * 2 > b->cap)
		grow(b);
	e = slot(b, item, version);
	if (!e->version) {
		e->item = item;
		e->version = version;
		b->entry_n++;
	}
	return e;
}

static uint64_t own_seed(uint32_t item, uint32_t version)
{
	return simid_mix((uint64_t)item << 32 | version);
}

void simbytes_set(struct simbytes *b, uint32_t item, const struct simbytes_ref *content)
{
	struct simtree_item *it = simtree_get(b->tree, item);

	simtree_set_size(b->tree, item, content->size);
	it->kind = content->kind;
	if (content->kind == SIMBYTES_LITERAL) {
		char *copy = simjson_alloc(content->size + 1);

		memcpy(copy, content->literal, content->size);
		entry_of(b, item, it->content_n)->literal = copy;
	} else if (content->kind == SIMBYTES_STORED) {
		entry_of(b, item, it->content_n)->at = content->at;
	} else if (content->seed) {
		entry_of(b, item, it->content_n)->seed = content->seed;
	}
}

void simbytes_replace(struct simbytes *b, uint32_t item, const struct simbytes_ref *content)
{
	struct simtree_item *it = simtree_get(b->tree, item);
	struct simbytes_entry *past = entry_of(b, item, it->content_n);

	past->is_past = true;
	past->kind = it->kind;
	past->size = it->size;
	past->mtime_ms = it->mtime_ms;
	it->content_n++;
	simbytes_set(b, item, content);
	it->mtime_ms = simtree_now_ms();
	simtree_touch(b->tree, item, false);
}

bool simbytes_find(struct simbytes *b, uint32_t item, uint32_t version, struct simbytes_ref *ret)
{
	struct simtree_item *it = simtree_get(b->tree, item);
	struct simbytes_entry *e = slot(b, item, version);
	bool is_now = version == it->content_n;

	if (!is_now && (!e->version || !e->is_past))
		return false;
	*ret = (struct simbytes_ref){
		.item = item,
		.version = version,
		.kind = is_now ? it->kind : e->kind,
		.size = is_now ? it->size : e->size,
		.mtime_ms = is_now ? it->mtime_ms : e->mtime_ms,
		.seed = own_seed(item, version),
		.spool = b->spool,
	};
	if (e->version) {
		ret->literal = e->literal;
		ret->at = e->at;
		ret->seed = e->seed ? e->seed : ret->seed;
	}
	return true;
}

static uint64_t random_word(uint64_t seed, uint64_t n)
{
	uint64_t word = (seed + n) * 0x9e3779b97f4a7c15u;

	word ^= word >> 29;
	word *= 0xbf58476d1ce4e5b9u;
	return word ^ word >> 32;
}

static void random_bytes(uint64_t seed, uint64_t offset, char *at, size_t len)
{
	while (len > 0) {
		uint64_t word = random_word(seed, offset / 8);
		size_t skip = offset % 8, n = 8 - skip < len ? 8 - skip : len;

		/* Whole words by far the most: a length known to the compiler makes it a store. */
		if (n == 8)
			memcpy(at, &word, 8);
		else
			memcpy(at, (char *)&word + skip, n);
		at += n;
		offset += n;
		len -= n;
	}
}

/* Every line has 64 bytes, so the line at an offset is known without the lines before it. */
static void text_bytes(uint64_t seed, uint64_t offset, char *at, size_t len)
{
	static const char words[16][8] = {
		"river  ", "autumn ", "letter ", "window ", "garden ", "winter ",
		"paper  ", "market ", "summer ", "bridge ", "silver ", "morning",
		"harbour", "evening", "library", "country",
	};

	while (len > 0) {
		uint64_t pick = simid_mix(seed + offset / 64);
		char line[64];
		size_t skip = offset % 64, n = 64 - skip < len ? 64 - skip : len;

		for (unsigned w = 0; w < 8; w++) {
			memcpy(line + w * 8, words[pick >> (w * 4) & 15], 7);
			line[w * 8 + 7] = w == 7 ? '\n' : ' ';
		}
		memcpy(at, line + skip, n);
		at += n;
		offset += n;
		len -= n;
	}
}

void simbytes_read(const struct simbytes_ref *ref, uint64_t offset, void *ret_data, size_t len)
{
	switch (ref->kind) {
	case SIMBYTES_STORED:
		simspool_read(ref->spool, ref->at + offset, ret_data, len);
		break;
	case SIMBYTES_LITERAL:
		if (len > 0)
			memcpy(ret_data, ref->literal + offset, len);
		break;
	case SIMBYTES_TEXT:
		text_bytes(ref->seed, offset, ret_data, len);
		break;
	case SIMBYTES_ZERO:
		memset(ret_data, 0, len);
		break;
	case SIMBYTES_RANDOM:
		random_bytes(ref->seed, offset, ret_data, len);
		break;
	}
}

void simbytes_hash_ref(const struct simbytes_ref *ref, char ret[29])
{
	static char chunk[CHUNK_BYTES];
	struct simhash h = { 0 };
	uint8_t hash[20];

	for (uint64_t at = 0; at < ref->size; at += CHUNK_BYTES) {
		size_t n = ref->size - at < CHUNK_BYTES ? (size_t)(ref->size - at) : CHUNK_BYTES;

		simbytes_read(ref, at, chunk, n);
		simhash_update(&h, chunk, n);
	}
	simhash_final(&h, hash);
	simhash_text(hash, ret);
}

bool simbytes_hash(struct simbytes *b, uint32_t item, char ret[29])
{
	/* Small ones cost less to compute than to remember. */
	enum { REMEMBER_BYTES = 16 << 10 };
	uint32_t version = simtree_get(b->tree, item)->content_n;
	struct simbytes_entry *e = slot(b, item, version);
	struct simbytes_ref ref;

	if (!simbytes_find(b, item, version, &ref) || ref.size > b->hash_max_bytes)
		return false;
	if (e->version && e->has_hash) {
		memcpy(ret, e->hash, 29);
		return true;
	}
	simbytes_hash_ref(&ref, ret);
	if (ref.size > REMEMBER_BYTES || ref.kind == SIMBYTES_STORED)
		simbytes_know_hash(b, item, ret);
	return true;
}

void simbytes_know_hash(struct simbytes *b, uint32_t item, const char hash[29])
{
	struct simbytes_entry *e = entry_of(b, item, simtree_get(b->tree, item)->content_n);

	e->has_hash = true;
	memcpy(e->hash, hash, 29);
}
