#!/bin/sh
# The consensus kit against consensus_raft.so.
exec "$ALMADIA_BUILDDIR/regress/conformance/check_consensus" \
	"$ALMADIA_BUILDDIR/.libs/consensus_raft.so"
