/* ctl/session.c - see session.h.  The command's only thread, except session_options (bench). */
#include <config.h>

#include "contrib/ctl/session.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/opts.h"

volatile int session_stop;

static void
on_signal(int sig)
{
	(void)sig;
	session_stop = 1;
}

void
session_catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
}

void
session_options(const struct call *c, struct alm_options *o, char *servers, uint32_t cap)
{
	uint32_t ms = c->timeout_us / 1000 > 0x7fffffff ? 0x7fffffffu : (uint32_t)(c->timeout_us / 1000);
	uint32_t at = 0;

	servers[0] = 0;
	for (uint32_t i = 0; i < c->n_servers && at < cap; i++)
		at += (uint32_t)snprintf(servers + at, cap - at, "%s%s", i > 0 ? "," : "", c->servers[i]);
	alm_options_init(o);
	o->servers = servers;
	o->name = "almadia";
	o->timeout_ms = ms > 0 ? ms : 1;
	if (o->connect_timeout_ms > o->timeout_ms)
		o->connect_timeout_ms = o->timeout_ms;
}

int
session_open(const struct call *c, struct alm_client **out)
{
	char servers[4096];
	struct alm_options o;
	int status;

	session_options(c, &o, servers, sizeof servers);
	status = alm_connect(&o, out);
	if (status == ALM_OK)
		return RC_OK;
	(void)fail_status(c, status, "%s", alm_error(NULL));
	return status == ALM_EDENIED || status == ALM_EPROTO || status == ALM_EVERSION
	    ? status_rc(status) : RC_UNAVAILABLE;
}

int
session_fail(const struct call *c, const struct alm_client *client, int status, const char *fmt, ...)
{
	const char *why = alm_error(client);
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	return fail_status(c, status, "%s: %s", what, why[0] != 0 ? why : alm_status_text(status));
}

void
say_done(const struct call *c, json_t *object, const char *fmt, ...)
{
	va_list ap;

	if (out_is_json(c->out) || out_get_mode(c->out) == OUT_CSV) {
		out_tree(c->out, object);
		return;
	}
	json_decref(object);
	if (c->quiet)
		return;
	va_start(ap, fmt);
	vfprintf(stdout, fmt, ap);
	va_end(ap);
	fputc('\n', stdout);
}

int
delete_each(struct call *c, const char *kind, const char *with,
    int (*fn)(struct alm_client *, const char *name))
{
	static const struct col cols[] = {{"deleted", "DELETED", COL_TEXT}};
	struct alm_client *client = NULL;
	json_t *rows;
	int status, rc, bad = RC_OK;

	if (c->n_args == 1)
		rc = confirm(c, "delete %s %s %s", kind, c->args[0], with);
	else
		rc = confirm(c, "delete %u %ss, each %s", c->n_args, kind, with);
	if (rc == RC_OK)
		rc = session_open(c, &client);
	if (rc != RC_OK)
		return rc;
	rows = json_array();
	for (uint32_t i = 0; i < c->n_args; i++) {
		status = fn(client, c->args[i]);
		if (status == ALM_OK)
			json_array_append_new(rows, json_pack("{s:s}", "deleted", c->args[i]));
		else
			bad = session_fail(c, client, status, "%s \"%s\" was not deleted", kind,
			    c->args[i]);
	}
	rc = bad == RC_OK || json_array_size(rows) == 0 ? bad : RC_PARTLY;
	out_rows(c->out, cols, 1, rows);
	alm_close(client);
	return rc;
}

/* ---- topics ----------------------------------------------------------------------------------- */

struct near {
	const char *word;
	char found[ALM_NAME_MAX + 1];
};

static int
near_topic(void *arg, const char *topic, const struct alm_topic *t)
{
	struct near *n = arg;

	(void)t;
	if (!words_close(n->word, topic))
		return 0;
	(void)snprintf(n->found, sizeof n->found, "%s", topic);
	return 1;
}

int
need_topic(const struct call *c, struct alm_client *client, const char *name, struct alm_topic *out)
{
	struct near n = {.word = name};
	int status = alm_topic_get(client, name, out);

	if (status == ALM_OK)
		return RC_OK;
	if (status != ALM_ENOTFOUND)
		return session_fail(c, client, status, "topic \"%s\"", name);
	(void)alm_topic_list(client, near_topic, &n);
	if (n.found[0] != 0)
		return fail_status(c, status, "no topic \"%s\": did you mean \"%s\"?", name, n.found);
	return fail_status(c, status, "no topic \"%s\": create it with almadia topic create %s", name, name);
}

