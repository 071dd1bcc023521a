/* ctl/bench_disk.c - bench disk: what an append and fdatasync cost here, as a log does them.
 *
 * Recycled space has been written before, so a sync has no metadata to write; growing space makes
 * the file longer each time.  One temporary file, unlinked at once.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contrib/ctl/bench.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"
#include "contrib/ctl/progress.h"

#define LANE_BYTES (UINT64_C(64) << 20) /* most written for one row */

static const struct {
	const char *name;
	uint64_t bytes;
} sizes[] = {{"4 KiB", 4096}, {"64 KiB", 65536}, {"1 MiB", 1048576}};

static int
fill(int fd, const char *data, uint64_t size, uint64_t rounds)
{
	for (uint64_t i = 0; i < rounds; i++)
		if (pwrite(fd, data, size, (off_t)(i * size)) != (ssize_t)size)
			return -1;
	return fsync(fd);
}

/* Append and sync rounds times; 0, or -1 with errno. */
static int
measure(int fd, const char *data, uint64_t size, uint64_t rounds, struct hist *h)
{
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t before = clock_mono();

		if (pwrite(fd, data, size, (off_t)(i * size)) != (ssize_t)size || fdatasync(fd) != 0)
			return -1;
		hist_add(h, clock_mono() - before);
	}
	return 0;
}

static int
lane(const struct call *c, int fd, const char *data, unsigned s, int recycled, json_t *rows)
{
	struct hist *h = calloc(1, sizeof *h);
	uint64_t size = sizes[s].bytes, rounds = (uint64_t)opt_num(c, "rounds");
	json_t *row;
	int bad;

	if (h == NULL)
		return ENOMEM;
	if (rounds * size > LANE_BYTES)
		rounds = LANE_BYTES / size;
	bad = ftruncate(fd, 0) != 0 || (recycled && fill(fd, data, size, rounds) != 0) ||
	    measure(fd, data, size, rounds, h) != 0;
	if (!bad) {
		row = hist_json(h);
		json_object_set_new(row, "size", json_integer((json_int_t)size));
		json_object_set_new(row, "space", json_string(recycled ? "recycled" : "growing"));
		json_object_set_new(row, "bytes_rate",
		    json_integer((json_int_t)(h->sum > 0 ? (double)(size * rounds) * 1e6 / (double)h->sum : 0)));
		json_array_append_new(rows, row);
	}
	bad = bad ? (errno != 0 ? errno : EIO) : 0;
	free(h);
	return bad;
}

int
cmd_bench_disk(struct call *c)
{
	static const struct col cols[] = {{"size", "SIZE", COL_SIZE}, {"space", "SPACE", COL_TEXT},
	    {"count", "WRITES", COL_NUM}, {"bytes_rate", "BYTES/S", COL_SIZE}, {"p50", "P50", COL_DURATION},
	    {"p99", "P99", COL_DURATION}, {"max", "MAX", COL_DURATION}};
	char path[1024], *data;
	struct progress p;
	json_t *rows;
	int fd, bad = 0;

	if (opt_num(c, "rounds") < 1)
		return fail(c, RC_USAGE, "option --rounds: at least 1");
	(void)snprintf(path, sizeof path, "%s/.almadia-bench-XXXXXX", c->args[0]);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return fail(c, errno == ENOENT ? RC_NOTFOUND : errno == EACCES ? RC_DENIED : RC_FAILED,
		    "could not write in %s: %s", c->args[0], strerror(errno));
	(void)unlink(path);
	data = malloc(1048576);
	rows = json_array();
	if (data == NULL)
		bad = ENOMEM;
	else
		memset(data, 'x', 1048576);
	progress_begin(&p, c, "bench disk", "rows", 6);
	for (unsigned i = 0; bad == 0 && i < 6; i++) {
		bad = lane(c, fd, data, i / 2, i % 2 == 0, rows);
		progress_set(&p, i + 1);
	}
	progress_end(&p);
	(void)close(fd);
	free(data);
	if (bad == 0)
		out_rows(c->out, cols, 7, json_incref(rows));
	json_decref(rows);
	return bad == 0 ? RC_OK : fail(c, RC_FAILED, "%s: %s", c->args[0], strerror(bad));
}
