/* module/host.c - struct alm_host as plugins get it in the server.
 *
 * One table for each (provider, role instance), never freed: a plugin may keep the pointer for as
 * long as its instance lives.  Functions that name no host object are called from any thread.
 */
#include <config.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "module/provider.h"

struct host {
	struct alm_host table;
	const struct provider *provider;
	const struct config *conf;
	int arena_fd;
	struct host *next;
};

/* Never freed; the list keeps them reachable for leak checkers. */
static struct host *_Atomic hosts;

static const struct host *
self(const struct alm_host *h)
{
	return h->ctx;
}

static void *
host_alloc(const struct alm_host *h, uint64_t bytes)
{
	(void)h;
	return calloc(1, bytes ? bytes : 1);
}

static void
host_free(const struct alm_host *h, void *p)
{
	(void)h;
	free(p);
}

static void __attribute__((format(printf, 3, 4)))
host_log(const struct alm_host *h, uint32_t level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_line(level, "%s/%s: %s", kind_name(self(h)->provider->kind), self(h)->provider->name, text);
}

static int __attribute__((format(printf, 3, 4)))
host_fail(const struct alm_host *h, int status, const char *fmt, ...)
{
	va_list ap;

	(void)h;
	va_start(ap, fmt);
	err_vset(status, fmt, ap);
	va_end(ap);
	return status;
}

static void __attribute__((format(printf, 2, 3)))
host_panic(const struct alm_host *h, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	check_panic("%s/%s: %s", kind_name(self(h)->provider->kind), self(h)->provider->name, text);
}

static uint64_t
host_now(const struct alm_host *h)
{
	(void)h;
	return clock_mono();
}

static uint64_t
host_wall(const struct alm_host *h)
{
	(void)h;
	return clock_wall();
}

static const struct alm_setting *
setting_find(const struct provider *p, const char *name)
{
	for (uint32_t i = 0; i < p->n_settings; i++)
		if (strcmp(p->settings[i].name, name) == 0)
			return &p->settings[i];
	log_error("%s/%s: asks for setting %s, which it does not declare", kind_name(p->kind), p->name,
	    name);
	return NULL;
}

static int64_t
host_setting_int(const struct alm_host *h, const char *name)
{
	const struct provider *p = self(h)->provider;
	const struct alm_setting *s = setting_find(p, name);

	return s ? config_setting_int(self(h)->conf, kind_name(p->kind), p->name, s) : 0;
}

static const char *
host_setting_str(const struct alm_host *h, const char *name)
{
	const struct provider *p = self(h)->provider;
	const struct alm_setting *s = setting_find(p, name);

	return s ? config_setting_str(self(h)->conf, kind_name(p->kind), p->name, s) : "";
}

static int
host_arena_fd(const struct alm_host *h)
{
	return self(h)->arena_fd;
}

struct alm_host *
provider_host(const struct provider *p, const struct config *conf, uint32_t role, int arena_fd)
{
	struct host *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->provider = p;
	h->conf = conf;
	h->arena_fd = arena_fd;
	h->table = (struct alm_host){
	    .size = sizeof h->table,
	    .role = role,
	    .ctx = h,
	    .alloc = host_alloc,
	    .free = host_free,
	    .log = host_log,
	    .fail = host_fail,
	    .panic = host_panic,
	    .now = host_now,
	    .wall = host_wall,
	    .crc32c = crc32c,
	    .hash64 = hash64,
	    .setting_int = host_setting_int,
	    .setting_str = host_setting_str,
	    .arena_fd = host_arena_fd,
	    .batch_check = batch_check,
	};
	h->next = atomic_load(&hosts);
	while (!atomic_compare_exchange_weak(&hosts, &h->next, h))
		;
	return &h->table;
}
