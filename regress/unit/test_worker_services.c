/* The worker's other services: results, restarts of the ledger, topics, groups, offsets, lookups,
 * state, admin texts, extensions; memory. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <jansson.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "regress/lib/workerrig.h"

static struct alm_session *s;
static int fd;

/* Allocations of the server's code: the linker wraps them in this program. */
static uint64_t allocations;

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

void *
__wrap_malloc(size_t n)
{
	allocations++;
	return __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	allocations++;
	return __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t n)
{
	allocations++;
	return __real_realloc(p, n);
}

static int
start(void **state, const char *const *more)
{
	struct rig *r = rig_new(more);

	rig_topic(r, "orders", 1, 4);
	fd = rig_connect(r, &s);
	*state = r;
	return 0;
}

static int
setup(void **state)
{
	return start(state, NULL);
}

static int
setup_extension(void **state)
{
	static const char *const more[] = {"extensions.plugins=guard", NULL};

	return start(state, more);
}

static int
teardown(void **state)
{
	close(fd);
	rig_free(*state);
	return 0;
}

static struct alm_slice
text(const char *t)
{
	return slice(t, strlen(t));
}

static int
publish(struct rig *r, struct alm_session *to, uint64_t tag, const struct alm_message *m)
{
	struct alm_append a = {.size = sizeof a, .n_messages = 1, .messages = m};
	int st = r->broker->append(to->conn, tag, &a);

	if (!st)
		rig_run(r);
	return st;
}

static const struct alm_message hello = {.topic = 1, .body = {"hello", 5}};

/* The nth change in the group's state records. */
static int
change_of(const struct rig_append *a, uint32_t nth, struct alm_slice *ns, struct alm_slice *key,
    struct alm_slice *val)
{
	uint64_t at = a->head.n_conditions * sizeof(struct msg_condition), op_at;
	struct alm_state_op op;

	while (at < a->bytes.len) {
		const struct alm_record *rec = (const void *)(a->bytes.data + at);

		op_at = 0;
		while (rec->kind == ALM_REC_STATE &&
		    alm_state_next(alm_record_body(rec), &op_at, ns, &op, key, val) == 1)
			if (nth-- == 0)
				return op.op;
		at += rec->length;
	}
	return 0;
}

/* ---- appends ---- */

static void
a_result_for_a_closed_connection_is_dropped(void **state)
{
	struct rig *r = *state;
	struct alm_session *other;
	int sock = rig_connect(r, &other);

	publish(r, other, 1, &hello);
	r->broker->close(other->conn, ALM_OK, 0);
	rig_run(r);
	publish(r, s, 2, &hello); /* takes the slot of the dropped one */
	rig_result(r, 0, ALM_OK, 99, 0);
	rig_run(r);
	assert_int_equal(s->n_done, 0);
	rig_result(r, 1, ALM_OK, 100, 0);
	rig_run(r);
	assert_int_equal(s->n_done, 1);
	assert_int_equal(rig_last(s)->d.first_offset, 100);
	rig_result(r, 1, ALM_OK, 101, 0); /* twice: nobody waits */
	rig_run(r);
	assert_int_equal(s->n_done, 1);
	close(sock);
}

static void
a_restarted_ledger_leaves_appends_unavailable(void **state)
{
	struct rig *r = *state;

	publish(r, s, 1, &hello);
	publish(r, s, 2, &hello);
	rig_result(r, 0, ALM_OK, 5, 0); /* its last word still counts */
	rig_ledger_restart(r);
	rig_run(r);
	assert_int_equal(s->n_done, 2);
	assert_int_equal(s->done[0].d.status, ALM_OK);
	assert_int_equal(s->done[0].d.first_offset, 5);
	assert_int_equal(s->done[1].d.status, ALM_EUNAVAILABLE);
	assert_non_null(strstr(s->done[1].detail, "safe to retry"));
	publish(r, s, 3, &hello);
	assert_int_equal(r->n_append, 3);
	rig_result(r, 2, ALM_OK, 6, 0);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.tag, 3);
	assert_int_equal(rig_last(s)->d.status, ALM_OK);
}

static void
without_a_ready_ledger_an_append_is_unavailable(void **state)
{
	struct rig *r = *state;

	atomic_store(&r->ledger.head->page.control.ready, 0);
	assert_int_equal(publish(r, s, 1, &hello), ALM_OK);
	assert_int_equal(rig_last(s)->d.status, ALM_EUNAVAILABLE);
	assert_int_equal(r->n_append, 0);
}

