#!/bin/sh
# The storage kit against storage_memory.so, with an arena that every longer test wraps.
exec "$ALMADIA_BUILDDIR/regress/conformance/check_storage" \
	"$ALMADIA_BUILDDIR/.libs/storage_memory.so" ARENA=32m
