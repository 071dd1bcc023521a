/* ctl/cmd_bench.c - bench pub, sub, e2e: start the workers, watch, report.
 *
 * Loss is what was acked and never delivered; it is counted after the receivers have had time to
 * catch up.  Exit code 1 if anything was lost, delivered twice or out of order.
 */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/random.h>

#include "contrib/ctl/bench.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/progress.h"
#include "contrib/ctl/session.h"

#define CATCH_UP_US 5000000u /* wait for outstanding deliveries while none comes */
#define CONNECTIONS_MAX 4096u

static const char *const percentile_keys[] = {"p50", "p90", "p99", "p99.9", "p99.99"};
static const double percentiles[] = {50, 90, 99, 99.9, 99.99};

json_t *
hist_json(const struct hist *h)
{
	json_t *obj = json_pack("{s:I,s:I}", "count", (json_int_t)h->count, "mean",
	    (json_int_t)(h->count > 0 ? h->sum / h->count : 0));

	for (unsigned i = 0; i < 5; i++)
		json_object_set_new(obj, percentile_keys[i],
		    json_integer((json_int_t)hist_at(h, percentiles[i])));
	json_object_set_new(obj, "max", json_integer((json_int_t)h->max));
	return obj;
}

/* ---- set-up -------------------------------------------------------------------------------------- */

int
bench_connect(struct bench *b, uint64_t linger_us, struct alm_client **out, char *why, uint32_t cap)
{
	char servers[4096];
	struct alm_options o;
	int status;

	session_options(b->c, &o, servers, sizeof servers);
	o.linger_us = linger_us > 60000000 ? 60000000u : (uint32_t)linger_us;
	o.max_buffered = UINT64_C(256) << 20;
	status = alm_connect(&o, out);
	if (status != ALM_OK)
		(void)snprintf(why, cap, "%s", alm_error(NULL));
	return status;
}

static int
find_topic(struct bench *b, int may_create)
{
	struct alm_topic want = {.version = 1, .queues = (uint32_t)opt_num(b->c, "queues")};
	struct alm_client *client = NULL;
	int status, rc = session_open(b->c, &client);

	if (rc != RC_OK)
		return rc;
	status = alm_topic_get(client, b->topic, &b->settings);
	if (status == ALM_ENOTFOUND && may_create) {
		status = alm_topic_create(client, b->topic, &want);
		if (status == ALM_OK) {
			b->created = 1;
			status = alm_topic_get(client, b->topic, &b->settings);
		}
	}
	if (status != ALM_OK)
		rc = session_fail(b->c, client, status, "topic \"%s\"", b->topic);
	b->queues = b->settings.queues > 0 ? b->settings.queues : 1;
	alm_close(client);
	return rc;
}

int
bench_prepare(struct bench *b, struct call *c, int may_create)
{
	b->c = c;
	b->topic = c->args[0];
	b->connections = (uint32_t)opt_num(c, "connections");
	b->limit = (uint64_t)opt_num(c, "count");
	if (opt_num(c, "connections") < 1 || opt_num(c, "connections") > CONNECTIONS_MAX)
		return fail(c, RC_USAGE, "option --connections: 1 to %u", CONNECTIONS_MAX);
	if (opt_num(c, "queues") > ALM_QUEUES_MAX)
		return fail(c, RC_USAGE, "option --queues: at most %u", ALM_QUEUES_MAX);
	if (may_create) {
		b->size = (uint64_t)opt_num(c, "size");
		b->in_flight = (uint64_t)opt_num(c, "in-flight");
		b->rate = (uint64_t)opt_num(c, "rate");
		b->linger_us = (uint64_t)opt_num(c, "linger");
		if (b->in_flight < 1 || b->in_flight > 1000000)
			return fail(c, RC_USAGE, "option --in-flight: 1 to 1000000");
		if (b->size > ALM_MESSAGE_MAX)
			return fail(c, RC_USAGE, "option --size: at most %u", ALM_MESSAGE_MAX);
	}
	if (getrandom(&b->run, sizeof b->run, 0) != sizeof b->run)
		b->run = clock_wall();
	session_catch_signals();
	return find_topic(b, may_create);
}

void
bench_cleanup(struct bench *b)
{
	struct alm_client *client = NULL;

	if (!b->created || opt_given(b->c, "keep") || session_open(b->c, &client) != RC_OK)
		return;
	(void)alm_topic_delete(client, b->topic);
	alm_close(client);
}

