/* regress/conformance/kit.h - the plugin under test, with its table completed as the core does it. */
#ifndef ALM_REGRESS_KIT_H
#define ALM_REGRESS_KIT_H

#include <almadia/abi.h>

/* Load FILE and find its first provider of a kind. *ops is its table with stubs for what it may leave
 * out. NULL with a line on stderr if the core would not take it either. Never unloaded. */
const struct alm_provider *kit_load(const char *file, uint32_t kind, const void **ops);

/* 1 if the provider's own table has the operation at this offset. */
int kit_has(const struct alm_provider *, uint64_t offset);

#endif
