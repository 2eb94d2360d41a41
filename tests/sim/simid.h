/*
 * Identifiers in the shapes of the account flavours. An item's id is computed from its number and
 * back, so a million items need no table of ids.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum simid_flavour { SIMID_BUSINESS, SIMID_LIBRARY, SIMID_PERSONAL, SIMID_CLASSIC };

enum { SIMID_MAX = 64 };

/* business | library | personal-new | personal-classic. */
bool simid_parse_flavour(const char *name, enum simid_flavour *ret);
bool simid_is_personal(enum simid_flavour flavour);
/* "business", "documentLibrary" or "personal". */
const char *simid_drive_type(enum simid_flavour flavour);

/* A permutation of 64-bit numbers and its inverse. */
uint64_t simid_mix(uint64_t x);
uint64_t simid_unmix(uint64_t x);

void simid_drive(enum simid_flavour flavour, unsigned drive, char ret[SIMID_MAX * 2]);
void simid_item(enum simid_flavour flavour, unsigned drive, uint32_t item, bool is_root,
		char ret[SIMID_MAX]);
/* The item's number; false when the text is no id of this drive's items. "root" and the root's id
 * give ret_is_root. */
bool simid_find(enum simid_flavour flavour, unsigned drive, const char *id, uint32_t *ret_item,
		bool *ret_is_root);
/* "6F2A8C3E-...": an item's unique id as in its eTag; other things get numbers of their own. */
void simid_guid(uint64_t n, char ret[37]);
