/* simdisk.c - see simdisk.h. */
#include "simdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INODES 128
#define FDS 64
#define FILE_MAX (256u << 10)
#define SECTOR 512u
#define CHANGES 512
#define DIR_FD 1000
#define FIRST_FD 2000

struct inode {
	uint8_t *now, *disk;     /* FILE_MAX bytes each; NULL: free */
	uint64_t size, disk_size;
	uint8_t dirty[FILE_MAX / SECTOR];
	uint8_t disk_ref;        /* marks for the durable directory */
};

struct entry {
	char name[32];
	int inode;               /* -1: free */
};

/* A change of the directory that is not synced: name now means inode (-1: nothing). */
struct change {
	char name[32];
	int inode;
};

struct simdisk {
	struct inode inode[INODES];
	struct entry dir[INODES], disk_dir[INODES];
	struct change change[CHANGES];
	uint32_t n_changes, group[CHANGES]; /* changes of one rename share a group */
	uint32_t next_group;
	int fd[FDS];             /* inode or -1 */
	uint64_t seed, calls, crash_at, fail_at, capacity;
	int fail_err, crashed, short_writes;
};

static struct simdisk *sim;

static uint64_t
rnd(uint64_t *seed)
{
	*seed += 0x9e3779b97f4a7c15u;
	uint64_t z = *seed;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static _Noreturn void
bug(const char *what)
{
	fprintf(stderr, "# simdisk: %s\n", what);
	abort();
}

/* ---- life ---- */

struct simdisk *
sim_new(uint64_t seed)
{
	struct simdisk *d = calloc(1, sizeof *d);

	if (d == NULL)
		bug("out of memory");
	d->seed = seed;
	for (int i = 0; i < INODES; i++)
		d->dir[i].inode = d->disk_dir[i].inode = -1;
	for (int i = 0; i < FDS; i++)
		d->fd[i] = -1;
	return d;
}

static void
inode_free(struct inode *n)
{
	free(n->now);
	free(n->disk);
	memset(n, 0, sizeof *n);
}

void
sim_free(struct simdisk *d)
{
	for (int i = 0; i < INODES; i++)
		inode_free(&d->inode[i]);
	free(d);
}

static void
inode_copy(struct inode *to, const struct inode *from)
{
	*to = *from;
	if (from->now == NULL)
		return;
	to->now = calloc(1, FILE_MAX);
	to->disk = calloc(1, FILE_MAX);
	if (to->now == NULL || to->disk == NULL)
		bug("out of memory");
	memcpy(to->now, from->now, from->size);
	memcpy(to->disk, from->disk, from->disk_size > from->size ? from->disk_size : from->size);
}

struct simdisk *
sim_clone(const struct simdisk *d)
{
	struct simdisk *c = malloc(sizeof *c);

	if (c == NULL)
		bug("out of memory");
	*c = *d;
	for (int i = 0; i < FDS; i++)
		c->fd[i] = -1;
	for (int i = 0; i < INODES; i++)
		inode_copy(&c->inode[i], &d->inode[i]);
	return c;
}

void
sim_use(struct simdisk *d)
{
	sim = d;
}

uint64_t
sim_calls(const struct simdisk *d)
{
	return d->calls;
}

void
sim_crash_at(struct simdisk *d, uint64_t call)
{
	d->crash_at = call;
	d->crashed = 0;
}

int
sim_crashed(const struct simdisk *d)
{
	return d->crashed;
}

void
sim_fail_at(struct simdisk *d, uint64_t call, int err)
{
	d->fail_at = call;
	d->fail_err = err;
}

void
sim_short_writes(struct simdisk *d, int on)
{
	d->short_writes = on;
}

void
sim_capacity(struct simdisk *d, uint64_t bytes)
{
	d->capacity = bytes;
}

/* ---- names ---- */

static struct entry *
lookup(struct entry *dir, const char *name)
{
	for (int i = 0; i < INODES; i++)
		if (dir[i].inode >= 0 && strcmp(dir[i].name, name) == 0)
			return &dir[i];
	return NULL;
}

static void
set_name(struct entry *dir, const char *name, int inode)
{
	struct entry *e = lookup(dir, name);

	if (e == NULL && inode < 0)
		return;
	for (int i = 0; e == NULL && i < INODES; i++)
		if (dir[i].inode < 0)
			e = &dir[i];
	if (e == NULL)
		bug("directory is full");
	snprintf(e->name, sizeof e->name, "%s", name);
	e->inode = inode;
}

static void
change_name(const char *name, int inode, uint32_t group)
{
	struct change *c = &sim->change[sim->n_changes];

	if (sim->n_changes == CHANGES)
		bug("too many unsynced changes");
	set_name(sim->dir, name, inode);
	snprintf(c->name, sizeof c->name, "%s", name);
	c->inode = inode;
	sim->group[sim->n_changes++] = group;
}

/* Free what no name and no descriptor leads to any more. */
static void
collect(struct simdisk *d)
{
	for (int i = 0; i < INODES; i++) {
		int used = 0;

		if (d->inode[i].now == NULL)
			continue;
		for (int k = 0; k < INODES; k++)
			used |= d->dir[k].inode == i || d->disk_dir[k].inode == i;
		for (int k = 0; k < FDS; k++)
			used |= d->fd[k] == i;
		for (uint32_t k = 0; k < d->n_changes; k++)
			used |= d->change[k].inode == i;
		if (!used)
			inode_free(&d->inode[i]);
	}
}

const char *
sim_name(const struct simdisk *d, uint32_t k)
{
	for (int i = 0; i < INODES; i++)
		if (d->dir[i].inode >= 0 && k-- == 0)
			return d->dir[i].name;
	return NULL;
}

uint8_t *
sim_bytes(struct simdisk *d, const char *name, uint64_t *size)
{
	struct entry *e = lookup(d->dir, name);

	if (e == NULL)
		return NULL;
	*size = d->inode[e->inode].size;
	return d->inode[e->inode].now;
}

static void
settle(struct inode *n)
{
	memcpy(n->disk, n->now, FILE_MAX);
	n->disk_size = n->size;
	memset(n->dirty, 0, sizeof n->dirty);
}

void
sim_settle(struct simdisk *d, const char *name)
{
	struct entry *e = lookup(d->dir, name);

	if (e != NULL)
		settle(&d->inode[e->inode]);
}

/* ---- power ---- */

static int
kept(uint32_t mode, uint64_t sector, uint64_t sectors, uint64_t *seed)
{
	uint64_t r = rnd(seed);

	switch (mode) {
	case SIM_KEEP_NONE:
		return 0;
	case SIM_KEEP_ALL:
		return 1;
	case SIM_KEEP_HALF:
		return r % 2 == 0;
	case SIM_KEEP_MOST:
		return r % 8 != 0;
	case SIM_KEEP_FEW:
		return r % 8 == 0;
	default:
		return r % (sectors + 1) < sector;
	}
}

static void
inode_power_loss(struct inode *n, uint32_t mode, uint64_t *seed)
{
	uint64_t sectors = 0, seen = 0, size;

	for (uint64_t s = 0; s < FILE_MAX / SECTOR; s++)
		sectors += n->dirty[s];
	size = mode == SIM_KEEP_ALL || (mode != SIM_KEEP_NONE && rnd(seed) % 2) ? n->size :
										  n->disk_size;
	for (uint64_t s = 0; s < FILE_MAX / SECTOR; s++)
		if (n->dirty[s] && kept(mode, seen++, sectors, seed))
			memcpy(n->disk + s * SECTOR, n->now + s * SECTOR, SECTOR);
	memset(n->disk + size, 0, FILE_MAX - size);
	n->size = n->disk_size = size;
	memcpy(n->now, n->disk, FILE_MAX);
	memset(n->dirty, 0, sizeof n->dirty);
}

void
sim_power_loss(struct simdisk *d, uint32_t mode, uint64_t seed)
{
	uint32_t keep = d->n_changes;

	if (mode == SIM_KEEP_NONE)
		keep = 0;
	else if (mode != SIM_KEEP_ALL && d->n_changes > 0)
		keep = (uint32_t)(rnd(&seed) % (d->n_changes + 1));
	while (keep > 0 && keep < d->n_changes && d->group[keep] == d->group[keep - 1])
		keep--;
	for (uint32_t i = 0; i < keep; i++)
		set_name(d->disk_dir, d->change[i].name, d->change[i].inode);
	memcpy(d->dir, d->disk_dir, sizeof d->dir);
	d->n_changes = 0;
	for (int i = 0; i < FDS; i++)
		d->fd[i] = -1;
	collect(d);
	for (int i = 0; i < INODES; i++)
		if (d->inode[i].now != NULL)
			inode_power_loss(&d->inode[i], mode, &seed);
	d->crash_at = d->fail_at = 0;
	d->crashed = 0;
	d->calls = 0;
}

/* ---- the calls ---- */

/* Counts a call. 0, or the error that it must give. *last: the call at which power fails. */
static int
gate(int *last)
{
	*last = 0;
	if (sim->crashed)
		return -EIO;
	sim->calls++;
	if (sim->crash_at != 0 && sim->calls >= sim->crash_at) {
		sim->crashed = 1;
		*last = 1;
		return -EIO;
	}
	if (sim->fail_at == sim->calls)
		return -sim->fail_err;
	return 0;
}

static struct inode *
inode_of(int fd)
{
	int k = fd - FIRST_FD;

	if (k < 0 || k >= FDS || sim->fd[k] < 0)
		bug("bad descriptor");
	return &sim->inode[sim->fd[k]];
}

static uint64_t
used_bytes(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < INODES; i++)
		if (sim->inode[i].now != NULL)
			sum += sim->inode[i].size;
	return sum;
}

