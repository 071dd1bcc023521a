/* worker/counters.h - what a worker counts, in its region, declared once: name, unit, sentence.
 * The order is the index in region_head.counter (hist): append only, so that a tool of another
 * release reads the right number. */
#ifndef ALM_WORKER_COUNTERS_H
#define ALM_WORKER_COUNTERS_H

#define WORKER_COUNTERS(X)                                                                         \
	X(CONNS_OPEN, "connections_open", "", "connections open now")                              \
	X(CONNS_ACCEPTED, "connections_accepted", "", "connections accepted")                      \
	X(CONNS_REFUSED, "connections_refused", "", "connections refused at max_connections or by an extension") \
	X(CONNS_FAILED, "connections_failed", "", "connections closed because of what the peer sent") \
	X(BYTES_IN, "bytes_in", "bytes", "bytes received from clients")                            \
	X(BYTES_OUT, "bytes_out", "bytes", "bytes sent to clients")                                \
	X(APPENDS, "appends", "", "groups handed to the ledger")                                   \
	X(APPEND_MESSAGES, "append_messages", "", "messages in them")                              \
	X(APPEND_BYTES, "append_bytes", "bytes", "bytes of their records")                         \
	X(APPEND_BUSY, "append_busy", "", "groups turned away because the ring was full")          \
	X(APPEND_FAILED, "append_failed", "", "groups that were refused or failed")                \
	X(APPENDS_UNDER_WAY, "appends_under_way", "", "groups without a result yet")               \
	X(FETCHES, "fetches", "", "fetches answered")                                              \
	X(FETCH_MESSAGES, "fetch_messages", "", "messages walked one by one for fetches")          \
	X(FETCH_BYTES, "fetch_bytes", "bytes", "bytes of records handed out")                      \
	X(FETCH_PARKED, "fetch_parked", "", "fetches that waited for a message")                   \
	X(QUERIES, "queries", "", "questions asked of the indexer")                                \
	X(QUERIES_RESENT, "queries_resent", "", "questions asked again of a restarted indexer")    \
	X(TAIL_BATCHES, "tail_batches", "", "batches that the tail scanner looked at")             \
	X(QUEUES_TRACKED, "queues_tracked", "", "queues with recent rows in memory")               \
	X(VIEWS_HELD, "views_held", "", "batches pinned in the log")                               \
	X(TURNS, "turns", "", "turns of the event loop")                                           \
	X(LEDGER_RESTARTS, "ledger_restarts", "", "times the ledger came back as a new process")   \
	X(TIMERS, "timers_fired", "", "deadlines that passed")

#define WORKER_HISTS(X)                                                                            \
	X(APPEND, "append_us", "us", "from append to its result")                                  \
	X(FETCH, "fetch_us", "us", "from a fetch that did not wait to its answer")                 \
	X(QUERY, "query_us", "us", "from a question to the indexer to its answer")

#define X(id_, name_, unit_, doc_) COUNT_##id_,
enum { WORKER_COUNTERS(X) COUNT_N };
#undef X
#define X(id_, name_, unit_, doc_) HIST_##id_,
enum { WORKER_HISTS(X) HIST_N };
#undef X

#endif
