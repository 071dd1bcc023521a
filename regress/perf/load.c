/* regress/perf/load.c - see load.h. */
#define _GNU_SOURCE
#include "regress/perf/load.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define CONNS_MAX 512u
#define PIDS_MAX 16u
#define READ_ROOM (256u << 10)
#define STAMP 8u /* the body begins with the time it was due, in nanoseconds */

static const struct load_driver *driver;
static int option_count;
static char **options;
static const char *mode, *address;

static struct load_conn *conns[CONNS_MAX];
static uint32_t n_publishers, n_conns, size, window;
static uint64_t rate, count;
static int epoll_fd;

static uint64_t start_at, measure_at, end_at, now;
static uint64_t acked_all, acked, delivered_all, delivered, delivered_bytes, refused;
static uint64_t first_delivery, last_delivery, due_next;
static struct hist ack_hist, delivery_hist;
static uint8_t *body;

/* ---- small things ------------------------------------------------------------------------- */

_Noreturn void
load_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "load_%s: ", driver->name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static uint64_t
clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const char *
load_option(const char *name, const char *otherwise)
{
	size_t len = strlen(name);
	int i;

	for (i = 0; i < option_count; i++)
		if (strncmp(options[i], name, len) == 0 && options[i][len] == '=')
			return options[i] + len + 1;
	return otherwise;
}

uint64_t
load_number(const char *name, uint64_t otherwise)
{
	const char *text = load_option(name, NULL);

	return text ? (uint64_t)strtod(text, NULL) : otherwise;
}

uint32_t
load_is_drain(void)
{
	return strcmp(mode, "drain") == 0;
}

static uint8_t *
room(struct load_bytes *b, uint64_t len)
{
	if (b->len + len > b->cap) {
		b->cap = b->cap ? b->cap : 65536;
		while (b->cap < b->len + len)
			b->cap *= 2;
		b->data = realloc(b->data, b->cap);
		if (!b->data)
			load_die("out of memory");
	}
	return b->data + b->len;
}

uint8_t *
load_room(struct load_conn *c, uint64_t len)
{
	uint8_t *p = room(&c->out, len);

	c->out.len += len;
	return p;
}

void
load_put(struct load_conn *c, const void *data, uint64_t len)
{
	memcpy(load_room(c, len), data, len);
}

void
load_putf(struct load_conn *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	load_put(c, text, (uint64_t)n);
}

/* ---- what drivers report ------------------------------------------------------------------- */

void
load_acked(struct load_conn *c, uint64_t n)
{
	for (; n && c->acked < c->sent; n--, c->acked++) {
		acked_all++;
		if (now < measure_at || now >= end_at)
			continue;
		acked++;
		hist_add(&ack_hist, now - c->due[c->acked % LOAD_WINDOW_MAX]);
	}
}

void
load_refused(struct load_conn *c, uint64_t n)
{
	refused += n;
	c->acked += n;
}

void
load_delivered(struct load_conn *c, const uint8_t *data, uint64_t len)
{
	uint64_t due;

	(void)c;
	delivered_all++;
	delivered_bytes += len;
	if (!first_delivery)
		first_delivery = now;
	last_delivery = now;
	if (len < STAMP || now < measure_at || now >= end_at)
		return;
	memcpy(&due, data, sizeof due);
	delivered++;
	if (due >= start_at && due <= now)
		hist_add(&delivery_hist, now - due);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static int
dial(void)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	char host[256], *port;
	int fd, one = 1;

	snprintf(host, sizeof host, "%s", address);
	port = strrchr(host, ':');
	if (!port)
		load_die("%s is not HOST:PORT", address);
	*port++ = 0;
	if (getaddrinfo(host, port, &hints, &list) != 0)
		load_die("%s: no such address", address);
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, list->ai_addr, list->ai_addrlen) != 0)
		load_die("%s: %s", address, strerror(errno));
	freeaddrinfo(list);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void
parse(struct load_conn *c)
{
	uint64_t at = 0, used;

	while (at < c->in.len && (used = driver->parse(c, c->in.data + at, c->in.len - at)) != 0)
		at += used;
	c->in.len -= at;
	if (at)
		memmove(c->in.data, c->in.data + at, c->in.len);
}

/* 1: some; 0: nothing now. */
static int
receive(struct load_conn *c)
{
	/* With much unparsed, read on in large steps: a frame may be megabytes long. */
	uint64_t want = c->in.len > READ_ROOM ? c->in.len : READ_ROOM;
	ssize_t n = recv(c->fd, room(&c->in, want), want, 0);

	if (n == 0)
		load_die("the server closed connection %u", c->id);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		load_die("connection %u: %s", c->id, strerror(errno));
	if (n < 0)
		return 0;
	now = clock_ns();
	c->in.len += (uint64_t)n;
	parse(c);
	return (uint64_t)n == want;
}

