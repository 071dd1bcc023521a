/* base/log.c - one line on stderr for each event.
 *
 * Any thread.  A line is built on the stack and leaves with one write(2), so lines of several
 * processes that share stderr do not mix.  Whatever the text holds, the line stays one line:
 * control bytes are escaped, and in JSON bytes that are not UTF-8 too.  Process-wide settings are
 * set once by log_init, before other threads start, except for the level, which is atomic.
 */
#include "base/base.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 2048u
#define LINE_MAX_BYTES (TEXT_MAX * 6 + 256) /* every byte may become \u00XX */
#define ROLE_MAX 32u

static char log_role[ROLE_MAX] = "almadiad";
static _Atomic uint32_t log_min = 2;
static uint32_t log_json;
static _Thread_local const char *thread_role;

static const char *const level_names[] = {"?", "debug", "info", "notice", "warn", "error"};

void
log_init(const char *role, uint32_t min_level, uint32_t json)
{
	snprintf(log_role, sizeof log_role, "%s", role);
	log_json = json;
	log_level_set(min_level);
}

void
log_level_set(uint32_t min_level)
{
	atomic_store_explicit(&log_min, min_level, memory_order_relaxed);
}

void
log_thread_role(const char *role)
{
	thread_role = role;
}

/* Length of the UTF-8 sequence at p, 0 if it is not one.  Overlong forms and surrogates are let
 * through only as far as JSON readers tolerate them: not at all (RFC 3629, section 4). */
static uint32_t
utf8_len(const uint8_t *p, const uint8_t *end)
{
	uint32_t n, i;

	if (*p < 0x80)
		return 1;
	n = *p >= 0xc2 && *p <= 0xdf   ? 2
	    : *p >= 0xe0 && *p <= 0xef ? 3
	    : *p >= 0xf0 && *p <= 0xf4 ? 4
				       : 0;
	if (n == 0 || (uint32_t)(end - p) < n)
		return 0;
	for (i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* Append text to out, escaped; out has room for 6 bytes for each byte of text. */
static char *
put_escaped(char *out, const char *text, int json)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + strlen(text);

	while (p < end) {
		uint32_t n = utf8_len(p, end);

		if (*p < 0x20 || *p == 0x7f || (json && n == 0)) {
			out += sprintf(out, json ? "\\u%04x" : "\\x%02x", *p);
			p++;
			continue;
		}
		if (json && (*p == '"' || *p == '\\'))
			*out++ = '\\';
		if (n == 0)
			n = 1;
		memcpy(out, p, n);
		out += n;
		p += n;
	}
	return out;
}

static char *
put_time(char *out)
{
	uint64_t now = clock_wall();
	time_t seconds = (time_t)(now / 1000000);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	out += strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	return out + sprintf(out, ".%06uZ", (unsigned)(now % 1000000));
}

void
log_vline(uint32_t level, const char *fmt, va_list ap)
{
	char text[TEXT_MAX], line[LINE_MAX_BYTES], *p = line;
	const char *role = thread_role ? thread_role : log_role;
	const char *name = level_names[level <= 5 ? level : 0];
	int n;

	if (level < atomic_load_explicit(&log_min, memory_order_relaxed))
		return;
	n = vsnprintf(text, sizeof text, fmt, ap);
	if (n < 0)
		snprintf(text, sizeof text, "a log line could not be formatted");
	else if ((uint32_t)n >= sizeof text)
		memcpy(text + sizeof text - 4, "...", 4);
	if (log_json) {
		p += sprintf(p, "{\"time\":\"");
		p = put_time(p);
		p += sprintf(p, "\",\"level\":\"%s\",\"role\":\"%s\",\"pid\":%d,\"text\":\"", name,
		    role, (int)getpid());
		p = put_escaped(p, text, 1);
		p += sprintf(p, "\"}\n");
	} else {
		p = put_time(p);
		p += sprintf(p, " %s %s[%d]: ", name, role, (int)getpid());
		p = put_escaped(p, text, 0);
		*p++ = '\n';
	}
	/* There is nowhere to report a stderr that fails. */
	if (write(STDERR_FILENO, line, (size_t)(p - line)) < 0)
		return;
}

void
log_line(uint32_t level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
}