static void
bad_groups_are_refused_with_a_reason(void **state)
{
	struct rig *r = *state;
	struct alm_message m = hello;
	static uint8_t big[5 << 20];

	m.topic = 8;
	publish(r, s, 1, &m);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
	m.topic = 1;
	m.queue = 4;
	publish(r, s, 2, &m);
	assert_int_equal(rig_last(s)->d.status, ALM_EINVAL);
	assert_non_null(strstr(rig_last(s)->detail, "queues 0 to 3, not 4"));
	m.queue = 0;
	m.attrs = slice("\1\0\0\0\xff\0\0\0x", 9); /* says 255 bytes, has one */
	publish(r, s, 3, &m);
	assert_int_equal(rig_last(s)->d.status, ALM_EINVAL);
	m.attrs = slice("", 0);
	m.body = slice(big, sizeof big);
	publish(r, s, 4, &m);
	assert_int_equal(rig_last(s)->d.status, ALM_ETOOBIG);
	assert_int_equal(r->n_append, 0);
	assert_int_equal(s->n_done, 4);
}

static void
a_tag_attribute_gives_the_records_tag_hash(void **state)
{
	struct rig *r = *state;
	struct alm_message m = hello;
	const struct alm_record *rec;

	m.attrs = slice("\2\0\0\0\1\0\0\0k\1\0\0\0\3\0\0\0red", 20);
	publish(r, s, 1, &m);
	rec = (const void *)r->append[0].bytes.data;
	assert_int_equal(rec->tag_hash, (uint32_t)hash64("red", 3));
	assert_int_equal(alm_record_find(rec, ALM_ATTR_KEY).len, 1);
	assert_int_equal(rec->length, 64 + 20 + 5 + 7);
	assert_int_equal(rec->pad, 7);
}

static void
a_full_ring_is_said_and_so_is_the_room_after_it(void **state)
{
	struct rig *r = *state;
	static uint8_t body[1 << 20];
	struct alm_message m = {.topic = 1, .body = {body, sizeof body}};
	struct alm_append a = {.size = sizeof a, .n_messages = 1, .messages = &m};
	int n = 0;

	while (r->broker->append(s->conn, 1, &a) == ALM_OK && n < 1000)
		n++;
	assert_true(n > 0 && n < 1000);
	assert_int_equal(s->writables, 0);
	rig_run(r); /* the ledger takes them */
	assert_true(s->writables > 0);
	assert_int_equal(r->n_append, n);
	assert_int_equal(r->broker->append(s->conn, 1, &a), ALM_OK);
	for (int i = 0; i < 64; i++)
		buf_free(&r->append[i].bytes);
}

/* ---- topics, groups, offsets ---- */

static void
a_topic_is_answered_once_this_worker_sees_it(void **state)
{
	struct rig *r = *state;
	struct alm_topic value = {.queues = 0};
	struct alm_topic_info info;
	struct alm_slice ns, key, val;
	uint64_t end;

	assert_int_equal(r->broker->topic_put(s->conn, 1, text("new"), &value, 1), ALM_OK);
	rig_run(r);
	assert_int_equal(r->append[0].head.n_conditions, 1);
	assert_int_equal(change_of(&r->append[0], 0, &ns, &key, &val), ALM_STATE_PUT);
	assert_memory_equal(ns.data, "topic", 5);
	assert_memory_equal(key.data, "new", 3);
	memcpy(&value, val.data, sizeof value);
	assert_int_equal(value.queues, rig_worker(r)->core->topic_queues);

	end = r->mk.position + 400; /* the result overtakes what is visible */
	rig_result(r, 0, ALM_OK, 0, end);
	rig_run(r);
	assert_int_equal(s->n_done, 0);
	assert_int_equal(r->broker->topic(s->conn, text("new"), &info), ALM_ENOTFOUND);
	rig_topic(r, "new", 2, 8);
	while (r->mk.position < end)
		rig_messages(r, 1, 0, 1, NULL, 100);
	rig_run(r);
	assert_int_equal(s->n_done, 1);
	assert_int_equal(r->broker->topic(s->conn, text("new"), &info), ALM_OK);
	assert_int_equal(info.topic.id, 2);
}

