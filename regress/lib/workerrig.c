/* regress/lib/workerrig.c - see workerrig.h: life of the rig, its ledger and its log. */
#include "regress/lib/workerrig.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <unistd.h>
#include <cmocka.h>

#include "regress/lib/workerrig_private.h"

struct rig *rig_current;

/* ---- what main/role.c does ---------------------------------------------------------------- */

void
role_exit(struct role_env *env, int code)
{
	struct rig *r = env->priv;

	r->exit_code = code;
}

void
role_ready(struct role_env *env, const char *status)
{
	struct rig *r = env->priv;

	snprintf(r->ready, sizeof r->ready, "%s", status);
}

/* ---- turning --------------------------------------------------------------------------------- */

void
rig_turn(struct rig *r)
{
	event_base_loop(r->base, EVLOOP_NONBLOCK);
}

static int
ledger_run(struct rig *r)
{
	uint32_t type, len;
	const void *p;
	int n = 0;

	while ((p = link_peek(&r->to_ledger, &type, &len))) {
		assert_int_equal(type, MSG_APPEND);
		struct rig_append *a = &r->append[r->n_append++ % 64];

		memcpy(&a->head, p, sizeof a->head);
		assert_int_equal(len, sizeof a->head + a->head.bytes);
		buf_reset(&a->bytes);
		buf_put(&a->bytes, (const uint8_t *)p + sizeof a->head, a->head.bytes);
		link_consume(&r->to_ledger);
		n++;
	}
	link_release(&r->to_ledger);
	link_flush(&r->to_ledger);
	return n;
}

void
rig_run(struct rig *r)
{
	int i, busy;

	for (i = 0, busy = 3; i < 1000 && busy; i++) {
		rig_turn(r);
		busy = ledger_run(r) + rig_indexer_run(r) || !rig_worker(r)->asleep ? 3 : busy - 1;
	}
}

struct worker *
rig_worker(struct rig *r)
{
	return r->env.state;
}

/* ---- the log ------------------------------------------------------------------------------------- */

void
rig_begin(struct rig *r)
{
	mkb_begin(&r->mk);
}

static void
publish(struct rig *r, uint64_t end)
{
	struct control_page *c = &r->ledger.head->page.control;

	atomic_store(&c->durable, end);
	atomic_store(&c->committed, end);
	atomic_store(&c->visible, end);
	if (atomic_load(&rig_worker(r)->self->want_tail)) {
		uint64_t last = 0;

		bell_ring(rig_worker(r)->self, r->env.bell[r->env.peer], &last);
	}
}

const struct alm_batch *
rig_batch(struct rig *r)
{
	const struct alm_batch *b = mkb_end(&r->mk);
	struct alm_batch *copy = malloc(b->length);
	uint64_t end = b->position + b->length;

	assert_non_null(copy);
	assert_true(r->n_log < 4096);
	memcpy(copy, b, b->length);
	r->log[r->n_log].position = b->position;
	r->log[r->n_log].length = b->length;
	r->log[r->n_log++].batch = copy;
	if (copy->flags & ALM_BATCH_CATALOGUE)
		atomic_store(&r->ledger.head->page.control.catalogue, end);
	publish(r, end);
	return copy;
}

const struct alm_batch *
rig_messages(struct rig *r, uint32_t topic, uint32_t queue, uint32_t n, const char *tag,
    uint32_t size)
{
	uint8_t *body = calloc(1, size + 1);
	const struct alm_batch *b;

	rig_begin(r);
	for (; n; n--)
		mkb_message(&r->mk, topic, queue, tag, NULL, body, size);
	b = rig_batch(r);
	free(body);
	return b;
}

void
rig_topic(struct rig *r, const char *name, uint32_t id, uint32_t queues)
{
	rig_begin(r);
	mkb_topic(&r->mk, name, id, queues);
	rig_batch(r);
}

/* ---- the ledger ------------------------------------------------------------------------------------ */

void
rig_result(struct rig *r, uint32_t i, int status, uint64_t first_offset, uint64_t end)
{
	struct msg_result *m = link_reserve(&r->to_ledger, MSG_RESULT, sizeof *m);

	assert_non_null(m);
	*m = (struct msg_result){.tag = r->append[i % 64].head.tag, .status = status, .index = 7,
	    .position = 4096, .end = end, .first_offset = first_offset};
	snprintf(m->detail, sizeof m->detail, "%s", status ? "refused by the rig" : "");
	link_commit(&r->to_ledger, sizeof *m);
	link_flush(&r->to_ledger);
}

static void
new_peer(struct rig *r, uint32_t peer, struct region *map, struct link *link)
{
	region_unmap(&link->map); /* as if it had died: it does not let go of the link */
	region_unmap(map);
	if (r->region[peer] >= 0)
		close(r->region[peer]);
	r->region[peer] = region_create(peer, 1, ++r->generation);
	assert_true(r->region[peer] >= 0);
	assert_int_equal(region_map(r->region[peer], 1, map), ALM_OK);
	link_init(link, map, PEER_WORKER(1), r->env.bell[PEER_WORKER(1)]);
	assert_int_equal(link_attach(link, r->region[PEER_WORKER(1)]), ALM_OK);
}

