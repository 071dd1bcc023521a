/* ctl/cmd_pub.c - publish.
 *
 * Messages go out through the client's batches; at most --in-flight of them are unanswered.  Each
 * is counted when its ack comes, so the summary says what is stored, not what was sent.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/progress.h"
#include "contrib/ctl/session.h"

#define PROPERTIES_MAX 64u

struct publisher {
	struct call *c;
	struct alm_client *client;
	struct alm_pub pub;
	struct alm_property props[PROPERTIES_MAX];
	struct progress progress;
	uint64_t started, in_flight, rate;
	uint64_t sent, acked, failed, duplicates, bytes;
	uint64_t last_answer;   /* monotonic */
	int first_status;       /* of the first failure */
	char first_detail[256];
	json_t *queues;         /* {queue number: row} */
	int stream;             /* -v: a row for each message */
};

/* ---- answers ----------------------------------------------------------------------------------- */

static void
count_queue(struct publisher *p, const struct alm_ack *a)
{
	char name[16];
	json_t *row;

	if (a->queue == ALM_QUEUE_ANY || a->offset == UINT64_MAX)
		return;
	(void)snprintf(name, sizeof name, "%u", a->queue);
	row = json_object_get(p->queues, name);
	if (row == NULL) {
		row = json_pack("{s:I,s:I,s:I,s:I}", "queue", (json_int_t)a->queue, "messages", (json_int_t)0,
		    "first_offset", (json_int_t)a->offset, "last_offset", (json_int_t)a->offset);
		json_object_set_new(p->queues, name, row);
	}
	json_integer_set(json_object_get(row, "messages"),
	    json_integer_value(json_object_get(row, "messages")) + 1);
	json_integer_set(json_object_get(row, "last_offset"), (json_int_t)a->offset);
}

static void
on_ack(void *arg, const struct alm_ack *a)
{
	struct publisher *p = arg;

	p->last_answer = clock_mono();
	if (a->status != ALM_OK) {
		if (p->failed++ == 0) {
			p->first_status = a->status;
			(void)snprintf(p->first_detail, sizeof p->first_detail, "%s",
			    a->detail[0] != 0 ? a->detail : alm_status_text(a->status));
		}
		return;
	}
	p->acked++;
	p->duplicates += a->duplicate;
	count_queue(p, a);
	if (p->stream)
		out_stream_row(p->c->out,
		    json_pack("{s:I,s:I,s:I,s:b}", "queue", (json_int_t)a->queue, "offset",
			(json_int_t)a->offset, "position", (json_int_t)a->position, "duplicate",
			(int)a->duplicate));
	progress_set(&p->progress, p->acked);
}

static uint64_t
unanswered(const struct publisher *p)
{
	return p->sent - p->acked - p->failed;
}

/* Let answers come until at most most messages are unanswered. RC_*. */
static int
drain(struct publisher *p, uint64_t most)
{
	while (unanswered(p) > most) {
		int status = alm_poll(p->client, 100);

		if (status != ALM_OK)
			return session_fail(p->c, p->client, status, "publishing stopped");
		if (clock_mono() - p->last_answer > (uint64_t)p->c->timeout_us)
			return fail_status(p->c, ALM_ETIMEOUT,
			    "no answer for %" PRId64 " ms with %" PRIu64 " messages sent: %s",
			    p->c->timeout_us / 1000, unanswered(p), alm_error(p->client));
	}
	return RC_OK;
}

/* ---- sending ----------------------------------------------------------------------------------- */

/* Wait until message number sent is due by --rate. */
static void
pace(struct publisher *p)
{
	uint64_t due, now;

	if (p->rate == 0)
		return;
	due = p->started + (uint64_t)((unsigned __int128)p->sent * 1000000 / p->rate);
	while (!session_stop && (now = clock_mono()) < due)
		(void)alm_poll(p->client, (int)((due - now + 999) / 1000));
}

static int
send_one(struct publisher *p, const void *body, uint64_t len)
{
	int status, rc;

	pace(p);
	p->pub.body.data = body;
	p->pub.body.len = len;
	if (unanswered(p) == 0)
		p->last_answer = clock_mono();
	while ((status = alm_publish_async(p->client, &p->pub, on_ack, p)) == ALM_EAGAIN) {
		rc = drain(p, unanswered(p) > 0 ? unanswered(p) - 1 : 0);
		if (rc != RC_OK)
			return rc;
	}
	if (status != ALM_OK)
		return session_fail(p->c, p->client, status, "message %" PRIu64, p->sent + 1);
	p->sent++;
	p->bytes += len;
	if (unanswered(p) >= p->in_flight)
		return drain(p, p->in_flight - 1);
	return (p->sent & 63) == 0 ? drain(p, UINT64_MAX) : RC_OK;
}

