#include "options.h"

#include "account.h"
#include "config-build.h"
#include "graph.h"
#include "http.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

enum option_id {
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
	O_WAIT,
	O_HELP,
	O_VERSION,
	O_FOREGROUND,
	O_FUSE,
	O_END,
};

#define BIT(id) (1u << ((id)-O_ACCOUNT))

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
	{ "wait", no_argument, NULL, O_WAIT },
	{ "help", no_argument, NULL, O_HELP },
	{ "version", no_argument, NULL, O_VERSION },
	{ "foreground", no_argument, NULL, O_FOREGROUND },
	{ 0 },
};

static const char drive_help[] =
	"  --drive DRIVE      me (default), drives/ID, groups/ID, sites/ID, users/ID,\n"
	"                     sites/SID/lists/LID\n";
static const char account_help[] =
	"  --account NAME     the account as \"graphfs login\" stored it [default]\n";

static const struct command {
	const char *name, *usage, *help;
	unsigned options; /* BIT()s */
	unsigned operands_min, operands_max;
	bool has_account, has_drive;
} commands[] = {
	[OPTIONS_LOGIN] = {
		"login", "[OPTION ...]",
		"Signs in with a code that you enter in a browser, and stores the account.\n"
		"  --account NAME     the name to store it under [default]\n"
		"  --client-id ID     the application (client) ID, if the configuration has none\n"
		"  --tenant T         common, organizations, consumers or a tenant's ID [common]\n"
		"  --graph-url URL    the service with its version\n"
		"                     [https://graph.microsoft.com/v1.0]\n"
		"  --login-url URL    the login service [https://login.microsoftonline.com]\n"
		"  --ca-file PEM      authorities to trust instead of the system's\n",
		BIT(O_ACCOUNT) | BIT(O_CLIENT_ID) | BIT(O_TENANT) | BIT(O_GRAPH_URL) |
			BIT(O_LOGIN_URL) | BIT(O_CA_FILE),
		0, 0, false, false,
	},
	[OPTIONS_MOUNT] = {
		"mount", "[OPTION ...] MOUNTPOINT",
		"Mounts a drive on a folder; goes to the background once it answers.\n"
		"  -f, --foreground   stay, and log to standard error\n"
		"  --cache-dir DIR    contents go to DIR/graphfs [~/.cache]\n"
		"  --state-dir DIR    the known tree goes to DIR/graphfs [~/.local/state]\n"
		"  -o OPTIONS         options of FUSE, as allow_other\n",
		BIT(O_ACCOUNT) | BIT(O_DRIVE) | BIT(O_CACHE_DIR) | BIT(O_STATE_DIR) |
			BIT(O_FOREGROUND) | BIT(O_FUSE),
		1, 1, true, true,
	},
	[OPTIONS_UMOUNT] = {
		"umount", "[--wait] MOUNTPOINT",
		"Unmounts, and waits until it is done. What is not sent is kept for the next mount.\n"
		"  --wait             send everything first\n",
		BIT(O_WAIT), 1, 1, false, false,
	},
	[OPTIONS_WATCH] = {
		"watch", "[OPTION ...]",
		"Prints notifications and what changed, without a mount, until Ctrl-C.\n"
		"  --json             one JSON object a line\n",
		BIT(O_ACCOUNT) | BIT(O_DRIVE) | BIT(O_JSON), 0, 0, true, true,
	},
	[OPTIONS_STATUS] = {
		"status", "[--json] [MOUNTPOINT]",
		"Says how a mount, or every mount, is doing.\n"
		"  --json             one JSON object a line for each mount\n",
		BIT(O_JSON), 0, 1, false, false,
	},
	[OPTIONS_SYNC] = {
		"sync", "[PATH]",
		"Tries again what the service refused, and waits until everything is sent of the mount\n"
		"that holds PATH, or of every mount. Ctrl-C ends the waiting.\n",
		0, 0, 1, false, false,
	},
};

static void show_usage(FILE *to)
{
	for (size_t i = 0; i < array_n(commands); i++)
		fprintf(to, "%s graphfs %s %s\n", i == 0 ? "usage:" : "      ", commands[i].name,
			commands[i].usage);
	(void)fputs("\n\"graphfs COMMAND --help\" tells the options, graphfs(1) the rest.\n", to);
}

static void show_help(const struct command *command, FILE *to)
{
	fprintf(to, "usage: graphfs %s %s\n\n%s%s%s", command->name, command->usage, command->help,
		command->has_account ? account_help : "", command->has_drive ? drive_help : "");
}

static int refuse(const struct command *command, FILE *err, const char *fmt, ...) printf_like(3, 4);

