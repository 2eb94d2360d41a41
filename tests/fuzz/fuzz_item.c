/* Replies of Graph: the first byte says as what the rest is parsed. */
#include "item.h"
#include "progress.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What came out must be whole: its strings end, its name has the length it says. */
static void touch(const struct item *item)
{
	if (!item->id || strlen(item->id) > ITEM_ID_MAX)
		__builtin_trap();
	if (item->name && (item->name_len > ITEM_NAME_MAX || item->name[item->name_len] != '\0'))
		__builtin_trap();
	if (item->size < -1 || (!item->name && !item->deleted && !item->is_root))
		__builtin_trap();
}

static void parse_page(const char *body, size_t len)
{
	struct item_problem problem = { "" };
	struct item_page page;

	if (item_parse_page(body, len, &page, &problem) != 0)
		return;
	for (size_t i = 0; i < page.n; i++)
		touch(&page.items[i]);
	for (size_t i = 0; i < page.bad_n; i++)
		if (!page.bad[i].id[0] || !page.bad[i].problem.text[0])
			__builtin_trap();
	item_page_fini(&page);
}

static void parse_item(const char *body, size_t len)
{
	struct item_problem problem = { "" };
	struct item item;

	if (item_parse_body(body, len, &item, &problem) != 0)
		return;
	touch(&item);
	item_fini(&item);
}

static void parse_progress(const char *body, size_t len)
{
	struct item_problem problem = { "" };
	struct progress_session session;
	struct progress_copy copy;

	if (progress_parse_session(body, len, &session, &problem) == 0) {
		if (session.has_next && session.next > INT64_MAX)
			__builtin_trap();
		progress_session_fini(&session);
	}
	if (progress_parse_copy(body, len, &copy, &problem) == 0) {
		if (!(copy.percent >= 0 && copy.percent <= 100))
			__builtin_trap();
		progress_copy_fini(&copy);
	}
}

static void parse_others(const char *body, size_t len)
{
	struct item_problem problem = { "" };
	struct item_subscription sub;
	struct item_drive drive;
	struct item_error error;

	if (item_parse_drive(body, len, &drive, &problem) == 0)
		item_drive_fini(&drive);
	if (item_parse_subscription(body, len, &sub, &problem) == 0)
		item_subscription_fini(&sub);
	item_parse_error(body, len, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *body = (const char *)data + 1;

	if (len == 0)
		return 0;
	switch (data[0]) {
	case 'p':
		parse_page(body, len - 1);
		break;
	case 'i':
		parse_item(body, len - 1);
		break;
	case 'u':
		parse_progress(body, len - 1);
		break;
	default:
		parse_others(body, len - 1);
	}
	return 0;
}
