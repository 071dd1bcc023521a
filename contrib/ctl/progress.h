/* ctl/progress.h - a progress line on stderr for long work; silent unless stderr is a terminal. */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdint.h>

struct call;

struct progress {
	int on;
	const char *label, *unit;
	uint64_t total; /* 0: unknown */
	uint64_t done, started, drawn;
};

/* unit: "messages", or "B" for bytes. */
void progress_begin(struct progress *, const struct call *, const char *label, const char *unit,
    uint64_t total);
/* Draws at most ten times a second. */
void progress_set(struct progress *, uint64_t done);
/* Clear the line. */
void progress_end(struct progress *);

#endif
