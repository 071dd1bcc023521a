/* regress/fuzz/fuzz_native.c - any bytes from a client to the native plugin, and any bytes to the codec
 * that libalmadia reads a server's frames with: an answer or a closed connection, never a crash, a
 * leak or a read past the end.
 *
 * With libFuzzer (--enable-fuzzers) an entry point; otherwise a program that replays the files
 * and directories named, or, without arguments, a generated series of broken conversations.
 * The first byte of an input says how the rest is fed: bit 0 a HELLO goes first, bit 1 byte by byte,
 * bit 2 requests are answered after each piece, bit 3 the broker is full, bits 4-7 seed the answers. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/protocol/native/wire.h"
#include "regress/lib/fakebroker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const struct alm_module *alm_module_v1(void);

static void
hello(struct wire_out *o)
{
	wire_begin(o, WIRE_HELLO, 0, 0);
	wire_put32(o, WIRE_MAGIC);
	wire_put16(o, 1);
	wire_put16(o, 1);
	wire_put32(o, 1 << 20);
	wire_put32(o, 0);
	wire_put64(o, 0);
	wire_end(o, 0);
}

/* ---- a client's bytes --------------------------------------------------------------------- */

static void
to_plugin(uint8_t how, const uint8_t *data, size_t size)
{
	const struct alm_provider *p = alm_module_v1()->providers;
	struct fakebroker *fb = fb_new();
	struct wire_out greeting = {0};
	size_t at = 0, step = how & 2 ? 1 : 4096, n;

	fb->settings = p->settings;
	fb->n_settings = p->n_settings;
	fb_topic_add(fb, "orders", 3);
	if (fb_load(fb, p->ops) != ALM_OK || !fb_open(fb))
		abort();
	hello(&greeting);
	if (how & 1)
		fb_feed(fb->conns, greeting.data, greeting.len);
	wire_out_free(&greeting);
	fb->refuse = how & 8 ? (uint32_t)-ALM_EAGAIN : 0;
	for (; at < size && fb->conns; at += n) {
		n = size - at < step ? size - at : step;
		fb_feed(fb->conns, data + at, n);
		if (how & 4)
			fb_answer_all(fb, how);
	}
	fb->refuse = 0;
	if (fb->conns) {
		fb_drain(fb->conns, fb->conns->out.len);
		fb_answer_all(fb, how >> 4);
		fb_clock(fb, fb->clock + 60000000);
	}
	if (fb_free(fb) != 0)
		abort(); /* a leak, or a call that breaks the contract */
}

/* ---- a server's bytes ----------------------------------------------------------------------- */

static void
records(struct wire_in in)
{
	const struct alm_record *r;
	struct wire_records w;
	struct alm_slice v;
	uint64_t at = 0, sum = 0;
	uint32_t a, type;
	void *copy;

	if (wire_records_get(&in, &w) != ALM_OK || w.bytes == 0)
		return;
	copy = malloc(w.bytes); /* aligned, as in a receive buffer; a sanitizer sees its end */
	if (!copy)
		return;
	memcpy(copy, in.p + w.n_chunks * sizeof(struct wire_chunk), w.bytes);
	while ((r = wire_record_next(copy, w.bytes, &at))) {
		for (a = 0; alm_record_attr(r, &a, &type, &v);)
			sum += v.len ? *((const uint8_t *)v.data + v.len - 1) : 0;
		v = alm_record_body(r);
		sum += v.len ? *((const uint8_t *)v.data + v.len - 1) : 0;
	}
	if (sum == UINT64_MAX)
		puts("");
	free(copy);
}

