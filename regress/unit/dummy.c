/* regress/unit/dummy.c - a provider of any kind that loads and does nothing, for tests of the
 * manager with stand-in roles.  Compiled once for each DUMMY_KIND. */
#include <almadia/consensus.h>
#include <almadia/extension.h>
#include <almadia/indexer.h>
#include <almadia/protocol.h>
#include <almadia/storage.h>

static int
nothing(void)
{
	return 0;
}

/* More than any kind has. */
static int (*const ops[32])(void) = {
    nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
    nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
    nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
};

static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider),
    .kind = DUMMY_KIND,
    .major = 0,
    .minor_built = 1,
    .minor_needed = 1,
    .ops_size = sizeof ops,
    .name = "dummy",
    .doc = "does nothing",
    .ops = ops,
}};

ALM_MODULE("dummy", "1.0", providers)
ALM_MODULE_NOTE(DUMMY_KIND, 0u, 1u, 1u);
