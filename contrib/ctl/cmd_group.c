/* ctl/cmd_group.c - consumer groups: offsets, lag, reset. */
#include <config.h>

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/session.h"

static const struct col group_cols[] = {{"group", "GROUP", COL_TEXT}, {"created", "CREATED", COL_TIME}};

static json_t *
group_json(const char *name, const struct alm_group *g)
{
	return json_pack("{s:s,s:I}", "group", name, "created", (json_int_t)g->created);
}

struct search {
	json_t *rows;
	const char *pattern; /* NULL: all */
	const char *name;    /* exact, instead of rows */
	struct alm_group found;
	char near[ALM_NAME_MAX + 1];
};

static int
on_group(void *arg, const char *name, const struct alm_group *g)
{
	struct search *s = arg;

	if (s->name != NULL) {
		if (strcmp(s->name, name) == 0) {
			s->found = *g;
			return 1;
		}
		if (words_close(s->name, name))
			(void)snprintf(s->near, sizeof s->near, "%s", name);
	} else if (s->pattern == NULL || fnmatch(s->pattern, name, 0) == 0) {
		json_array_append_new(s->rows, group_json(name, g));
	}
	return 0;
}

static int
need_group(const struct call *c, struct alm_client *client, const char *name, struct alm_group *out)
{
	struct search s = {.name = name};
	int status = alm_group_list(client, on_group, &s);

	if (status == 1) {
		*out = s.found;
		return RC_OK;
	}
	if (status != ALM_OK)
		return session_fail(c, client, status, "group \"%s\"", name);
	if (s.near[0] != 0)
		return fail_status(c, ALM_ENOTFOUND, "no group \"%s\": did you mean \"%s\"?", name, s.near);
	return fail_status(c, ALM_ENOTFOUND, "no group \"%s\": see almadia group list", name);
}

int
cmd_group_create(struct call *c)
{
	const char *name = c->args[0];
	struct alm_client *client = NULL;
	struct alm_group g;
	int status, rc = session_open(c, &client);

	if (rc != RC_OK)
		return rc;
	status = alm_group_create(client, name);
	if (status != ALM_OK && !(status == ALM_EEXIST && opt_given(c, "if-not-exists")))
		rc = session_fail(c, client, status, "group \"%s\" was not created", name);
	else if ((rc = need_group(c, client, name, &g)) == RC_OK)
		say_done(c, group_json(name, &g), "%s group %s", status == ALM_OK ? "created" : "kept", name);
	alm_close(client);
	return rc;
}

int
cmd_group_list(struct call *c)
{
	struct search s = {.rows = json_array(), .pattern = c->n_args > 0 ? c->args[0] : NULL};
	struct alm_client *client = NULL;
	int status, rc = session_open(c, &client);

	if (rc == RC_OK) {
		status = alm_group_list(client, on_group, &s);
		if (status == ALM_OK)
			out_rows(c->out, group_cols, 2, json_incref(s.rows));
		else
			rc = session_fail(c, client, status, "groups could not be listed");
	}
	json_decref(s.rows);
	alm_close(client);
	return rc;
}

static int
add_offset(void *arg, const char *topic, uint32_t queue, const struct alm_offset *o)
{
	json_array_append_new(arg,
	    json_pack("{s:s,s:I,s:I,s:I}", "topic", topic, "queue", (json_int_t)queue, "committed",
		(json_int_t)o->offset, "committed_at", (json_int_t)o->committed_at));
	return 0;
}

int
cmd_group_describe(struct call *c)
{
	static const struct col cols[] = {{"topic", "TOPIC", COL_TEXT}, {"queue", "QUEUE", COL_NUM},
	    {"committed", "COMMITTED", COL_NUM}, {"committed_at", "AT", COL_TIME}};
	const char *name = c->args[0];
	struct alm_client *client = NULL;
	json_t *rows = json_array(), *obj;
	struct alm_group g;
	int status, rc = session_open(c, &client);

	if (rc == RC_OK)
		rc = need_group(c, client, name, &g);
	if (rc == RC_OK) {
		status = alm_group_offsets(client, name, add_offset, rows);
		if (status != ALM_OK)
			rc = session_fail(c, client, status, "offsets of group \"%s\"", name);
	}
	if (rc == RC_OK) {
		obj = group_json(name, &g);
		json_object_set(obj, "offsets", rows);
		out_object(c->out, group_cols, 2, obj, "offsets", cols, 4);
	}
	json_decref(rows);
	alm_close(client);
	return rc;
}

