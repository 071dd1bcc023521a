/* ctl/table.h - the one description of the `almadia` command.
 *
 * table.c declares every command with its arguments, options, defaults, effect and examples as
 * data.  Parsing (opts.c), --help and `help --json` (cmd_help.c), man page and completion
 * (cmd_gen.c) are all read from it, so they cannot disagree.  Constant after start.
 */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdint.h>

struct call;

/* Exit codes of the command.  They are part of the interface: scripts test them. */
#define RC_OK 0
#define RC_FAILED 1
#define RC_USAGE 2
#define RC_NOTFOUND 3
#define RC_DENIED 4
#define RC_UNAVAILABLE 5 /* unavailable or out of time: trying again may help */
#define RC_PARTLY 6      /* some of it was done */

enum opt_type {
	OPT_FLAG,     /* no value */
	OPT_TEXT,
	OPT_INT,      /* 0 or higher */
	OPT_SIZE,     /* bytes: 64k */
	OPT_DURATION, /* microseconds: 5s */
	OPT_CHOICE,   /* arg is the list: strict|relaxed */
};

struct opt_spec {
	const char *name; /* without dashes; NULL ends the list */
	char letter;      /* 0: none */
	uint8_t type;     /* enum opt_type */
	uint8_t many;     /* 1: may be given again */
	const char *arg;  /* name of the value in help, or the choices */
	const char *def;  /* NULL: no default */
	const char *doc;  /* one sentence, no final period */
};

struct command {
	const char *noun, *verb;  /* verb NULL: the noun alone is the command */
	const char *args;         /* "TOPIC [MESSAGE...]"; "" for none */
	const char *summary;      /* one line, no final period */
	const char *doc;          /* paragraphs for help and man; may be NULL */
	const char *impact;       /* "ro" or "rw" */
	uint32_t offline;         /* 1: works without a server */
	const struct opt_spec *opts; /* may be NULL */
	const char *examples;     /* one a line */
	int (*run)(struct call *); /* returns RC_* */
};

extern const struct command command_table[];
extern const uint32_t command_count;
extern const struct opt_spec global_opts[];

/* What a noun is about, for the overview; NULL if the noun is a command itself. */
const char *noun_summary(const char *noun);
/* The command, or NULL.  verb may be NULL. */
const struct command *command_find(const char *noun, const char *verb);
/* 1 if a noun has verbs. */
int noun_has_verbs(const char *noun);
/* "topic create": into the caller's buffer, returned. */
const char *command_name(const struct command *, char *out, uint32_t cap);
/* Fewest and most arguments that args allows; *most is UINT32_MAX after "...". */
void command_arity(const struct command *, uint32_t *least, uint32_t *most);
/* Closest noun, or closest verb of a noun, to a mistyped word; NULL if nothing is close. */
const char *suggest_noun(const char *word);
const char *suggest_verb(const char *noun, const char *word);
/* 1 if a is a likely typing mistake for b. */
int words_close(const char *a, const char *b);

#endif
