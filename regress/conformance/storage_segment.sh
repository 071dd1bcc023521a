#!/bin/sh
# The storage kit against storage_segment.so, with segments so small that every test rotates.
exec "$ALMADIA_BUILDDIR/regress/conformance/check_storage" \
	"$ALMADIA_BUILDDIR/.libs/storage_segment.so" segment_size=1m first_segment_size=1m