static void
topics_are_judged_before_they_are_sent(void **state)
{
	struct rig *r = *state;
	struct alm_topic value = {.queues = 2};

	r->broker->topic_put(s->conn, 1, text("orders"), &value, 1);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_EEXIST);
	r->broker->topic_put(s->conn, 2, text("nowhere"), &value, 0);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
	r->broker->topic_put(s->conn, 3, text("bad name"), &value, 1);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_EINVAL);
	r->broker->topic_put(s->conn, 4, text("orders"), &value, 0);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_EINVAL); /* 4 queues do not become 2 */
	r->broker->topic_delete(s->conn, 5, text("nowhere"));
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
	assert_int_equal(s->n_done, 5);
	assert_int_equal(r->n_append, 0);
}

static void
a_lookup_by_name_sees_what_another_worker_made(void **state)
{
	struct rig *r = *state;
	struct alm_topic_info info;
	struct alm_slice name;

	rig_topic(r, "elsewhere", 7, 1); /* no turn of the loop in between */
	assert_int_equal(r->broker->topic(s->conn, text("elsewhere"), &info), ALM_OK);
	assert_int_equal(r->broker->topic_by_id(s->conn, 7, &name, &info), ALM_OK);
	assert_int_equal(name.len, 9);
}

static void
routing_is_by_key_or_in_turns(void **state)
{
	struct rig *r = *state;
	uint32_t q = r->broker->route(s->conn, 1, 4, text("k"));

	assert_int_equal(q, hash64("k", 1) % 4);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(r->broker->route(s->conn, 1, 4, slice("", 0)), i % 4);
}

static void
put_group(struct rig *r)
{
	struct alm_group g = {.version = 1};
	struct mkb_op op = {"readers", 7, &g, sizeof g};

	rig_begin(r);
	mkb_state(&r->mk, ALM_NS_GROUP, &op, 1);
	r->mk.flags |= ALM_BATCH_CATALOGUE;
	rig_batch(r);
}

static void
an_offset_commit_makes_its_group(void **state)
{
	struct rig *r = *state;
	struct alm_slice ns, key, val;
	struct alm_offset value;

	r->broker->offset_commit(s->conn, 1, text("readers"), text("orders"), 3, 55);
	rig_run(r);
	assert_int_equal(r->append[0].head.n_conditions, 1);
	assert_int_equal(change_of(&r->append[0], 0, &ns, &key, &val), ALM_STATE_PUT);
	assert_memory_equal(ns.data, "group", 5);

	put_group(r); /* somebody else was faster */
	rig_result(r, 0, ALM_EEXIST, 0, 0);
	rig_run(r);
	assert_int_equal(s->n_done, 0);
	assert_int_equal(r->n_append, 2);
	assert_int_equal(r->append[1].head.n_conditions, 0);
	assert_int_equal(change_of(&r->append[1], 0, &ns, &key, &val), ALM_STATE_PUT);
	assert_int_equal(key.len, 7 + 1 + 6 + 1 + 4);
	assert_memory_equal(key.data, "readers\0orders\0\0\0\0\3", key.len);
	memcpy(&value, val.data, sizeof value);
	assert_int_equal(value.offset, 55);
	rig_result(r, 1, ALM_OK, 0, 0);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_OK);

	r->broker->offset_commit(s->conn, 2, text("readers"), text("nowhere"), 0, 1);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
}

/* A row as the indexer packs it. */
static void
row(struct rig *r, const void *key, uint16_t key_len, uint64_t version)
{
	struct {
		uint16_t key_len, zero;
		uint32_t val_len;
		uint64_t version;
	} head = {key_len, 0, 4, version};

	buf_put(&r->answer, &head, sizeof head);
	buf_put(&r->answer, key, key_len);
	buf_put(&r->answer, "valu", 4);
}

static void
deleting_a_topic_deletes_its_offsets(void **state)
{
	struct rig *r = *state;
	struct alm_slice ns, key, val;

	r->broker->topic_delete(s->conn, 1, text("orders"));
	rig_run(r);
	assert_int_equal(change_of(&r->append[0], 0, &ns, &key, &val), ALM_STATE_DELETE);
	row(r, "g\0orders\0\0\0\0\1", 13, 808);
	row(r, "g\0others\0\0\0\0\1", 13, 816);
	rig_result(r, 0, ALM_OK, 0, 0);
	rig_run(r);
	assert_int_equal(r->n_append, 2);
	assert_int_equal(r->append[1].head.n_conditions, 1);
	assert_int_equal(((const struct msg_condition *)(const void *)r->append[1].bytes.data)->version,
	    808);
	assert_int_equal(change_of(&r->append[1], 0, &ns, &key, &val), ALM_STATE_DELETE);
	assert_memory_equal(key.data, "g\0orders", 8);
	assert_int_equal(change_of(&r->append[1], 1, &ns, &key, &val), 0);
	assert_int_equal(s->n_done, 0);
	buf_reset(&r->answer); /* the next page is empty */
	rig_result(r, 1, ALM_OK, 0, 0);
	rig_run(r);
	assert_int_equal(s->n_done, 1);
	assert_int_equal(rig_last(s)->d.status, ALM_OK);
	assert_int_equal(rig_last(s)->d.position, 4096);
}

