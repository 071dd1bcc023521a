/* ceiling.c - the least that a durable log server must do, as a yardstick for the broker.
 *
 * One thread with epoll.  A client sends messages as {u32 length, bytes}; the server puts a
 * 16-byte header with CRC32C before each, gathers what all connections have sent into one batch,
 * writes it with one pwrite and one fdatasync into space that was written before (a file of
 * 1 GiB in which the log wraps: the state of recycled segments), and answers each connection
 * {u32 number of messages now durable}.  No topics, index, consumers, recovery: a bound, not a
 * broker.
 *
 * Usage: ceiling PORT FILE [grow]      grow: a growing file instead of recycled space
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <isa-l/crc.h>

#define LOG_SIZE (1ull << 30)
#define BATCH_MAX (4u << 20)
#define READ_MAX (256u << 10)
#define CONNS_MAX 512

struct conn {
	int fd;
	uint32_t unacked; /* messages in the open batch */
	uint64_t used;
	uint8_t *in;
};

static struct conn conns[CONNS_MAX];
static int n_conns, epoll_fd, log_fd, growing;
static uint8_t *batch;
static uint64_t batch_len, file_at, log_at;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
drop(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
	c->unacked = 0;
}

/* Write and sync the open batch, then tell every connection how many of its messages are safe. */
static void
commit_batch(void)
{
	if (batch_len == 0)
		return;
	if (file_at + batch_len > LOG_SIZE) {
		file_at = 0;
		if (growing && ftruncate(log_fd, 0) != 0)
			die("ftruncate");
	}
	if (pwrite(log_fd, batch, batch_len, (off_t)file_at) != (ssize_t)batch_len)
		die("pwrite");
	if (fdatasync(log_fd) != 0)
		die("fdatasync");
	file_at += batch_len;
	log_at += batch_len;
	batch_len = 0;
	for (int i = 0; i < n_conns; i++) {
		struct conn *c = &conns[i];

		if (c->fd < 0 || c->unacked == 0)
			continue;
		if (send(c->fd, &c->unacked, 4, MSG_NOSIGNAL) != 4)
			drop(c);
		c->unacked = 0;
	}
}

static void
take_message(struct conn *c, const uint8_t *body, uint32_t len)
{
	uint8_t *at = batch + batch_len;
	uint32_t crc = crc32_iscsi((unsigned char *)(uintptr_t)body, (int)len, 0xffffffffu) ^ 0xffffffffu;
	uint64_t position = log_at + batch_len;

	memcpy(at, &len, 4);
	memcpy(at + 4, &crc, 4);
	memcpy(at + 8, &position, 8);
	memcpy(at + 16, body, len);
	batch_len += 16 + len;
	c->unacked++;
}

static void
input(struct conn *c)
{
	ssize_t got = read(c->fd, c->in + c->used, READ_MAX);
	uint64_t at = 0;

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			drop(c);
		return;
	}
	c->used += (uint64_t)got;
	while (c->used - at >= 4) {
		uint32_t len;

		memcpy(&len, c->in + at, 4);
		if (len > BATCH_MAX / 2) {
			drop(c);
			return;
		}
		if (c->used - at - 4 < len)
			break;
		if (batch_len + 16 + len > BATCH_MAX)
			commit_batch();
		take_message(c, c->in + at + 4, len);
		at += 4 + (uint64_t)len;
	}
	memmove(c->in, c->in + at, c->used - at);
	c->used -= at;
}

static void
accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1;
	struct epoll_event ev = {.events = EPOLLIN};
	struct conn *c = &conns[n_conns];

	if (fd < 0)
		return;
	if (n_conns == CONNS_MAX) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->fd = fd;
	c->in = malloc(BATCH_MAX + READ_MAX);
	if (c->in == NULL)
		die("malloc");
	ev.data.ptr = c;
	n_conns++;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static void
open_log(const char *path)
{
	batch = aligned_alloc(4096, BATCH_MAX);
	if (batch == NULL)
		die("memory");
	memset(batch, 0, BATCH_MAX);
	log_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (log_fd < 0)
		die(path);
	if (growing)
		return;
	for (uint64_t done = 0; done < LOG_SIZE; done += BATCH_MAX)
		if (write(log_fd, batch, BATCH_MAX) != BATCH_MAX)
			die("zeroing");
	if (fsync(log_fd) != 0)
		die("fsync");
}

static int
open_listener(const char *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(fd, 64) != 0)
		die("listen");
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
	return fd;
}

int
main(int argc, char **argv)
{
	struct epoll_event ev[256];
	int listener;

	if (argc < 3) {
		fprintf(stderr, "usage: ceiling PORT FILE [grow]\n");
		return 2;
	}
	growing = argc > 3 && strcmp(argv[3], "grow") == 0;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	open_log(argv[2]);
	listener = open_listener(argv[1]);
	for (;;) {
		int n = epoll_wait(epoll_fd, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (c == NULL)
				accept_one(listener);
			else if (c->fd >= 0)
				input(c);
		}
		commit_batch();
	}
}
