/* ledger/counters.h - the ledger's counters and histograms in its region, declared once: the number
 * in region_head.counter[] or hist[], the name in metrics, one sentence.  One writer, the loop. */
#ifndef ALM_LEDGER_COUNTERS_H
#define ALM_LEDGER_COUNTERS_H

#define LEDGER_COUNTERS(X)                                                                         \
	X(LC_BATCHES, "batches", "batches closed")                                                 \
	X(LC_GROUPS, "groups", "groups accepted")                                                  \
	X(LC_MESSAGES, "messages", "messages accepted")                                            \
	X(LC_BYTES, "bytes", "bytes appended to the log")                                          \
	X(LC_APPENDS, "appends", "append calls, each of one or more batches")                      \
	X(LC_SYNCS, "syncs", "syncs of the log")                                                   \
	X(LC_SYNCS_INLINE, "syncs_inline", "syncs done on the ledger's loop, with nothing waiting") \
	X(LC_DUPLICATES, "duplicates", "groups that were stored before")                           \
	X(LC_REFUSED_INVALID, "refused_invalid", "groups refused: malformed")                      \
	X(LC_REFUSED_TOPIC, "refused_not_found", "groups refused: no such topic, queue or group")  \
	X(LC_REFUSED_CONDITION, "refused_condition", "groups refused: a condition failed")         \
	X(LC_REFUSED_SIZE, "refused_size", "groups refused: over a size limit")                    \
	X(LC_REFUSED_ORDER, "refused_order", "groups refused: a gap in a producer's sequences")    \
	X(LC_REFUSED_FULL, "refused_full", "groups refused: disk full")                            \
	X(LC_REFUSED_OTHER, "refused_other", "groups refused: any other reason")                   \
	X(LC_NOTIFIES, "notifies", "notifications passed on")                                      \
	X(LC_NOTIFIES_LOST, "notifies_lost", "notifications dropped: receiver gone or its ring full") \
	X(LC_BROKEN_PEERS, "broken_peers", "workers cut off for nonsense in their ring")           \
	X(LC_CHECKPOINTS, "checkpoints", "checkpoint files written")                               \
	X(LC_RETAINS, "retains", "moves of the log's begin")                                       \
	X(LC_REBUILDS, "rebuilds", "sequencer rebuilt from the log")                               \
	X(LC_RESULT_STALLS, "result_stalls", "times a worker was not drained: its results back up") \
	X(LC_TURNS, "turns", "wake-ups of the ledger's loop")

#define LEDGER_HISTS(X)                                                                            \
	X(LH_SYNC, "sync_us", "microseconds of a sync")                                            \
	X(LH_APPEND, "append_us", "microseconds of an append call")                                \
	X(LH_BATCH, "batch_bytes", "bytes of a batch")                                             \
	X(LH_COMMIT, "commit_us", "microseconds from a batch's first group to its commit")

#define LEDGER_ENUM(id, name, doc) id,
enum { LEDGER_COUNTERS(LEDGER_ENUM) LC_COUNT };
enum { LEDGER_HISTS(LEDGER_ENUM) LH_COUNT };
#undef LEDGER_ENUM

#endif