static int refuse(const struct command *command, FILE *err, const char *fmt, ...)
{
	va_list ap;

	(void)fputs("graphfs: ", err);
	va_start(ap, fmt);
	(void)vfprintf(err, fmt, ap);
	va_end(ap);
	(void)fputc('\n', err);
	if (command)
		fprintf(err, "usage: graphfs %s %s\n", command->name, command->usage);
	else
		show_usage(err);
	return -EINVAL;
}

static const char *name_of(int id)
{
	for (const struct option *o = long_options; o->name; o++)
		if (o->val == id)
			return o->name;
	return "o"; /* the one without a long name */
}

static void store(int id, struct commands_options *o)
{
	const char **const texts[] = {
		&o->account,   &o->drive,   &o->client_id, &o->tenant,    &o->graph_url,
		&o->login_url, &o->ca_file, &o->cache_dir, &o->state_dir,
	};

	if (id <= O_STATE_DIR)
		*texts[id - O_ACCOUNT] = optarg;
	else if (id == O_JSON)
		o->json = 1;
	else if (id == O_WAIT)
		o->wait = 1;
	else if (id == O_FOREGROUND)
		o->foreground = 1;
	else if (id == O_FUSE)
		o->fuse_options = optarg;
}

static int check(const struct command *command, const struct commands_options *o, FILE *err)
{
	const char *const urls[] = { o->graph_url, o->login_url };
	auto_free char *path = NULL;

	if (account_check_name(o->account) < 0)
		return refuse(command, err, "\"%s\" cannot be an account's name", o->account);
	if (graph_drive_path(o->drive, &path) < 0)
		return refuse(command, err, "--drive %s: not a form of drive that is known",
			      o->drive);
	for (size_t i = 0; i < array_n(urls); i++)
		if (urls[i] && (!http_is_url_allowed(urls[i]) || strpbrk(urls[i], "?#")))
			return refuse(command, err,
				      "%s: an endpoint must be https, or http to this machine, "
				      "without a query",
				      urls[i]);
	return 0;
}

static int parse_rest(const struct command *command, int argc, char **argv, FILE *out, FILE *err,
		      struct commands_options *o)
{
	int c;

	optind = 0; /* glibc: forget an earlier command line */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":fho:V", long_options, NULL)) != -1) {
		const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";

		c = c == 'f' ? O_FOREGROUND : c == 'o' ? O_FUSE : c;
		if (c == 'h' || c == O_HELP) {
			show_help(command, out);
			return OPTIONS_SHOWN;
		}
		if (c == 'V' || c == O_VERSION) {
			fprintf(out, "graphfs %s\n", GRAPHFS_VERSION);
			return OPTIONS_SHOWN;
		}
		if (c == ':')
			return refuse(command, err, "%s needs an argument", word);
		if (c == '?')
			return refuse(command, err, "%s is not an option that is known", word);
		if (!(command->options & BIT(c)))
			return refuse(command, err, "\"%s\" has no option %s", command->name,
				      name_of(c));
		store(c, o);
	}
	argc -= optind;
	argv += optind;
	if ((unsigned)argc > command->operands_max)
		return refuse(command, err, "one argument too many: %s",
			      argv[command->operands_max]);
	if ((unsigned)argc < command->operands_min)
		return refuse(command, err, "no folder is given");
	o->operand = argc > 0 ? argv[0] : NULL;
	return check(command, o, err);
}

int options_parse(int argc, char **argv, FILE *out, FILE *err, enum options_command *ret_command,
		  struct commands_options *ret)
{
	struct commands_options o = { .account = "default", .drive = "me" };
	const char *word = argc >= 2 ? argv[1] : "";
	int r;

	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		fprintf(out, "graphfs %s\n", GRAPHFS_VERSION);
		return OPTIONS_SHOWN;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
		show_usage(out);
		return OPTIONS_SHOWN;
	}
	if (!word[0]) {
		show_usage(err);
		return -EINVAL;
	}
	for (size_t i = 0; i < array_n(commands); i++) {
		if (strcmp(word, commands[i].name) != 0)
			continue;
		r = parse_rest(&commands[i], argc - 1, argv + 1, out, err, &o);
		if (r == 0) {
			*ret_command = (enum options_command)i;
			*ret = o;
		}
		return r;
	}
	return refuse(NULL, err, "there is no command \"%s\"", word);
}

char *options_without_ro(const char *fuse_options)
{
	char *out = malloc(strlen(fuse_options) + 1), *at = out;
	size_t len;

	for (const char *word = fuse_options; out && *word; word += len + (word[len] == ',')) {
		len = strcspn(word, ",");
		if (len == 0 || (len == 2 && memcmp(word, "ro", 2) == 0))
			continue;
		if (at > out)
			*at++ = ',';
		memcpy(at, word, len);
		at += len;
	}
	if (out)
		*at = '\0';
	return out;
}
