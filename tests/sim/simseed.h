/* Trees to start with. One thread. */
#pragma once

#include "sim.h"

/* Lifelike: documents, photos in nested folders, a 200 MB film, names in many scripts. */
void simseed_demo(struct sim *s);
/* So many folders with so many files each. Folders hold at most 100 folders. */
void simseed_tree(struct sim *s, uint64_t folder_n, uint64_t file_n, uint64_t size);
