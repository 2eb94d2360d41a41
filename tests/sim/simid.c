#include "simid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
static const char business_root[] = "56Y2GOVW7725BZO354PWSELRRZ";
static const char personal_root[] = "sea8cc6beffdb43d7976fbc7da445c639";

static const uint64_t FACTOR = 0xd6e8feb86659fd93u;

bool simid_parse_flavour(const char *name, enum simid_flavour *ret)
{
	static const char *const names[] = {
		[SIMID_BUSINESS] = "business",
		[SIMID_LIBRARY] = "library",
		[SIMID_PERSONAL] = "personal-new",
		[SIMID_CLASSIC] = "personal-classic",
	};

	for (unsigned i = 0; i < 4; i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum simid_flavour)i;
			return true;
		}
	}
	return false;
}

bool simid_is_personal(enum simid_flavour flavour)
{
	return flavour == SIMID_PERSONAL || flavour == SIMID_CLASSIC;
}

const char *simid_drive_type(enum simid_flavour flavour)
{
	return simid_is_personal(flavour) ? "personal"
	       : flavour == SIMID_LIBRARY ? "documentLibrary"
					  : "business";
}

uint64_t simid_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= FACTOR;
	x ^= x >> 32;
	x *= FACTOR;
	return x ^ x >> 32;
}

/* Newton's iteration doubles the number of right bits: 3, 6, 12, 24, 48, 96. */
static uint64_t inverse(uint64_t a)
{
	uint64_t x = a;

	for (int i = 0; i < 5; i++)
		x *= 2 - a * x;
	return x;
}

uint64_t simid_unmix(uint64_t x)
{
	uint64_t back = inverse(FACTOR);

	x ^= x >> 32;
	x *= back;
	x ^= x >> 32;
	x *= back;
	return x ^ x >> 32;
}

static uint64_t item_high(unsigned drive, uint32_t item)
{
	return simid_mix((uint64_t)(drive + 1) << 40 | item);
}

static uint64_t item_low(uint64_t high)
{
	return simid_mix(high ^ 0x5bd1e995u);
}

void simid_guid(uint64_t n, char ret[37])
{
	uint64_t high = simid_mix(n), low = item_low(high);

	snprintf(ret, 37, "%08X-%04X-%04X-%04X-%012llX", (unsigned)(high >> 32),
		 (unsigned)(high >> 16) & 0xffff, (unsigned)high & 0xffff, (unsigned)(low >> 48),
		 (unsigned long long)low & 0xffffffffffff);
}

void simid_drive(enum simid_flavour flavour, unsigned drive, char ret[SIMID_MAX * 2])
{
	if (simid_is_personal(flavour)) {
		snprintf(ret, SIMID_MAX * 2, "%016llX",
			 (unsigned long long)(simid_mix(drive + 77) | 1u << 31));
		return;
	}
	memcpy(ret, "b!", 3);
	for (unsigned i = 0; i < 64; i++) {
		static const char url64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					    "0123456789-_";

		ret[2 + i] = url64[simid_mix(drive * 64u + i) & 63];
	}
	ret[66] = '\0';
}

static void business_item(unsigned drive, uint32_t item, bool is_root, char ret[SIMID_MAX])
{
	uint64_t high = item_high(drive, item), low = item_low(high);

	memcpy(ret, "01", 2);
	for (unsigned i = 0; i < 6; i++)
		ret[2 + i] = base32[simid_mix(drive * 8u + i + 1000) & 31];
	if (is_root) {
		memcpy(ret + 8, business_root, sizeof(business_root));
		return;
	}
	for (unsigned i = 0; i < 13; i++)
		ret[8 + i] = base32[i < 12 ? high >> (59 - 5 * i) & 31 : high & 15];
	for (unsigned i = 0; i < 13; i++)
		ret[21 + i] = base32[i < 12 ? low >> (59 - 5 * i) & 31 : low & 15];
	ret[34] = '\0';
}

void simid_item(enum simid_flavour flavour, unsigned drive, uint32_t item, bool is_root,
		char ret[SIMID_MAX])
{
	char id[SIMID_MAX * 2];
	uint64_t high = item_high(drive, item);

	if (!simid_is_personal(flavour)) {
		business_item(drive, item, is_root, ret);
		return;
	}
	simid_drive(flavour, drive, id);
	if (flavour == SIMID_CLASSIC)
		snprintf(ret, SIMID_MAX, "%.16s!%u", id, is_root ? 101u : item + 1000);
	else if (is_root)
		snprintf(ret, SIMID_MAX, "%.16s!%s", id, personal_root);
	else
		snprintf(ret, SIMID_MAX, "%.16s!s%016llx%016llx", id, (unsigned long long)high,
			 (unsigned long long)item_low(high));
}

static bool number_of(unsigned drive, uint64_t high, uint32_t *ret)
{
	uint64_t n = simid_unmix(high);

	*ret = (uint32_t)n;
	return n >> 40 == drive + 1 && (n >> 32 & 0xff) == 0;
}

static bool business_number(unsigned drive, const char *id, uint32_t *ret)
{
	uint64_t high = 0;

	if (strlen(id) != 34)
		return false;
	for (unsigned i = 0; i < 13; i++) {
		const char *at = strchr(base32, id[8 + i]);

		if (!at || !*at)
			return false;
		high = i < 12 ? high << 5 | (uint64_t)(at - base32)
			      : high << 4 | ((uint64_t)(at - base32) & 15);
	}
	return number_of(drive, high, ret);
}

static bool personal_number(enum simid_flavour flavour, unsigned drive, const char *id,
			    uint32_t *ret)
{
	const char *bang = strchr(id, '!');
	unsigned long long high;
	char *end;

	if (!bang)
		return false;
	if (flavour == SIMID_CLASSIC) {
		unsigned long n = strtoul(bang + 1, &end, 10);

		*ret = (uint32_t)(n - 1000);
		return *end == '\0' && n >= 1000;
	}
	return sscanf(bang, "!s%16llx", &high) == 1 && number_of(drive, high, ret);
}

bool simid_find(enum simid_flavour flavour, unsigned drive, const char *id, uint32_t *ret_item,
		bool *ret_is_root)
{
	char again[SIMID_MAX];
	bool is_personal = simid_is_personal(flavour);

	simid_item(flavour, drive, 0, true, again);
	*ret_is_root = strcmp(id, "root") == 0 ||
		       (is_personal ? strcasecmp(id, again) : strcmp(id, again)) == 0;
	if (*ret_is_root)
		return true;
	if (is_personal ? !personal_number(flavour, drive, id, ret_item)
			: !business_number(drive, id, ret_item))
		return false;
	simid_item(flavour, drive, *ret_item, false, again);
	return (is_personal ? strcasecmp(id, again) : strcmp(id, again)) == 0;
}
