/* regress/fuzz/fuzz_client.c - any bytes from a server to libalmadia: a reconnect, an error or a
 * message, never a crash or a leak, and each callback exactly once.
 *
 * With libFuzzer (--enable-fuzzers) an entry point; otherwise a program that replays the files named,
 * or, without arguments, a generated series of broken servers.  The "server" has written everything
 * it will ever say before the client reads: WELCOME, the answers that alm_subscribe needs, the input in
 * some pieces.  The socket keeps packets apart and the client reads one a step, so each answer is
 * read after its question. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <almadia/client.h>

#include "plugins/protocol/native/wire.h"

#define PUBLISHED 3u
#define PIECES 6u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Correlations as the client numbers them. */
#define REQUEST(n) (UINT64_C(2) << 56 | (n))
#define BATCH(n) (UINT64_C(1) << 56 | (n))
#define SUBSCRIPTION (UINT64_C(3) << 56 | UINT64_C(1) << 32)

struct server {
	const uint8_t *input;
	size_t size;
	int dialled, kept;
	uint32_t acks, replies;
};

/* Send what is in o as one packet. */
static void
packet(int fd, struct wire_out *o)
{
	(void)send(fd, o->data, o->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	wire_reset(o);
}

static void
script(int fd)
{
	static const struct alm_topic topic = {.version = 1, .id = 1, .queues = 1};
	struct wire_out o = {0};

	wire_begin(&o, WIRE_HELLO | WIRE_REPLY, 0, 0);
	wire_put32(&o, WIRE_MAGIC);
	wire_put32(&o, 1);
	wire_put32(&o, WIRE_FRAME_MOST);
	wire_put32(&o, 0);
	wire_put32(&o, 0);
	wire_put32(&o, 0);
	wire_put64(&o, 1);
	wire_put64(&o, 0);
	wire_end(&o, 0);
	packet(fd, &o);
	wire_begin(&o, WIRE_TOPIC_GET | WIRE_REPLY, 0, REQUEST(1));
	wire_put64(&o, 6);
	wire_put64(&o, 8);
	wire_put(&o, &topic, sizeof topic);
	wire_put(&o, "orders", 6);
	wire_end(&o, 0);
	packet(fd, &o);
	wire_begin(&o, WIRE_BOUNDS | WIRE_REPLY, 0, REQUEST(2));
	wire_put64(&o, 0);
	wire_put64(&o, 0);
	wire_end(&o, 0);
	packet(fd, &o);
	wire_begin(&o, WIRE_SUBSCRIBE | WIRE_REPLY, 0, SUBSCRIPTION);
	wire_put64(&o, 0);
	wire_put64(&o, 0);
	wire_end(&o, 0);
	packet(fd, &o);
	wire_out_free(&o);
}

static int
dial(void *arg, const char *name)
{
	struct server *s = arg;
	size_t step = s->size / PIECES + 1, at;
	int pair[2], room = 4 << 20;

	(void)name;
	if (s->dialled++ || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	(void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	script(pair[1]);
	for (at = 0; at < s->size; at += step)
		(void)send(pair[1], s->input + at, s->size - at < step ? s->size - at : step,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)shutdown(pair[1], SHUT_WR);
	s->kept = pair[1];
	return pair[0];
}

static void
on_ack(void *arg, const struct alm_ack *ack)
{
	(void)ack;
	((struct server *)arg)->acks++;
}

static void
on_fetch(void *arg, struct alm_batch_view *v)
{
	struct alm_msg m;

	while (v->status == ALM_OK && alm_batch_view_next(v, &m) == 1)
		(void)alm_msg_property(&m, "none");
	((struct server *)arg)->replies++;
}

static void
on_status(void *arg, int status, const char *detail)
{
	(void)status;
	(void)detail;
	((struct server *)arg)->replies++;
}

static void
talk(struct server *s, struct alm_client *c)
{
	struct alm_pub pub = {.size = sizeof pub, .topic = "orders", .body = {"x", 1}};
	struct alm_fetch_opts fetch = {.size = sizeof fetch, .topic = "orders"};
	struct alm_sub_opts opts = {.size = sizeof opts, .topic = "orders"};
	struct alm_sub *sub = NULL;
	struct alm_msg m;
	uint32_t i;

	for (i = 0; i < PUBLISHED; i++) {
		if (alm_publish_async(c, &pub, on_ack, s) != ALM_OK)
			abort();
		(void)alm_push(c);
	}
	if (alm_subscribe(c, &opts, &sub) != ALM_OK)
		abort(); /* its answers are well formed */
	(void)alm_fetch_async(c, &fetch, on_fetch, s);
	(void)alm_commit_async(c, "g", "orders", 0, 1, on_status, s);
	for (i = 0; i < PIECES + 2; i++) {
		while (alm_next(sub, &m, 0) == ALM_OK)
			(void)alm_msg_key(&m);
		(void)alm_poll(c, 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct server s = {.input = data, .size = size, .kept = -1};
	struct alm_options o;
	struct alm_client *c;

	alm_options_init(&o);
	o.dial = dial;
	o.arg = &s;
	o.timeout_ms = 1000;
	o.linger_us = 0;
	if (alm_connect(&o, &c) == ALM_OK) {
		talk(&s, c);
		alm_close(c);
		if (s.acks != PUBLISHED || s.replies != 2)
			abort(); /* a callback was lost or doubled */
	}
	if (s.kept >= 0)
		close(s.kept);
	return 0;
}

#ifndef ALM_LIBFUZZER
static uint64_t state = 88172645463325252u;

static uint64_t
rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void
records(struct wire_out *o)
{
	struct wire_records w = {.status = rnd() % 8 ? 0 : -(int32_t)(rnd() % 24), .n_chunks = 1,
	    .end = rnd() % 100, .next_offset = rnd() % 100};
	struct alm_record r = {.length = 80, .magic = ALM_RECORD_MAGIC, .attrs_len = 11,
	    .pad = (uint8_t)(rnd() % 6)};
	struct alm_attr a = {(uint16_t)(1 + rnd() % 3), 0, 3};
	uint32_t i, n = (uint32_t)(rnd() % 4);

	w.bytes = n * 80;
	wire_records_put(o, &w);
	wire_put64(o, 96);
	wire_put64(o, w.bytes);
	for (i = 0; i < n; i++) {
		r.offset = rnd() % 50;
		wire_put(o, &r, sizeof r);
		wire_put(o, &a, sizeof a);
		wire_put64(o, rnd());
	}
}

static void
frame(struct wire_out *o)
{
	static const uint8_t types[] = {WIRE_PUBLISH | WIRE_REPLY, WIRE_PUBLISH | WIRE_REPLY,
	    WIRE_FETCH | WIRE_REPLY, WIRE_DELIVER, WIRE_DELIVER, WIRE_ERROR, WIRE_ERROR, WIRE_GOAWAY,
	    WIRE_COMMIT | WIRE_REPLY, WIRE_SUBSCRIBE | WIRE_REPLY, WIRE_HELLO | WIRE_REPLY, 0xd0};
	uint8_t type = types[rnd() % sizeof types];
	uint64_t ids[] = {BATCH(1 + rnd() % 3), REQUEST(3 + rnd() % 2), SUBSCRIPTION, rnd() % 3};
	uint64_t id = ids[type == WIRE_DELIVER ? 2 : type & 1 ? rnd() % 4 : 0];
	struct wire_error e = {-(int32_t)(1 + rnd() % 23), (uint32_t)(rnd() % 3), {"no", 2},
	    {"h:1", rnd() % 2 ? 3 : 0}};
	uint32_t i;

	if (type == WIRE_ERROR) {
		wire_error_put(o, id, &e);
		return;
	}
	wire_begin(o, type, (uint32_t)(rnd() % 4 == 0), id);
	if (type == WIRE_DELIVER || type == (WIRE_FETCH | WIRE_REPLY))
		records(o);
	for (i = (uint32_t)(rnd() % 16); i; i--)
		wire_put32(o, (uint32_t)(rnd() % 3));
	wire_end(o, 0);
}

int
main(int argc, char **argv)
{
	static uint8_t file[1 << 20];
	struct wire_out o = {0};
	unsigned long runs = 0;
	unsigned i;
	FILE *f;

	for (int k = 1; k < argc; k++, runs++)
		if ((f = fopen(argv[k], "rb"))) {
			LLVMFuzzerTestOneInput(file, fread(file, 1, sizeof file, f));
			fclose(f);
		}
	for (; argc == 1 && runs < 20000; runs++) {
		wire_reset(&o);
		for (i = 1 + (unsigned)(rnd() % 8); i; i--)
			frame(&o);
		for (i = (unsigned)(rnd() % 3); i; i--)
			o.data[rnd() % o.len] = (uint8_t)rnd();
		LLVMFuzzerTestOneInput(o.data, o.len);
	}
	wire_out_free(&o);
	printf("1..1\nok 1 - %lu servers, none did harm\n", runs);
	return 0;
}
#endif
