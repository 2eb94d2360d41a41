/* Delta as a client sees it, without sockets: requests in, JSON out. */
#include "sim.h"
#include "simapi.h"
#include "simdelta.h"
#include "simitem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sim s;

static int make(void **state)
{
	memset(&s, 0, sizeof(s));
	s.is_strict = true;
	s.delta.page_size = 4;
	s.epoch = 7;
	s.secret = 99;
	s.odd = json_object_new_object();
	snprintf(s.base[SIMPORT_API], sizeof(s.base[0]), "http://127.0.0.1:1");
	simtree_init(&s.tree);
	simbytes_init(&s.bytes, &s.tree, NULL);
	return 0;
}

static int unmake(void **state)
{
	simbytes_fini(&s.bytes);
	simtree_fini(&s.tree);
	json_object_put(s.odd);
	json_object_put(s.delta.pages);
	for (unsigned i = 0; i < s.violation_n; i++)
		free(s.violations[i]);
	return 0;
}

static uint32_t add(uint32_t folder, const char *name, unsigned flags)
{
	uint32_t n;

	assert_int_equal(simtree_add(&s.tree, folder, name, strlen(name), flags, &n), 0);
	return n;
}

/* GET of a delta link, from its path on. The caller puts the JSON. */
static struct json_object *get(const char *target, int status)
{
	char prefix[] = "/v1.0/me/drive";
	struct simroute route = { .class = SIMCLASS_DELTA,
				  .has_drive = true,
				  .is_root_form = true,
				  .item = s.tree.root[0],
				  .prefix = prefix,
				  .sub = "delta" };
	char text[2048];
	struct simreq req = { 0 };
	struct simreply reply;
	struct json_object *json;
	size_t used;
	int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", target);

	assert_int_equal(simhttp_parse_head(text, (size_t)n, &req, &used), 0);
	simhttp_init_reply(&reply);
	simdelta_answer(&s, &req, &reply, &route);
	assert_int_equal(reply.status, status);
	json = json_tokener_parse(reply.body.data);
	assert_non_null(json);
	simhttp_free_reply(&reply);
	simhttp_free_req(&req);
	return json;
}

static const char *text_of(struct json_object *obj, const char *key)
{
	struct json_object *member;

	return json_object_object_get_ex(obj, key, &member) ? json_object_get_string(member) : NULL;
}

/* Follows all pages from the link, adding "name" or "-" for a tombstone to ret_names. */
static void run(char *link, char *ret_names, unsigned *ret_pages)
{
	ret_names[0] = '\0';
	*ret_pages = 0;
	for (;;) {
		struct json_object *page = get(strstr(link, "/v1.0"), 200), *value;
		const char *next = text_of(page, "@odata.nextLink");
		const char *last = text_of(page, "@odata.deltaLink");

		assert_true((next == NULL) != (last == NULL));
		assert_true(json_object_object_get_ex(page, "value", &value));
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			struct json_object *item = json_object_array_get_idx(value, i);
			const char *name = text_of(item, "name");

			strcat(ret_names, text_of(item, "deleted") ? "-" : name);
			strcat(ret_names, " ");
		}
		(*ret_pages)++;
		snprintf(link, 1024, "%s", next ? next : last);
		json_object_put(page);
		if (last)
			return;
	}
}

static void start(char *link, const char *query)
{
	snprintf(link, 1024, "/v1.0/me/drive/root/delta%s", query);
}

static void test_full_and_changes(void **state)
{
	uint32_t a = add(s.tree.root[0], "a", SIMTREE_FOLDER), x = add(a, "x", 0), y;
	char link[1024], names[1024];
	unsigned pages;

	for (unsigned i = 0; i < 5; i++)
		add(a, (char[]){ 'f', (char)('0' + i), 0 }, 0);
	start(link, "");
	run(link, names, &pages);
	assert_string_equal(names, "root a x f0 f1 f2 f3 f4 ");
	assert_int_equal(pages, 2);
	run(link, names, &pages);
	assert_string_equal(names, "");
	y = add(a, "y", 0);
	assert_int_equal(simtree_move(&s.tree, x, s.tree.root[0], "x2", 2), 0);
	simtree_delete(&s.tree, y);
	/* Parents come along on business drives; the latest state of each, once. */
	run(link, names, &pages);
	assert_string_equal(names, "root x2 a - ");
	run(link, names, &pages);
	assert_string_equal(names, "");
	/* A full run knows no tombstones. */
	start(link, "");
	run(link, names, &pages);
	assert_string_equal(names, "root a x2 f0 f1 f2 f3 f4 ");
}

