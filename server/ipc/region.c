/* ipc/region.c - making and mapping regions.
 *
 * The manager makes them; every role maps its own writable and its peers' read-only.  A region is
 * sealed against shrinking, so that no peer can take mapped memory away, and its file mode lets
 * nobody reopen it for writing.  What a peer's region holds is checked by whoever uses it.
 */
#include "ipc/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REGION_VERSION 1u
#define PAGE 4096u

/* Sizes of rings.  Memory that was never touched costs nothing. */
#define WORKER_TO_LEDGER (16u << 20)
#define WORKER_TO_INDEXER (256u << 10)
#define LEDGER_TO_WORKER (4u << 20)
#define INDEXER_TO_WORKER (2u << 20)

_Static_assert(sizeof(struct region_ring) == 64, "one cache line a ring");

static uint64_t
head_bytes(void)
{
	return (sizeof(struct region_head) + PAGE - 1) / PAGE * PAGE;
}

uint64_t
region_plan(uint32_t peer, uint32_t workers, uint64_t ring_size[PEERS_MAX])
{
	uint64_t total = head_bytes();
	uint32_t i;

	INVARIANT(workers <= WORKERS_MAX && peer < PEERS_MAX);
	memset(ring_size, 0, PEERS_MAX * sizeof ring_size[0]);
	if (peer == PEER_LEDGER || peer == PEER_INDEXER)
		for (i = 1; i <= workers; i++)
			ring_size[PEER_WORKER(i)] =
			    peer == PEER_LEDGER ? LEDGER_TO_WORKER : INDEXER_TO_WORKER;
	else {
		ring_size[PEER_LEDGER] = WORKER_TO_LEDGER;
		ring_size[PEER_INDEXER] = WORKER_TO_INDEXER;
	}
	for (i = 0; i < PEERS_MAX; i++)
		total += ring_size[i];
	return total;
}

/* The fields that are there before the owner starts. */
static void
fill_head(struct region_head *h, uint32_t peer, uint64_t generation, uint64_t size,
    const uint64_t ring_size[PEERS_MAX])
{
	uint64_t at = head_bytes();
	uint32_t i;

	h->magic = REGION_MAGIC;
	h->version = REGION_VERSION;
	h->peer = peer;
	h->slot = peer > PEER_INDEXER ? peer - 1 : 0;
	h->generation = generation;
	h->size = size;
	/* Incarnations count their sleeps in different ranges, so a ringer's memory of an old one
	 * never fits a new one. Even: awake. */
	atomic_store(&h->sleep_seq, generation << 32);
	atomic_store(&h->pin, UINT64_MAX);
	for (i = 0; i < PEERS_MAX; i++) {
		if (ring_size[i] == 0)
			continue;
		h->ring[i].data = at;
		h->ring[i].size = ring_size[i];
		at += ring_size[i];
	}
}

int
region_create(uint32_t peer, uint32_t workers, uint64_t generation)
{
	uint64_t ring_size[PEERS_MAX], size = region_plan(peer, workers, ring_size);
	struct region_head *h;
	char name[32];
	int fd;

	INVARIANT(generation != 0);
	snprintf(name, sizeof name, "almadia-peer-%u", peer);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_set(ALM_EIO, "could not create shared memory: %s", strerror(errno));
	if (ftruncate(fd, (off_t)size) != 0)
		goto fail;
	h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h == MAP_FAILED)
		goto fail;
	fill_head(h, peer, generation, size, ring_size);
	munmap(h, sizeof *h);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
	    fchmod(fd, 0400) != 0)
		goto fail;
	return fd;
fail:
	err_set(ALM_EIO, "could not set up %llu bytes of shared memory: %s",
	    (unsigned long long)size, strerror(errno));
	close(fd);
	return ALM_EIO;
}

int
region_readonly_fd(int fd)
{
	char path[64];
	int out;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	out = open(path, O_RDONLY | O_CLOEXEC);
	if (out < 0)
		return err_set(ALM_EIO,
		    "could not reopen shared memory read-only: %s (is /proc mounted?)",
		    strerror(errno));
	return out;
}

int
region_map(int fd, int writable, struct region *out)
{
	struct region_head *h;
	struct stat st;
	int seals;

	if (fstat(fd, &st) != 0)
		return err_set(ALM_EIO, "could not stat shared memory: %s", strerror(errno));
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || (uint64_t)st.st_size < head_bytes())
		return err_set(ALM_EINVAL, "descriptor %d is not a region: %lld bytes, seals %d",
		    fd, (long long)st.st_size, seals);
	h = mmap(NULL, (size_t)st.st_size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
	    MAP_SHARED, fd, 0);
	if (h == MAP_FAILED)
		return err_set(ALM_EIO, "could not map %lld bytes of shared memory: %s",
		    (long long)st.st_size, strerror(errno));
	if (h->magic != REGION_MAGIC || h->version != REGION_VERSION ||
	    h->size != (uint64_t)st.st_size) {
		err_set(ALM_EINVAL, "descriptor %d is not a region: magic %08x, version %u", fd,
		    h->magic, h->version);
		munmap(h, (size_t)st.st_size);
		return ALM_EINVAL;
	}
	*out = (struct region){h, (uint64_t)st.st_size, writable};
	return ALM_OK;
}

void
region_unmap(struct region *r)
{
	if (r->head)
		munmap(r->head, r->size);
	*r = (struct region){NULL, 0, 0};
}
