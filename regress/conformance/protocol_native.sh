#!/bin/bash
# The contract of protocols, kept by protocol/native. The corpus is what the almadia command sent to
# a real node: topics, publishing, groups, subscriptions, lookups, state, admin texts.
exec "$ALMADIA_BUILDDIR/regress/conformance/check_protocol" \
	"$ALMADIA_BUILDDIR/.libs/protocol_native.so" \
	"$ALMADIA_SRCDIR/regress/conformance/protocol_native.hex"
