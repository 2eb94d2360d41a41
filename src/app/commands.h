/* The commands: each gets what stands behind its name and gives the exit status. */
#pragma once

struct commands_options {
	const char *account, *drive, *client_id, *tenant, *graph_url, *login_url, *ca_file;
	const char *cache_dir, *state_dir, *fuse_options;
	const char *operand; /* the mount point; NULL */
	int foreground, json, wait;
};

int login_command(const struct commands_options *o);
int mount_command(const struct commands_options *o);
int umount_command(const struct commands_options *o);
int watch_command(const struct commands_options *o);
int status_command(const struct commands_options *o);
int sync_command(const struct commands_options *o);
