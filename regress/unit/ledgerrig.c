/* regress/unit/ledgerrig.c - see ledgerrig.h. */
#include "regress/unit/ledgerrig.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct rig *running;

void
role_exit(struct role_env *env, int code)
{
	(void)env;
	running->exit_code = code;
}

void
role_ready(struct role_env *env, const char *status)
{
	(void)env;
	(void)status;
	running->ready = 1;
}

static void
must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "rig: %s: %s\n", what, err_text());
	abort();
}

void
rig_init(struct rig *g)
{
	memset(g, 0, sizeof *g);
	snprintf(g->dir, sizeof g->dir, "/tmp/almadia-ledger-XXXXXX");
	must(mkdtemp(g->dir) != NULL, "mkdtemp");
	g->exit_code = -1;
	g->ledger_fd = -1;
	running = g;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
rig_fini(struct rig *g)
{
	nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
side_start(struct rig *g, struct rig_side *s, uint32_t peer)
{
	s->fd = region_create(peer, RIG_WORKERS, g->generation);
	must(s->fd >= 0 && region_map(s->fd, 1, &s->self) == ALM_OK, "region of a peer");
	link_init(&s->link, &s->self, PEER_LEDGER, g->env.bell[PEER_LEDGER]);
	must(link_attach(&s->link, g->ledger_fd) == ALM_OK, "attach to the ledger");
	g->env.region_fd[peer] = s->fd;
}

static void
side_end(struct rig_side *s)
{
	link_detach(&s->link);
	region_unmap(&s->self);
	close(s->fd);
}

static void
load_config(struct rig *g, const char *const *overrides)
{
	char data[160], path[400];
	const char *all[32] = {data, path};
	const char *build = getenv("ALMADIA_BUILDDIR");
	char here[200];
	uint32_t n = 2;

	if (build == NULL)
		build = getcwd(here, sizeof here);
	snprintf(data, sizeof data, "server.data_dir=%s", g->dir);
	snprintf(path, sizeof path, "server.plugin_path=%s/.libs", build);
	while (overrides != NULL && *overrides != NULL)
		all[n++] = *overrides++;
	must(config_load(NULL, all, n, &g->conf) == ALM_OK, "configuration");
	config_accept_data_loss(g->conf, g->accept_loss);
}

static void
on_alarm(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

int
rig_start(struct rig *g, const char *const *overrides, int *exit_code)
{
	struct role_env *e = &g->env;
	int status;

	memset(e, 0, sizeof *e);
	running = g;
	g->exit_code = -1;
	g->ready = 0;
	g->generation++;
	load_config(g, overrides);
	e->conf = g->conf;
	e->base = event_base_new();
	g->alarm = evtimer_new(e->base, on_alarm, NULL);
	e->role = ALM_ROLE_LEDGER;
	e->peer = PEER_LEDGER;
	e->workers = RIG_WORKERS;
	e->generation = g->generation;
	e->arena_fd = e->manager_fd = -1;
	for (uint32_t i = 0; i < PEERS_MAX; i++) {
		e->bell[i] = i <= PEER_WORKER(RIG_WORKERS) ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
		e->region_fd[i] = -1;
	}
	g->ledger_fd = region_create(PEER_LEDGER, RIG_WORKERS, g->generation);
	must(g->ledger_fd >= 0 && region_map(g->ledger_fd, 1, &e->self) == ALM_OK, "ledger region");
	side_start(g, &g->indexer, PEER_INDEXER);
	for (uint32_t slot = 1; slot <= RIG_WORKERS; slot++)
		side_start(g, &g->worker[slot], PEER_WORKER(slot));
	status = ledger_start(e, exit_code);
	for (uint32_t i = 0; status == ALM_OK && i < 100 && !g->ready && g->exit_code < 0; i++)
		rig_run(g, 10);
	return status;
}

static void
tear_down(struct rig *g)
{
	ledger_end(&g->env);
	event_free(g->alarm);
	event_base_free(g->env.base);
	for (uint32_t slot = 1; slot <= RIG_WORKERS; slot++)
		side_end(&g->worker[slot]);
	side_end(&g->indexer);
	region_unmap(&g->env.self);
	close(g->ledger_fd);
	for (uint32_t i = 0; i < PEERS_MAX; i++)
		if (g->env.bell[i] >= 0)
			close(g->env.bell[i]);
	config_free(g->conf);
}

void
rig_stop(struct rig *g)
{
	if (g->env.on_stop != NULL)
		g->env.on_stop(&g->env);
	tear_down(g);
}

void
rig_kill(struct rig *g)
{
	tear_down(g);
}

void
rig_run(struct rig *g, int ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	event_add(g->alarm, &tv);
	event_base_loop(g->env.base, EVLOOP_ONCE);
	event_del(g->alarm);
}

void
rig_wait(struct rig *g, int ms)
{
	const uint64_t until = clock_mono() + (uint64_t)ms * 1000;

	while (clock_mono() < until && g->exit_code < 0)
		rig_run(g, ms);
}

struct control_page *
rig_page(struct rig *g)
{
	return &g->env.self.head->page.control;
}

void
rig_group_begin(struct rig *g, struct rig_group *b)
{
	b->len = 0;
	b->head = (struct msg_append){.tag = ++g->tag};
}

void
rig_condition(struct rig_group *b, const char *ns, const char *key, uint64_t version)
{
	struct msg_condition c = {state_key_hash((struct alm_slice){ns, strlen(ns)},
	    (struct alm_slice){key, strlen(key)}), version};

	must(b->head.n_records == 0, "conditions come first");
	memcpy(b->data + b->len, &c, sizeof c);
	b->len += (uint32_t)sizeof c;
	b->head.bytes += (uint32_t)sizeof c;
	b->head.n_conditions++;
}

static struct alm_record *
add_record(struct rig_group *b, uint8_t kind, uint32_t body)
{
	const uint32_t pad = (8 - body % 8) % 8;
	struct alm_record *r = (void *)(b->data + b->len);

	must(b->len + sizeof *r + body + pad <= sizeof b->data, "group too large for the rig");
	memset(r, 0, sizeof *r + body + pad);
	r->length = (uint32_t)sizeof *r + body + pad;
	r->magic = ALM_RECORD_MAGIC;
	r->kind = kind;
	r->pad = (uint8_t)pad;
	r->born = 1;
	b->len += r->length;
	b->head.bytes += r->length;
	b->head.n_records++;
	return r;
}

struct alm_record *
rig_message(struct rig_group *b, uint32_t topic, uint32_t queue, const char *body, uint32_t len)
{
	struct alm_record *r = add_record(b, ALM_REC_MESSAGE, len);

	r->topic = topic;
	r->queue = queue;
	memcpy(r + 1, body, len);
	return r;
}

struct alm_record *
rig_state(struct rig_group *b, const char *ns, uint32_t op, const char *key, const void *val,
    uint32_t len)
{
	const struct alm_state_txn t = {(uint16_t)strlen(ns), 1, 0};
	const struct alm_state_op o = {(uint8_t)op, 0, (uint16_t)strlen(key), len};
	struct alm_record *r = add_record(b, ALM_REC_STATE,
	    (uint32_t)(sizeof t + strlen(ns) + sizeof o + strlen(key)) + len);
	uint8_t *p = (uint8_t *)(r + 1);

	memcpy(p, &t, sizeof t);
	p += sizeof t;
	memcpy(p, ns, strlen(ns));
	p += strlen(ns);
	memcpy(p, &o, sizeof o);
	p += sizeof o;
	memcpy(p, key, strlen(key));
	if (len > 0)
		memcpy(p + strlen(key), val, len);
	return r;
}

uint64_t
rig_send(struct rig *g, uint32_t slot, struct rig_group *b)
{
	struct link *k = &g->worker[slot].link;
	const uint32_t len = (uint32_t)sizeof b->head + b->len;
	uint8_t *to = link_reserve(k, MSG_APPEND, len);

	must(to != NULL, "room in the ring");
	memcpy(to, &b->head, sizeof b->head);
	memcpy(to + sizeof b->head, b->data, b->len);
	link_commit(k, len);
	link_flush(k);
	return b->head.tag;
}

int
rig_result(struct rig *g, uint32_t slot, struct msg_result *out, uint64_t *offsets)
{
	struct link *k = &g->worker[slot].link;
	const uint64_t until = clock_mono() + 1000000;
	uint32_t type, len;
	const void *p;

	while ((p = link_peek(k, &type, &len)) == NULL) {
		if (clock_mono() > until || g->exit_code >= 0)
			return 0;
		rig_run(g, 20);
	}
	must(type == MSG_RESULT && len >= sizeof *out, "a result");
	memcpy(out, p, sizeof *out);
	must(len == sizeof *out + out->n_offsets * sizeof(uint64_t), "a result's length");
	if (offsets != NULL)
		memcpy(offsets, (const uint8_t *)p + sizeof *out, out->n_offsets * sizeof *offsets);
	link_consume(k);
	link_release(k);
	return 1;
}

int
rig_ask(struct rig *g, uint32_t slot, struct rig_group *b, struct msg_result *out)
{
	rig_send(g, slot, b);
	return rig_result(g, slot, out, NULL) && out->tag == b->head.tag;
}

int
rig_topic(struct rig *g, const char *name, uint32_t queues, uint32_t durability)
{
	static struct rig_group b;
	struct alm_topic t = {.version = 1, .queues = queues, .durability = durability};
	struct msg_result r = {.status = ALM_ETIMEOUT};

	rig_group_begin(g, &b);
	rig_condition(&b, ALM_NS_TOPIC, name, 0);
	rig_state(&b, ALM_NS_TOPIC, ALM_STATE_PUT, name, &t, sizeof t);
	rig_ask(g, 1, &b, &r);
	return r.status;
}