int
cmd_group_delete(struct call *c)
{
	return delete_each(c, "group", "with its offsets", alm_group_delete);
}

/* ---- lag -------------------------------------------------------------------------------------- */

/* Row of (topic, queue) in the committed offsets, or NULL. */
static const json_t *
committed_row(const json_t *offsets, const char *topic, uint32_t queue)
{
	json_t *row;
	size_t at;

	json_array_foreach (offsets, at, row) {
		if (strcmp(json_string_value(json_object_get(row, "topic")), topic) == 0 &&
		    json_integer_value(json_object_get(row, "queue")) == (json_int_t)queue)
			return row;
	}
	return NULL;
}

/* Add a row for each queue of a topic; *sum grows by the lag. A deleted topic adds nothing. */
static int
topic_lag(const struct call *c, struct alm_client *client, const char *topic, const json_t *offsets,
    json_t *rows, uint64_t *sum)
{
	uint64_t begin, end, next, lag;
	struct alm_topic t;
	int status = alm_topic_get(client, topic, &t);

	if (status != ALM_OK)
		return status == ALM_ENOTFOUND ? RC_OK : session_fail(c, client, status, "topic \"%s\"", topic);
	for (uint32_t q = 0; q < t.queues; q++) {
		const json_t *known = committed_row(offsets, topic, q);
		json_t *row;

		status = alm_bounds(client, topic, q, &begin, &end);
		if (status != ALM_OK)
			return session_fail(c, client, status, "bounds of %s queue %u", topic, q);
		next = known != NULL ? (uint64_t)json_integer_value(json_object_get(known, "committed")) : begin;
		lag = next < begin ? end - begin : next < end ? end - next : 0;
		*sum += lag;
		row = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "topic", topic, "queue", (json_int_t)q, "begin",
		    (json_int_t)begin, "end", (json_int_t)end, "lag", (json_int_t)lag, "missed",
		    (json_int_t)(next < begin ? begin - next : 0));
		if (known != NULL) {
			json_object_set(row, "committed", json_object_get(known, "committed"));
			json_object_set(row, "committed_at", json_object_get(known, "committed_at"));
		} else {
			json_object_set_new(row, "committed", json_null());
		}
		json_array_append_new(rows, row);
	}
	return RC_OK;
}

int
group_lag(const struct call *c, struct alm_client *client, const char *group, const char *only,
    json_t *rows, uint64_t *sum)
{
	json_t *offsets = json_array(), *row;
	const char *last = "";
	size_t at;
	int rc = RC_OK, status = alm_group_offsets(client, group, add_offset, offsets);

	*sum = 0;
	if (status != ALM_OK)
		rc = session_fail(c, client, status, "offsets of group \"%s\"", group);
	else if (only != NULL)
		rc = topic_lag(c, client, only, offsets, rows, sum);
	else
		json_array_foreach (offsets, at, row) {
			const char *topic = json_string_value(json_object_get(row, "topic"));

			if (rc == RC_OK && strcmp(topic, last) != 0)
				rc = topic_lag(c, client, topic, offsets, rows, sum);
			last = topic;
		}
	json_decref(offsets);
	return rc;
}

int
cmd_group_lag(struct call *c)
{
	static const struct col cols[] = {{"topic", "TOPIC", COL_TEXT}, {"queue", "QUEUE", COL_NUM},
	    {"committed", "COMMITTED", COL_NUM}, {"begin", "BEGIN", COL_NUM}, {"end", "END", COL_NUM},
	    {"lag", "LAG", COL_NUM}, {"committed_at", "COMMITTED AT", COL_TIME}};
	static const struct col head[] = {{"group", "GROUP", COL_TEXT}, {"lag", "LAG", COL_NUM}};
	const char *name = c->args[0], *only = c->n_args > 1 ? c->args[1] : NULL;
	struct alm_client *client = NULL;
	json_t *rows = json_array();
	struct alm_group g;
	struct alm_topic t;
	uint64_t sum = 0;
	int rc = session_open(c, &client);

	if (rc == RC_OK)
		rc = need_group(c, client, name, &g);
	if (rc == RC_OK && only != NULL)
		rc = need_topic(c, client, only, &t);
	if (rc == RC_OK)
		rc = group_lag(c, client, name, only, rows, &sum);
	if (rc == RC_OK)
		out_object(c->out, head, 2,
		    json_pack("{s:s,s:I,s:O}", "group", name, "lag", (json_int_t)sum, "queues", rows), "queues",
		    cols, 7);
	json_decref(rows);
	alm_close(client);
	return rc;
}

