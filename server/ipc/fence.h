/* ipc/fence.h - the full barrier between "I stored this" and "do you sleep?".
 *
 * ThreadSanitizer knows no fences (and gcc says so with a warning), so for it a read-modify-write
 * stands in, which is a full barrier on every machine that the sanitizer runs on. */
#ifndef ALM_IPC_FENCE_H
#define ALM_IPC_FENCE_H

#include <stdatomic.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ALM_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ALM_TSAN 1
#endif

static inline void
full_fence(void)
{
#ifdef ALM_TSAN
	static _Thread_local _Atomic int barrier;

	atomic_fetch_add(&barrier, 1);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif
