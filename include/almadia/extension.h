/* almadia/extension.h - hooks of extensions.  Experimental.
 *
 * An extension is loaded in every worker.  Its hooks are called on the worker's thread and must
 * not block.  A hook answers ALM_OK to go on with the next one, or a negative status, which
 * refuses the operation with that status.
 */
#ifndef ALMADIA_EXTENSION_H
#define ALMADIA_EXTENSION_H

#include <almadia/host.h>

#ifdef __cplusplus
extern "C" {
#endif

struct alm_ext;

#define ALM_HOOK_CONNECT 1u
#define ALM_HOOK_PUBLISH 2u
#define ALM_HOOK_FETCH 3u
#define ALM_HOOK_ADMIN 4u

struct alm_hook_event { /* append only */
	uint32_t size, hook;
	uint64_t conn;           /* connection id, never reused */
	const char *protocol;
	const char *peer;        /* address as text */
	struct alm_slice user;   /* name the client gave, if any */
	struct alm_slice topic;  /* publish, fetch, admin */
	struct alm_slice group;
};

struct alm_extension_ops_v0 { /* append only */
	int (*load)(const struct alm_host *, struct alm_ext **out);
	void (*unload)(struct alm_ext *);
	int (*hook)(struct alm_ext *, const struct alm_hook_event *);
};

#ifdef __cplusplus
}
#endif
#endif
