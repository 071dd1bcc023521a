/* loopback.c - round trips of one small message over loopback TCP between two processes, as a
 * yardstick for end-to-end latency.  Usage: loopback [ROUNDS].  Prints one JSON line, microseconds. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64

static uint64_t
nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static int
by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* The other side: send back what comes. */
static void
echo(int listener)
{
	int fd = accept(listener, NULL, NULL);
	char buf[MESSAGE];
	ssize_t n;

	nodelay(fd);
	while ((n = read(fd, buf, sizeof buf)) > 0)
		if (write(fd, buf, (size_t)n) != n)
			break;
	_exit(0);
}

int
main(int argc, char **argv)
{
	const uint32_t rounds = argc > 1 ? (uint32_t)atoi(argv[1]) : 5000;
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sa;
	uint64_t *took = calloc(rounds, sizeof *took);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
	char buf[MESSAGE] = {0};

	if (took == NULL || rounds == 0 || bind(listener, (struct sockaddr *)&sa, sizeof sa) != 0 ||
	    listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&sa, &len) != 0)
		die("listen");
	if (fork() == 0)
		echo(listener);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0)
		die("connect");
	nodelay(fd);
	for (uint32_t i = 0; i < rounds; i++) {
		const uint64_t begin = nanoseconds();
		ssize_t got = 0, n;

		if (write(fd, buf, sizeof buf) != MESSAGE)
			die("write");
		while (got < MESSAGE) {
			n = read(fd, buf, sizeof buf);
			if (n <= 0)
				die("read");
			got += n;
		}
		took[i] = nanoseconds() - begin;
		usleep(200); /* at 5,000 a second, as the load is: both sides fall asleep in between */
	}
	close(fd);
	wait(NULL);
	qsort(took, rounds, sizeof *took, by_value);
	printf("{\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}\n", (double)took[rounds / 2] / 1e3,
	    (double)took[rounds * 99ull / 100] / 1e3, (double)took[rounds - 1] / 1e3);
	free(took);
	return 0;
}
