/*
 * How long does a page of a thousand items take from text to structs? bench_item [ROUNDS]
 */
#include "item.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ITEMS = 1000, ITEM_BYTES = 1200 };

static const char item_json[] =
	"%s{\"id\":\"01ABCDEFGHIJKLMNOPQRSTUVWXYZ%06u\",\"name\":\"document %u.docx\",\"size\":%u,"
	"\"eTag\":\"\\\"{0123ABCD-4567-89AB-CDEF-%012u},1\\\"\","
	"\"cTag\":\"\\\"c:{0123ABCD-4567-89AB-CDEF-%012u},1\\\"\","
	"\"createdDateTime\":\"2024-03-01T10:20:30Z\","
	"\"lastModifiedDateTime\":\"2024-04-01T10:20:30Z\","
	"\"webUrl\":\"https://contoso.sharepoint.com/Documents/folder%%20of/document%%20%u.docx\","
	"\"parentReference\":{\"driveType\":\"business\",\"driveId\":\"b!abcdefghijklmnopqrstuvw\","
	"\"id\":\"01ABCDEFGHIJKLMNOPQRSTUVWXYZ000000\"},"
	"\"fileSystemInfo\":{\"createdDateTime\":\"2024-03-01T10:20:30Z\","
	"\"lastModifiedDateTime\":\"2024-04-01T10:20:30Z\"},"
	"\"file\":{\"mimeType\":\"application/octet-stream\","
	"\"hashes\":{\"quickXorHash\":\"AAECAwQFBgcICQoLDA0ODxAREhM=\"}}}";

static char text[ITEMS * ITEM_BYTES];

static size_t make_page(void)
{
	size_t len = (size_t)sprintf(text, "{\"value\":[");

	for (unsigned i = 0; i < ITEMS; i++)
		len += (size_t)sprintf(text + len, item_json, i ? "," : "", i, i, i, i, i, i);
	return len + (size_t)sprintf(text + len,
				     "],\"@odata.nextLink\":\"https://graph.microsoft.com/x\"}");
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100;
	size_t len = make_page();
	clock_t began = clock();
	double us;

	for (unsigned i = 0; i < rounds; i++) {
		struct item_problem problem = { "" };
		struct item_page page;

		if (item_parse_page(text, len, &page, &problem) < 0 || page.n != ITEMS) {
			fprintf(stderr, "failed: %s\n", problem.text);
			return 1;
		}
		item_page_fini(&page);
	}
	us = (double)(clock() - began) * 1e6 / CLOCKS_PER_SEC / rounds;
	printf("%.2f ms of CPU a page, %.2f us an item, %.0f MB/s\n", us / 1000, us / ITEMS,
	       (double)len / us);
	return 0;
}
