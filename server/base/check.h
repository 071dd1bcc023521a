/* base/check.h - three kinds of checks.
 *
 * INVARIANT(cond)     always on: a broken one ends the process (ledger, consensus, storage)
 * DEBUG_ASSERT(cond)  expensive ones, only with --enable-debug
 * if                  for everything that comes from outside
 */
#ifndef ALM_BASE_CHECK_H
#define ALM_BASE_CHECK_H

#include <stdint.h>

/* Log the text, keep it as the role's obituary, abort. */
_Noreturn void check_failed(const char *file, int line, const char *text);
/* The same for any reason; the text is one line for people. */
_Noreturn void check_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Where this thread's last words go (cap bytes, kept valid); threads that name no place of their
 * own share the newest one named. */
void check_obituary(char *where, uint32_t cap);

#define INVARIANT(cond)                                                                            \
	((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

#ifdef ALM_DEBUG
#define DEBUG_ASSERT(cond) INVARIANT(cond)
#else
#define DEBUG_ASSERT(cond) ((void)sizeof((cond) ? 1 : 0))
#endif

/* A named place where a test may crash the process or fail a call.  The environment says which:
 * ALMADIA_FAULT=name[:n[+]][=kill|eio|enospc][,...]; the n-th passage (default 1) is hit, with "+"
 * every later one too; the default action is kill.  Nothing in ordinary builds. */
#ifdef ALM_FAULT_POINTS
int fault_point(const char *name); /* 0, or the errno to fail with; does not return for "kill" */
#define FAULT_POINT(name) fault_point(name)
#else
#define FAULT_POINT(name) 0
#endif

#endif
