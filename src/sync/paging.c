#include "paging.h"

#include <errno.h>
#include <string.h>

enum {
	PAGES_MAX = 200000, /* 30 million items in pages of 150 */
	EMPTY_MAX = 1000,
};

void paging_reset(struct paging *paging)
{
	free(paging->mark);
	*paging = (struct paging){ 0 };
}

int paging_note(struct paging *paging, const struct item_page *page, const char **ret_text)
{
	paging->pages_n++;
	paging->empty_n = page->n > 0 ? 0 : paging->empty_n + 1;
	if (!page->next_link)
		return 0;
	if (paging->mark && strcmp(paging->mark, page->next_link) == 0) {
		*ret_text = "@odata.nextLink leads in a circle";
		return -EBADMSG;
	}
	if (paging->pages_n >= PAGES_MAX || paging->empty_n >= EMPTY_MAX) {
		*ret_text = "@odata.nextLink leads on without an end";
		return -EBADMSG;
	}
	if (paging->pages_n < paging->mark_at)
		return 0;
	paging->mark_at = paging->pages_n * 2;
	free(paging->mark);
	paging->mark = strdup(page->next_link);
	if (paging->mark)
		return 0;
	*ret_text = "no memory";
	return -ENOMEM;
}