static void test_change_while_paging(void **state)
{
	char link[1024], names[1024];
	unsigned pages;
	struct json_object *page;

	for (unsigned i = 0; i < 8; i++)
		add(s.tree.root[0], (char[]){ 'f', (char)('0' + i), 0 }, 0);
	start(link, "");
	page = get(link, 200);
	snprintf(link, sizeof(link), "%s", text_of(page, "@odata.nextLink"));
	json_object_put(page);
	/* f0 was handed out already: its change must come after the run. */
	simtree_touch(&s.tree, simtree_find(&s.tree, s.tree.root[0], "f0"), false);
	run(link, names, &pages);
	run(link, names, &pages);
	assert_string_equal(names, "root f0 ");
}

static void test_latest(void **state)
{
	char link[1024], names[1024];
	unsigned pages;

	add(s.tree.root[0], "old", 0);
	start(link, "?token=latest");
	run(link, names, &pages);
	assert_string_equal(names, "");
	add(s.tree.root[0], "new", 0);
	run(link, names, &pages);
	assert_string_equal(names, "root new ");
}

static void test_lost_tombstone(void **state)
{
	uint32_t n = add(s.tree.root[0], "n", 0);
	char link[1024], names[1024];
	unsigned pages;

	start(link, "?token=latest");
	run(link, names, &pages);
	s.delta.drop_tombstones = 1;
	simtree_delete(&s.tree, n);
	run(link, names, &pages);
	assert_string_equal(names, "");
	assert_int_equal(s.delta.drop_tombstones, 0);
}

static void test_refused_tokens(void **state)
{
	char link[1024], names[1024];
	unsigned pages;
	char *sig;

	start(link, "?token=latest");
	run(link, names, &pages);
	/* A link that was changed on its way. */
	sig = strstr(link, "%2B");
	memcpy(sig, "%2b", 3);
	json_object_put(get(strstr(link, "/v1.0"), 400));
	assert_int_equal(s.violation_n, 1);
	memcpy(sig, "%2B", 3);
	json_object_put(get(strstr(link, "/v1.0"), 200));
	/* A token of another epoch, and none at all. */
	s.epoch++;
	json_object_put(get(strstr(link, "/v1.0"), 410));
	json_object_put(get("/v1.0/me/drive/root/delta?token=rubbish", 400));
}

static void test_oddities(void **state)
{
	char link[1024], names[1024];
	unsigned pages;

	add(s.tree.root[0], "a", 0);
	s.delta.empty_pages = 3;
	s.delta.duplicates = s.delta.reverse = true;
	start(link, "");
	run(link, names, &pages);
	assert_string_equal(names, "a root a root ");
	assert_int_equal(pages, 4);
}

/* The size of a page: the service's own, what is asked for, and the limit of a test. */
static void test_size_of_pages(void **state)
{
	static const struct {
		const char *query;
		unsigned limit, pages;
	} cases[] = {
		{ "", 0, 13 },           { "?$top=1000", 0, 3 },    { "?$top=999999", 0, 3 },
		{ "?$top=500", 0, 6 },   { "?$top=1000", 1200, 3 }, { "?$top=1000", 100, 26 },
		{ "?$top=50", 100, 51 },
	};
	static char names[64 << 10];
	char link[1024], name[16];
	unsigned pages;

	for (unsigned i = 0; i < 2500; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		add(s.tree.root[0], name, 0);
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		s.delta.page_size = cases[i].limit;
		start(link, cases[i].query);
		run(link, names, &pages);
		assert_int_equal(pages, cases[i].pages);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_full_and_changes, make, unmake),
		cmocka_unit_test_setup_teardown(test_change_while_paging, make, unmake),
		cmocka_unit_test_setup_teardown(test_latest, make, unmake),
		cmocka_unit_test_setup_teardown(test_lost_tombstone, make, unmake),
		cmocka_unit_test_setup_teardown(test_refused_tokens, make, unmake),
		cmocka_unit_test_setup_teardown(test_oddities, make, unmake),
		cmocka_unit_test_setup_teardown(test_size_of_pages, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
