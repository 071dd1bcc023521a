/* ctl/out.c - see out.h.
 *
 * Tables are collected and then aligned; streams are written row by row.  Control characters in
 * text never reach a terminal raw: they show as escapes in tables, CSV quotes, plain escapes tab
 * and newline.
 */
#include <config.h>

#include "contrib/ctl/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/base.h"
#include "contrib/ctl/format.h"

struct out {
	enum out_mode mode;
	int color;
	int error; /* errno of the first failed write */
	const struct col *cols; /* of the stream */
	uint32_t n_cols;
	uint64_t rows;
};

#define CELL_MAX 4096u

struct out *
out_new(enum out_mode mode, int color)
{
	struct out *o = calloc(1, sizeof *o);

	if (o != NULL) {
		o->mode = mode;
		o->color = color;
	}
	return o;
}

void
out_free(struct out *o)
{
	free(o);
}

enum out_mode
out_get_mode(const struct out *o)
{
	return o->mode;
}

int
out_is_json(const struct out *o)
{
	return o->mode == OUT_JSON || o->mode == OUT_JSONL;
}

int
out_flush(struct out *o)
{
	errno = 0;
	if ((fflush(stdout) != 0 || ferror(stdout)) && o->error == 0)
		o->error = errno != 0 ? errno : EIO;
	return o->error;
}

int
out_error(const struct out *o)
{
	return o->error;
}

/* ---- cells ---------------------------------------------------------------------------------- */

static const char *
human_number(uint32_t kind, int64_t n, char *cell, uint32_t cap)
{
	uint64_t u = n < 0 ? 0 : (uint64_t)n;

	switch (kind) {
	case COL_LIMIT_SIZE:
		if (n == 0)
			return "none";
		/* fallthrough */
	case COL_SIZE:
		return format_size(u, cell, cap);
	case COL_LIMIT_DURATION:
		if (n == 0)
			return "none";
		/* fallthrough */
	case COL_DURATION:
		return format_duration(u, cell, cap);
	case COL_TIME:
		return n == 0 ? "-" : format_time(u, cell, cap);
	default:
		(void)snprintf(cell, cap, "%" PRId64, n);
		return cell;
	}
}

/* A list of strings alone, with commas: 1 if it is one. */
static int
joined_strings(const json_t *list, char *cell, uint32_t cap)
{
	uint32_t used = 0;
	json_t *s;
	size_t at;

	if (!json_is_array(list))
		return 0;
	cell[0] = 0;
	json_array_foreach (list, at, s) {
		if (!json_is_string(s))
			return 0;
		if (used < cap)
			used += (uint32_t)snprintf(cell + used, cap - used, "%s%s", at > 0 ? "," : "",
			    json_string_value(s));
	}
	return 1;
}

/* A value as text, in cell or as a constant.  human: units instead of raw numbers. */
static const char *
cell_text(const json_t *v, uint32_t kind, int human, char *cell, uint32_t cap)
{
	char *dump;

	if (v == NULL || json_is_null(v))
		return human ? "-" : "";
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	if (json_is_integer(v))
		return human_number(human ? kind : (uint32_t)COL_NUM, json_integer_value(v), cell, cap);
	if (json_is_real(v)) {
		(void)snprintf(cell, cap, "%.6g", json_real_value(v));
		return cell;
	}
	if (joined_strings(v, cell, cap))
		return cell;
	dump = json_dumps(v, JSON_COMPACT);
	(void)snprintf(cell, cap, "%s", dump != NULL ? dump : "");
	free(dump);
	return cell;
}

/* Columns that text takes on a terminal: code points, an escape of a control character is 4. */
static uint32_t
text_width(const char *s)
{
	uint32_t w = 0;

	for (; *s != 0; s++)
		if (((unsigned char)*s & 0xc0) != 0x80)
			w += (unsigned char)*s < 0x20 || *s == 0x7f ? 4 : 1;
	return w;
}

/* At most max columns of text, controls escaped, padded to pad (right-aligned if right). */
static void
put_cell(const char *s, uint32_t pad, uint32_t max, int right)
{
	uint32_t w = text_width(s), used = 0;

	if (right && w < pad)
		printf("%*s", (int)(pad - w), "");
	for (; *s != 0; s++) {
		unsigned char ch = (unsigned char)*s;

		if ((ch & 0xc0) != 0x80 && used + 1 >= max && w > max) {
			fputs("\xe2\x80\xa6", stdout);
			used++;
			break;
		}
		if (ch < 0x20 || ch == 0x7f) {
			printf("\\x%02x", ch);
			used += 4;
		} else {
			putchar(ch);
			used += (ch & 0xc0) != 0x80;
		}
	}
	if (!right && used < pad)
		printf("%*s", (int)(pad - used), "");
}

static void
put_csv(const char *s)
{
	if (s[strcspn(s, ",\"\r\n")] == 0) {
		fputs(s, stdout);
		return;
	}
	putchar('"');
	for (; *s != 0; s++) {
		if (*s == '"')
			putchar('"');
		putchar(*s);
	}
	putchar('"');
}

