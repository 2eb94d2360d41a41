/*
 * One driveItem as JSON, with what each flavour and each kind of listing leaves out. Planted
 * members (POST /admin/raw_item) override what the tree says. One thread.
 */
#pragma once

#include "sim.h"

enum simitem_view { SIMITEM_SINGLE, SIMITEM_CHILD, SIMITEM_DELTA };

enum simitem_field {
	SIMITEM_ID = 1 << 0,
	SIMITEM_NAME = 1 << 1,
	SIMITEM_SIZE = 1 << 2,
	SIMITEM_ETAG = 1 << 3,
	SIMITEM_CTAG = 1 << 4,
	SIMITEM_CREATED = 1 << 5,
	SIMITEM_MODIFIED = 1 << 6,
	SIMITEM_FSINFO = 1 << 7,
	SIMITEM_PARENT = 1 << 8,
	SIMITEM_FILE = 1 << 9,
	SIMITEM_FOLDER = 1 << 10,
	SIMITEM_ROOT = 1 << 11,
	SIMITEM_DELETED = 1 << 12,
	SIMITEM_WEBURL = 1 << 13,
	SIMITEM_BY = 1 << 14,
	SIMITEM_DOWNLOAD = 1 << 15,
	SIMITEM_ALL = (1 << 16) - 1,
};

/* The fields that the request selects with $select or select. */
unsigned simitem_fields(const struct simreq *req);
void simitem_write(struct sim *s, struct simjson *w, const char *key, uint32_t item,
		   enum simitem_view view, unsigned fields);
/* As in the JSON, quotes included. */
void simitem_etag(struct sim *s, uint32_t item, char ret[80]);
/* The tag of one version of the content, also the content reply's ETag. */
void simitem_ctag(struct sim *s, uint32_t item, uint32_t version, char ret[80]);
