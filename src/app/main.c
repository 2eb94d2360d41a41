/*
 * graphfs: a drive of Microsoft Graph as a folder, kept live.
 *
 * The tree of the sources, bottom up:
 *   base   memory, lists, log, clocks, mutexes with ranks
 *   loop   the event loop (libuv) and worker lanes
 *   wire   codecs without I/O: JSON of Graph, Engine.IO, Socket.IO, quickXorHash
 *   net    HTTP, sign-in, the Graph client, the WebSocket and the notification channel
 *   store  the drive as rows of SQLite, contents as sparse files
 *   sync   delta, listings, crawl, content, coherence; drive.c joins them
 *   fs     FUSE operations and the kernel notifier
 *   app    this program: a file for each command; mounted.c makes the objects of a mount
 */
#include "commands.h"

#include "config-build.h"
#include "log.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
	const char *name;
	int (*run)(const struct commands_options *o);
	int operand; /* 1: needs one, 0: none, -1: may have one */
} commands[] = {
	{ "login", login_command, 0 },    { "mount", mount_command, 1 },
	{ "umount", umount_command, 1 },  { "watch", watch_command, 0 },
	{ "status", status_command, -1 },
};

enum {
	O_ACCOUNT = 256,
	O_DRIVE,
	O_CLIENT_ID,
	O_TENANT,
	O_GRAPH_URL,
	O_LOGIN_URL,
	O_CA_FILE,
	O_CACHE_DIR,
	O_STATE_DIR,
	O_JSON,
};

static const struct option long_options[] = {
	{ "account", required_argument, NULL, O_ACCOUNT },
	{ "drive", required_argument, NULL, O_DRIVE },
	{ "client-id", required_argument, NULL, O_CLIENT_ID },
	{ "tenant", required_argument, NULL, O_TENANT },
	{ "graph-url", required_argument, NULL, O_GRAPH_URL },
	{ "login-url", required_argument, NULL, O_LOGIN_URL },
	{ "ca-file", required_argument, NULL, O_CA_FILE },
	{ "cache-dir", required_argument, NULL, O_CACHE_DIR },
	{ "state-dir", required_argument, NULL, O_STATE_DIR },
	{ "json", no_argument, NULL, O_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

static int usage(FILE *to, int status)
{
	(void)fputs("usage: graphfs login [--account NAME] [--client-id ID] [--tenant T]\n"
		    "                     [--graph-url URL] [--login-url URL] [--ca-file PEM]\n"
		    "       graphfs mount [-f] [--account NAME] [--drive DRIVE] [--cache-dir DIR]\n"
		    "                     [--state-dir DIR] [-o OPTIONS] MOUNTPOINT\n"
		    "       graphfs umount MOUNTPOINT\n"
		    "       graphfs watch [--json] [--account NAME] [--drive DRIVE]\n"
		    "       graphfs status [--json] [MOUNTPOINT]\n"
		    "DRIVE: me (default), drives/ID, groups/ID, sites/ID, sites/SID/lists/LID, "
		    "users/ID\n",
		    to);
	return status;
}

static int take_option(int c, struct commands_options *o)
{
	const char **const texts[] = {
		&o->account,   &o->drive,   &o->client_id, &o->tenant,    &o->graph_url,
		&o->login_url, &o->ca_file, &o->cache_dir, &o->state_dir,
	};

	if (c >= O_ACCOUNT && c <= O_STATE_DIR)
		*texts[c - O_ACCOUNT] = optarg;
	else if (c == O_JSON)
		o->json = 1;
	else if (c == 'f')
		o->foreground = 1;
	else if (c == 'o')
		o->fuse_options = optarg;
	else
		return -1;
	return 0;
}

static int run(size_t command, int argc, char **argv)
{
	struct commands_options o = { .account = "default", .drive = "me" };
	int c;

	while ((c = getopt_long(argc, argv, "fo:h", long_options, NULL)) != -1) {
		if (c == 'h')
			return usage(stdout, 0);
		if (take_option(c, &o) < 0)
			return usage(stderr, 2);
	}
	if (optind < argc)
		o.operand = argv[optind++];
	if (optind < argc || (commands[command].operand == 1 && !o.operand) ||
	    (commands[command].operand == 0 && o.operand))
		return usage(stderr, 2);
	return commands[command].run(&o);
}

int main(int argc, char **argv)
{
	log_setup();
	if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
		puts("graphfs " GRAPHFS_VERSION);
		return 0;
	}
	if (argc >= 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, 0);
	for (size_t i = 0; argc >= 2 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return run(i, argc - 1, argv + 1);
	return usage(stderr, 2);
}
