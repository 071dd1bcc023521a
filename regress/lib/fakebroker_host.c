/* regress/lib/fakebroker_host.c - the struct alm_host of the fake broker: counted memory, a clock that the
 * test moves, settings from fb_set() or the provider's declared defaults. */
#include "regress/lib/fakebroker.h"

#include <stdio.h>
#include <stdlib.h>

static struct fakebroker *
fb_of(const struct alm_host *h)
{
	return h->ctx;
}

static void *
host_alloc(const struct alm_host *h, uint64_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);

	if (p)
		fb_of(h)->live++;
	return p;
}

static void
host_free(const struct alm_host *h, void *p)
{
	if (p)
		fb_of(h)->live--;
	free(p);
}

__attribute__((format(printf, 3, 4))) static void
host_log(const struct alm_host *h, uint32_t level, const char *fmt, ...)
{
	va_list ap;

	(void)h;
	if (level < ALM_LOG_WARN || !getenv("FAKEBROKER_LOG"))
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

__attribute__((format(printf, 3, 4))) static int
host_fail(const struct alm_host *h, int status, const char *fmt, ...)
{
	va_list ap;

	(void)h;
	va_start(ap, fmt);
	err_vset(status, fmt, ap);
	va_end(ap);
	return status;
}

__attribute__((format(printf, 2, 3))) static void
host_panic(const struct alm_host *h, const char *fmt, ...)
{
	va_list ap;

	(void)h;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	abort();
}

static uint64_t
host_now(const struct alm_host *h)
{
	return fb_of(h)->clock;
}

static uint64_t
host_wall(const struct alm_host *h)
{
	return 1700000000000000u + fb_of(h)->clock;
}

static const char *
setting_text(const struct alm_host *h, const char *name, uint32_t *type)
{
	struct fakebroker *fb = fb_of(h);
	const char *text = NULL;
	uint32_t i;

	*type = ALM_SET_STRING;
	for (i = 0; i < fb->n_settings; i++) {
		if (strcmp(fb->settings[i].name, name))
			continue;
		text = fb->settings[i].def;
		*type = fb->settings[i].type;
	}
	for (i = 0; i < fb->n_set; i++)
		if (!strcmp(fb->set[i].name, name))
			text = fb->set[i].text;
	return text;
}

static int64_t
host_setting_int(const struct alm_host *h, const char *name)
{
	uint32_t type;
	const char *text = setting_text(h, name, &type);
	int64_t v = 0;

	if (!text)
		return 0;
	if (type == ALM_SET_DURATION)
		parse_duration(text, &v);
	else if (type == ALM_SET_BOOL)
		parse_bool(text, &v);
	else
		parse_size(text, &v);
	return v;
}

static const char *
host_setting_str(const struct alm_host *h, const char *name)
{
	uint32_t type;
	const char *text = setting_text(h, name, &type);

	return text ? text : "";
}

static int
host_arena_fd(const struct alm_host *h)
{
	(void)h;
	return -1;
}

void
fb_set(struct fakebroker *fb, const char *name, const char *text)
{
	if (fb->n_set == sizeof fb->set / sizeof fb->set[0])
		abort();
	fb->set[fb->n_set].name = name;
	fb->set[fb->n_set++].text = text;
}

void
fb_host_init(struct fakebroker *fb)
{
	fb->host = (struct alm_host){.size = sizeof fb->host, .role = ALM_ROLE_WORKER, .ctx = fb,
	    .alloc = host_alloc, .free = host_free, .log = host_log, .fail = host_fail,
	    .panic = host_panic, .now = host_now, .wall = host_wall, .crc32c = crc32c,
	    .hash64 = hash64, .setting_int = host_setting_int, .setting_str = host_setting_str,
	    .arena_fd = host_arena_fd, .batch_check = batch_check};
}