static void
put_plain(const char *s)
{
	for (; *s != 0; s++) {
		if (*s == '\t')
			fputs("\\t", stdout);
		else if (*s == '\n')
			fputs("\\n", stdout);
		else if (*s == '\\')
			fputs("\\\\", stdout);
		else
			putchar(*s);
	}
}

/* One row for CSV or plain. */
static void
put_separated(struct out *o, const struct col *cols, uint32_t n, const json_t *obj)
{
	char cell[CELL_MAX];

	for (uint32_t i = 0; i < n; i++) {
		const char *s = cell_text(json_object_get(obj, cols[i].key), cols[i].kind, 0, cell,
		    sizeof cell);

		if (i > 0)
			putchar(o->mode == OUT_CSV ? ',' : '\t');
		if (o->mode == OUT_CSV)
			put_csv(s);
		else
			put_plain(s);
	}
	fputs(o->mode == OUT_CSV ? "\r\n" : "\n", stdout);
}

static void
put_csv_heading(const struct col *cols, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		printf("%s%s", i > 0 ? "," : "", cols[i].key);
	fputs("\r\n", stdout);
}

/* ---- tables --------------------------------------------------------------------------------- */

static uint32_t
terminal_width(void)
{
	struct winsize ws;

	if (!isatty(STDOUT_FILENO))
		return UINT32_MAX;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20 ? ws.ws_col : 80;
}

static int
right_aligned(const struct col *c)
{
	return c->kind != COL_TEXT && c->kind != COL_TIME;
}

static void
put_heading(struct out *o, const struct col *cols, uint32_t n, const uint32_t *width)
{
	if (o->color)
		fputs("\033[1m", stdout);
	for (uint32_t i = 0; i < n; i++) {
		int right = right_aligned(&cols[i]);

		put_cell(cols[i].title, i + 1 < n || right ? width[i] : 0, UINT32_MAX, right);
		if (i + 1 < n)
			fputs("  ", stdout);
	}
	if (o->color)
		fputs("\033[0m", stdout);
	putchar('\n');
}

#define TABLE_COLS_MAX 32u

static void
put_table(struct out *o, const struct col *cols, uint32_t n, const json_t *array)
{
	uint32_t width[TABLE_COLS_MAX], sum = 0, room = terminal_width(), last = UINT32_MAX;
	char cell[CELL_MAX];
	json_t *obj;
	size_t at;

	INVARIANT(n <= TABLE_COLS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		width[i] = text_width(cols[i].title);
		json_array_foreach (array, at, obj) {
			uint32_t w = text_width(cell_text(json_object_get(obj, cols[i].key), cols[i].kind,
			    1, cell, sizeof cell));

			width[i] = w > width[i] ? w : width[i];
		}
		sum += i + 1 < n ? width[i] + 2 : 0;
	}
	if (room != UINT32_MAX && room > sum + 10)
		last = room - sum;
	put_heading(o, cols, n, width);
	json_array_foreach (array, at, obj) {
		for (uint32_t i = 0; i < n; i++) {
			int right = right_aligned(&cols[i]);

			put_cell(cell_text(json_object_get(obj, cols[i].key), cols[i].kind, 1, cell,
				     sizeof cell),
			    i + 1 < n || right ? width[i] : 0, i + 1 < n ? UINT32_MAX : last, right);
			if (i + 1 < n)
				fputs("  ", stdout);
		}
		putchar('\n');
	}
}

/* "title  value" lines. */
static void
put_fields(struct out *o, const struct col *cols, uint32_t n, const json_t *obj)
{
	uint32_t width = 0;
	char cell[CELL_MAX];

	for (uint32_t i = 0; i < n; i++) {
		uint32_t w = text_width(cols[i].title);

		width = w > width ? w : width;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (o->color)
			fputs("\033[1m", stdout);
		put_cell(cols[i].title, width, UINT32_MAX, 0);
		fputs(o->color ? "\033[0m  " : "  ", stdout);
		put_cell(cell_text(json_object_get(obj, cols[i].key), cols[i].kind, 1, cell, sizeof cell),
		    0, UINT32_MAX, 0);
		putchar('\n');
	}
}

/* ---- results -------------------------------------------------------------------------------- */