/* ---- watching ------------------------------------------------------------------------------------ */

static void
nap(void)
{
	struct timespec t = {.tv_nsec = 20000000};

	(void)nanosleep(&t, NULL);
}

/* Until the senders are through: by time, by count, or ^C. */
static void
watch_senders(struct bench *b, const struct sender *all)
{
	uint64_t span = b->until == UINT64_MAX ? 0 : b->until - b->started, busy;
	struct progress p;

	progress_begin(&p, b->c, "bench", "messages", b->limit);
	do {
		nap();
		progress_set(&p, atomic_load(&b->acked_now));
		busy = 0;
		for (uint32_t i = 0; i < b->connections; i++)
			busy += __atomic_load_n(&all[i].finished, __ATOMIC_RELAXED) == 0;
		if (session_stop)
			atomic_store(&b->stop, 1);
	} while (busy > 0 && (span == 0 || clock_mono() < b->until + 3 * CATCH_UP_US));
	progress_end(&p);
}

/* Until the receivers have as many as were acked, or nothing has come for a while. */
static void
watch_receivers(struct bench *b, uint64_t want)
{
	uint64_t have, before = 0, since = clock_mono();
	struct progress p;

	progress_begin(&p, b->c, "bench", "messages", want);
	while (!session_stop && (have = atomic_load(&b->received_now)) < want) {
		if (have != before) {
			before = have;
			since = clock_mono();
		} else if (clock_mono() - since > CATCH_UP_US) {
			break;
		}
		progress_set(&p, have);
		nap();
	}
	progress_end(&p);
}

/* ---- results ------------------------------------------------------------------------------------- */

struct result {
	uint64_t sent, acked, failed, duplicates, lost, doubled, disordered, received, bytes;
	double seconds, receive_seconds;
	struct hist *publish, *delay, *deliver;
	const char *why;
};

static json_t *
lane_json(const char *name, uint64_t n, uint64_t bytes, double seconds, const struct hist *h)
{
	json_t *row = hist_json(h);

	json_object_set_new(row, "lane", json_string(name));
	json_object_set_new(row, "messages", json_integer((json_int_t)n));
	json_object_set_new(row, "rate", json_integer((json_int_t)((double)n / seconds)));
	json_object_set_new(row, "bytes_rate", json_integer((json_int_t)((double)bytes / seconds)));
	return row;
}

static const struct col lane_cols[] = {{"lane", "", COL_TEXT}, {"rate", "MSGS/S", COL_NUM},
    {"bytes_rate", "BYTES/S", COL_SIZE}, {"mean", "MEAN", COL_DURATION}, {"p50", "P50", COL_DURATION},
    {"p90", "P90", COL_DURATION}, {"p99", "P99", COL_DURATION}, {"p99.9", "P99.9", COL_DURATION},
    {"p99.99", "P99.99", COL_DURATION}, {"max", "MAX", COL_DURATION}};

/* bench pub shows the first part, e2e all. */
static const struct col head_cols[] = {{"bench", "BENCH", COL_TEXT}, {"topic", "TOPIC", COL_TEXT},
    {"connections", "CONNECTIONS", COL_NUM}, {"size", "SIZE", COL_SIZE}, {"seconds", "SECONDS", COL_NUM},
    {"acked", "ACKED", COL_NUM}, {"failed", "FAILED", COL_NUM},
    {"received", "RECEIVED", COL_NUM}, {"lost", "LOST", COL_NUM},
    {"duplicates", "DUPLICATES", COL_NUM}, {"out_of_order", "OUT OF ORDER", COL_NUM}};
#define HEAD_PUB 7u
#define HEAD_ALL (sizeof head_cols / sizeof head_cols[0])

static const struct col read_cols[] = {{"bench", "BENCH", COL_TEXT}, {"topic", "TOPIC", COL_TEXT},
    {"connections", "CONNECTIONS", COL_NUM}, {"seconds", "SECONDS", COL_NUM},
    {"received", "RECEIVED", COL_NUM}, {"lost", "MISSING", COL_NUM}};

/* Reading what is stored has a rate and no latency. */
#define LANES_READ 3u

