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

#include "log.h"
#include "options.h"

int main(int argc, char **argv)
{
	static int (*const run[])(const struct commands_options *o) = {
		[OPTIONS_LOGIN] = login_command,   [OPTIONS_MOUNT] = mount_command,
		[OPTIONS_UMOUNT] = umount_command, [OPTIONS_WATCH] = watch_command,
		[OPTIONS_STATUS] = status_command, [OPTIONS_SYNC] = sync_command,
	};
	struct commands_options options;
	enum options_command command;
	int r = options_parse(argc, argv, stdout, stderr, &command, &options);

	if (r != 0)
		return r < 0 ? 2 : 0;
	log_setup();
	log_set_plain(!options.foreground);
	return run[command](&options);
}