static void
transmit(struct load_conn *c)
{
	ssize_t n;

	if (c->out.at == c->out.len)
		return;
	n = send(c->fd, c->out.data + c->out.at, c->out.len - c->out.at, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		load_die("connection %u: %s", c->id, strerror(errno));
	if (n > 0)
		c->out.at += (uint64_t)n;
	if (c->out.at == c->out.len)
		c->out.at = c->out.len = 0;
}

int
load_roundtrip(struct load_conn *c, const uint64_t *flag)
{
	while (c->out.at < c->out.len)
		transmit(c);
	while (!*flag)
		(void)receive(c);
	return 0;
}

static struct load_conn *
conn_new(uint32_t subscriber)
{
	struct load_conn *c = calloc(1, sizeof *c);

	if (!c || n_conns == CONNS_MAX)
		load_die("too many connections");
	c->id = n_conns;
	c->subscriber = subscriber;
	c->fd = dial();
	conns[n_conns++] = c;
	if (driver->open(c) != 0)
		load_die("no handshake");
	return c;
}

static void
conn_watch(struct load_conn *c)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | (uint32_t)EPOLLET, .data.ptr = c};

	(void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) != 0)
		load_die("epoll_ctl: %s", strerror(errno));
}

/* ---- publishing -------------------------------------------------------------------------------- */

static void
publish_one(struct load_conn *c, uint64_t due)
{
	c->due[c->sent++ % LOAD_WINDOW_MAX] = due;
	if (size >= STAMP)
		memcpy(body, &due, sizeof due);
	driver->publish(c, body, size);
}

static void
flush(struct load_conn *c)
{
	if (driver->flush)
		driver->flush(c);
	transmit(c);
}

static void
fill_window(struct load_conn *c)
{
	uint64_t before = c->sent, t;

	if (c->subscriber || rate || c->sent - c->acked >= window)
		return;
	t = clock_ns();
	if (t >= end_at)
		return;
	while (c->sent - c->acked < window)
		publish_one(c, t);
	if (c->sent != before)
		flush(c);
}

/* Open loop: whatever is due by now goes out, round robin over the connections. */
static void
publish_due(void)
{
	static uint32_t turn;
	uint64_t t = clock_ns();
	uint32_t i;

	if (!rate || t >= end_at)
		return;
	while (due_next <= t) {
		struct load_conn *c = conns[turn++ % n_publishers];

		if (c->sent - c->acked < LOAD_WINDOW_MAX)
			publish_one(c, due_next);
		else
			refused++;
		due_next += 1000000000u / rate;
	}
	for (i = 0; i < n_publishers; i++)
		flush(conns[i]);
}

/* ---- the machine --------------------------------------------------------------------------------- */

static int pids[PIDS_MAX];
static uint32_t n_pids;
static double cpu_before[PIDS_MAX], own_before;

