/* regress/lib/fakehost.c - see fakehost.h.  Misuse by a plugin that a test could not see otherwise
 * (a setting it did not declare, a type it does not have) ends the test program with a message. */
#include "regress/lib/fakehost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct fakehost *
self(const struct alm_host *h)
{
	return (struct fakehost *)(uintptr_t)h;
}

static _Noreturn void
give_up(const char *what, const char *name)
{
	fprintf(stderr, "# fakehost: %s \"%s\"\n", what, name);
	abort();
}

static void *
h_alloc(const struct alm_host *h, uint64_t bytes)
{
	struct fakehost *fh = self(h);
	int64_t n = atomic_fetch_add(&fh->allocs, 1) + 1;
	void *p;

	if (n == atomic_load(&fh->fail_alloc_at))
		return NULL;
	p = calloc(1, bytes ? bytes : 1);
	if (p)
		atomic_fetch_add(&fh->live, 1);
	return p;
}

static void
h_free(const struct alm_host *h, void *p)
{
	if (p == NULL)
		return;
	atomic_fetch_sub(&self(h)->live, 1);
	free(p);
}

static void __attribute__((format(printf, 3, 4)))
h_log(const struct alm_host *h, uint32_t level, const char *fmt, ...)
{
	struct fakehost *fh = self(h);
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&fh->lock);
	buf_putf(&fh->log, "%u %s\n", level, text);
	pthread_mutex_unlock(&fh->lock);
}

static int __attribute__((format(printf, 3, 4)))
h_fail(const struct alm_host *h, int status, const char *fmt, ...)
{
	struct fakehost *fh = self(h);
	char text[sizeof fh->fail_text];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&fh->lock);
	memcpy(fh->fail_text, text, sizeof text);
	pthread_mutex_unlock(&fh->lock);
	return status;
}

static void __attribute__((format(printf, 2, 3)))
h_panic(const struct alm_host *h, const char *fmt, ...)
{
	va_list ap;

	(void)h;
	va_start(ap, fmt);
	fputs("# plugin panic: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

static uint64_t
h_now(const struct alm_host *h)
{
	uint64_t t = atomic_load(&self(h)->now);

	return t ? t : clock_mono();
}

static uint64_t
h_wall(const struct alm_host *h)
{
	uint64_t t = atomic_load(&self(h)->wall);

	return t ? t : clock_wall();
}

static const struct alm_setting *
declared(const struct fakehost *fh, const char *name)
{
	uint32_t i;

	for (i = 0; i < fh->n_declared; i++)
		if (strcmp(fh->declared[i].name, name) == 0)
			return &fh->declared[i];
	give_up("undeclared setting", name);
}

static const char *
text_of(const struct fakehost *fh, const struct alm_setting *s)
{
	uint32_t i;

	for (i = 0; i < fh->n_set; i++)
		if (strcmp(fh->set[i].name, s->name) == 0)
			return fh->set[i].text;
	if (s->def == NULL)
		give_up("required setting without a value", s->name);
	return s->def;
}

static int64_t
h_setting_int(const struct alm_host *h, const char *name)
{
	const struct alm_setting *s = declared(self(h), name);
	const char *text = text_of(self(h), s);
	int64_t value = 0;
	int rc = ALM_EINVAL;

	if (s->type == ALM_SET_BOOL)
		rc = parse_bool(text, &value);
	else if (s->type == ALM_SET_INT)
		rc = parse_int(text, &value);
	else if (s->type == ALM_SET_SIZE)
		rc = parse_size(text, &value);
	else if (s->type == ALM_SET_DURATION)
		rc = parse_duration(text, &value);
	if (rc != ALM_OK)
		give_up("not a number", name);
	if ((s->min != 0 || s->max != 0) && (value < s->min || value > s->max))
		give_up("out of the declared range", name);
	return value;
}

static const char *
h_setting_str(const struct alm_host *h, const char *name)
{
	const struct alm_setting *s = declared(self(h), name);

	if (s->type != ALM_SET_STRING && s->type != ALM_SET_CHOICE)
		give_up("not a string", name);
	return text_of(self(h), s);
}

static int
h_arena_fd(const struct alm_host *h)
{
	return self(h)->arena;
}

struct fakehost *
fh_new(uint32_t role)
{
	struct fakehost *fh = calloc(1, sizeof *fh);

	if (fh == NULL)
		give_up("out of memory", "fh_new");
	fh->host = (struct alm_host){
	    .size = sizeof fh->host,
	    .role = role,
	    .ctx = fh,
	    .alloc = h_alloc,
	    .free = h_free,
	    .log = h_log,
	    .fail = h_fail,
	    .panic = h_panic,
	    .now = h_now,
	    .wall = h_wall,
	    .crc32c = crc32c,
	    .hash64 = hash64,
	    .setting_int = h_setting_int,
	    .setting_str = h_setting_str,
	    .arena_fd = h_arena_fd,
	    .batch_check = batch_check,
	};
	pthread_mutex_init(&fh->lock, NULL);
	fh->arena = -1;
	return fh;
}

int64_t
fh_free(struct fakehost *fh)
{
	int64_t live = atomic_load(&fh->live);

	if (fh->arena >= 0)
		close(fh->arena);
	buf_free(&fh->log);
	pthread_mutex_destroy(&fh->lock);
	free(fh);
	return live;
}

const struct alm_host *
fh_host(const struct fakehost *fh)
{
	return &fh->host;
}

void
fh_settings(struct fakehost *fh, const struct alm_setting *settings, uint32_t n)
{
	fh->declared = settings;
	fh->n_declared = n;
}

void
fh_set(struct fakehost *fh, const char *name, const char *text)
{
	uint32_t i = 0;

	while (i < fh->n_set && strcmp(fh->set[i].name, name) != 0)
		i++;
	if (i == FH_SETTINGS_MAX)
		give_up("too many settings", name);
	if (i == fh->n_set)
		fh->n_set++;
	snprintf(fh->set[i].name, sizeof fh->set[i].name, "%s", name);
	snprintf(fh->set[i].text, sizeof fh->set[i].text, "%s", text);
}

void
fh_arena(struct fakehost *fh, uint64_t bytes)
{
	if (fh->arena >= 0)
		close(fh->arena);
	fh->arena = memfd_create("fakehost-arena", MFD_CLOEXEC);
	if (fh->arena < 0 || ftruncate(fh->arena, (off_t)bytes) != 0)
		give_up("no arena", "memfd_create");
}

int
fh_logged(struct fakehost *fh, const char *text)
{
	int found;

	pthread_mutex_lock(&fh->lock);
	buf_put(&fh->log, "", 1);
	found = strstr((char *)fh->log.data, text) != NULL;
	fh->log.len--;
	pthread_mutex_unlock(&fh->lock);
	return found;
}

const char *
fh_fail_text(const struct fakehost *fh)
{
	return fh->fail_text;
}
