/* manager/notify.h - sd_notify without libsystemd. */
#ifndef ALM_MANAGER_NOTIFY_H
#define ALM_MANAGER_NOTIFY_H

/* Send lines like "READY=1\nSTATUS=..." to $NOTIFY_SOCKET; nothing if it is not set. Never blocks. */
void notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
