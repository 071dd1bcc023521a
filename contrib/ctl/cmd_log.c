/* ctl/cmd_log.c - what is in a log on disk, without a server: batches or records.  One thread. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/format.h"
#include "contrib/ctl/offline.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"

static const struct col batch_cols[] = {{"position", "POSITION", COL_NUM}, {"index", "INDEX", COL_NUM},
    {"term", "TERM", COL_NUM}, {"length", "BYTES", COL_NUM}, {"records", "RECORDS", COL_NUM},
    {"log_time", "LOG TIME", COL_TIME}, {"holds", "HOLDS", COL_TEXT}, {"check", "CHECK", COL_TEXT}};

static const struct col record_cols[] = {{"position", "POSITION", COL_NUM}, {"kind", "KIND", COL_TEXT},
    {"topic", "TOPIC", COL_NUM}, {"queue", "QUEUE", COL_NUM}, {"offset", "OFFSET", COL_NUM},
    {"born", "BORN", COL_TIME}, {"size", "SIZE", COL_NUM}, {"text", "TEXT", COL_TEXT}};

static const char *
kind_of(uint8_t kind)
{
	static const char *const names[] = {"?", "message", "ref", "state", "noop", "config", "retain"};

	return kind < sizeof names / sizeof names[0] ? names[kind] : "?";
}

/* "ok", or which byte is wrong. */
static const char *
check_text(const struct alm_batch *b, char *out, uint32_t cap)
{
	uint64_t at = 0;

	if (batch_check(b, b->length, &at) == ALM_OK)
		return "ok";
	(void)snprintf(out, cap, "damaged at +%" PRIu64, at);
	return out;
}

static json_t *
batch_json(const struct alm_batch *b)
{
	const struct alm_dir *d = alm_batch_dir(b);
	json_t *dir = json_array(), *obj;
	char check[48], holds[64];

	for (uint32_t i = 0; i < b->dir_count; i++)
		json_array_append_new(dir,
		    json_pack("{s:I,s:I,s:I,s:I}", "topic", (json_int_t)d[i].topic, "queue",
			(json_int_t)d[i].queue, "first_offset", (json_int_t)d[i].first_offset, "count",
			(json_int_t)d[i].count));
	(void)snprintf(holds, sizeof holds, "%s%s%s%s", b->dir_count > 0 ? "messages " : "",
	    b->flags & ALM_BATCH_STATE ? "state " : "", b->flags & ALM_BATCH_CATALOGUE ? "catalogue " : "",
	    b->flags & ALM_BATCH_CONTROL ? "control " : "");
	if (holds[0] != 0)
		holds[strlen(holds) - 1] = 0;
	obj = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s}", "position", (json_int_t)b->position,
	    "index", (json_int_t)b->index, "term", (json_int_t)b->term, "length", (json_int_t)b->length,
	    "records", (json_int_t)b->records, "log_time", (json_int_t)b->log_time, "commit",
	    (json_int_t)b->commit, "member", (json_int_t)b->member, "holds", holds, "check",
	    check_text(b, check, sizeof check));
	json_object_set_new(obj, "directory", dir);
	return obj;
}

/* What a STATE record changes: "topic: put orders, delete x". */
static json_t *
state_text(struct alm_slice body)
{
	struct alm_slice ns, key, val;
	struct alm_state_op op;
	struct buf b = {0};
	uint64_t at = 0;
	json_t *s;
	int n = 0;

	while (alm_state_next(body, &at, &ns, &op, &key, &val) == 1) {
		if (n++ == 0) {
			buf_put(&b, ns.data, ns.len);
			buf_putf(&b, ":");
		}
		buf_putf(&b, "%s %s ", n > 1 ? "," : "", op.op == ALM_STATE_PUT ? "put" : "delete");
		for (uint64_t i = 0; i < key.len; i++) {
			uint8_t ch = ((const uint8_t *)key.data)[i];

			if (ch >= 0x20 && ch < 0x7f)
				buf_put(&b, &ch, 1);
			else
				buf_putf(&b, "\\x%02x", ch);
		}
	}
	s = json_bytes(b.data, b.len);
	buf_free(&b);
	return s;
}

