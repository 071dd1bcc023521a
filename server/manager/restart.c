/* manager/restart.c - back-off.  Windows are counted from their first end, which needs no list. */
#include <config.h>

#include "manager/restart.h"

uint64_t
restart_delay(struct restart *r, uint64_t now, uint32_t limit, int is_ledger)
{
	uint64_t window = is_ledger ? RESTART_WINDOW_LEDGER : RESTART_WINDOW;

	if (r->count == 0 || now - r->begin > window) {
		r->begin = now;
		r->count = 0;
	}
	if (r->delay == 0 || now - r->last > RESTART_WINDOW)
		r->delay = RESTART_FIRST;
	else if (r->delay < RESTART_MOST)
		r->delay = r->delay * 2 < RESTART_MOST ? r->delay * 2 : RESTART_MOST;
	r->last = now;
	r->count++;
	if (is_ledger)
		return r->count >= limit ? RESTART_NEVER : r->delay;
	if (r->count <= limit)
		return r->delay;
	*r = (struct restart){0};
	return RESTART_PAUSE;
}