/* ---- lookups ---- */

static void
bounds_and_times_are_found(void **state)
{
	struct rig *r = *state;
	const struct alm_batch *b;

	rig_messages(r, 1, 0, 5, NULL, 10);
	b = rig_messages(r, 1, 0, 5, NULL, 10);
	r->broker->bounds(s->conn, 1, 1, 0);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.which, ALM_DONE_BOUNDS);
	assert_int_equal(rig_last(s)->d.begin, 0);
	assert_int_equal(rig_last(s)->d.end, 10);
	r->broker->offset_at(s->conn, 2, 1, 0, b->log_time);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.next_offset, 5);
	r->broker->offset_at(s->conn, 3, 1, 0, b->log_time + 1);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.next_offset, 10);
	assert_int_equal(rig_last(s)->d.end, 10);
	r->broker->bounds(s->conn, 4, 1, 9);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
}

static void
a_message_is_found_by_its_position(void **state)
{
	struct rig *r = *state;
	const struct alm_batch *b = rig_messages(r, 1, 0, 3, NULL, 8);
	uint64_t second = b->position + sizeof *b + 72;

	r->broker->lookup_position(s->conn, 1, second);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.n_chunks, 1);
	assert_int_equal(rig_last(s)->bytes.len, 72);
	assert_int_equal(rig_last(s)->chunk_position[0], second);
	for (uint64_t bad = second + 1; bad < second + 80; bad += bad == second + 1 ? 7 : 71) {
		if (bad == second + 72)
			continue;
		r->broker->lookup_position(s->conn, 2, bad);
		rig_run(r);
		assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
	}
	r->broker->lookup_position(s->conn, 3, UINT64_MAX);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
	assert_true(atomic_load(&r->env.self.head->pin) == UINT64_MAX);
}

static void
messages_are_found_by_key_and_looked_at(void **state)
{
	struct rig *r = *state;
	const struct alm_batch *b;
	uint64_t at[4];

	rig_begin(r);
	mkb_message(&r->mk, 1, 0, NULL, "k1", "a", 1);
	mkb_message(&r->mk, 1, 0, NULL, "k2", "b", 1);
	b = rig_batch(r);
	at[0] = b->position + sizeof *b;
	at[1] = at[0] + ((const struct alm_record *)(b + 1))->length;
	at[2] = 12345; /* not a record */
	at[3] = at[0];
	buf_put(&r->answer, at, sizeof at);
	r->broker->lookup_key(s->conn, 1, 1, text("k1"), 10, 0, 0);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.n_chunks, 2);
	assert_int_equal(rig_last(s)->chunk_position[0], at[0]);
	r->broker->lookup_key(s->conn, 2, 2, text("k1"), 10, 0, 0);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
}

static void
state_entries_come_with_their_version(void **state)
{
	struct rig *r = *state;

	buf_put(&r->answer, "\x2a\0\0\0\0\0\0\0value", 13);
	r->broker->state_get(s->conn, 1, text("offset"), text("key"));
	rig_run(r);
	assert_int_equal(rig_last(s)->d.version, 42);
	assert_int_equal(rig_last(s)->data.len, 5);
	assert_memory_equal(r->question.data, "\6\0\3\0offsetkey", 13);
	r->answer_status = ALM_ENOTFOUND;
	r->broker->state_get(s->conn, 2, text("offset"), text("key"));
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
	r->answer_status = ALM_OK;
	r->broker->state_scan(s->conn, 3, text("offset"), text("g"), text("ga"), 5);
	rig_run(r);
	assert_int_equal(rig_last(s)->data.len, 13);
	assert_int_equal(((const struct q_scan *)(const void *)r->question.data)->limit, 5);
}

