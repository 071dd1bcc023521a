/* regress/perf/load_redis.c - drives Redis streams: XADD pipelined, XREAD in turns (RESP2). */
#include <stdlib.h>
#include <string.h>

#include "regress/perf/load.h"

#define READ_COUNT 1000

/* c->a: flag of roundtrips.  c->b: 1 once subscribed.  c->text: id of the last entry read. */

static int
redis_open(struct load_conn *c)
{
	(void)c;
	return 0;
}

static int
redis_setup(struct load_conn *c)
{
	const char *topic = load_option("topic", "bench");

	load_putf(c, "*2\r\n$3\r\nDEL\r\n$%zu\r\n%s\r\n", strlen(topic), topic);
	c->a = 0;
	return load_roundtrip(c, &c->a);
}

static void
ask(struct load_conn *c)
{
	const char *topic = load_option("topic", "bench");

	load_putf(c, "*8\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$4\r\n%d\r\n$5\r\nBLOCK\r\n$4\r\n1000\r\n"
	    "$7\r\nSTREAMS\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", READ_COUNT, strlen(topic), topic,
	    strlen(c->text), c->text);
}

static int
redis_subscribe(struct load_conn *c)
{
	strcpy(c->text, "0-0");
	c->b = 1;
	ask(c);
	return 0;
}

static void
redis_publish(struct load_conn *c, const uint8_t *data, uint32_t len)
{
	const char *topic = load_option("topic", "bench");

	load_putf(c, "*5\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$1\r\nb\r\n$%u\r\n", strlen(topic),
	    topic, len);
	load_put(c, data, len);
	load_put(c, "\r\n", 2);
}

/* ---- RESP ------------------------------------------------------------------------------------- */

struct resp {
	const uint8_t *p, *end;
	int incomplete;
};

/* "<type><number>\r\n"; for a status or error the number means nothing. */
static long
head(struct resp *r, char *type)
{
	const uint8_t *line = r->p, *nl;

	nl = memchr(line, '\n', (size_t)(r->end - line));
	if (!nl) {
		r->incomplete = 1;
		*type = 0;
		return 0;
	}
	*type = (char)*line;
	r->p = nl + 1;
	if (*type == '-')
		load_die("redis: %.*s", (int)(nl - line), (const char *)line);
	return strtol((const char *)line + 1, NULL, 10);
}

static const uint8_t *
bulk(struct resp *r, long *len)
{
	const uint8_t *data;
	char type;

	*len = head(r, &type);
	if (r->incomplete || *len < 0)
		return NULL;
	if (r->end - r->p < *len + 2) {
		r->incomplete = 1;
		return NULL;
	}
	data = r->p;
	r->p += *len + 2;
	return data;
}

/* [[topic, [[id, [field, value]]...]]]: twice, since nothing may be counted of half an answer. */
static void
entries(struct load_conn *c, struct resp *r, int deliver)
{
	const uint8_t *id, *value;
	long n, i, id_len, len;
	char type;

	(void)head(r, &type);
	(void)bulk(r, &len);
	n = head(r, &type);
	for (i = 0; i < n && !r->incomplete; i++) {
		(void)head(r, &type);
		id = bulk(r, &id_len);
		(void)head(r, &type);
		(void)bulk(r, &len);
		value = bulk(r, &len);
		if (r->incomplete || !deliver)
			continue;
		load_delivered(c, value, (uint64_t)len);
		if (i == n - 1 && id_len < (long)sizeof c->text) {
			memcpy(c->text, id, (size_t)id_len);
			c->text[id_len] = 0;
		}
	}
}

static uint64_t
subscriber_parse(struct load_conn *c, const uint8_t *p, uint64_t len)
{
	struct resp r = {p, p + len, 0}, again;
	char type;
	long n = head(&r, &type);

	again = r;
	if (!r.incomplete && n > 0)
		entries(c, &r, 0);
	if (r.incomplete)
		return 0;
	if (n > 0)
		entries(c, &again, 1);
	ask(c);
	return (uint64_t)(r.p - p);
}

static uint64_t
redis_parse(struct load_conn *c, const uint8_t *p, uint64_t len)
{
	struct resp r = {p, p + len, 0};
	char type;
	long n;

	if (c->b)
		return subscriber_parse(c, p, len);
	if (*p == '$') {
		(void)bulk(&r, &n);
		if (r.incomplete)
			return 0;
		load_acked(c, 1);
	} else {
		(void)head(&r, &type);
		if (r.incomplete)
			return 0;
	}
	c->a = 1;
	return (uint64_t)(r.p - p);
}

int
main(int argc, char **argv)
{
	static const struct load_driver redis = {"redis", redis_open, redis_setup, redis_subscribe,
	    redis_publish, NULL, redis_parse};

	return load_main(argc, argv, &redis);
}
