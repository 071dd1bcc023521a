/* ctl/session.h - a connection for one command, and results that several commands share. */
#ifndef CTL_SESSION_H
#define CTL_SESSION_H

#include <jansson.h>
#include <stdint.h>

#include <almadia/client.h>

#include "contrib/ctl/format.h"
#include "contrib/ctl/out.h"

struct call;

/* Options for this command line's servers and timeout; servers is the caller's buffer. */
void session_options(const struct call *, struct alm_options *, char *servers, uint32_t cap);
/* Connect; RC_OK, or an RC_* with the message printed. */
int session_open(const struct call *, struct alm_client **out);
/* Print what the client says about a failed call; fmt says what was tried. Returns RC_*. */
int session_fail(const struct call *, const struct alm_client *, int status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A finished change: the line in table mode (not with -q), the object in any other. */
void say_done(const struct call *, json_t *object, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Ask, then delete every thing named in the arguments; kind is "topic" or "group". RC_*. */
int delete_each(struct call *, const char *kind, const char *with,
    int (*fn)(struct alm_client *, const char *name));

/* A topic's settings; RC_*, with the message printed and a near name suggested. */
int need_topic(const struct call *, struct alm_client *, const char *name, struct alm_topic *out);
/* Name of a topic id, in the caller's buffer; "" if there is none. */
const char *topic_name_by_id(struct alm_client *, uint32_t id, char *out, uint32_t cap);

/* start|end|offset:N|time:T of --from and --to. RC_*. */
struct place {
	uint32_t start; /* ALM_START_* */
	uint64_t value;
};
int parse_place(const struct call *, const char *option, const char *text, struct place *out);
/* -1 if the option is not a queue number. */
int queue_number(const struct call *, const char *text, uint32_t *out);

void message_of(const struct alm_msg *, const char *topic, struct message_view *out);
/* Write one message in the chosen form: by format in table and plain mode, else as a stream row. */
void put_message(const struct call *, const char *format, const struct message_view *);
/* RC_OK, or RC_USAGE with the message printed. NULL is fine. */
int check_format(const struct call *, const char *format);
/* Around put_message: what CSV and JSON need before and after. */
void begin_messages(const struct call *);
void end_messages(const struct call *);
extern const struct col message_cols[];
extern const uint32_t n_message_cols;

/* What the node says about itself, parsed: "info", "config", "plugins", "stats". RC_*. */
int node_json(const struct call *, struct alm_client *, const char *what, json_t **out);

/* Lag of a group: a row for each queue (of one topic, or of all it has committed). RC_*. */
int group_lag(const struct call *, struct alm_client *, const char *group, const char *only,
    json_t *rows, uint64_t *sum);

/* ^C and SIGTERM end long commands in good order: set by session_catch_signals(). */
extern volatile int session_stop;
void session_catch_signals(void);

#endif
