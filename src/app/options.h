/*
 * The command line: which command, and what stands behind it. Start of the program.
 *
 * What can be judged without the disk and the network is judged here, so that a mistake is told
 * before anything happens: unknown words, names of accounts, forms of --drive, addresses.
 */
#pragma once

#include "commands.h"
#include "mem.h"

#include <stdio.h>

enum options_command {
	OPTIONS_LOGIN,
	OPTIONS_MOUNT,
	OPTIONS_UMOUNT,
	OPTIONS_WATCH,
	OPTIONS_STATUS,
	OPTIONS_SYNC,
};

enum { OPTIONS_SHOWN = 1 };

/* The strings in *ret are argv's. 0; OPTIONS_SHOWN: help or the version was asked for and went to
 * out; -EINVAL: err says what is wrong. getopt's state is reset, so it may be called again. */
must_check int options_parse(int argc, char **argv, FILE *out, FILE *err,
			     enum options_command *ret_command, struct commands_options *ret);

/* FUSE options without "ro": the mount must let graphfs' own replays through, or no change is ever
 * announced. Nothing can be written all the same. Caller frees; NULL: no memory. */
char *options_without_ro(const char *fuse_options);
