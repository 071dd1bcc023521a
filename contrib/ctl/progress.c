/* ctl/progress.c - see progress.h. */
#include <config.h>

#include "contrib/ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "contrib/ctl/opts.h"

#define DRAW_EVERY_US 100000u
#define BAR_COLUMNS 24u

void
progress_begin(struct progress *p, const struct call *c, const char *label, const char *unit,
    uint64_t total)
{
	memset(p, 0, sizeof *p);
	p->on = !c->quiet && !c->no_progress && isatty(STDERR_FILENO);
	p->label = label;
	p->unit = unit;
	p->total = total;
	p->started = p->drawn = clock_mono();
}

static const char *
amount(const struct progress *p, uint64_t n, char *out, uint32_t cap)
{
	if (p->unit[0] == 'B')
		return format_size(n, out, cap);
	(void)snprintf(out, cap, "%" PRIu64 " %s", n, p->unit);
	return out;
}

static void
draw(const struct progress *p, uint64_t now)
{
	uint64_t spent = now - p->started + 1;
	char a[48], r[48], bar[BAR_COLUMNS + 1];
	uint32_t full;

	(void)amount(p, p->done, a, sizeof a);
	(void)amount(p, (uint64_t)((double)p->done * 1e6 / (double)spent), r, sizeof r);
	if (p->total == 0) {
		fprintf(stderr, "\r%s  %s  %s/s\033[K", p->label, a, r);
		return;
	}
	full = p->done >= p->total ? BAR_COLUMNS
				   : (uint32_t)((double)p->done / (double)p->total * BAR_COLUMNS);
	memset(bar, ' ', BAR_COLUMNS);
	memset(bar, '=', full);
	bar[BAR_COLUMNS] = 0;
	fprintf(stderr, "\r%s [%s] %3u%%  %s  %s/s\033[K", p->label, bar,
	    (unsigned)((double)p->done / (double)p->total * 100), a, r);
}

void
progress_set(struct progress *p, uint64_t done)
{
	uint64_t now;

	p->done = done;
	if (!p->on)
		return;
	now = clock_mono();
	if (now - p->drawn < DRAW_EVERY_US)
		return;
	p->drawn = now;
	draw(p, now);
	fflush(stderr);
}

void
progress_end(struct progress *p)
{
	if (p->on)
		fputs("\r\033[K", stderr);
	p->on = 0;
}
