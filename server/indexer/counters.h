/* indexer/counters.h - the indexer's counters and histograms in its region, declared once: the
 * number in region_head.counter[] or hist[], the name in metrics, one sentence.  One writer, the
 * loop.  Append only. */
#ifndef ALM_INDEXER_COUNTERS_H
#define ALM_INDEXER_COUNTERS_H

#define INDEXER_COUNTERS(X)                                                                        \
	X(IC_BATCHES, "batches", "batches of the log applied")                                     \
	X(IC_BYTES, "bytes", "bytes of the log applied")                                           \
	X(IC_QUERIES, "queries", "queries answered with ok")                                       \
	X(IC_QUERIES_FAILED, "queries_failed", "queries answered with an error; not found is one") \
	X(IC_HELD, "queries_held", "times a query had to wait for the log or for room")            \
	X(IC_SYNCS, "syncs", "commits of all that is kept")                                        \
	X(IC_SYNCS_FULL, "syncs_full", "commits that the disk had no room for")                    \
	X(IC_REBUILDS, "rebuilds", "indexes or state stores rebuilt from the log")                 \
	X(IC_STATE_ROWS, "state_rows", "rows in the state store, those of its own included")       \
	X(IC_STATE_SKIPPED, "state_skipped", "changes of state that could not be folded")          \
	X(IC_TURNS, "turns", "wake-ups of the indexer's loop")

#define INDEXER_HISTS(X)                                                                           \
	X(IH_SYNC, "sync_us", "one commit of all that is kept")                                    \
	X(IH_QUERY, "query_us", "one query, without its waiting")

#define INDEXER_ENUM(id_, name_, doc_) id_,
enum { INDEXER_COUNTERS(INDEXER_ENUM) IC_COUNT };
enum { INDEXER_HISTS(INDEXER_ENUM) IH_COUNT };
#undef INDEXER_ENUM

#endif