static int
send_lines(struct publisher *p, const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int rc = RC_OK;

	if (f == NULL)
		return fail(p->c, RC_FAILED, "could not read %s: %s", path, strerror(errno));
	while (rc == RC_OK && !session_stop && (n = getline(&line, &cap, f)) >= 0) {
		if (n > 0 && line[n - 1] == '\n')
			n--;
		rc = send_one(p, line, (uint64_t)n);
	}
	if (rc == RC_OK && ferror(f) && !session_stop)
		rc = fail(p->c, RC_FAILED, "could not read %s: %s", path, strerror(errno));
	free(line);
	if (f != stdin)
		fclose(f);
	return rc;
}

static int
send_file(struct publisher *p, const char *path)
{
	struct buf b = {0};
	uint8_t part[65536];
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = RC_OK;

	if (fd < 0)
		return fail(p->c, RC_FAILED, "could not read %s: %s", path, strerror(errno));
	while (b.len <= ALM_MESSAGE_MAX && (n = read(fd, part, sizeof part)) > 0)
		if (buf_put(&b, part, (uint64_t)n) != ALM_OK) {
			n = -1;
			errno = ENOMEM;
			break;
		}
	if (n < 0)
		rc = fail(p->c, RC_FAILED, "could not read %s: %s", path, strerror(errno));
	else if (b.len > ALM_MESSAGE_MAX)
		rc = fail_status(p->c, ALM_ETOOBIG, "%s is over the limit of %u bytes for a message", path,
		    ALM_MESSAGE_MAX);
	else
		rc = send_one(p, b.len > 0 ? (const void *)b.data : "", b.len);
	close(fd);
	buf_free(&b);
	return rc;
}

/* One pass over all that the command line names. */
static int
send_all(struct publisher *p)
{
	struct call *c = p->c;
	int rc = RC_OK;

	for (uint32_t i = 1; rc == RC_OK && !session_stop && i < c->n_args; i++)
		rc = strcmp(c->args[i], "-") == 0 ? send_lines(p, "-")
						  : send_one(p, c->args[i], strlen(c->args[i]));
	for (uint32_t i = 0; rc == RC_OK && !session_stop && i < opt_count(c, "file"); i++)
		rc = send_file(p, opt_nth(c, "file", i));
	if (rc == RC_OK && !session_stop && opt_given(c, "lines"))
		rc = send_lines(p, opt_text(c, "lines"));
	if (rc == RC_OK && c->n_args == 1 && !opt_given(c, "file") && !opt_given(c, "lines"))
		rc = send_lines(p, "-");
	return rc;
}

/* ---- the command ------------------------------------------------------------------------------- */

static int
set_message(struct publisher *p)
{
	struct call *c = p->c;
	const char *key = opt_text(c, "key"), *tag = opt_text(c, "tag");

	p->pub.size = sizeof p->pub;
	p->pub.topic = c->args[0];
	p->pub.queue = ALM_QUEUE_ANY;
	if (key != NULL)
		p->pub.key = (struct alm_slice){key, strlen(key)};
	if (tag != NULL)
		p->pub.tag = (struct alm_slice){tag, strlen(tag)};
	for (uint32_t i = 0; i < opt_count(c, "property"); i++) {
		const char *text = opt_nth(c, "property", i), *eq = strchr(text, '=');

		if (eq == NULL || eq == text)
			return fail(c, RC_USAGE, "option --property: \"%s\" is not NAME=VALUE", text);
		if (i == PROPERTIES_MAX)
			return fail(c, RC_USAGE, "more than %u properties", PROPERTIES_MAX);
		p->props[i].name = (struct alm_slice){text, (uint64_t)(eq - text)};
		p->props[i].value = (struct alm_slice){eq + 1, strlen(eq + 1)};
	}
	p->pub.properties = p->props;
	p->pub.n_properties = opt_count(c, "property");
	return opt_given(c, "queue") ? queue_number(c, opt_text(c, "queue"), &p->pub.queue) : RC_OK;
}

static int
check_usage(const struct call *c)
{
	int stream = c->n_args == 1 && !opt_given(c, "file") && !opt_given(c, "lines");

	for (uint32_t i = 1; i < c->n_args; i++)
		stream |= strcmp(c->args[i], "-") == 0;
	stream |= opt_given(c, "lines") && strcmp(opt_text(c, "lines"), "-") == 0;
	if (stream && opt_given(c, "count"))
		return fail(c, RC_USAGE, "option --count repeats messages, which stdin cannot: give them as "
					 "arguments, --lines FILE or --file");
	if (opt_num(c, "batch") < 1 || opt_num(c, "in-flight") < 1)
		return fail(c, RC_USAGE, "options --batch and --in-flight are at least 1");
	return RC_OK;
}

static int
connect_publisher(struct publisher *p)
{
	char servers[4096];
	struct alm_options o;
	int64_t linger = opt_num(p->c, "linger"), batch = opt_num(p->c, "batch");
	int status;

	session_options(p->c, &o, servers, sizeof servers);
	o.linger_us = linger > 60000000 ? 60000000 : (uint32_t)linger;
	o.batch_messages = batch > 65536 ? 65536 : (uint32_t)batch;
	status = alm_connect(&o, &p->client);
	if (status == ALM_OK)
		return RC_OK;
	(void)fail_status(p->c, status, "%s", alm_error(NULL));
	return RC_UNAVAILABLE;
}

