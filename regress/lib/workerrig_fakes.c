/* regress/lib/workerrig_fakes.c - see workerrig.h: the store, the indexer, the protocol provider and
 * what module/ would do. */
#include "regress/lib/workerrig_private.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- store: the reader half ------------------------------------------------------------------ */

static int
store_open(const struct alm_host *h, const char *dir, struct alm_reader **out)
{
	(void)h;
	assert_non_null(strstr(dir, "/log"));
	*out = (struct alm_reader *)(void *)rig_current;
	return ALM_OK;
}

static void
store_close(struct alm_reader *rd)
{
	(void)rd;
}

static int
give(struct rig *r, uint32_t i, uint64_t limit, struct alm_view *out)
{
	uint64_t first = atomic_load(&r->ledger.head->page.control.first);

	if (r->log[i].position < first)
		return ALM_EOFFSET;
	if (r->log[i].position + r->log[i].length > limit)
		return ALM_EAGAIN;
	/* The contract: the pin is published before the bytes are touched. */
	assert_true(atomic_load(&r->env.self.head->pin) <= r->log[i].position);
	out->batch = r->log[i].batch;
	out->next = r->log[i].position + r->log[i].length;
	r->opens++;
	return ALM_OK;
}

static int
store_get(struct alm_reader *rd, uint64_t position, uint64_t limit, struct alm_view *out)
{
	struct rig *r = (struct rig *)(void *)rd;
	uint32_t i;

	if (position >= limit)
		return ALM_EAGAIN;
	for (i = 0; i < r->n_log; i++)
		if (r->log[i].position == position)
			return give(r, i, limit, out);
	return ALM_EINVAL;
}

static int
store_seek(struct alm_reader *rd, uint64_t position, uint64_t limit, struct alm_view *out)
{
	struct rig *r = (struct rig *)(void *)rd;
	uint32_t i;

	for (i = 0; i < r->n_log; i++)
		if (position < r->log[i].position + r->log[i].length)
			return give(r, i, limit, out);
	return ALM_EAGAIN;
}

static void
store_trim(struct alm_reader *rd, uint64_t first)
{
	(void)rd;
	(void)first;
}

static const struct alm_storage_ops_v0 store_ops = {.reader_open = store_open,
    .reader_close = store_close, .reader_get = store_get, .reader_seek = store_seek,
    .reader_trim = store_trim};

/* ---- indexer ------------------------------------------------------------------------------------ */

static uint32_t
rows_of(struct rig *r, uint32_t topic, uint32_t queue, struct alm_q_row *out, uint32_t cap)
{
	uint64_t first = atomic_load(&r->ledger.head->page.control.first);
	uint32_t i, k, n = 0;

	for (i = 0; i < r->n_log; i++) {
		const struct alm_batch *b = r->log[i].batch;
		const struct alm_dir *d = alm_batch_dir(b);

		if (b->position < first)
			continue;
		if (r->applied && b->position + b->length > r->applied)
			break;
		for (k = 0; k < b->dir_count; k++)
			if (d[k].topic == topic && d[k].queue == queue && n < cap)
				out[n++] = (struct alm_q_row){.first_offset = d[k].first_offset,
				    .batch = b->position, .log_time = b->log_time,
				    .first_byte = d[k].first_byte, .end_byte = d[k].end_byte,
				    .count = d[k].count};
	}
	return n;
}

static int
offset_rows(struct rig *r, const struct alm_q_offset *in, struct alm_q_row *all, struct buf *out,
    uint32_t max)
{
	uint32_t n = rows_of(r, in->topic, in->queue, all, 4096), i = 0;

	while (i < n && all[i].first_offset + all[i].count <= in->offset)
		i++;
	if (i == n || all[i].first_offset > in->offset)
		return ALM_EOFFSET;
	for (; i < n && out->len + sizeof all[0] <= max; i++)
		buf_put(out, &all[i], sizeof all[0]);
	return ALM_OK;
}

static int
answer_one(struct rig *r, const struct msg_query *q, const void *in, struct buf *out)
{
	static struct alm_q_row all[4096];
	struct alm_q_bounds b = {0, 0};
	uint32_t n, i;

	if (q->what == ALM_Q_OFFSET)
		return offset_rows(r, in, all, out, q->max_bytes);
	if (q->what != ALM_Q_BOUNDS && q->what != ALM_Q_TIME) {
		buf_put(out, r->answer.data, r->answer.len);
		return r->answer_status;
	}
	n = rows_of(r, ((const struct alm_q_queue *)in)->topic,
	    ((const struct alm_q_queue *)in)->queue, all, 4096);
	if (q->what == ALM_Q_TIME) {
		for (i = 0; i < n && all[i].log_time < ((const struct alm_q_time *)in)->time; i++)
			;
		if (i == n)
			return ALM_ENOTFOUND;
		buf_put(out, &all[i], sizeof all[0]);
		return ALM_OK;
	}
	if (n) {
		b.begin = all[0].first_offset;
		b.end = all[n - 1].first_offset + all[n - 1].count;
	}
	buf_put(out, &b, sizeof b);
	return ALM_OK;
}