static void
to_codec(const uint8_t *data, size_t size)
{
	struct wire_publish publish;
	struct wire_message message;
	struct wire_error error;
	struct wire_head h;
	struct wire_in in;
	uint64_t at = 0;

	while (wire_head_get(data + at, size - at, size - at, &h) == 1) {
		records(wire_payload(data + at, &h));
		in = wire_payload(data + at, &h);
		(void)wire_error_get(&in, &error);
		in = wire_payload(data + at, &h);
		if (wire_publish_get(&in, &publish) == ALM_OK)
			while (wire_message_get(&in, &message) == ALM_OK)
				;
		at += h.length;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	to_plugin(data[0], data + 1, size - 1);
	to_codec(data + 1, size - 1);
	return 0;
}

#ifndef ALM_LIBFUZZER
static unsigned long runs;

static void
replay_file(const char *path)
{
	struct buf b = {0};
	uint8_t part[4096];
	size_t n;
	FILE *f = fopen(path, "rb");

	if (!f)
		return;
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		buf_put(&b, part, n);
	fclose(f);
	LLVMFuzzerTestOneInput(b.data, b.len);
	buf_free(&b);
	runs++;
}

static void
replay(const char *path)
{
	char inner[4096];
	struct dirent *e;
	DIR *d = opendir(path);

	if (!d) {
		replay_file(path);
		return;
	}
	while ((e = readdir(d))) {
		snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
		if (e->d_name[0] != '.')
			replay(inner);
	}
	closedir(d);
}

static uint64_t state = 88172645463325252u;

static uint64_t
rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Frames whose heads are right and whose payloads are half plausible get further than noise. */
static void
frame(struct wire_out *o)
{
	static const uint8_t types[] = {WIRE_HELLO, WIRE_PING, WIRE_PUBLISH, WIRE_PUBLISH, WIRE_PUBLISH,
	    WIRE_FETCH, WIRE_SUBSCRIBE, WIRE_CREDIT, WIRE_UNSUBSCRIBE, WIRE_COMMIT, WIRE_BOUNDS,
	    WIRE_OFFSET_AT, WIRE_LOOKUP_POSITION, WIRE_LOOKUP_KEY, WIRE_TOPIC_PUT,
	    WIRE_TOPIC_DELETE, WIRE_TOPIC_LIST, WIRE_TOPIC_GET, WIRE_GROUP_CREATE,
	    WIRE_GROUP_DELETE, WIRE_STATE_GET, WIRE_STATE_SCAN, WIRE_ADMIN, 0x7f};
	uint8_t type = types[rnd() % sizeof types];
	struct wire_publish w = {.topic = rnd() % 2, .queue = (uint32_t)(rnd() % 5), .producer = rnd(),
	    .sequence = 1, .n = (uint32_t)(rnd() % 4)};
	uint64_t n, i;

	if (w.topic == 0)
		w.name = (struct alm_slice){"orders", 6};
	if (rnd() % 4 == 0)
		w.queue = WIRE_QUEUE_ANY;
	wire_begin(o, type, 0, rnd() % 8);
	if (type == WIRE_PUBLISH) {
		wire_publish_put(o, &w);
		for (i = 0; i < w.n; i++) {
			uint32_t attrs = (uint32_t)(rnd() % 3) * 10;

			wire_put32(o, attrs);
			wire_put32(o, (uint32_t)(rnd() % 20));
			wire_put64(o, 0);
			if (attrs)
				wire_put64(o, (uint64_t)(attrs - 8) << 32 | (1 + rnd() % 9));
			for (n = attrs ? attrs - 8 : 0; n; n--)
				wire_put(o, "k", 1);
		}
	}
	if (type == WIRE_SUBSCRIBE) {
		wire_put32(o, 0);
		wire_put32(o, (uint32_t)(rnd() % 3));
		wire_put64(o, rnd() % 100);
		wire_put64(o, rnd() >> rnd() % 64);
		wire_put32(o, (uint32_t)rnd());
		wire_put16(o, 6);
		wire_put16(o, 0);
		wire_put(o, "orders", 6);
	} else if (type == WIRE_CREDIT || type == WIRE_UNSUBSCRIBE) {
		wire_put64(o, rnd() % 8); /* a handle: the slots of a session are taken from 7 down */
		wire_put64(o, type == WIRE_CREDIT ? rnd() >> rnd() % 64 : rnd() % 8);
	}
	for (n = rnd() % 12, i = 0; i < n; i++)
		wire_put32(o, rnd() % 3 ? (uint32_t)(rnd() % 7) : (uint32_t)rnd());
	if (rnd() % 2)
		wire_put(o, "orders", 6);
	wire_end(o, 0);
}

static void
generate(unsigned long n)
{
	struct wire_out o = {0};
	unsigned i, frames;

	for (; runs < n; runs++) {
		uint8_t how = (uint8_t)rnd();

		wire_reset(&o);
		wire_put(&o, &how, 1);
		for (i = 0, frames = 1 + (unsigned)(rnd() % 16); i < frames; i++)
			frame(&o);
		for (i = (unsigned)(rnd() % 4); i; i--)
			o.data[1 + rnd() % (o.len - 1)] = (uint8_t)rnd();
		LLVMFuzzerTestOneInput(o.data, o.len);
	}
	wire_out_free(&o);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	if (argc == 1)
		generate(50000);
	printf("1..1\nok 1 - %lu conversations, none did harm\n", runs);
	return 0;
}
#endif