static int
by_queue(const void *a, const void *b)
{
	json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "queue"));
	json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "queue"));

	return x < y ? -1 : x > y;
}

static json_t *
queue_rows(const struct publisher *p)
{
	size_t n = json_object_size(p->queues), i = 0;
	json_t **rows = calloc(n + 1, sizeof(json_t *)), *list = json_array(), *row;
	const char *key;

	if (rows != NULL) {
		json_object_foreach (p->queues, key, row) {
			rows[i++] = row;
		}
		qsort(rows, n, sizeof rows[0], by_queue);
		for (i = 0; i < n; i++)
			json_array_append(list, rows[i]);
	}
	free(rows);
	return list;
}

/* What was published; nothing for people if that is nothing because it failed. */
static void
report(struct publisher *p, int rc)
{
	double seconds = (double)(clock_mono() - p->started) / 1e6;
	json_t *queues = queue_rows(p), *first = json_array_get(queues, 0), *obj;
	char where[96] = "";

	if (p->stream) {
		out_stream_end(p->c->out);
		note(p->c, "published %" PRIu64 " message%s to %s", p->acked, p->acked == 1 ? "" : "s",
		    p->pub.topic);
		json_decref(queues);
		return;
	}
	if (json_array_size(queues) == 1)
		(void)snprintf(where, sizeof where,
		    " (queue %" JSON_INTEGER_FORMAT ", last offset %" JSON_INTEGER_FORMAT ")",
		    json_integer_value(json_object_get(first, "queue")),
		    json_integer_value(json_object_get(first, "last_offset")));
	else if (json_array_size(queues) > 1)
		(void)snprintf(where, sizeof where, " (%zu queues)", json_array_size(queues));
	obj = json_pack("{s:s,s:I,s:I,s:I,s:I,s:f,s:o}", "topic", p->pub.topic, "published",
	    (json_int_t)p->acked, "failed", (json_int_t)p->failed, "duplicates", (json_int_t)p->duplicates,
	    "bytes", (json_int_t)p->bytes, "seconds", seconds, "queues", queues);
	if (rc != RC_OK && p->acked == 0 && out_get_mode(p->c->out) == OUT_TABLE)
		json_decref(obj);
	else
		say_done(p->c, obj, "published %" PRIu64 " message%s to %s%s", p->acked,
		    p->acked == 1 ? "" : "s", p->pub.topic, where);
}

static int
verdict(const struct publisher *p, int rc)
{
	if (rc != RC_OK)
		return p->acked > 0 ? RC_PARTLY : rc;
	if (p->failed > 0) {
		rc = p->sent == 1
		    ? fail_status(p->c, p->first_status, "the message was refused: %s", p->first_detail)
		    : fail_status(p->c, p->first_status, "%" PRIu64 " of %" PRIu64 " messages were refused: %s",
			  p->failed, p->sent, p->first_detail);
		return p->acked > 0 ? RC_PARTLY : rc;
	}
	return session_stop ? RC_PARTLY : RC_OK;
}

int
cmd_pub(struct call *c)
{
	static const struct col cols[] = {{"queue", "QUEUE", COL_NUM}, {"offset", "OFFSET", COL_NUM},
	    {"position", "POSITION", COL_NUM}, {"duplicate", "DUPLICATE", COL_TEXT}};
	struct publisher p = {.c = c, .stream = c->verbose, .rate = (uint64_t)opt_num(c, "rate"),
	    .in_flight = (uint64_t)opt_num(c, "in-flight")};
	int64_t passes = opt_num(c, "count");
	struct alm_topic t;
	int rc = check_usage(c);

	if (rc == RC_OK)
		rc = set_message(&p);
	if (rc == RC_OK)
		rc = connect_publisher(&p);
	if (rc != RC_OK)
		return rc;
	session_catch_signals();
	/* Known topics fail early and with a suggestion; others may be created by the first message. */
	if (alm_topic_get(p.client, p.pub.topic, &t) == ALM_OK && p.pub.queue != ALM_QUEUE_ANY &&
	    p.pub.queue >= t.queues) {
		alm_close(p.client);
		return fail(c, RC_USAGE, "topic %s has no queue %u: it has %u", p.pub.topic, p.pub.queue,
		    t.queues);
	}
	p.queues = json_object();
	p.started = p.last_answer = clock_mono();
	progress_begin(&p.progress, c, p.pub.topic, "messages", 0);
	if (p.stream)
		out_stream_begin(c->out, cols, 4);
	for (int64_t i = 0; rc == RC_OK && !session_stop && i < passes; i++)
		rc = send_all(&p);
	(void)alm_push(p.client);
	if (rc == RC_OK)
		rc = drain(&p, 0);
	progress_end(&p.progress);
	report(&p, rc != RC_OK || p.failed > 0 ? RC_FAILED : RC_OK);
	rc = verdict(&p, rc);
	json_decref(p.queues);
	alm_close(p.client);
	return rc;
}