/* ---- reset ------------------------------------------------------------------------------------ */

/* Offset of a place in a queue, kept within its bounds. */
static int
place_offset(const struct call *c, struct alm_client *client, const char *topic, uint32_t queue,
    const struct place *to, uint64_t *out)
{
	uint64_t begin, end;
	int status = alm_bounds(client, topic, queue, &begin, &end);

	*out = to->start == ALM_START_BEGIN ? begin : to->start == ALM_START_END ? end : to->value;
	if (status == ALM_OK && to->start == ALM_START_TIME) {
		status = alm_offset_at(client, topic, queue, to->value, out);
		if (status == ALM_ENOTFOUND || status == ALM_EOFFSET) { /* nothing that late */
			*out = end;
			status = ALM_OK;
		}
	}
	if (status != ALM_OK)
		return session_fail(c, client, status, "%s queue %u", topic, queue);
	if (*out < begin)
		*out = begin;
	if (*out > end)
		*out = end;
	return RC_OK;
}

static int
reset_queue(struct call *c, struct alm_client *client, uint32_t queue, const struct place *to,
    json_t *rows)
{
	const char *group = c->args[0], *topic = c->args[1];
	uint64_t old = 0, target = 0;
	int status, rc = place_offset(c, client, topic, queue, to, &target);
	json_t *row;

	if (rc != RC_OK)
		return rc;
	status = alm_committed(client, group, topic, queue, &old);
	if (status != ALM_OK && status != ALM_ENOTFOUND)
		return session_fail(c, client, status, "committed offset of %s queue %u", topic, queue);
	row = json_pack("{s:s,s:s,s:I,s:I,s:b}", "group", group, "topic", topic, "queue",
	    (json_int_t)queue, "new", (json_int_t)target, "done", c->yes);
	json_object_set_new(row, "old", status == ALM_OK ? json_integer((json_int_t)old) : json_null());
	json_array_append_new(rows, row);
	if (!c->yes)
		return RC_OK;
	status = alm_commit(client, group, topic, queue, target);
	return status == ALM_OK ? RC_OK : session_fail(c, client, status, "%s queue %u", topic, queue);
}

int
cmd_group_reset(struct call *c)
{
	static const struct col cols[] = {{"topic", "TOPIC", COL_TEXT}, {"queue", "QUEUE", COL_NUM},
	    {"old", "OLD", COL_NUM}, {"new", "NEW", COL_NUM}, {"done", "DONE", COL_TEXT}};
	struct alm_client *client = NULL;
	uint32_t first = 0, last;
	json_t *rows = json_array();
	struct alm_topic t = {0};
	struct place to;
	int rc = parse_place(c, "to", opt_text(c, "to"), &to);

	if (rc == RC_OK && opt_given(c, "queue"))
		rc = queue_number(c, opt_text(c, "queue"), &first);
	if (rc == RC_OK)
		rc = session_open(c, &client);
	if (rc == RC_OK)
		rc = need_topic(c, client, c->args[1], &t);
	last = opt_given(c, "queue") ? first + 1 : t.queues;
	if (rc == RC_OK && last > t.queues)
		rc = fail(c, RC_USAGE, "topic %s has no queue %u: it has %u", c->args[1], first, t.queues);
	for (uint32_t q = first; rc == RC_OK && q < last; q++)
		rc = reset_queue(c, client, q, &to, rows);
	if (rc == RC_OK || json_array_size(rows) > 1)
		out_rows(c->out, cols, 5, json_incref(rows));
	if (rc == RC_OK && !c->yes)
		note(c, "nothing was changed: give -y to do it");
	json_decref(rows);
	alm_close(client);
	return rc;
}