static double
cpu_of(int pid)
{
	char path[64], text[1024], *p;
	unsigned long long user = 0, system = 0;
	FILE *f;
	size_t n;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = 0;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
	    &system) != 2)
		return 0;
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double
own_cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	    (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void
pids_take(void)
{
	char text[512], *p, *save = NULL;

	snprintf(text, sizeof text, "%s", load_option("pids", ""));
	for (p = strtok_r(text, ",", &save); p && n_pids < PIDS_MAX; p = strtok_r(NULL, ",", &save))
		pids[n_pids++] = atoi(p);
}

static void
cpu_mark(void)
{
	uint32_t i;

	own_before = own_cpu();
	for (i = 0; i < n_pids; i++)
		cpu_before[i] = cpu_of(pids[i]);
}

/* ---- running ---------------------------------------------------------------------------------------- */

static int
finished(uint64_t t)
{
	if (load_is_drain())
		return (count && delivered_all >= count) || t >= end_at;
	if (count)
		return acked_all + refused >= count || t >= end_at;
	return t >= end_at;
}

static void
sleep_until_due(void)
{
	struct pollfd p = {.fd = epoll_fd, .events = POLLIN};
	uint64_t t = clock_ns(), at = t + 100000000u;
	struct timespec ts;

	if (rate && due_next < at)
		at = due_next;
	if (at <= t)
		return;
	ts.tv_sec = 0;
	ts.tv_nsec = (long)(at - t);
	(void)ppoll(&p, 1, &ts, NULL);
}

static void
run(void)
{
	struct epoll_event ev[64];
	uint32_t i, marked = 0;
	int n, k;

	for (i = 0; i < n_publishers; i++)
		fill_window(conns[i]);
	while (!finished(clock_ns())) {
		if (!marked && clock_ns() >= measure_at) {
			cpu_mark();
			marked = 1;
		}
		publish_due();
		sleep_until_due();
		n = epoll_wait(epoll_fd, ev, 64, 0);
		for (k = 0; k < n; k++) {
			struct load_conn *c = ev[k].data.ptr;

			while ((ev[k].events & EPOLLIN) && receive(c))
				fill_window(c);
			fill_window(c);
			transmit(c);
		}
	}
}

static void
print_hist(const char *name, const struct hist *h)
{
	if (!h->count)
		return;
	printf(",\"%s\":{\"n\":%llu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
	    name, (unsigned long long)h->count, (double)hist_at(h, 50) / 1e3,
	    (double)hist_at(h, 90) / 1e3, (double)hist_at(h, 99) / 1e3,
	    (double)hist_at(h, 99.9) / 1e3, (double)h->max / 1e3);
}

static void
report(void)
{
	uint64_t stop = now < end_at ? now : end_at, from = measure_at;
	double secs = (double)(stop - from) / 1e9, reading;
	uint32_t i;

	printf("{\"label\":\"%s\",\"proto\":\"%s\",\"mode\":\"%s\",\"size\":%u,\"conns\":%u,"
	    "\"window\":%u,\"rate\":%llu,\"secs\":%.3f", load_option("label", ""), driver->name, mode,
	    size, n_publishers, window, (unsigned long long)rate, secs);
	if (n_publishers)
		printf(",\"acked\":%llu,\"ack_s\":%.0f,\"ack_MBs\":%.2f,\"refused\":%llu",
		    (unsigned long long)acked, (double)acked / secs,
		    (double)acked * size / 1e6 / secs, (unsigned long long)refused);
	if (delivered_all) {
		reading = load_is_drain() ? (double)(last_delivery - start_at) / 1e9 : secs;
		printf(",\"received\":%llu,\"recv_s\":%.0f,\"recv_MBs\":%.2f",
		    (unsigned long long)delivered_all,
		    (double)(load_is_drain() ? delivered_all : delivered) / reading,
		    (double)(load_is_drain() ? delivered_bytes : delivered * size) / 1e6 / reading);
	}
	print_hist("ack", &ack_hist);
	print_hist("e2e", &delivery_hist);
	printf(",\"client_cpu\":%.0f,\"server_cpu\":[", 100 * (own_cpu() - own_before) / secs);
	for (i = 0; i < n_pids; i++)
		printf("%s%.0f", i ? "," : "", 100 * (cpu_of(pids[i]) - cpu_before[i]) / secs);
	printf("]}\n");
}

/* When the measured part begins and ends. */
static void
schedule(uint64_t secs, uint64_t warm)
{
	start_at = now = clock_ns();
	due_next = start_at;
	measure_at = start_at + (count ? 0 : warm * 1000000u);
	end_at = measure_at + secs * 1000000u;
}

/* Seconds, with decimals, as milliseconds. */
static uint64_t
option_ms(const char *name, const char *otherwise)
{
	return (uint64_t)(strtod(load_option(name, otherwise), NULL) * 1000);
}

int
load_main(int argc, char **argv, const struct load_driver *d)
{
	uint32_t i, subscribers;

	driver = d;
	if (argc < 3)
		load_die("usage: load_%s pub|fill|e2e|drain HOST:PORT [NAME=VALUE ...]", d->name);
	mode = argv[1];
	address = argv[2];
	options = argv + 3;
	option_count = argc - 3;
	size = (uint32_t)load_number("size", 100);
	window = (uint32_t)load_number("window", 1);
	rate = load_number("rate", 0);
	count = load_number("count", 0);
	n_publishers = load_is_drain() ? 0 : (uint32_t)load_number("conns", 1);
	subscribers = load_is_drain() || !strcmp(mode, "e2e") ? 1 : 0;
	if (!window || window > LOAD_WINDOW_MAX || n_publishers >= CONNS_MAX || !size)
		load_die("window, conns or size is out of range");
	if (!strcmp(mode, "fill") && !count)
		load_die("fill needs count=");
	body = calloc(1, size);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	pids_take();
	for (i = 0; i < n_publishers; i++)
		(void)conn_new(0);
	if (n_publishers && load_number("setup", 1) && d->setup(conns[0]) != 0)
		load_die("the topic cannot be set up");
	schedule(option_ms("secs", "5"), option_ms("warm", "1"));
	cpu_mark();
	for (i = 0; i < subscribers; i++)
		if (d->subscribe(conn_new(1)) != 0)
			load_die("no subscription");
	for (i = 0; i < n_conns; i++)
		conn_watch(conns[i]);
	if (!load_is_drain())
		schedule(option_ms("secs", "5"), option_ms("warm", "1"));
	run();
	report();
	return 0;
}
