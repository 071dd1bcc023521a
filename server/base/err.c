/* base/err.c - why the last operation of this thread failed, and the texts of status numbers.
 * Any thread; the text belongs to the thread. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

static _Thread_local char last_text[1024];

static const struct {
	const char *name, *text;
} statuses[] = {
    {"ALM_OK", "ok"},
    {"ALM_EINVAL", "malformed request"},
    {"ALM_ENOMEM", "out of memory"},
    {"ALM_EIO", "input/output error"},
    {"ALM_EAGAIN", "busy, try again later"},
    {"ALM_ENOTSUP", "not supported"},
    {"ALM_ENOTFOUND", "not found"},
    {"ALM_EEXIST", "exists already"},
    {"ALM_EDENIED", "not allowed"},
    {"ALM_EFULL", "no disk space"},
    {"ALM_ETOOBIG", "too big"},
    {"ALM_ECORRUPT", "stored data is damaged"},
    {"ALM_EVERSION", "version does not fit"},
    {"ALM_EUNAVAILABLE", "service unavailable, safe to retry"},
    {"ALM_ENOTLEADER", "not the leader"},
    {"ALM_EORDER", "sequence out of order"},
    {"ALM_EOFFSET", "offset out of range"},
    {"ALM_ETIMEOUT", "timed out"},
    {"ALM_ECLOSED", "closed"},
    {"ALM_ECONFIG", "wrong setting"},
    {"ALM_EPROTO", "protocol error"},
    {"ALM_EBUSY", "in use"},
    {"ALM_EINTERNAL", "internal error"},
    {"ALM_ESTALE", "epoch or term has moved on"},
};

_Static_assert(
    sizeof statuses / sizeof statuses[0] == 1 - ALM_STATUS_LAST, "a text for each status");

int
err_vset(int status, const char *fmt, va_list ap)
{
	char text[sizeof last_text];

	/* By way of a copy, since the arguments may include err_text() itself. */
	if (vsnprintf(text, sizeof text, fmt, ap) < 0)
		text[0] = '\0';
	memcpy(last_text, text, strlen(text) + 1);
	return status;
}

int
err_set(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(status, fmt, ap);
	va_end(ap);
	return status;
}

const char *
err_text(void)
{
	return last_text;
}

void
err_clear(void)
{
	last_text[0] = '\0';
}

const char *
status_text(int status)
{
	return status <= 0 && status >= ALM_STATUS_LAST ? statuses[-status].text : "unknown status";
}

const char *
status_name(int status)
{
	return status <= 0 && status >= ALM_STATUS_LAST ? statuses[-status].name : "ALM_E?";
}