static int
sim_dir_open(const char *path)
{
	(void)path;
	return sim->crashed ? -EIO : DIR_FD;
}

static int
sim_list(int dir, io_each_fn each, void *arg)
{
	char names[INODES][32];
	int n = 0;

	(void)dir;
	if (sim->crashed)
		return -EIO;
	for (int i = 0; i < INODES; i++)
		if (sim->dir[i].inode >= 0)
			memcpy(names[n++], sim->dir[i].name, sizeof names[0]);
	for (int i = 0; i < n; i++)
		each(arg, names[i]);
	return 0;
}

static int
sim_dir_sync(int dir)
{
	int last, rc = gate(&last);

	(void)dir;
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < sim->n_changes; i++)
		set_name(sim->disk_dir, sim->change[i].name, sim->change[i].inode);
	sim->n_changes = 0;
	collect(sim);
	return 0;
}

static int
sim_free_bytes(int dir, uint64_t *bytes)
{
	uint64_t used = used_bytes();

	(void)dir;
	*bytes = sim->capacity == 0 ? 1ull << 40 : sim->capacity > used ? sim->capacity - used : 0;
	return 0;
}

static int
new_inode(void)
{
	for (int i = 0; i < INODES; i++)
		if (sim->inode[i].now == NULL) {
			sim->inode[i].now = calloc(1, FILE_MAX);
			sim->inode[i].disk = calloc(1, FILE_MAX);
			if (sim->inode[i].now == NULL || sim->inode[i].disk == NULL)
				bug("out of memory");
			return i;
		}
	bug("too many files");
}