int
rig_indexer_run(struct rig *r)
{
	uint64_t applied = r->applied ? r->applied : UINT64_MAX;
	struct msg_answer *a;
	struct msg_query q;
	struct buf out = {0};
	uint32_t type, len;
	const uint8_t *p;
	int n = 0, status;

	while (!r->index_off && (p = link_peek(&r->to_indexer, &type, &len))) {
		assert_int_equal(type, MSG_QUERY);
		memcpy(&q, p, sizeof q);
		if (q.min_applied > applied)
			break;
		buf_reset(&r->question);
		buf_put(&r->question, p + sizeof q, len - sizeof q);
		buf_reset(&out);
		status = answer_one(r, &q, r->question.data, &out);
		assert_true(out.len <= q.max_bytes);
		a = link_reserve(&r->to_indexer, MSG_ANSWER, (uint32_t)(sizeof *a + out.len));
		assert_non_null(a);
		*a = (struct msg_answer){.tag = q.tag, .status = status, .len = (uint32_t)out.len,
		    .applied = r->applied ? r->applied :
			atomic_load(&r->ledger.head->page.control.visible)};
		if (out.len)
			memcpy(a + 1, out.data, out.len);
		link_commit(&r->to_indexer, (uint32_t)(sizeof *a + out.len));
		link_consume(&r->to_indexer);
		r->questions++;
		n++;
	}
	link_release(&r->to_indexer);
	link_flush(&r->to_indexer);
	buf_free(&out);
	return n;
}

/* ---- protocol ------------------------------------------------------------------------------------- */

static int
proto_init(const struct alm_host *h, const struct alm_broker *b, struct alm_proto **out)
{
	(void)h;
	rig_current->broker = b;
	*out = (struct alm_proto *)(void *)rig_current;
	return ALM_OK;
}

static void
proto_fini(struct alm_proto *p)
{
	(void)p;
}

static int
proto_open(struct alm_proto *p, struct alm_conn *c, const struct alm_conn_info *info,
    struct alm_session **out)
{
	struct rig *r = (struct rig *)(void *)p;
	struct alm_session *s = calloc(1, sizeof *s);

	assert_non_null(s);
	if (r->refuse_open) {
		free(s);
		return r->refuse_open;
	}
	s->rig = r;
	s->conn = c;
	s->id = info->id;
	snprintf(s->peer, sizeof s->peer, "%s", info->peer);
	s->next = r->sessions;
	r->sessions = s;
	*out = s;
	return ALM_OK;
}

static int64_t
proto_input(struct alm_session *s, const uint8_t *data, uint64_t len)
{
	uint32_t n;

	if (len > s->offered)
		s->offered = len;
	if (len < sizeof n)
		return 0;
	memcpy(&n, data, sizeof n);
	if (n == UINT32_MAX)
		return ALM_EPROTO;
	if (len - sizeof n < n)
		return 0;
	s->frames++;
	s->frame_bytes = n;
	if (s->close_in_input)
		s->rig->broker->close(s->conn, ALM_OK, 0);
	return (int64_t)(sizeof n + n);
}

static void
copy_chunks(struct alm_session *s, struct rig_done *to, const struct alm_done *d)
{
	uint32_t i;

	for (i = 0; i < d->n_chunks; i++) {
		buf_put(&to->bytes, d->chunks[i].data, d->chunks[i].len);
		if (i < RIG_CHUNKS) {
			to->chunk_len[i] = d->chunks[i].len;
			to->chunk_position[i] = d->chunks[i].position;
		}
		if (s->echo)
			s->rig->broker->write_pinned(s->conn, &d->chunks[i]);
	}
}

static void
proto_done(struct alm_session *s, const struct alm_done *d)
{
	struct rig_done *to = &s->done[s->n_done++ % RIG_DONES];

	assert_non_null(d->detail);
	to->d = *d;
	snprintf(to->detail, sizeof to->detail, "%s", d->detail);
	buf_reset(&to->bytes);
	buf_reset(&to->data);
	copy_chunks(s, to, d);
	if (d->data.len)
		buf_put(&to->data, d->data.data, d->data.len);
	if (d->offsets && d->n_messages <= 16)
		memcpy(to->offsets, d->offsets, d->n_messages * sizeof to->offsets[0]);
}

