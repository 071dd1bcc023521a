#!/bin/sh
# Fresh seeds through the simulator: SIM_SEED and SIM_COUNT play chosen ones.
seed=${SIM_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
count=${SIM_COUNT:-2000}
echo 1..1
out=$("$ALMADIA_BUILDDIR/regress/sim/sim" "$ALMADIA_BUILDDIR/.libs/consensus_raft.so" "seed=$seed" "count=$count")
rc=$?
printf '%s\n' "$out" | sed 's/^/# /'
[ $rc = 0 ] && echo "ok 1 - $count seeds from $seed on keep every invariant" ||
	echo "not ok 1 - $count seeds from $seed on keep every invariant"
exit $rc
