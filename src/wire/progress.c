#include "progress.h"

#include "jget.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { RANGES_MAX = 10000, RANGE_TEXT_MAX = 48, CODE_MAX = 63 };

static int bad(struct item_problem *problem, const char *what)
{
	snprintf(problem->text, sizeof(problem->text), "%s", what);
	return -EBADMSG;
}

static int parse_object(const char *body, size_t len, struct json_object **ret,
			struct item_problem *problem)
{
	int r = jget_parse(body, len, ret);

	if (r == 0 && !json_object_is_type(*ret, json_type_object)) {
		json_object_put(*ret);
		r = -EBADMSG;
	}
	return r == -EBADMSG ? bad(problem, "body is not a JSON object") : r;
}

/* Digits, at most as many as fit. */
static bool take_number(const char **at, uint64_t *ret)
{
	uint64_t n = 0;
	int digits = 0;

	for (; **at >= '0' && **at <= '9'; (*at)++, digits++)
		n = n * 10 + (uint64_t)(**at - '0');
	*ret = n;
	return digits > 0 && digits <= 18;
}

/* "26-" or "26-100". */
static bool parse_range(struct json_object *value, uint64_t *ret_first)
{
	const char *at = json_object_get_string(value);
	uint64_t first, last;

	if (!json_object_is_type(value, json_type_string) ||
	    json_object_get_string_len(value) > RANGE_TEXT_MAX || !take_number(&at, &first) ||
	    *at++ != '-')
		return false;
	*ret_first = first;
	if (*at == '\0')
		return true;
	return take_number(&at, &last) && *at == '\0' && last >= first;
}

static int take_ranges(struct json_object *root, struct progress_session *session,
		       struct item_problem *problem)
{
	struct json_object *ranges;
	int r = jget_arr(root, "nextExpectedRanges", &ranges);

	if (r == JGET_ABSENT)
		return 0;
	if (r < 0 || json_object_array_length(ranges) > RANGES_MAX)
		return bad(problem, "nextExpectedRanges is not a list");
	for (size_t i = 0; i < json_object_array_length(ranges); i++) {
		uint64_t first;

		if (!parse_range(json_object_array_get_idx(ranges, i), &first))
			return bad(problem, "nextExpectedRanges has what is no range");
		if (!session->has_next || first < session->next)
			session->next = first;
		session->has_next = true;
	}
	return 0;
}

static int fill_session(struct json_object *root, struct progress_session *session,
			struct item_problem *problem)
{
	const char *url;
	int r = jget_str(root, "uploadUrl", ITEM_URL_MAX, &url);

	if (r < 0)
		return bad(problem, "uploadUrl is not a URL");
	if (r == 0 && !(session->url = strdup(url)))
		return -ENOMEM;
	session->expires_ns = ITEM_TIME_UNKNOWN;
	/* Of no consequence: the service says when a session is over. */
	if (jget_time(root, "expirationDateTime", &session->expires_ns) != 0)
		session->expires_ns = ITEM_TIME_UNKNOWN;
	return take_ranges(root, session, problem);
}

int progress_parse_session(const char *body, size_t len, struct progress_session *ret,
			   struct item_problem *problem)
{
	struct progress_session session = { 0 };
	struct json_object *root;
	int r = parse_object(body, len, &root, problem);

	if (r < 0)
		return r;
	r = fill_session(root, &session, problem);
	json_object_put(root);
	if (r < 0) {
		progress_session_fini(&session);
		return r;
	}
	*ret = session;
	return 0;
}

void progress_session_fini(struct progress_session *session)
{
	if (session->url)
		explicit_bzero(session->url, strlen(session->url));
	free(session->url);
	*session = (struct progress_session){ 0 };
}

static int copy_str(struct json_object *obj, const char *key, size_t max, char **ret)
{
	const char *text;

	if (jget_str(obj, key, max, &text) != 0 || !text[0])
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int take_state(struct json_object *root, struct progress_copy *copy,
		      struct item_problem *problem)
{
	static const struct {
		const char *word;
		enum progress_state state;
	} states[] = {
		{ "completed", PROGRESS_DONE },     { "failed", PROGRESS_FAILED },
		{ "cancelled", PROGRESS_FAILED },   { "deleteFailed", PROGRESS_FAILED },
		{ "notStarted", PROGRESS_RUNS },    { "inProgress", PROGRESS_RUNS },
		{ "waiting", PROGRESS_RUNS },       { "updating", PROGRESS_RUNS },
		{ "cancelPending", PROGRESS_RUNS }, { "deletePending", PROGRESS_RUNS },
	};
	const char *word;

	if (jget_str(root, "status", 64, &word) != 0)
		return bad(problem, "status is missing");
	for (size_t i = 0; i < array_n(states); i++)
		if (strcasecmp(word, states[i].word) == 0) {
			copy->state = states[i].state;
			return 0;
		}
	return bad(problem, "status is no known word");
}

static int fill_copy(struct json_object *root, struct progress_copy *copy,
		     struct item_problem *problem)
{
	struct json_object *percent, *error;
	int r = take_state(root, copy, problem);

	if (r < 0)
		return r;
	if (json_object_object_get_ex(root, "percentageComplete", &percent))
		copy->percent = json_object_get_double(percent);
	if (!isfinite(copy->percent) || copy->percent < 0 || copy->percent > 100)
		copy->percent = 0;
	r = copy_str(root, "resourceId", ITEM_ID_MAX, &copy->item_id);
	if (r == 0 && jget_obj(root, "error", &error) == 0)
		r = copy_str(error, "code", CODE_MAX, &copy->code);
	return r == 0 && !copy->code ? copy_str(root, "errorCode", CODE_MAX, &copy->code) : r;
}

int progress_parse_copy(const char *body, size_t len, struct progress_copy *ret,
			struct item_problem *problem)
{
	struct progress_copy copy = { 0 };
	struct json_object *root;
	int r = parse_object(body, len, &root, problem);

	if (r < 0)
		return r;
	r = fill_copy(root, &copy, problem);
	json_object_put(root);
	if (r < 0) {
		progress_copy_fini(&copy);
		return r;
	}
	*ret = copy;
	return 0;
}

void progress_copy_fini(struct progress_copy *copy)
{
	free(copy->item_id);
	free(copy->code);
	*copy = (struct progress_copy){ 0 };
}
