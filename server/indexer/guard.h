/* indexer/guard.h - damage that LMDB does not survive.
 *
 * LMDB has no checksums: a flipped bit in one of its pages may be an error, an assertion or a wild
 * pointer.  So that a damaged file cannot end the indexer again and again, whatever is being called
 * is named here; if the process dies by a signal meanwhile, the handler leaves a marker file,
 * and the next start deletes and rebuilds what it names.  A kill from outside leaves none.
 */
#ifndef ALM_INDEXER_GUARD_H
#define ALM_INDEXER_GUARD_H

/* Install the handlers, unless somebody else has (a sanitizer). Once a process. */
void guard_init(void);
/* Between these this thread works on the files whose marker that is; the path stays the caller's. */
void guard_enter(const char *marker);
void guard_leave(void);
/* 1 if the marker was there; it is removed. */
int guard_marked(const char *marker);

#endif