static void
report(struct bench *b, const char *kind, const struct result *r)
{
	json_t *lanes = json_array(), *obj;

	if (r->publish != NULL) {
		json_array_append_new(lanes,
		    lane_json("publish", r->acked, r->acked * b->size, r->seconds, r->publish));
		json_array_append_new(lanes,
		    lane_json("send delay", r->sent, r->sent * b->size, r->seconds, r->delay));
	}
	if (r->deliver != NULL)
		json_array_append_new(lanes,
		    lane_json(r->publish != NULL ? "end to end" : "read", r->received, r->bytes,
			r->receive_seconds, r->deliver));
	obj = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "bench", kind,
	    "topic", b->topic, "connections", (json_int_t)b->connections, "queues", (json_int_t)b->queues,
	    "size", (json_int_t)b->size, "scheduled_rate", (json_int_t)b->rate, "seconds", r->seconds,
	    "sent", (json_int_t)r->sent, "acked", (json_int_t)r->acked, "failed", (json_int_t)r->failed,
	    "received", (json_int_t)r->received, "lost", (json_int_t)r->lost, "duplicates",
	    (json_int_t)r->doubled, "out_of_order", (json_int_t)r->disordered, "lanes", lanes);
	if (b->size > 0)
		json_object_set_new(obj, "in_flight", json_integer((json_int_t)b->in_flight));
	json_object_set_new(obj, "stored_before", json_integer((json_int_t)r->duplicates));
	if (r->publish == NULL)
		out_object(b->c->out, read_cols, 6, obj, "lanes", lane_cols, LANES_READ);
	else
		out_object(b->c->out, head_cols, r->deliver != NULL ? HEAD_ALL : HEAD_PUB, obj, "lanes",
		    lane_cols, sizeof lane_cols / sizeof lane_cols[0]);
}

static void
sum_senders(struct bench *b, struct sender *all, struct result *r)
{
	uint64_t last = b->started + 1;

	for (uint32_t i = 0; i < b->connections; i++) {
		r->sent += all[i].sent;
		r->acked += all[i].acked;
		r->failed += all[i].failed + (all[i].sent - all[i].acked - all[i].failed);
		r->duplicates += all[i].duplicates;
		hist_merge(r->publish, &all[i].latency);
		hist_merge(r->delay, &all[i].delay);
		if (all[i].finished > last)
			last = all[i].finished;
		if (all[i].why[0] != 0)
			r->why = all[i].why;
	}
	r->seconds = (double)(last - b->started) / 1e6;
}

static void
sum_receivers(struct receiver *all, uint32_t n, struct result *r)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (uint32_t i = 0; i < n; i++) {
		r->received += all[i].received;
		r->bytes += all[i].bytes;
		r->doubled += all[i].duplicates;
		r->disordered += all[i].out_of_order;
		hist_merge(r->deliver, &all[i].latency);
		if (all[i].first != 0 && all[i].first < first)
			first = all[i].first;
		if (all[i].last > last)
			last = all[i].last;
		if (all[i].why[0] != 0)
			r->why = all[i].why;
	}
	r->receive_seconds = last > first ? (double)(last - first) / 1e6 : 1e-6;
}

static int
verdict(const struct bench *b, const struct result *r)
{
	if (r->why != NULL)
		note(b->c, "%s", r->why);
	if (r->failed > 0)
		return r->acked > 0 ? RC_PARTLY : RC_FAILED;
	return r->lost + r->doubled + r->disordered > 0 || r->why != NULL ? RC_FAILED : RC_OK;
}

static int
result_init(struct result *r)
{
	r->publish = calloc(3, sizeof(struct hist));
	if (r->publish == NULL)
		return ALM_ENOMEM;
	r->delay = r->publish + 1;
	r->deliver = r->publish + 2;
	return ALM_OK;
}

/* ---- commands ------------------------------------------------------------------------------------ */

int
cmd_bench_pub(struct call *c)
{
	struct bench b = {0};
	struct result r = {0};
	struct hist *memory;
	struct sender *all = NULL;
	int rc = bench_prepare(&b, c, 1);

	if (rc != RC_OK)
		return rc;
	all = calloc(b.connections, sizeof *all);
	if (all == NULL || result_init(&r) != ALM_OK) {
		rc = fail(c, RC_FAILED, "out of memory");
	} else {
		rc = senders_start(&b, all);
		if (rc == RC_OK)
			watch_senders(&b, all);
		atomic_store(&b.stop, 1);
		senders_join(&b, all);
	}
	memory = r.publish;
	if (rc == RC_OK) {
		sum_senders(&b, all, &r);
		r.deliver = NULL;
		report(&b, "pub", &r);
		rc = verdict(&b, &r);
	}
	bench_cleanup(&b);
	free(memory);
	free(all);
	return rc;
}