static int
sim_open(int dir, const char *name, uint32_t how)
{
	struct entry *e = lookup(sim->dir, name);
	int fd = 0, i, last, rc;

	(void)dir;
	if (sim->crashed)
		return -EIO;
	if (e == NULL && how != IO_CREATE)
		return -ENOENT;
	if (how == IO_CREATE) {
		rc = gate(&last);
		if (rc < 0)
			return rc;
		i = new_inode(); /* emptying a file is a new one here: the old content stays until synced */
		change_name(name, i, sim->next_group++);
	} else {
		i = e->inode;
	}
	while (fd < FDS && sim->fd[fd] >= 0)
		fd++;
	if (fd == FDS)
		bug("too many open files: a leak?");
	sim->fd[fd] = i;
	return FIRST_FD + fd;
}

static void
sim_close(int fd)
{
	if (fd == DIR_FD)
		return;
	if (fd >= FIRST_FD && fd < FIRST_FD + FDS)
		sim->fd[fd - FIRST_FD] = -1;
	collect(sim);
}

static int64_t
sim_size(int fd)
{
	return sim->crashed ? -EIO : (int64_t)inode_of(fd)->size;
}

static int64_t
sim_pread(int fd, void *buf, uint64_t len, uint64_t at)
{
	struct inode *n;

	if (sim->crashed)
		return -EIO;
	n = inode_of(fd);
	if (at >= n->size)
		return 0;
	if (len > n->size - at)
		len = n->size - at;
	memcpy(buf, n->now + at, len);
	return (int64_t)len;
}

