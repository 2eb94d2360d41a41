#include "statusline.h"

#include "log.h"
#include "mem.h"

#include <string.h>

static struct json_object *member(struct json_object *obj, const char *key)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(obj, key, &value) ? value : NULL;
}

static const char *text_of(struct json_object *obj, const char *key)
{
	struct json_object *value = member(obj, key);

	return value ? json_object_get_string(value) : "";
}

static long long number_of(struct json_object *obj, const char *key)
{
	return json_object_get_int64(member(obj, key));
}

/* "14:03:22 (5 min ago)", with the day when that is not today's; "never". */
static const char *when(const char *text, time_t now, char ret[80])
{
	struct tm tm = { 0 }, today;
	char moment[40];
	long long s;
	time_t t;

	if (!text[0] || !strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return "never";
	t = timegm(&tm);
	localtime_r(&t, &tm);
	localtime_r(&now, &today);
	if (strftime(moment, sizeof(moment),
		     tm.tm_yday == today.tm_yday && tm.tm_year == today.tm_year ? "%T" : "%F %T",
		     &tm) == 0)
		return "never";
	s = now > t ? (long long)(now - t) : 0;
	if (s < 120)
		snprintf(ret, 80, "%s (%lld s ago)", moment, s);
	else if (s < 7200)
		snprintf(ret, 80, "%s (%lld min ago)", moment, s / 60);
	else
		snprintf(ret, 80, "%s (%lld h ago)", moment, s / 3600);
	return ret;
}

static const char *size(long long bytes, char ret[32])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t i = 0;

	for (; value >= 1024 && i + 1 < array_n(units); i++)
		value /= 1024;
	snprintf(ret, 32, i == 0 ? "%.0f %s" : "%.1f %s", value, units[i]);
	return ret;
}

static void print_channel(FILE *to, struct json_object *channel, time_t now)
{
	const char *since = text_of(channel, "connected_since");
	char text[80];

	if (since[0])
		fprintf(to, "  channel  %s, up since %s\n", log_text(text_of(channel, "url_host")),
			when(since, now, text));
	else
		fprintf(to, "  channel  not connected\n");
	fprintf(to, "  notified %s\n", when(text_of(channel, "last_notification"), now, text));
}

static void print_unsent(FILE *to, long long unsent, long long refused)
{
	if (unsent <= 0)
		return;
	fprintf(to, "  unsent   %lld %s to send", unsent, unsent == 1 ? "change" : "changes");
	if (refused > 0)
		fprintf(to, ", %lld refused: see user.graphfs.state", refused);
	(void)fputc('\n', to);
}

/* Who opened what nobody asked him to open, and was not given it. */
static void print_readers(FILE *to, struct json_object *readers)
{
	if (!json_object_is_type(readers, json_type_object))
		return;
	json_object_object_foreach(readers, name, reader)
	{
		long long files = number_of(reader, "refused_files");
		char bytes[32];

		if (files > 0)
			fprintf(to, "  spared   %ss would have downloaded %s in %lld files\n", name,
				size(number_of(reader, "refused_bytes"), bytes), files);
	}
}

void statusline_print(FILE *to, struct json_object *status, time_t now)
{
	static const struct {
		const char *state, *meaning;
	} states[] = {
		{ "live", "changes appear at once" },
		{ "polling", "changes appear with some delay" },
		{ "offline", "what is cached can be read" },
	};
	const char *state = text_of(status, "state"), *reason = text_of(status, "reason");
	struct json_object *cache = member(status, "cache");
	char text[80], bytes[32];

	fprintf(to, "%s: %s", text_of(status, "mountpoint"), state);
	for (size_t i = 0; i < array_n(states); i++)
		if (strcmp(state, states[i].state) == 0)
			fprintf(to, ", %s", states[i].meaning);
	(void)fputc('\n', to);
	if (reason[0])
		fprintf(to, "  because  %s\n", log_text(reason));
	print_channel(to, member(status, "channel"), now);
	fprintf(to, "  checked  %s\n", when(text_of(status, "last_delta"), now, text));
	fprintf(to, "  known    %lld items%s\n", number_of(status, "items"),
		json_object_get_boolean(member(status, "crawling")) ? ", still reading the tree"
								    : "");
	fprintf(to, "  cached   %s in %lld files\n", size(number_of(cache, "bytes"), bytes),
		number_of(cache, "files"));
	print_unsent(to, number_of(status, "unsent"), number_of(status, "refused"));
	print_readers(to, member(status, "readers"));
	if (number_of(status, "skipped") > 0)
		fprintf(to,
			"  skipped  %lld items that the service describes wrongly, see the log\n",
			number_of(status, "skipped"));
	if (text_of(status, "log")[0])
		fprintf(to, "  log      %s\n",
			strcmp(text_of(status, "log"), "journal") == 0 ? "journalctl -t graphfs"
								       : text_of(status, "log"));
}
