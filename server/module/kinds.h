/* module/kinds.h - what the core knows of each kind: its version, the size of its table of
 * operations, which of them are required, and stand-ins for the rest.  Private to module/. */
#ifndef ALM_MODULE_KINDS_H
#define ALM_MODULE_KINDS_H

#include <almadia/abi.h>

typedef void (*any_op)(void);

struct op {
	const char *name;
	uint32_t offset;
	any_op stub; /* NULL: required */
};

struct kind {
	const char *name;
	uint32_t number, major, minor;
	uint32_t ops_size, n_ops;
	const struct op *ops;
};

/* NULL: no such kind. */
const struct kind *kind_find(uint32_t number);

/* Copy a provider's table (offered bytes of it) into one of the kind's full size, freed with free():
 * missing optional operations become stubs. NULL with err_text() if a required one is missing. */
void *ops_complete(const struct kind *, const void *ops, uint32_t offered);

#endif
