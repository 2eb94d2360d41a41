#include "graph_call.h"

#include <stdio.h>
#include <string.h>

char *graph_url_escape(const char *text)
{
	char *out = malloc(strlen(text) * 3 + 1), *at = out;

	for (const unsigned char *c = (const unsigned char *)text; out && *c; c++) {
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		    (*c >= '0' && *c <= '9') || strchr("-._~!", *c))
			*at++ = (char)*c;
		else
			at += sprintf(at, "%%%02X", *c);
	}
	if (out)
		*at = '\0';
	return out;
}

bool graph_url_is_name(const char *name)
{
	return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/');
}

char *graph_url_path(const char *drive_id, const char *id, const char *name, const char *tail)
{
	auto_free char *drive = graph_url_escape(drive_id);
	auto_free char *item = graph_url_escape(id ? id : "");
	auto_free char *child = graph_url_escape(name ? name : "");
	char *path = NULL;
	int r;

	if (!drive || !item || !child)
		return NULL;
	r = asprintf(&path, "/drives/%s/%s%s%s%s%s%s", drive, id ? "items/" : "root", item,
		     name ? ":/" : "", child, name && tail[0] == '/' ? ":" : "", tail);
	return r < 0 ? NULL : path;
}

char *graph_url_item(struct graph *graph, const char *drive_id, const char *id, const char *name,
		     const char *tail)
{
	auto_free char *path = graph_url_path(drive_id, id, name, tail);
	char *url = NULL;

	return !path || asprintf(&url, "%s%s", graph->base_url, path) < 0 ? NULL : url;
}