static void
admin_texts_are_json(void **state)
{
	static const char *const what[] = {"info", "config", "plugins", "stats"};
	struct rig *r = *state;
	json_error_t e;
	json_t *o;

	for (int i = 0; i < 4; i++) {
		r->broker->admin(s->conn, 1, what[i]);
		rig_run(r);
		assert_int_equal(rig_last(s)->d.status, ALM_OK);
		o = json_loadb((const char *)rig_last(s)->data.data, rig_last(s)->data.len, 0, &e);
		assert_non_null(o);
		if (i == 0)
			assert_int_equal(json_integer_value(json_object_get(o, "topics")), 1);
		json_decref(o);
	}
	r->broker->admin(s->conn, 1, "nonsense");
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
}

static void
an_extension_may_refuse(void **state)
{
	struct rig *r = *state;
	struct alm_fetch f = {.size = sizeof f, .topic = 1};
	struct alm_topic value = {.queues = 1};

	r->hook_status = ALM_EDENIED;
	publish(r, s, 1, &hello);
	assert_int_equal(rig_last(s)->d.status, ALM_EDENIED);
	assert_string_equal(rig_last(s)->detail, "refused by extension guard");
	r->broker->fetch(s->conn, 2, &f);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_EDENIED);
	r->broker->topic_put(s->conn, 3, text("x"), &value, 1);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_EDENIED);
	r->hook_status = ALM_OK;
	publish(r, s, 4, &hello);
	assert_int_equal(r->n_append, 1);
}

/* ---- memory ---- */

static void
round_of_work(struct rig *r, uint32_t i)
{
	struct alm_fetch f = {.size = sizeof f, .topic = 1, .offset = i, .wait_ms = 60000};

	r->broker->fetch(s->conn, 1, &f);
	publish(r, s, 2, &hello);
	rig_result(r, r->n_append - 1, ALM_OK, i, 0);
	rig_messages(r, 1, 0, 1, NULL, 4000);
	rig_run(r);
}

static void
a_steady_state_allocates_nothing(void **state)
{
	struct rig *r = *state;
	uint64_t before, rig_own;
	uint32_t i;

	for (i = 0; i < 200; i++)
		round_of_work(r, i);
	before = allocations;
	rig_messages(r, 1, 1, 1, NULL, 4000);
	rig_own = allocations - before; /* the builder of batches and the copy */
	before = allocations;
	for (; i < 400; i++)
		round_of_work(r, i);
	assert_int_equal(s->n_done, 800);
	assert_in_range(allocations - before, 0, 200 * rig_own);
}

static void
ten_thousand_idle_connections_are_cheap(void **state)
{
	static int sock[10000];
	struct rig *r = *state;
	struct rlimit lim = {22000, 22000};
	uint64_t before, each;
	int n = 10000, i;

	setrlimit(RLIMIT_NOFILE, &lim);
	getrlimit(RLIMIT_NOFILE, &lim);
	if (lim.rlim_cur < 22000)
		n = (int)(lim.rlim_cur - 100) / 2;
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (i = 0; i < n - 1; i++) {
		sock[i] = rig_connect_unix(r, NULL);
		if (i % 2)
			rig_send(r, sock[i], "x", 1);
	}
	each = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / (uint64_t)n;
	assert_int_equal(rig_worker(r)->n_conns, n);
	/* The rig's session is the larger part: take it off. */
	assert_true(each < sizeof *s + 1500);
	while (i-- > 0)
		close(sock[i]);
	rig_run(r);
	assert_int_equal(rig_worker(r)->n_conns, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(a_result_for_a_closed_connection_is_dropped),
	    T(a_restarted_ledger_leaves_appends_unavailable),
	    T(without_a_ready_ledger_an_append_is_unavailable),
	    T(bad_groups_are_refused_with_a_reason),
	    T(a_tag_attribute_gives_the_records_tag_hash),
	    T(a_full_ring_is_said_and_so_is_the_room_after_it),
	    T(a_topic_is_answered_once_this_worker_sees_it),
	    T(topics_are_judged_before_they_are_sent),
	    T(a_lookup_by_name_sees_what_another_worker_made),
	    T(routing_is_by_key_or_in_turns),
	    T(an_offset_commit_makes_its_group),
	    T(deleting_a_topic_deletes_its_offsets),
	    T(bounds_and_times_are_found),
	    T(a_message_is_found_by_its_position),
	    T(messages_are_found_by_key_and_looked_at),
	    T(state_entries_come_with_their_version),
	    T(admin_texts_are_json),
	    cmocka_unit_test_setup_teardown(an_extension_may_refuse, setup_extension, teardown),
	    T(a_steady_state_allocates_nothing),
	    T(ten_thousand_idle_connections_are_cheap),
	};

	log_init("test", ALM_LOG_ERROR, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