static void
proto_writable(struct alm_session *s)
{
	s->writables++;
}

static void
proto_timer(struct alm_session *s)
{
	s->timers++;
}

static void
proto_notified(struct alm_session *s, const void *data, uint32_t len)
{
	s->notices++;
	memcpy(s->notice, data, len < sizeof s->notice ? len : sizeof s->notice);
}

static void
proto_shutdown(struct alm_session *s)
{
	s->shutdowns++;
	s->rig->broker->write(s->conn, "bye", 3);
}

static void
proto_closed(struct alm_session *s, int status)
{
	struct rig *r = s->rig;
	struct alm_session **at;
	uint32_t i;

	r->n_closed++;
	r->closed_status = status;
	assert_int_equal(r->broker->write(s->conn, "late", 4), ALM_ECLOSED);
	for (at = &r->sessions; *at != s; at = &(*at)->next)
		;
	*at = s->next;
	for (i = 0; i < RIG_DONES; i++) {
		buf_free(&s->done[i].bytes);
		buf_free(&s->done[i].data);
	}
	free(s);
}

static uint64_t
proto_frame_limit(struct alm_session *s)
{
	return s->rig->frame_limit;
}

static const struct alm_protocol_ops_v0 proto_ops = {.init = proto_init, .fini = proto_fini,
    .open = proto_open, .input = proto_input, .done = proto_done, .writable = proto_writable,
    .timer = proto_timer, .notified = proto_notified, .shutdown = proto_shutdown,
    .closed = proto_closed, .frame_limit = proto_frame_limit};

/* ---- extension ------------------------------------------------------------------------------------- */

static int
ext_load(const struct alm_host *h, struct alm_ext **out)
{
	(void)h;
	*out = (struct alm_ext *)(void *)rig_current;
	return ALM_OK;
}

static void
ext_unload(struct alm_ext *e)
{
	(void)e;
}

static int
ext_hook(struct alm_ext *e, const struct alm_hook_event *ev)
{
	(void)ev;
	return ((struct rig *)(void *)e)->hook_status;
}

static const struct alm_extension_ops_v0 ext_ops = {ext_load, ext_unload, ext_hook};

/* ---- what module/ does ------------------------------------------------------------------------------ */

struct provider {
	uint32_t kind;
	char name[50];
};

int
module_load(const struct config *conf, uint32_t kind, const char *name, struct provider **out)
{
	static struct provider p[ALM_KIND_MAX + 1];

	(void)conf;
	p[kind].kind = kind;
	snprintf(p[kind].name, sizeof p[kind].name, "%s", name);
	*out = &p[kind];
	return ALM_OK;
}

const void *
provider_ops(const struct provider *p)
{
	if (p->kind == ALM_KIND_STORAGE)
		return &store_ops;
	return p->kind == ALM_KIND_EXTENSION ? (const void *)&ext_ops : &proto_ops;
}

const char *
provider_name(const struct provider *p)
{
	return p->name;
}

struct alm_host *
provider_host(const struct provider *p, const struct config *conf, uint32_t role, int arena_fd)
{
	(void)p;
	(void)conf;
	(void)role;
	(void)arena_fd;
	return &rig_current->host->host;
}

int
module_list_json(const struct config *conf, struct buf *out)
{
	(void)conf;
	return buf_put(out, "[]", 2);
}

/* ---- clients ------------------------------------------------------------------------------------------ */

static int
connected(struct rig *r, int fd, const struct sockaddr *a, socklen_t len, struct alm_session **s)
{
	struct timeval tv = {2, 0};
	struct alm_session *before = r->sessions;

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, a, len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	rig_run(r);
	if (s) {
		assert_ptr_not_equal(r->sessions, before);
		*s = r->sessions;
	}
	return fd;
}

int
rig_connect(struct rig *r, struct alm_session **s)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(r->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return connected(r, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    (const struct sockaddr *)&a, sizeof a, s);
}

int
rig_connect_unix(struct rig *r, struct alm_session **s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof a.sun_path, "%s/sock", r->dir);
	return connected(r, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    (const struct sockaddr *)&a, sizeof a, s);
}

void
rig_send(struct rig *r, int fd, const void *data, uint32_t len)
{
	uint32_t at = 0;
	ssize_t n;

	assert_int_equal(send(fd, &len, sizeof len, MSG_NOSIGNAL), sizeof len);
	while (at < len) {
		n = send(fd, (const uint8_t *)data + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			at += (uint32_t)n;
		rig_turn(r);
	}
	rig_run(r);
}

struct rig_done *
rig_last(struct alm_session *s)
{
	assert_true(s->n_done > 0);
	return &s->done[(s->n_done - 1) % RIG_DONES];
}
