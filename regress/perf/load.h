/* regress/perf/load.h - the load engine behind load_native, load_ceiling, load_redis, load_nats.
 *
 * One thread: many connections of one protocol, each with a window of unacknowledged messages
 * (closed loop), or a fixed total rate (open loop: latency runs from when a message was due, so a
 * stall of the server is not hidden).  A driver supplies the protocol in struct load_driver and
 * calls load_acked and load_delivered.  The engine prints one line of JSON.
 *
 *	load_X MODE HOST:PORT [NAME=VALUE ...]
 *	MODE  pub    publish for secs
 *	      fill   publish until count messages are acknowledged
 *	      e2e    publish for secs and subscribe in the same process: delivery latency too
 *	      drain  subscribe only, until count messages have come
 *	NAME  size=100 conns=1 window=1 rate=0 secs=5 warm=1 count=0 topic=bench label= pids=P,P,...
 *	      and the driver's own, with load_option
 */
#ifndef ALM_REGRESS_LOAD_H
#define ALM_REGRESS_LOAD_H

#include <stdint.h>

#define LOAD_WINDOW_MAX 65536u

struct load_bytes {
	uint8_t *data;
	uint64_t len, cap, at; /* at: sent up to here */
};

struct load_conn {
	int fd;
	uint32_t id, subscriber;
	struct load_bytes in, out;
	uint64_t sent, acked;          /* messages */
	uint64_t due[LOAD_WINDOW_MAX]; /* nanoseconds, by number modulo the window's maximum */
	uint64_t a, b, c;              /* the driver's own */
	char text[256];                /* the driver's own */
};

struct load_driver {
	const char *name;
	/* Blocking, on a fresh connection; 0 or -1. */
	int (*open)(struct load_conn *);
	int (*setup)(struct load_conn *);     /* create the topic; once */
	int (*subscribe)(struct load_conn *); /* from the begin of the topic */
	/* Put one message into out; it may be gathered until flush. */
	void (*publish)(struct load_conn *, const uint8_t *body, uint32_t len);
	void (*flush)(struct load_conn *);    /* may be NULL */
	/* Use one frame of the input: bytes used, 0: incomplete. */
	uint64_t (*parse)(struct load_conn *, const uint8_t *, uint64_t len);
};

int load_main(int argc, char **argv, const struct load_driver *);

/* ---- for drivers ---- */

const char *load_option(const char *name, const char *otherwise);
uint64_t load_number(const char *name, uint64_t otherwise);
_Noreturn void load_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void load_put(struct load_conn *, const void *, uint64_t len);
void load_putf(struct load_conn *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for len bytes at the end of out, which the driver fills. */
uint8_t *load_room(struct load_conn *, uint64_t len);
/* The next n messages of this connection, in order, are acknowledged. */
void load_acked(struct load_conn *, uint64_t n);
void load_refused(struct load_conn *, uint64_t n);
void load_delivered(struct load_conn *, const uint8_t *body, uint64_t len);
/* Blocking: send out, then parse input until the driver has set *flag. */
int load_roundtrip(struct load_conn *, const uint64_t *flag);
uint32_t load_is_drain(void);

#endif
