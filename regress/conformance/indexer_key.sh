#!/bin/bash
# The contract of indexers, kept by indexer/key.
exec "$ALMADIA_BUILDDIR/regress/conformance/check_indexer" \
	"$ALMADIA_BUILDDIR/.libs/indexer_key.so"
