#!/bin/bash
# The contract of indexers, kept by indexer/queue.
exec "$ALMADIA_BUILDDIR/regress/conformance/check_indexer" \
	"$ALMADIA_BUILDDIR/.libs/indexer_queue.so"