static void
ledger_pages(struct rig *r)
{
	struct control_page *c = &r->ledger.head->page.control;

	atomic_store(&c->role, ALM_CNS_LEADER);
	atomic_store(&c->ready, 1);
	if (r->n_log)
		publish(r, r->log[r->n_log - 1].position + r->log[r->n_log - 1].length);
}

void
rig_ledger_restart(struct rig *r)
{
	uint64_t catalogue = atomic_load(&r->ledger.head->page.control.catalogue);

	new_peer(r, PEER_LEDGER, &r->ledger, &r->to_ledger);
	atomic_store(&r->ledger.head->page.control.catalogue, catalogue);
	ledger_pages(r);
	r->env.on_peer(&r->env, PEER_LEDGER, r->region[PEER_LEDGER]);
}

void
rig_indexer_restart(struct rig *r)
{
	new_peer(r, PEER_INDEXER, &r->indexer, &r->to_indexer);
	atomic_store(&r->indexer.head->page.index.ready, 1);
	r->env.on_peer(&r->env, PEER_INDEXER, r->region[PEER_INDEXER]);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void
load_config(struct rig *r, const char *const *more)
{
	const char *set[16];
	char dir[128], text[1][64];
	uint32_t n = 0;

	snprintf(dir, sizeof dir, "server.data_dir=%s", r->dir);
	snprintf(text[0], sizeof text[0], "server.workers=1");
	set[n++] = dir;
	set[n++] = text[0];
	while (more && *more)
		set[n++] = *more++;
	if (config_load(NULL, set, n, &r->conf))
		fail_msg("config: %s", err_text());
}

static void
listen_tcp(struct rig *r)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 1024), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	r->port = ntohs(a.sin_port);
	r->env.listen_fd[0] = fd;
}

static void
listen_unix(struct rig *r)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(a.sun_path, sizeof a.sun_path, "%s/sock", r->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 64), 0);
	r->env.listen_fd[1] = fd;
}

static void
make_regions(struct rig *r)
{
	uint32_t i;

	for (i = 0; i < PEERS_MAX; i++)
		r->region[i] = r->env.bell[i] = r->env.region_fd[i] = -1;
	for (i = 0; i < 3; i++)
		r->env.bell[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->region[PEER_WORKER(1)] = region_create(PEER_WORKER(1), 1, ++r->generation);
	r->env.generation = r->generation;
	assert_int_equal(region_map(r->region[PEER_WORKER(1)], 1, &r->env.self), ALM_OK);
	new_peer(r, PEER_LEDGER, &r->ledger, &r->to_ledger);
	new_peer(r, PEER_INDEXER, &r->indexer, &r->to_indexer);
	r->env.region_fd[PEER_LEDGER] = r->region[PEER_LEDGER];
	r->env.region_fd[PEER_INDEXER] = r->region[PEER_INDEXER];
}

struct rig *
rig_new(const char *const *overrides)
{
	struct rig *r = calloc(1, sizeof *r);
	uint32_t i;
	int code;

	assert_non_null(r);
	rig_current = r;
	r->exit_code = -1;
	r->frame_limit = 1 << 20;
	snprintf(r->dir, sizeof r->dir, "/tmp/almadia-rig-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	load_config(r, overrides);
	r->host = fh_new(ALM_ROLE_WORKER);
	mkb_init(&r->mk, 0, 1, 1);
	r->base = event_base_new();
	for (i = 0; i < LISTENERS_MAX; i++)
		r->env.listen_fd[i] = -1;
	r->env.conf = r->conf;
	r->env.base = r->base;
	r->env.role = ALM_ROLE_WORKER;
	r->env.peer = PEER_WORKER(1);
	r->env.slot = r->env.workers = 1;
	r->env.arena_fd = r->env.manager_fd = -1;
	r->env.priv = r;
	make_regions(r);
	listen_tcp(r);
	listen_unix(r);
	if (worker_start(&r->env, &code))
		fail_msg("worker_start: %s", err_text());
	atomic_store(&r->indexer.head->page.index.ready, 1);
	ledger_pages(r);
	for (i = 0; i < 200 && !r->ready[0]; i++) {
		rig_turn(r);
		usleep(1000);
	}
	assert_true(r->ready[0] != '\0');
	return r;
}

void
rig_free(struct rig *r)
{
	char path[128];
	uint32_t i;

	worker_end(&r->env);
	assert_null(r->sessions);
	for (i = 0; i < r->n_log; i++)
		free(r->log[i].batch);
	for (i = 0; i < 64; i++)
		buf_free(&r->append[i].bytes);
	buf_free(&r->answer);
	buf_free(&r->question);
	mkb_free(&r->mk);
	assert_int_equal(fh_free(r->host), 0);
	event_base_free(r->base);
	link_detach(&r->to_ledger);
	link_detach(&r->to_indexer);
	region_unmap(&r->ledger);
	region_unmap(&r->indexer);
	region_unmap(&r->env.self);
	for (i = 0; i < 3; i++) {
		close(r->region[i]);
		close(r->env.bell[i]);
	}
	close(r->env.listen_fd[0]);
	close(r->env.listen_fd[1]);
	config_free(r->conf);
	snprintf(path, sizeof path, "%s/sock", r->dir);
	unlink(path);
	rmdir(r->dir);
	free(r);
	rig_current = NULL;
}
