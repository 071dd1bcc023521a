/* base/check.c - the end of a process that can no longer trust itself.
 *
 * Any thread.  The last words go to the log and, if the role named a place (its region), there too,
 * where the manager finds them after the process is gone.
 */
#include "base/base.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place {
	char *where;
	uint32_t cap;
};

static _Thread_local struct place own;
static _Atomic(char *) shared_where;
static _Atomic uint32_t shared_cap;

void
check_obituary(char *where, uint32_t cap)
{
	own = (struct place){where, cap};
	atomic_store(&shared_cap, cap);
	atomic_store(&shared_where, where);
}

static _Noreturn void
die(const char *text)
{
	struct place p = own;

	if (p.where == NULL)
		p = (struct place){atomic_load(&shared_where), atomic_load(&shared_cap)};
	if (p.where != NULL && p.cap > 0)
		snprintf(p.where, p.cap, "%s", text);
	log_error("%s", text);
	abort();
}

void
check_failed(const char *file, int line, const char *text)
{
	char words[512];

	snprintf(words, sizeof words,
	    "invariant broken: %s (%s:%d); this is a bug, please report it", text, file, line);
	die(words);
}

void
check_panic(const char *fmt, ...)
{
	char words[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	die(words);
}