static void
put(struct inode *n, const void *data, uint64_t len, uint64_t at)
{
	if (at + len > FILE_MAX)
		bug("file too large");
	if (len == 0)
		return;
	memcpy(n->now + at, data, len);
	for (uint64_t s = at / SECTOR; s <= (at + len - 1) / SECTOR; s++)
		n->dirty[s] = 1;
	if (at + len > n->size)
		n->size = at + len;
}

static int64_t
sim_pwritev(int fd, const struct iovec *iov, int count, uint64_t at)
{
	uint64_t total = 0, done = 0;
	int last, rc = gate(&last);

	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	if (last) {
		/* Power fails in the middle of it, at the end of some sector. */
		uint64_t stop = (at + rnd(&sim->seed) % (total + SECTOR)) / SECTOR * SECTOR;

		total = stop <= at ? 0 : stop - at < total ? stop - at : total;
	} else if (rc < 0) {
		return rc;
	} else if (sim->short_writes && total > 1 && rnd(&sim->seed) % 2) {
		total = 1 + rnd(&sim->seed) % (total - 1);
	}
	if (!last && sim->capacity != 0 && at + total > inode_of(fd)->size &&
	    used_bytes() + (at + total - inode_of(fd)->size) > sim->capacity)
		return -ENOSPC;
	for (int i = 0; i < count && done < total; i++) {
		uint64_t part = iov[i].iov_len < total - done ? iov[i].iov_len : total - done;

		put(inode_of(fd), iov[i].iov_base, part, at + done);
		done += part;
	}
	return last ? -EIO : (int64_t)done;
}

static int
sim_allocate(int fd, uint64_t size)
{
	struct inode *n = inode_of(fd);
	int last, rc = gate(&last);

	if (rc < 0)
		return rc;
	if (size > FILE_MAX)
		bug("file too large");
	if (sim->capacity != 0 && used_bytes() + size > sim->capacity + n->size)
		return -ENOSPC;
	if (size > n->size)
		n->size = size;
	return 0;
}

static int
sim_truncate(int fd, uint64_t size)
{
	struct inode *n = inode_of(fd);
	int last, rc = gate(&last);

	if (rc < 0)
		return rc;
	if (size < n->size)
		memset(n->now + size, 0, n->size - size);
	for (uint64_t s = size / SECTOR; s <= n->size / SECTOR && s < FILE_MAX / SECTOR; s++)
		n->dirty[s] = 1;
	n->size = size;
	return 0;
}

static int
sim_sync(int fd)
{
	int last, rc = gate(&last);

	if (rc < 0)
		return rc;
	settle(inode_of(fd));
	return 0;
}

static int
sim_rename(int dir, const char *from, const char *to)
{
	struct entry *e = lookup(sim->dir, from);
	int last, rc = gate(&last), inode;
	uint32_t group;

	(void)dir;
	if (rc < 0)
		return rc;
	if (e == NULL)
		return -ENOENT;
	inode = e->inode;
	group = sim->next_group++;
	change_name(to, inode, group);
	change_name(from, -1, group);
	return 0;
}

static int
sim_unlink(int dir, const char *name)
{
	int last, rc = gate(&last);

	(void)dir;
	if (rc < 0)
		return rc;
	if (lookup(sim->dir, name) == NULL)
		return -ENOENT;
	change_name(name, -1, sim->next_group++);
	return 0;
}

static void *
sim_map(int fd, uint64_t size)
{
	struct inode *n = inode_of(fd);

	/* Mappings keep no reference: the tests unmap before a file may go. */
	return sim->crashed || size > FILE_MAX ? NULL : n->now;
}

static void
sim_unmap(void *base, uint64_t size)
{
	(void)base;
	(void)size;
}

const struct io_ops sim_ops = {
    .dir_open = sim_dir_open,
    .list = sim_list,
    .dir_sync = sim_dir_sync,
    .free_bytes = sim_free_bytes,
    .open = sim_open,
    .close = sim_close,
    .size = sim_size,
    .pread = sim_pread,
    .pwritev = sim_pwritev,
    .allocate = sim_allocate,
    .truncate = sim_truncate,
    .sync = sim_sync,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .map = sim_map,
    .unmap = sim_unmap,
};
