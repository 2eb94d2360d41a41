/*
 * Tells the service manager how far this process is, when it runs under one (NOTIFY_SOCKET).
 * Any thread; never waits. Source: systemd, sd_notify(3).
 */
#pragma once

/* state: "READY=1", "STOPPING=1" ... Without a service manager nothing happens. */
void sdnotify_send(const char *state);
