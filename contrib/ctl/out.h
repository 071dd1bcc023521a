/* ctl/out.h - the output layer: every command describes its result once, as JSON values and
 * columns, and this turns it into a table, JSON, JSON lines, CSV or plain text on stdout.
 *
 * JSON carries raw numbers (bytes, microseconds); tables show them for people.  A value given to
 * an out_ function is consumed.  One thread.
 */
#ifndef CTL_OUT_H
#define CTL_OUT_H

#include <jansson.h>
#include <stdint.h>

enum out_mode { OUT_TABLE, OUT_JSON, OUT_JSONL, OUT_CSV, OUT_PLAIN };

enum col_kind {
	COL_TEXT,
	COL_NUM,
	COL_SIZE,     /* bytes */
	COL_DURATION, /* microseconds */
	COL_TIME,     /* microseconds since the epoch */
	COL_LIMIT_SIZE, COL_LIMIT_DURATION, /* 0 shows as "none" */
};

struct col {
	const char *key;   /* in the JSON object */
	const char *title; /* table heading */
	uint32_t kind;
};

struct out;

struct out *out_new(enum out_mode, int color);
void out_free(struct out *);
enum out_mode out_get_mode(const struct out *);
/* 1 if the mode is json or jsonl. */
int out_is_json(const struct out *);

/* A list: array of objects. */
void out_rows(struct out *, const struct col *, uint32_t n, json_t *array);
/* One object; key names an array of objects inside it with columns of its own (NULL: none).
 * CSV and plain show that inner list alone if there is one. */
void out_object(struct out *, const struct col *, uint32_t n, json_t *object, const char *key,
    const struct col *inner, uint32_t n_inner);
/* An object of unknown shape: shown as lines "path  value". */
void out_tree(struct out *, json_t *object);
/* A document; JSON wraps it as {key: text}. */
void out_text(struct out *, const char *key, const char *text);

/* A list that appears while the command runs: begin, row..., end. In JSON mode an array, a row a
 * line.  A table has fixed widths. */
void out_stream_begin(struct out *, const struct col *, uint32_t n);
void out_stream_row(struct out *, json_t *object);
void out_stream_end(struct out *);

/* Flush what was written: 0, or the errno of the first failed write. */
int out_flush(struct out *);
/* errno of the first failed write so far, 0: none. */
int out_error(const struct out *);

#endif