static int
run_e2e(struct bench *b, struct sender *senders, struct receiver *receivers, uint32_t n,
    struct result *r)
{
	int rc = receivers_start(b, receivers, n, ALM_START_END, b->connections);

	if (rc == RC_OK)
		rc = senders_start(b, senders);
	if (rc == RC_OK)
		watch_senders(b, senders);
	atomic_store(&b->stop, 1);
	senders_join(b, senders);
	if (rc == RC_OK) {
		sum_senders(b, senders, r);
		watch_receivers(b, r->acked);
	}
	atomic_store(&b->end, 1);
	receivers_join(receivers, n);
	if (rc == RC_OK) {
		sum_receivers(receivers, n, r);
		r->lost = r->acked > r->received ? r->acked - r->received : 0;
		report(b, "e2e", r);
		rc = verdict(b, r);
	}
	return rc;
}

int
cmd_bench_e2e(struct call *c)
{
	struct bench b = {0};
	struct result r = {0};
	struct sender *senders = NULL;
	struct receiver *receivers = NULL;
	uint32_t n;
	int rc;

	if (opt_num(c, "size") < (int64_t)sizeof(struct bench_head))
		return fail(c, RC_USAGE, "option --size: e2e needs %zu bytes for its marks",
		    sizeof(struct bench_head));
	rc = bench_prepare(&b, c, 1);
	if (rc != RC_OK)
		return rc;
	n = b.connections < b.queues ? b.connections : b.queues;
	senders = calloc(b.connections, sizeof *senders);
	receivers = calloc(n, sizeof *receivers);
	if (senders == NULL || receivers == NULL || result_init(&r) != ALM_OK)
		rc = fail(c, RC_FAILED, "out of memory");
	else
		rc = run_e2e(&b, senders, receivers, n, &r);
	if (receivers != NULL)
		receivers_free(receivers, n, b.connections);
	bench_cleanup(&b);
	free(r.publish);
	free(senders);
	free(receivers);
	return rc;
}

/* Messages held by the topic now. */
static int
count_messages(struct bench *b, uint64_t *out)
{
	struct alm_client *client = NULL;
	uint64_t begin, end;
	int status, rc = session_open(b->c, &client);

	*out = 0;
	for (uint32_t q = 0; rc == RC_OK && q < b->queues; q++) {
		status = alm_bounds(client, b->topic, q, &begin, &end);
		if (status != ALM_OK)
			rc = session_fail(b->c, client, status, "bounds of queue %u", q);
		else
			*out += end - begin;
	}
	alm_close(client);
	return rc;
}

int
cmd_bench_sub(struct call *c)
{
	struct bench b = {0};
	struct result r = {0};
	struct hist *memory;
	struct receiver *all = NULL;
	uint64_t want = 0, started;
	uint32_t n;
	int rc = bench_prepare(&b, c, 0);

	if (rc == RC_OK)
		rc = count_messages(&b, &want);
	if (rc != RC_OK)
		return rc;
	if (b.limit > 0 && b.limit < want)
		want = b.limit;
	n = b.connections < b.queues ? b.connections : b.queues;
	all = calloc(n, sizeof *all);
	if (all == NULL || result_init(&r) != ALM_OK) {
		rc = fail(c, RC_FAILED, "out of memory");
	} else {
		started = clock_mono();
		rc = receivers_start(&b, all, n, ALM_START_BEGIN, 0);
		if (rc == RC_OK)
			watch_receivers(&b, want);
		atomic_store(&b.end, 1);
		receivers_join(all, n);
		r.seconds = (double)(clock_mono() - started) / 1e6;
	}
	memory = r.publish;
	if (rc == RC_OK) {
		sum_receivers(all, n, &r);
		r.publish = NULL;
		r.lost = want > r.received ? want - r.received : 0;
		report(&b, "sub", &r);
		rc = verdict(&b, &r);
	}
	if (all != NULL)
		receivers_free(all, n, 0);
	free(memory);
	free(all);
	return rc;
}
