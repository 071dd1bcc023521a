/* ipc/bell.c - doorbells: wake a sleeping role, leave an awake one alone.
 *
 * sleep_seq of a region is written by its owner alone: odd while it sleeps or is about to.  The
 * owner makes it odd, fences, and looks for work once more; a ringer stores its work, fences, and
 * looks at sleep_seq.  Whichever order these happen in, one of the two sees the other (Dekker), so
 * either the owner finds the work or the ringer finds the sleeper.
 */
#include "ipc/region.h"

#include <unistd.h>

#include "ipc/fence.h"

static void (*local_activate)(int fd);

void
bell_use_local(void (*activate)(int fd))
{
	local_activate = activate;
}

void
bell_arm(struct bell *b)
{
	uint64_t seq = atomic_load_explicit(&b->head->sleep_seq, memory_order_relaxed);

	if (seq % 2 == 0)
		atomic_store_explicit(&b->head->sleep_seq, seq + 1, memory_order_release);
	full_fence();
}

void
bell_disarm(struct bell *b)
{
	uint64_t seq = atomic_load_explicit(&b->head->sleep_seq, memory_order_relaxed), count;

	if (seq % 2 == 0)
		return;
	atomic_store_explicit(&b->head->sleep_seq, seq + 1, memory_order_release);
	/* Empty already is the usual case when a socket woke us; nothing to do about it then. */
	if (local_activate == NULL && read(b->fd, &count, sizeof count) < 0)
		return;
}

void
bell_ring(const struct region_head *peer, int fd, uint64_t *last)
{
	uint64_t seq;

	full_fence();
	seq = atomic_load_explicit(&peer->sleep_seq, memory_order_acquire);
	if (seq % 2 == 0 || seq == *last)
		return;
	*last = seq;
	bell_ring_always(fd);
}

void
bell_ring_always(int fd)
{
	const uint64_t one = 1;

	if (local_activate != NULL) {
		local_activate(fd);
		return;
	}
	/* A full counter (EAGAIN) wakes as well. */
	if (fd >= 0 && write(fd, &one, sizeof one) < 0)
		return;
}