struct by_id {
	uint32_t id, cap;
	char *out;
};

static int
match_id(void *arg, const char *topic, const struct alm_topic *t)
{
	struct by_id *b = arg;

	if (t->id != b->id)
		return 0;
	(void)snprintf(b->out, b->cap, "%s", topic);
	return 1;
}

const char *
topic_name_by_id(struct alm_client *client, uint32_t id, char *out, uint32_t cap)
{
	struct by_id b = {.id = id, .cap = cap, .out = out};

	out[0] = 0;
	(void)alm_topic_list(client, match_id, &b);
	return out;
}

/* ---- places ----------------------------------------------------------------------------------- */

int
parse_place(const struct call *c, const char *option, const char *text, struct place *out)
{
	int64_t n;

	out->value = 0;
	if (strcmp(text, "start") == 0) {
		out->start = ALM_START_BEGIN;
	} else if (strcmp(text, "end") == 0) {
		out->start = ALM_START_END;
	} else if (strncmp(text, "offset:", 7) == 0) {
		out->start = ALM_START_OFFSET;
		if (parse_int(text + 7, &n) != ALM_OK || n < 0)
			return fail(c, RC_USAGE, "option --%s: \"%s\" is not an offset", option, text + 7);
		out->value = (uint64_t)n;
	} else if (strncmp(text, "time:", 5) == 0) {
		out->start = ALM_START_TIME;
		if (parse_time(text + 5, clock_wall(), &out->value) != 0)
			return fail(c, RC_USAGE, "option --%s: \"%s\" is not a time (use 2026-11-25, "
			    "2026-11-25T10:44:49Z, @1700000000 or -5m)", option, text + 5);
	} else {
		return fail(c, RC_USAGE, "option --%s: \"%s\" is none of start, end, offset:N, time:T",
		    option, text);
	}
	return RC_OK;
}

int
queue_number(const struct call *c, const char *text, uint32_t *out)
{
	int64_t n;

	if (parse_int(text, &n) != ALM_OK || n < 0 || n >= ALM_QUEUES_MAX)
		return fail(c, RC_USAGE, "\"%s\" is not a queue (0 to %u)", text, ALM_QUEUES_MAX - 1);
	*out = (uint32_t)n;
	return RC_OK;
}

/* ---- messages --------------------------------------------------------------------------------- */

const struct col message_cols[] = {{"position", "POSITION", COL_NUM}, {"topic", "TOPIC", COL_TEXT},
    {"queue", "QUEUE", COL_NUM}, {"offset", "OFFSET", COL_NUM}, {"born", "BORN", COL_TIME},
    {"key", "KEY", COL_TEXT}, {"tag", "TAG", COL_TEXT}, {"size", "SIZE", COL_NUM},
    {"body", "BODY", COL_TEXT}, {"body_base64", "BODY (BASE64)", COL_TEXT}};
const uint32_t n_message_cols = 10;

void
message_of(const struct alm_msg *m, const char *topic, struct message_view *out)
{
	out->topic = m->topic[0] != 0 ? m->topic : topic;
	out->queue = alm_msg_queue(m);
	out->offset = alm_msg_offset(m);
	out->position = m->position;
	out->born = alm_msg_born(m);
	out->attrs.data = m->record + 1;
	out->attrs.len = m->record->attrs_len;
	out->body = alm_msg_body(m);
}

static int
by_format(const struct call *c)
{
	return out_get_mode(c->out) == OUT_TABLE || out_get_mode(c->out) == OUT_PLAIN;
}

void
put_message(const struct call *c, const char *format, const struct message_view *m)
{
	if (by_format(c))
		format_message(stdout, format, m);
	else
		out_stream_row(c->out, message_json(m));
}

void
begin_messages(const struct call *c)
{
	if (!by_format(c))
		out_stream_begin(c->out, message_cols, n_message_cols);
}

void
end_messages(const struct call *c)
{
	if (!by_format(c))
		out_stream_end(c->out);
}

int
check_format(const struct call *c, const char *format)
{
	const char *wrong = format != NULL ? format_check(format) : NULL;

	return wrong == NULL ? RC_OK : fail(c, RC_USAGE, "option --format: %s", wrong);
}
