/* ctl/opts.h - one parsed command line, and what every command needs to answer it. */
#ifndef CTL_OPTS_H
#define CTL_OPTS_H

#include <stdint.h>

#include "contrib/ctl/table.h"

#define SERVERS_MAX 16u

struct out;

struct optval {
	const struct opt_spec *spec;
	const char **values; /* as typed */
	uint32_t n;
};

/* A command line.  Owned by main(); strings belong to argv, to a context or to the table. */
struct call {
	const struct command *cmd;
	struct optval *vals;   /* one for each of cmd->opts */
	uint32_t n_vals;
	const char **args;     /* arguments after noun and verb */
	uint32_t n_args;
	const char *noun_word; /* noun as typed, for `almadia topic --help`; may be NULL */

	const char *output;    /* table json jsonl csv plain */
	const char *servers[SERVERS_MAX];
	uint32_t n_servers;
	const char *context;
	int64_t timeout_us;
	int output_given, timeout_given;
	int quiet, no_color, no_progress, yes, verbose, help;
	struct out *out;
	void *context_servers; /* json_t: keeps the strings of a context's servers */
};

/* Parse argv[1..].  RC_OK, or RC_USAGE with the message printed. */
int opts_parse(struct call *, int argc, char **argv);
void opts_free(struct call *);

/* Values of the command's options; name must be in the table.  Text is NULL if neither given nor
 * defaulted; number is the default or 0.  Checked by opts_parse, so they cannot fail. */
const char *opt_text(const struct call *, const char *name);
int64_t opt_num(const struct call *, const char *name);
int opt_given(const struct call *, const char *name); /* also: is a flag set */
uint32_t opt_count(const struct call *, const char *name);
const char *opt_nth(const struct call *, const char *name, uint32_t i);

/* Print "almadia: ..." on stderr (JSON with -o json) and return rc. */
int fail(const struct call *, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for an ALM_E* status: adds its name, picks the exit code. */
int fail_status(const struct call *, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int status_rc(int status);
/* A remark on stderr, not with -q. */
void note(const struct call *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Ask on the terminal before something is destroyed: RC_OK to go on. -y answers yes; without a
 * terminal it is refused, naming -y. */
int confirm(const struct call *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
