/* ctl/cmd_topic.c - topics. */
#include <config.h>

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/session.h"

static json_t *
topic_json(const char *name, const struct alm_topic *t)
{
	return json_pack("{s:s,s:I,s:I,s:s,s:I,s:I,s:I,s:I}", "topic", name, "id", (json_int_t)t->id,
	    "queues", (json_int_t)t->queues, "durability",
	    t->durability == ALM_DURABLE_RELAXED ? "relaxed" : "strict", "retention_bytes",
	    (json_int_t)t->retention_bytes, "retention_time", (json_int_t)t->retention_time,
	    "max_message", (json_int_t)t->max_message, "created", (json_int_t)t->created);
}

static const struct col topic_cols[] = {{"topic", "TOPIC", COL_TEXT}, {"id", "ID", COL_NUM},
    {"queues", "QUEUES", COL_NUM}, {"durability", "DURABILITY", COL_TEXT},
    {"retention_bytes", "MAX BYTES", COL_LIMIT_SIZE}, {"retention_time", "MAX AGE", COL_LIMIT_DURATION},
    {"max_message", "MAX MESSAGE", COL_LIMIT_SIZE}, {"created", "CREATED", COL_TIME}};
#define N_TOPIC_COLS 8u

/* Change t as the options say; those not given leave it alone. RC_*. */
static int
apply_options(const struct call *c, struct alm_topic *t)
{
	if (opt_given(c, "queues")) {
		int64_t n = opt_num(c, "queues");

		if (n < 1 || n > ALM_QUEUES_MAX)
			return fail(c, RC_USAGE, "option --queues: %" PRId64 " is not 1 to %u", n,
			    ALM_QUEUES_MAX);
		t->queues = (uint32_t)n;
	}
	if (opt_given(c, "max-message")) {
		int64_t n = opt_num(c, "max-message");

		if (n > ALM_MESSAGE_MAX)
			return fail(c, RC_USAGE, "option --max-message: above the limit of %u bytes",
			    ALM_MESSAGE_MAX);
		t->max_message = (uint32_t)n;
	}
	if (opt_given(c, "retention-bytes"))
		t->retention_bytes = (uint64_t)opt_num(c, "retention-bytes");
	if (opt_given(c, "retention-time"))
		t->retention_time = (uint64_t)opt_num(c, "retention-time");
	if (opt_given(c, "durability"))
		t->durability = strcmp(opt_text(c, "durability"), "relaxed") == 0 ? ALM_DURABLE_RELAXED
										  : ALM_DURABLE_STRICT;
	return RC_OK;
}

static int
show_changed(struct call *c, struct alm_client *client, const char *name, const char *verb)
{
	struct alm_topic t;
	int rc = need_topic(c, client, name, &t);

	if (rc == RC_OK)
		say_done(c, topic_json(name, &t), "%s topic %s: %u queue%s, %s", verb, name, t.queues,
		    t.queues == 1 ? "" : "s", t.durability == ALM_DURABLE_RELAXED ? "relaxed" : "strict");
	return rc;
}

int
cmd_topic_create(struct call *c)
{
	const char *name = c->args[0];
	struct alm_topic t = {.version = 1};
	struct alm_client *client = NULL;
	int status, rc = apply_options(c, &t);

	if (rc == RC_OK)
		rc = session_open(c, &client);
	if (rc != RC_OK)
		return rc;
	status = alm_topic_create(client, name, &t);
	if (status == ALM_OK)
		rc = show_changed(c, client, name, "created");
	else if (status == ALM_EEXIST && opt_given(c, "if-not-exists"))
		rc = show_changed(c, client, name, "kept");
	else
		rc = session_fail(c, client, status, "topic \"%s\" was not created", name);
	alm_close(client);
	return rc;
}

int
cmd_topic_alter(struct call *c)
{
	const char *name = c->args[0];
	struct alm_client *client = NULL;
	struct alm_topic t;
	int status, rc = session_open(c, &client);

	if (rc != RC_OK)
		return rc;
	rc = need_topic(c, client, name, &t);
	if (rc == RC_OK)
		rc = apply_options(c, &t);
	if (rc == RC_OK) {
		status = alm_topic_alter(client, name, &t);
		rc = status == ALM_OK ? show_changed(c, client, name, "altered")
				      : session_fail(c, client, status, "topic \"%s\" was not altered", name);
	}
	alm_close(client);
	return rc;
}

struct listing {
	json_t *rows;
	const char *pattern; /* NULL: all */
};

static int
add_topic(void *arg, const char *topic, const struct alm_topic *t)
{
	struct listing *l = arg;

	if (l->pattern == NULL || fnmatch(l->pattern, topic, 0) == 0)
		json_array_append_new(l->rows, topic_json(topic, t));
	return 0;
}

int
cmd_topic_list(struct call *c)
{
	struct listing l = {.rows = json_array(), .pattern = c->n_args > 0 ? c->args[0] : NULL};
	struct alm_client *client = NULL;
	int status, rc = session_open(c, &client);

	if (rc == RC_OK) {
		status = alm_topic_list(client, add_topic, &l);
		if (status == ALM_OK)
			out_rows(c->out, topic_cols, N_TOPIC_COLS, json_incref(l.rows));
		else
			rc = session_fail(c, client, status, "topics could not be listed");
	}
	json_decref(l.rows);
	alm_close(client);
	return rc;
}

int
cmd_topic_describe(struct call *c)
{
	static const struct col queue_cols[] = {{"queue", "QUEUE", COL_NUM}, {"begin", "BEGIN", COL_NUM},
	    {"end", "END", COL_NUM}, {"messages", "MESSAGES", COL_NUM}};
	const char *name = c->args[0];
	struct alm_client *client = NULL;
	json_t *queues = json_array(), *obj;
	uint64_t begin, end, sum = 0;
	struct alm_topic t = {0};
	int status, rc = session_open(c, &client);

	if (rc == RC_OK)
		rc = need_topic(c, client, name, &t);
	for (uint32_t q = 0; rc == RC_OK && q < t.queues; q++) {
		status = alm_bounds(client, name, q, &begin, &end);
		if (status != ALM_OK) {
			rc = session_fail(c, client, status, "bounds of queue %u", q);
			break;
		}
		sum += end - begin;
		json_array_append_new(queues,
		    json_pack("{s:I,s:I,s:I,s:I}", "queue", (json_int_t)q, "begin", (json_int_t)begin, "end",
			(json_int_t)end, "messages", (json_int_t)(end - begin)));
	}
	if (rc == RC_OK) {
		obj = topic_json(name, &t);
		json_object_set_new(obj, "messages", json_integer((json_int_t)sum));
		json_object_set(obj, "bounds", queues);
		out_object(c->out, topic_cols, N_TOPIC_COLS, obj, "bounds", queue_cols, 4);
	}
	json_decref(queues);
	alm_close(client);
	return rc;
}

int
cmd_topic_delete(struct call *c)
{
	return delete_each(c, "topic", "with its messages", alm_topic_delete);
}
