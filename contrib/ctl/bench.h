/* ctl/bench.h - what the bench commands share: workers, results, report.
 *
 * One thread and one client for each connection (two for e2e: a sender and a receiver).  Each
 * thread writes its own struct; the main thread reads them when all have ended, or counters that
 * are atomic while they run.  Times are monotonic microseconds, comparable between the threads.
 */
#ifndef CTL_BENCH_H
#define CTL_BENCH_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <almadia/client.h>

#include "base/base.h"

struct call;

#define BENCH_MAGIC 0x31484342414d4c41u

/* The begin of each body that a bench sends. */
struct bench_head {
	uint64_t magic, run;
	uint32_t sender, reserved;
	uint64_t number; /* of the sender's messages, from 0 */
	uint64_t due;    /* when it was due, or sent if there is no schedule */
};

struct bench {
	const struct call *c;
	const char *topic;
	struct alm_topic settings;
	int created;           /* by this run: delete it afterwards */
	uint64_t run;          /* random: tells this run's messages from others */
	uint32_t connections, queues;
	uint64_t size, in_flight, rate, limit, linger_us;
	uint64_t started, until; /* until: end of sending; UINT64_MAX if by count */
	atomic_int stop;       /* senders stop */
	atomic_int end;        /* receivers stop */
	atomic_ullong acked_now, received_now;
};

struct slot { /* one message that waits for its ack */
	struct sender *owner;
	uint64_t due;
	struct slot *next;
};

struct sender {
	struct bench *b;
	uint32_t id;
	pthread_t thread;
	struct alm_client *client;
	struct slot *slots, *free_slots;
	uint64_t sent, acked, failed, duplicates;
	uint64_t in_flight, last_answer, finished;
	int status;            /* why it ended early */
	char why[256];
	struct hist latency;   /* due to ack */
	struct hist delay;     /* due to sent */
};

/* Deliveries of one sender as one receiver saw them. */
struct track {
	uint8_t *seen;         /* a bit for each number */
	uint64_t bits;
	uint64_t *last;        /* of each queue: highest number + 1 */
};

struct receiver {
	struct bench *b;
	uint32_t id;
	pthread_t thread;
	struct alm_client *client;
	struct alm_sub *sub;
	uint32_t *queues, n_queues;
	struct track *tracks;  /* one for each sender; NULL for bench sub */
	uint64_t received, bytes, duplicates, out_of_order, foreign, first, last;
	int status;
	char why[256];
	struct hist latency;   /* due to delivery */
};

/* Set up from the options; find or create the topic. RC_*. */
int bench_prepare(struct bench *, struct call *, int may_create);
void bench_cleanup(struct bench *);
/* A connection for a worker; ALM_OK, or a status with the text in why. */
int bench_connect(struct bench *, uint64_t linger_us, struct alm_client **out, char *why, uint32_t cap);

int senders_start(struct bench *, struct sender *);
void senders_join(struct bench *, struct sender *);
int receivers_start(struct bench *, struct receiver *, uint32_t n, uint32_t start, uint32_t senders);
void receivers_join(struct receiver *, uint32_t n);
void receivers_free(struct receiver *, uint32_t n, uint32_t senders);

/* {"mean", "p50", ... "max"} in microseconds. */
json_t *hist_json(const struct hist *);

#endif
