/* soak.c - publish without end and remember every ack; later, prove what became of each message.
 *
 *   soak pub SERVER TOPIC QUEUES RATE ACKS       until killed with TERM; RATE messages a second
 *   soak check SERVER TOPIC QUEUES ACKS          read everything and compare; JSON on stdout
 *
 * A message's body is its number as text, then filling.  ACKS is a file of struct ack_row, appended
 * as acks arrive, one write each, so that it survives whatever kills this process.  The count of
 * messages ever sent is kept in ACKS.sent.
 *
 * What check proves: every acked message is at the queue and offset of its ack, with its body; no
 * message twice; none that was never sent; offsets dense from begin to end; in each queue the
 * numbers rise (one producer).
 */
#include <almadia/client.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct ack_row {
	uint64_t number, offset;
	uint32_t queue, duplicate;
};

static volatile sig_atomic_t stopping;
static int ack_fd;
static uint64_t *sent; /* mapped: survives a kill */
static uint64_t acked, failed;

static void
on_term(int sig)
{
	(void)sig;
	stopping = 1;
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
die(const char *what)
{
	fprintf(stderr, "soak: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct alm_client *
connect_to(const char *server)
{
	struct alm_options o;
	struct alm_client *c;
	double give_up = seconds() + 30;

	alm_options_init(&o);
	o.servers = server;
	o.name = "soak";
	o.linger_us = 500;
	while (alm_connect(&o, &c) != ALM_OK) {
		if (seconds() > give_up) {
			fprintf(stderr, "soak: %s\n", alm_error(NULL));
			exit(1);
		}
		usleep(20000);
	}
	return c;
}

static void
on_ack(void *arg, const struct alm_ack *a)
{
	struct ack_row row = {(uint64_t)(uintptr_t)arg, a->offset, a->queue, a->duplicate};

	if (a->status != ALM_OK) {
		failed++;
		return;
	}
	acked++;
	if (write(ack_fd, &row, sizeof row) != sizeof row)
		die("ack file");
}

static int
publish(const char *server, const char *topic, uint32_t queues, double rate, const char *path)
{
	struct alm_client *c = connect_to(server);
	char sent_path[512], body[200];
	double start = seconds();
	uint64_t n = 0;
	int fd;

	ack_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	snprintf(sent_path, sizeof sent_path, "%s.sent", path);
	fd = open(sent_path, O_RDWR | O_CREAT, 0600);
	if (ack_fd < 0 || fd < 0 || ftruncate(fd, sizeof *sent) != 0)
		die(path);
	sent = mmap(NULL, sizeof *sent, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sent == MAP_FAILED)
		die(sent_path);
	memset(body, '.', sizeof body);
	while (!stopping) {
		while ((double)n < (seconds() - start) * rate && !stopping) {
			struct alm_pub p = {.size = sizeof p, .topic = topic};
			uint64_t number = *sent + 1;
			int len = snprintf(body, sizeof body, "%" PRIu64 " ", number), rc;

			body[len] = '.';
			p.queue = (uint32_t)(number / 7 % queues);
			p.body.data = body;
			p.body.len = 40 + number % 150;
			*sent = number; /* before: it may be stored from now on */
			rc = alm_publish_async(c, &p, on_ack, (void *)(uintptr_t)number);
			if (rc == ALM_EAGAIN) {
				*sent = number - 1;
				break;
			}
			if (rc != ALM_OK) {
				fprintf(stderr, "soak: publish: %s\n", alm_error(c));
				return 1;
			}
			n++;
		}
		alm_poll(c, 1);
	}
	alm_set_timeout(c, 20000);
	alm_flush(c);
	printf("{\"sent\": %" PRIu64 ", \"acked\": %" PRIu64 ", \"failed\": %" PRIu64 "}\n", *sent, acked, failed);
	alm_close(c);
	return 0;
}

/* ---- check ---- */

struct seen {
	uint64_t offset;
	uint32_t queue, times;
};

static struct ack_row *
load_acks(const char *path, uint64_t *n)
{
	FILE *f = fopen(path, "rb");
	struct ack_row *rows;
	long bytes;

	if (f == NULL || fseek(f, 0, SEEK_END) != 0)
		die(path);
	bytes = ftell(f);
	rewind(f);
	*n = (uint64_t)bytes / sizeof *rows;
	rows = malloc((size_t)bytes + 1);
	if (rows == NULL || fread(rows, sizeof *rows, *n, f) != *n)
		die(path);
	fclose(f);
	return rows;
}

struct verdict {
	uint64_t read, lost, misplaced, duplicated, phantom, holes, disorder;
};

static void
read_queue(struct alm_client *c, const char *topic, uint32_t queue, struct seen *seen, uint64_t n_sent,
    struct verdict *v)
{
	uint64_t at, begin, end, last = 0;

	if (alm_bounds(c, topic, queue, &begin, &end) != ALM_OK) {
		fprintf(stderr, "soak: bounds of queue %u: %s\n", queue, alm_error(c));
		exit(1);
	}
	at = begin;
	while (at < end) {
		struct alm_fetch_opts o = {.size = sizeof o, .queue = queue, .topic = topic, .offset = at,
		    .wait_ms = 1000};
		struct alm_batch_view *view;
		struct alm_msg m = {.size = sizeof m};

		if (alm_fetch(c, &o, &view) != ALM_OK) {
			fprintf(stderr, "soak: fetch %u from %" PRIu64 ": %s\n", queue, at, alm_error(c));
			exit(1);
		}
		if (view->next_offset <= at && view->end > at) {
			fprintf(stderr, "soak: fetch %u from %" PRIu64 " gives nothing, end is %" PRIu64 "\n", queue, at,
			    view->end);
			v->holes++;
			alm_batch_free(view);
			return;
		}
		while (alm_batch_view_next(view, &m) == 1) {
			uint64_t number = strtoull(alm_msg_body(&m).data, NULL, 10);

			v->read++;
			v->holes += alm_msg_offset(&m) != at;
			at = alm_msg_offset(&m) + 1;
			if (number == 0 || number > n_sent || alm_msg_body(&m).len != 40 + number % 150) {
				v->phantom++;
				continue;
			}
			v->disorder += number <= last;
			last = number;
			v->duplicated += seen[number].times++ > 0;
			seen[number].queue = queue;
			seen[number].offset = alm_msg_offset(&m);
		}
		alm_batch_free(view);
	}
}

static int
check(const char *server, const char *topic, uint32_t queues, const char *path)
{
	struct alm_client *c = connect_to(server);
	struct verdict v = {0};
	char sent_path[512];
	struct ack_row *acks;
	struct seen *seen;
	uint64_t n_acks, n_sent = 0;
	FILE *f;
	int bad;

	snprintf(sent_path, sizeof sent_path, "%s.sent", path);
	f = fopen(sent_path, "rb");
	if (f == NULL || fread(&n_sent, sizeof n_sent, 1, f) != 1)
		die(sent_path);
	fclose(f);
	acks = load_acks(path, &n_acks);
	seen = calloc(n_sent + 1, sizeof *seen);
	if (seen == NULL)
		die("memory");
	for (uint32_t q = 0; q < queues; q++)
		read_queue(c, topic, q, seen, n_sent, &v);
	for (uint64_t i = 0; i < n_acks; i++) {
		const struct seen *s = &seen[acks[i].number];

		if (s->times == 0)
			v.lost++;
		else if (acks[i].offset != UINT64_MAX && acks[i].queue != ALM_QUEUE_ANY &&
		    (s->queue != acks[i].queue || s->offset != acks[i].offset))
			v.misplaced++;
	}
	bad = v.lost || v.misplaced || v.duplicated || v.phantom || v.holes || v.disorder;
	printf("{\"sent\": %" PRIu64 ", \"acked\": %" PRIu64 ", \"read\": %" PRIu64 ", \"lost\": %" PRIu64
	    ", \"misplaced\": %" PRIu64 ", \"duplicated\": %" PRIu64 ", \"phantom\": %" PRIu64 ", \"holes\": %" PRIu64
	    ", \"disorder\": %" PRIu64 "}\n", n_sent, n_acks, v.read, v.lost, v.misplaced, v.duplicated, v.phantom,
	    v.holes, v.disorder);
	alm_close(c);
	return bad;
}

int
main(int argc, char **argv)
{
	signal(SIGTERM, on_term);
	signal(SIGINT, on_term);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 7 && strcmp(argv[1], "pub") == 0)
		return publish(argv[2], argv[3], (uint32_t)atoi(argv[4]), atof(argv[5]), argv[6]);
	if (argc == 6 && strcmp(argv[1], "check") == 0)
		return check(argv[2], argv[3], (uint32_t)atoi(argv[4]), argv[5]);
	fprintf(stderr, "usage: soak pub SERVER TOPIC QUEUES RATE ACKS | soak check SERVER TOPIC QUEUES ACKS\n");
	return 2;
}
