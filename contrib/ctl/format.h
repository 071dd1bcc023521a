/* ctl/format.h - values as text: times, message format strings, base64, UTF-8. */
#ifndef CTL_FORMAT_H
#define CTL_FORMAT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include <almadia/log.h>

/* "2026-11-25T10:44:49.123456Z" into at least 32 bytes; returned. */
const char *format_time(uint64_t us, char *out, uint32_t cap);
/* A time as people write it: "2026-11-25", "2026-11-25T10:44:49[.5][Z]" (UTC), "@1700000000",
 * or "-5m" before now.  0, or -1. */
int parse_time(const char *, uint64_t now_us, uint64_t *out);

/* One message as the commands show it.  Borrowed. */
struct message_view {
	const char *topic;
	uint32_t queue;
	uint64_t offset, position, born;
	struct alm_slice attrs, body;
};

/* Check a --format string: NULL if good, or a sentence about what is wrong. */
const char *format_check(const char *fmt);
/* Write a message by a checked format string (the letters are listed in format.c and the help). */
void format_message(FILE *, const char *fmt, const struct message_view *);
/* A message as a JSON object: body as text if it is UTF-8, else body_base64. */
json_t *message_json(const struct message_view *);

/* A JSON string of bytes; bytes that are not UTF-8 become U+FFFD. */
json_t *json_bytes(const void *, uint64_t len);
int utf8_valid(const void *, uint64_t len);
/* Base64 in new memory, or NULL. */
char *base64(const void *, uint64_t len);

#endif
