/*
 * Runs a fuzz target over files and the files of folders that are named on the command line, so
 * that a corpus is an ordinary test where there is no libFuzzer.
 */
#include "buf.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

enum { INPUT_MAX = 16 * 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void close_file(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

static void close_folder(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static bool run_file(const char *path)
{
	auto_call(close_file) FILE *file = fopen(path, "rbe");
	auto_call(buf_fini) struct buf input = { .max_bytes = INPUT_MAX };
	char chunk[4096];
	size_t n;

	if (!file)
		return false;
	while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
		if (buf_append(&input, chunk, n) < 0)
			return false;
	(void)LLVMFuzzerTestOneInput((const uint8_t *)input.data, input.len);
	return true;
}

static unsigned run_folder(const char *path)
{
	auto_call(close_folder) DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir))) {
		char file[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		n += run_file(file);
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned n = 0;

	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			n += run_folder(argv[i]);
		else
			n += run_file(argv[i]);
	}
	printf("%u inputs\n", n);
	return n > 0 ? 0 : 1;
}