static json_t *
record_json(const struct alm_batch *b, const struct alm_record *r)
{
	struct message_view v = {.topic = "", .queue = r->queue, .offset = r->offset,
	    .position = b->position + r->batch_offset, .born = r->born,
	    .attrs = {r + 1, r->attrs_len}, .body = alm_record_body(r)};
	struct alm_ref ref = {0};
	struct alm_retain keep = {0};
	json_t *obj;
	char text[96];

	if (r->kind == ALM_REC_MESSAGE) {
		obj = message_json(&v);
		json_object_set(obj, "text", json_object_get(obj, "body"));
	} else {
		obj = json_pack("{s:I,s:I,s:I,s:I,s:I}", "position", (json_int_t)v.position, "queue",
		    (json_int_t)r->queue, "offset", (json_int_t)r->offset, "born", (json_int_t)r->born, "size",
		    (json_int_t)v.body.len);
	}
	json_object_set_new(obj, "topic", json_integer(r->topic));
	json_object_set_new(obj, "kind", json_string(kind_of(r->kind)));
	json_object_set_new(obj, "flags", json_integer(r->flags));
	json_object_set_new(obj, "producer", json_integer((json_int_t)r->producer));
	json_object_set_new(obj, "sequence", json_integer(r->sequence));
	if (r->kind == ALM_REC_STATE) {
		json_object_set_new(obj, "text", state_text(v.body));
	} else if (r->kind == ALM_REC_REF && v.body.len >= sizeof ref) {
		memcpy(&ref, v.body.data, sizeof ref);
		(void)snprintf(text, sizeof text, "-> %" PRIu64, ref.position);
		json_object_set_new(obj, "text", json_string(text));
	} else if (r->kind == ALM_REC_RETAIN && v.body.len >= sizeof keep) {
		memcpy(&keep, v.body.data, sizeof keep);
		(void)snprintf(text, sizeof text, "log begins at %" PRIu64 ", index %" PRIu64,
		    keep.first_position, keep.first_index);
		json_object_set_new(obj, "text", json_string(text));
	}
	return obj;
}

/* Rows of one batch from a position on; returns how many of at most left records they hold. */
static uint64_t
dump_batch(const struct walker *w, const struct alm_batch *b, uint64_t from, uint64_t left)
{
	const struct alm_record *r;
	uint32_t at = sizeof *b;
	uint64_t n = 0;

	if (!opt_given(w->c, "records")) {
		out_stream_row(w->c->out, batch_json(b));
		return b->records;
	}
	while (n < left && (r = alm_batch_next(b, &at)) != NULL) {
		if (b->position + at <= from)
			continue;
		out_stream_row(w->c->out, record_json(b, r));
		n++;
	}
	return n;
}

static int
dump(struct walker *w)
{
	const struct call *c = w->c;
	uint64_t from = (uint64_t)opt_num(c, "from"), limit = (uint64_t)opt_num(c, "count"), n = 0;
	uint64_t position = w->boot.first_position;
	const struct alm_batch *b;
	struct alm_view v;
	int status = ALM_OK;

	if (from > position && from < w->boot.next_position) {
		status = w->o.ops->reader_seek(w->reader, from, w->boot.next_position, &v);
		if (status == ALM_OK)
			position = v.batch->position;
	} else if (from >= w->boot.next_position) {
		position = from;
	}
	while (status == ALM_OK && (limit == 0 || n < limit)) {
		status = walk_next(w, &position, &b);
		if (status != 1)
			break;
		n += dump_batch(w, b, from, limit > 0 ? limit - n : UINT64_MAX);
		status = out_error(c->out) == 0 ? ALM_OK : ALM_ECLOSED;
	}
	if (status < 0 && status != ALM_ECLOSED)
		return fail_status(c, status, "%s: position %" PRIu64 ": %s", w->o.log_dir, position,
		    err_text()[0] != 0 ? err_text() : status_text(status));
	return RC_OK;
}

int
cmd_log_dump(struct call *c)
{
	struct walker w = {.c = c};
	int rc;

	if (opt_given(c, "json")) {
		out_free(c->out);
		c->out = out_new(OUT_JSONL, 0);
		if (c->out == NULL)
			return RC_FAILED;
	}
	rc = walk_open(&w, c->args[0]);
	if (rc == RC_OK) {
		if (opt_given(c, "records"))
			out_stream_begin(c->out, record_cols, sizeof record_cols / sizeof record_cols[0]);
		else
			out_stream_begin(c->out, batch_cols, sizeof batch_cols / sizeof batch_cols[0]);
		rc = dump(&w);
		out_stream_end(c->out);
	}
	walk_close(&w);
	return rc;
}