static void
put_json(const json_t *v, size_t flags)
{
	(void)json_dumpf(v, stdout, flags | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
	putchar('\n');
}

void
out_rows(struct out *o, const struct col *cols, uint32_t n, json_t *array)
{
	json_t *obj;
	size_t at;

	if (array == NULL) {
		o->error = ENOMEM;
		return;
	}
	if (o->mode == OUT_JSON) {
		put_json(array, JSON_INDENT(2));
	} else if (o->mode == OUT_TABLE) {
		put_table(o, cols, n, array);
	} else {
		if (o->mode == OUT_CSV)
			put_csv_heading(cols, n);
		json_array_foreach (array, at, obj) {
			if (o->mode == OUT_JSONL)
				put_json(obj, JSON_COMPACT);
			else
				put_separated(o, cols, n, obj);
		}
	}
	json_decref(array);
}

void
out_object(struct out *o, const struct col *cols, uint32_t n, json_t *object, const char *key,
    const struct col *inner, uint32_t n_inner)
{
	json_t *list = key != NULL ? json_object_get(object, key) : NULL;

	if (object == NULL) {
		o->error = ENOMEM;
		return;
	}
	if (o->mode == OUT_JSON || o->mode == OUT_JSONL) {
		put_json(object, o->mode == OUT_JSON ? JSON_INDENT(2) : JSON_COMPACT);
	} else if (o->mode == OUT_TABLE) {
		put_fields(o, cols, n, object);
		if (list != NULL && json_array_size(list) > 0) {
			putchar('\n');
			put_table(o, inner, n_inner, list);
		}
	} else if (list != NULL) {
		out_rows(o, inner, n_inner, json_incref(list));
	} else {
		if (o->mode == OUT_CSV)
			put_csv_heading(cols, n);
		put_separated(o, cols, n, object);
	}
	json_decref(object);
}

static void
flatten(json_t *rows, const json_t *v, const char *path)
{
	char name[512], cell[CELL_MAX];
	const char *key;
	json_t *sub;
	size_t at;

	if (json_is_object(v)) {
		json_object_foreach ((json_t *)(uintptr_t)v, key, sub) {
			(void)snprintf(name, sizeof name, "%s%s%s", path, path[0] != 0 ? "." : "", key);
			flatten(rows, sub, name);
		}
	} else if (json_is_array(v)) {
		json_array_foreach (v, at, sub) {
			(void)snprintf(name, sizeof name, "%s[%zu]", path, at);
			flatten(rows, sub, name);
		}
	} else {
		json_array_append_new(rows,
		    json_pack("{s:s,s:s}", "name", path, "value",
			cell_text(v, COL_NUM, 0, cell, sizeof cell)));
	}
}

void
out_tree(struct out *o, json_t *object)
{
	static const struct col cols[] = {{"name", "NAME", COL_TEXT}, {"value", "VALUE", COL_TEXT}};
	json_t *rows;

	if (object == NULL) {
		o->error = ENOMEM;
		return;
	}
	if (out_is_json(o)) {
		put_json(object, o->mode == OUT_JSON ? JSON_INDENT(2) : JSON_COMPACT);
	} else {
		rows = json_array();
		flatten(rows, object, "");
		out_rows(o, cols, 2, rows);
	}
	json_decref(object);
}

void
out_text(struct out *o, const char *key, const char *text)
{
	json_t *doc;

	if (out_is_json(o)) {
		doc = json_pack("{s:s}", key, text);
		put_json(doc, o->mode == OUT_JSON ? JSON_INDENT(2) : JSON_COMPACT);
		json_decref(doc);
	} else if (o->mode == OUT_CSV) {
		printf("%s\r\n", key);
		put_csv(text);
		fputs("\r\n", stdout);
	} else {
		fputs(text, stdout);
	}
}

/* ---- streams -------------------------------------------------------------------------------- */

void
out_stream_begin(struct out *o, const struct col *cols, uint32_t n)
{
	uint32_t width[TABLE_COLS_MAX];

	o->cols = cols;
	o->n_cols = n;
	o->rows = 0;
	if (o->mode == OUT_CSV)
		put_csv_heading(cols, n);
	if (o->mode == OUT_JSON)
		putchar('[');
	if (o->mode == OUT_TABLE) {
		for (uint32_t i = 0; i < n && i < TABLE_COLS_MAX; i++)
			width[i] = cols[i].kind == COL_TIME ? 27 : 10;
		put_heading(o, cols, n, width);
	}
}

void
out_stream_row(struct out *o, json_t *object)
{
	char cell[CELL_MAX];

	if (object == NULL) {
		o->error = ENOMEM;
		return;
	}
	switch (o->mode) {
	case OUT_JSON:
		fputs(o->rows > 0 ? ",\n" : "\n", stdout);
		(void)json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		break;
	case OUT_JSONL:
		put_json(object, JSON_COMPACT);
		break;
	case OUT_TABLE:
		for (uint32_t i = 0; i < o->n_cols; i++) {
			const struct col *c = &o->cols[i];
			uint32_t w = c->kind == COL_TIME ? 27 : 10;
			int right = right_aligned(c), end = i + 1 == o->n_cols;

			put_cell(cell_text(json_object_get(object, c->key), c->kind, 1, cell, sizeof cell),
			    end && !right ? 0 : w, UINT32_MAX, right);
			fputs(end ? "\n" : "  ", stdout);
		}
		break;
	default:
		put_separated(o, o->cols, o->n_cols, object);
	}
	o->rows++;
	json_decref(object);
}

void
out_stream_end(struct out *o)
{
	if (o->mode == OUT_JSON)
		fputs(o->rows > 0 ? "\n]\n" : "]\n", stdout);
}
