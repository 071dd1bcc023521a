/* regress/perf/load_nats.c - drives NATS JetStream: PUB with a reply subject for the acknowledgement, a
 * pull consumer for reading. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "regress/perf/load.h"

#define PULL 1000u

/* c->a: flag of roundtrips.  c->b: messages still to come of what was pulled.  c->text: inbox. */

static int
nats_open(struct load_conn *c)
{
	snprintf(c->text, sizeof c->text, "_INBOX.%d.%u", (int)getpid(), c->id);
	load_putf(c, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,"
	    "\"no_responders\":true}\r\nSUB %s.* 1\r\nPING\r\n", c->text);
	c->a = 0;
	return load_roundtrip(c, &c->a);
}

static void
api(struct load_conn *c, const char *subject, const char *json)
{
	load_putf(c, "PUB %s %s.api %zu\r\n%s\r\n", subject, c->text, strlen(json), json);
	c->a = 0;
	(void)load_roundtrip(c, &c->a);
}

static int
nats_setup(struct load_conn *c)
{
	char json[512];

	api(c, "$JS.API.STREAM.DELETE.LOAD", "");
	snprintf(json, sizeof json, "{\"name\":\"LOAD\",\"subjects\":[\"%s\"],\"retention\":\"limits\","
	    "\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,"
	    "\"storage\":\"file\",\"num_replicas\":1}", load_option("topic", "bench"));
	api(c, "$JS.API.STREAM.CREATE.LOAD", json);
	return 0;
}

static void
pull(struct load_conn *c)
{
	char json[64];
	int len = snprintf(json, sizeof json, "{\"batch\":%u,\"expires\":60000000000}", PULL);

	load_putf(c, "PUB $JS.API.CONSUMER.MSG.NEXT.LOAD.reader %s.m %d\r\n%s\r\n", c->text, len,
	    json);
	c->b += PULL;
}

static int
nats_subscribe(struct load_conn *c)
{
	api(c, "$JS.API.CONSUMER.DELETE.LOAD.reader", "");
	api(c, "$JS.API.CONSUMER.DURABLE.CREATE.LOAD.reader",
	    "{\"stream_name\":\"LOAD\",\"config\":{\"durable_name\":\"reader\","
	    "\"deliver_policy\":\"all\",\"ack_policy\":\"none\",\"max_ack_pending\":-1,"
	    "\"replay_policy\":\"instant\"}}");
	pull(c);
	pull(c);
	return 0;
}

static void
nats_publish(struct load_conn *c, const uint8_t *data, uint32_t len)
{
	load_putf(c, "PUB %s %s.p %u\r\n", load_option("topic", "bench"), c->text, len);
	load_put(c, data, len);
	load_put(c, "\r\n", 2);
}

/* "MSG subject sid [reply] bytes" or "HMSG subject sid [reply] header_bytes bytes". */
struct message {
	char subject[256];
	uint64_t head, total;
};

static int
message_line(const uint8_t *p, uint64_t len, struct message *m)
{
	char line[512], word[8], sid[32], w[3][256];
	int n;

	if (len >= sizeof line)
		load_die("nats: a line of %llu bytes", (unsigned long long)len);
	memcpy(line, p, len);
	line[len] = 0;
	n = sscanf(line, "%7s %255s %31s %255s %255s %255s", word, m->subject, sid, w[0], w[1], w[2]);
	m->head = 0;
	if (line[0] == 'H') {
		if (n < 5)
			return -1;
		m->head = strtoull(w[n - 5], NULL, 10);
		m->total = strtoull(w[n - 4], NULL, 10);
		return 0;
	}
	if (n < 4)
		return -1;
	m->total = strtoull(w[n - 4], NULL, 10);
	return 0;
}

static void
message(struct load_conn *c, const struct message *m, const uint8_t *data)
{
	size_t inbox = strlen(c->text);

	if (strncmp(m->subject, c->text, inbox) != 0) { /* pulled: it keeps the stream's subject */
		load_delivered(c, data + m->head, m->total - m->head);
		if (--c->b <= PULL)
			pull(c);
	} else if (m->subject[inbox + 1] == 'p') {
		if (m->head || memmem(data, m->total, "\"error\"", 7))
			load_refused(c, 1);
		else
			load_acked(c, 1);
	} else if (m->subject[inbox + 1] == 'a') {
		c->a = 1;
	}
}

static uint64_t
nats_parse(struct load_conn *c, const uint8_t *p, uint64_t len)
{
	const uint8_t *nl = memchr(p, '\n', len);
	struct message m;
	uint64_t line;

	if (!nl)
		return 0;
	line = (uint64_t)(nl + 1 - p);
	if (p[0] == 'P' && p[1] == 'I') {
		load_put(c, "PONG\r\n", 6);
		return line;
	}
	if (p[0] == 'P') {
		c->a = 1;
		return line;
	}
	if (p[0] == '-')
		load_die("nats: %.*s", (int)line, (const char *)p);
	if (p[0] != 'M' && p[0] != 'H')
		return line; /* INFO, +OK */
	if (message_line(p, line, &m) != 0)
		load_die("nats: %.*s", (int)line, (const char *)p);
	if (len < line + m.total + 2)
		return 0;
	message(c, &m, p + line);
	return line + m.total + 2;
}

int
main(int argc, char **argv)
{
	static const struct load_driver nats = {"nats", nats_open, nats_setup, nats_subscribe,
	    nats_publish, NULL, nats_parse};

	return load_main(argc, argv, &nats);
}
