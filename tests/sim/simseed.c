#include "simseed.h"
#include "simchange.h"

#include <stdio.h>

static const int64_t DAY_MS = 86400000;

struct seed {
	const char *path, *text; /* text NULL: generated content */
	uint64_t size;
	enum simbytes_kind kind;
	int days_old;
};

static const struct seed demo[] = {
	{ "Documents/Welcome.txt",
	  "Welcome to your drive.\n\nEverything in this folder lives in the cloud and arrives when "
	  "you "
	  "open it.\nChange something elsewhere and watch it change here.\n",
	  0, 0, 3 },
	{ "Documents/Shopping list.txt", "bread\nbutter\napples\ncoffee\nlight bulbs (E14)\n", 0, 0,
	  1 },
	{ "Documents/Übersicht Größe.txt",
	  "Zimmer        Größe\nKüche         12,4 m²\nWohnzimmer    28,1 m²\nFlur           6,0 "
	  "m²\n",
	  0, 0, 40 },
	{ "Documents/Letters/2023-11 Landlord.txt",
	  "Dear Ms Okafor,\n\nthe heating in the hall has stopped again. Could you send somebody "
	  "this "
	  "week?\n\nKind regards\nSam\n",
	  0, 0, 380 },
	{ "Documents/Letters/2024-02 Insurance.txt", NULL, 6144, SIMBYTES_TEXT, 290 },
	{ "Documents/Budget 2024.csv",
	  "month,rent,food,travel\nJanuary,820,310,45\nFebruary,820,287,12\nMarch,820,334,160\n", 0,
	  0, 60 },
	{ "Documents/Thesis/chapter 1.md", NULL, 48200, SIMBYTES_TEXT, 120 },
	{ "Documents/Thesis/chapter 2.md", NULL, 61300, SIMBYTES_TEXT, 90 },
	{ "Documents/Thesis/figures/model.png", NULL, 184320, SIMBYTES_RANDOM, 91 },
	{ "Documents/Thesis/sources/interviews.pdf", NULL, 3400000, SIMBYTES_RANDOM, 200 },
	{ "Documents/Work/Meeting notes.md",
	  "# Monday\n\n- Jonas shows the new floor plan\n- budget: see the csv file\n- next "
	  "meeting on "
	  "the 14th\n",
	  0, 0, 6 },
	{ "Documents/Work/Empty file.txt", "", 0, 0, 10 },
	{ "Music/Ólafur - Sunnudagur.mp3", NULL, 7340032, SIMBYTES_RANDOM, 500 },
	{ "Music/Playlist.txt", "Ólafur - Sunnudagur\nLetters to Lisbon\n", 0, 0, 499 },
	{ "Videos/Summer holiday.mp4", NULL, 209715200, SIMBYTES_RANDOM, 150 },
	{ "写真/京都 2024/鴨川.jpg", NULL, 2411724, SIMBYTES_RANDOM, 210 },
	{ "写真/京都 2024/金閣寺.jpg", NULL, 3145728, SIMBYTES_RANDOM, 209 },
	{ "Ideas 💡/🚀 launch plan.txt", "1. build it\n2. show it\n3. listen\n", 0, 0, 14 },
	{ "Документы/Список.txt", "хлеб\nмолоко\nчай\n", 0, 0, 77 },
	{ "It's 100% & #1 [final] (copy).txt", "Names are only names.\n", 0, 0, 21 },
	{ "README.txt", "This drive is simulated. Nothing here is real.\n", 0, 0, 400 },
};

static void photos(struct sim *s, int64_t now)
{
	static const char *const trips[] = { "2022/Lisbon", "2022/Garden", "2023/Norway/Bergen",
					     "2023/Norway/Fjords", "2024/Family/Birthday" };

	for (unsigned t = 0; t < array_n(trips); t++) {
		for (unsigned i = 0; i < 12; i++) {
			char path[96];

			snprintf(path, sizeof(path), "Photos/%s/IMG_%04u.jpg", trips[t],
				 t * 137 + i * 3 + 1001);
			simchange_make_file(s, 0, path, SIMBYTES_RANDOM,
					    900000 + simid_mix(t * 100 + i) % 3000000, NULL,
					    now - (int64_t)(700 - t * 120 - i) * DAY_MS);
		}
	}
}

void simseed_demo(struct sim *s)
{
	int64_t now = simtree_now_ms();

	for (size_t i = 0; i < array_n(demo); i++)
		simchange_make_file(s, 0, demo[i].path, demo[i].kind, demo[i].size, demo[i].text,
				    now - demo[i].days_old * DAY_MS);
	photos(s, now);
	simchange_make_file(s, 1, "General/Team plan.md", SIMBYTES_TEXT, 0,
			    "# Plan\n\n1. agree\n2. do\n", now - 9 * DAY_MS);
	simchange_make_file(s, 1, "General/Minutes.txt", SIMBYTES_TEXT, 4096, NULL, now - DAY_MS);
}

void simseed_tree(struct sim *s, uint64_t folder_n, uint64_t file_n, uint64_t size)
{
	struct simbytes_ref content = { .kind = SIMBYTES_TEXT, .size = size };
	int64_t now = simtree_now_ms();
	char name[64];

	for (uint64_t d = 0; d < folder_n; d++) {
		uint32_t folder, file;
		int n;

		if (folder_n > 100)
			snprintf(name, sizeof(name), "group-%03llu/folder-%05llu",
				 (unsigned long long)(d / 100), (unsigned long long)d);
		else
			snprintf(name, sizeof(name), "folder-%05llu", (unsigned long long)d);
		folder = simchange_make_folder(s, 0, name);
		for (uint64_t f = 0; f < file_n; f++) {
			n = snprintf(name, sizeof(name), "file-%06llu.txt", (unsigned long long)f);
			if (simtree_add(&s->tree, folder, name, (size_t)n, 0, &file) < 0) {
				fprintf(stderr, "graphsim: the tree is full\n");
				exit(EXIT_FAILURE);
			}
			simbytes_set(&s->bytes, file, &content);
			simtree_get(&s->tree, file)->mtime_ms = now - (int64_t)(f % 365) * DAY_MS;
		}
	}
}
