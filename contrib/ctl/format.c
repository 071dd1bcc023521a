/* ctl/format.c - see format.h.  No state; any thread. */
#include <config.h>

#include "contrib/ctl/format.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"

/* ---- time ----------------------------------------------------------------------------------- */

const char *
format_time(uint64_t us, char *out, uint32_t cap)
{
	time_t sec = (time_t)(us / 1000000);
	struct tm tm;
	size_t n;

	if (gmtime_r(&sec, &tm) == NULL || (n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm)) == 0)
		return "?";
	(void)snprintf(out + n, cap - n, ".%06uZ", (unsigned)(us % 1000000));
	return out;
}

static int
fraction(const char **p, uint64_t *us)
{
	uint64_t scale = 100000;

	*us = 0;
	if (**p != '.')
		return 0;
	(*p)++;
	if (!isdigit((unsigned char)**p))
		return -1;
	for (; isdigit((unsigned char)**p); (*p)++, scale /= 10)
		*us += (uint64_t)(**p - '0') * scale;
	return 0;
}

int
parse_time(const char *s, uint64_t now_us, uint64_t *out)
{
	int64_t n;
	uint64_t us;
	struct tm tm = {0};
	const char *end;
	time_t sec;

	if (s[0] == '@') {
		if (parse_int(s + 1, &n) != ALM_OK || n < 0 || n > INT64_MAX / 1000000)
			return -1;
		*out = (uint64_t)n * 1000000;
		return 0;
	}
	if (s[0] == '-') {
		if (parse_duration(s + 1, &n) != ALM_OK || n < 0 || (uint64_t)n > now_us)
			return -1;
		*out = now_us - (uint64_t)n;
		return 0;
	}
	end = strptime(s, "%Y-%m-%d", &tm);
	if (end == NULL)
		return -1;
	if (*end == 'T' || *end == ' ')
		end = strptime(end + 1, "%H:%M:%S", &tm);
	if (end == NULL || fraction(&end, &us) != 0)
		return -1;
	if (*end == 'Z')
		end++;
	sec = timegm(&tm);
	if (*end != 0 || sec < 0)
		return -1;
	*out = (uint64_t)sec * 1000000 + us;
	return 0;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at p (of at most n bytes), 0 if it is none. */
static uint32_t
utf8_step(const uint8_t *p, uint64_t n)
{
	uint32_t len, code;

	if (p[0] < 0x80)
		return 1;
	len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
		return 0;
	code = p[0] & (0xffu >> (len + 1));
	for (uint32_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3fu);
	}
	if ((len == 3 && code < 0x800) || (len == 4 && (code < 0x10000 || code > 0x10ffff)) ||
	    (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return len;
}

int
utf8_valid(const void *data, uint64_t len)
{
	const uint8_t *p = data;

	for (uint64_t at = 0; at < len;) {
		uint32_t step = utf8_step(p + at, len - at);

		if (step == 0)
			return 0;
		at += step;
	}
	return 1;
}

json_t *
json_bytes(const void *data, uint64_t len)
{
	const uint8_t *p = data;
	struct buf b = {0};
	json_t *s;

	if (len == 0)
		return json_string("");
	if (utf8_valid(data, len))
		return json_stringn(data, len);
	for (uint64_t at = 0; at < len;) {
		uint32_t step = utf8_step(p + at, len - at);

		if ((step > 0 ? buf_put(&b, p + at, step) : buf_put(&b, "\xef\xbf\xbd", 3)) != ALM_OK) {
			buf_free(&b);
			return NULL;
		}
		at += step > 0 ? step : 1;
	}
	s = json_stringn((const char *)b.data, b.len);
	buf_free(&b);
	return s;
}

char *
base64(const void *data, uint64_t len)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = data;
	char *text = malloc((len + 2) / 3 * 4 + 1), *o = text;

	if (text == NULL)
		return NULL;
	for (; len > 0; p += 3) {
		uint32_t n = len < 3 ? (uint32_t)len : 3;
		uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? p[2] : 0u);

		*o++ = digit[v >> 18];
		*o++ = digit[v >> 12 & 63];
		*o++ = n > 1 ? digit[v >> 6 & 63] : '=';
		*o++ = n > 2 ? digit[v & 63] : '=';
		len -= n;
	}
	*o = 0;
	return text;
}

/* ---- messages ------------------------------------------------------------------------------- */

/* Step through a message's attributes, as alm_record_attr does for a whole record. */
static int
next_attr(struct alm_slice attrs, uint64_t *at, uint32_t *type, struct alm_slice *val)
{
	const char *p = attrs.data;
	struct alm_attr a;

	if (*at > attrs.len || attrs.len - *at < sizeof a)
		return 0;
	memcpy(&a, p + *at, sizeof a);
	if (a.len > attrs.len - *at - sizeof a)
		return 0;
	*type = a.type;
	val->data = p + *at + sizeof a;
	val->len = a.len;
	*at += sizeof a + a.len;
	return 1;
}

static struct alm_slice
find_attr(struct alm_slice attrs, uint32_t want)
{
	struct alm_slice v = {"", 0}, none = {"", 0};
	uint64_t at = 0;
	uint32_t type;

	while (next_attr(attrs, &at, &type, &v))
		if (type == want)
			return v;
	return none;
}

/* Split a PROPERTY attribute; 0 if its name does not fit. */
static int
split_property(struct alm_slice v, struct alm_slice *name, struct alm_slice *value)
{
	uint16_t n;

	if (v.len < sizeof n)
		return 0;
	memcpy(&n, v.data, sizeof n);
	if (n > v.len - sizeof n)
		return 0;
	name->data = (const char *)v.data + sizeof n;
	name->len = n;
	value->data = (const char *)name->data + n;
	value->len = v.len - sizeof n - n;
	return 1;
}

static void
put_slice(FILE *f, struct alm_slice s)
{
	(void)fwrite(s.data, 1, s.len, f);
}

static void
put_hex(FILE *f, struct alm_slice s)
{
	const uint8_t *p = s.data;

	for (uint64_t i = 0; i < s.len; i++)
		fprintf(f, "%02x", p[i]);
}

/* "name=value,name=value", or the value of the one named want. */
static void
put_properties(FILE *f, struct alm_slice attrs, const char *want, size_t want_len)
{
	struct alm_slice v, name, value;
	uint64_t at = 0;
	uint32_t type;
	int some = 0;

	while (next_attr(attrs, &at, &type, &v)) {
		if (type != ALM_ATTR_PROPERTY || !split_property(v, &name, &value))
			continue;
		if (want != NULL) {
			if (name.len == want_len && memcmp(name.data, want, want_len) == 0) {
				put_slice(f, value);
				return;
			}
			continue;
		}
		if (some++ > 0)
			fputc(',', f);
		put_slice(f, name);
		fputc('=', f);
		put_slice(f, value);
	}
}

/* The letters of --format; keep in step with the help of sub in table.c. */
#define FORMAT_LETTERS "bxsoqpktTPdD%"

const char *
format_check(const char *fmt)
{
	for (const char *p = fmt; *p != 0; p++) {
		if (*p == '\\') {
			p++;
			if (*p == 'x' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2]))
				p += 2;
			else if (*p == 0 || strchr("nrt0\\", *p) == NULL)
				return "after \\ only n, r, t, 0, \\ or xHH can follow";
		} else if (*p == '%') {
			p++;
			if (*p == '{') {
				p = strchr(p, '}');
				if (p == NULL)
					return "%{ lacks its }";
			} else if (*p == 0 || strchr(FORMAT_LETTERS, *p) == NULL) {
				return "after % only b x s o q p k t T P d D {NAME} or % can follow";
			}
		}
	}
	return NULL;
}

static void
put_letter(FILE *f, char letter, const struct message_view *m)
{
	char time[40];

	switch (letter) {
	case 'b':
		put_slice(f, m->body);
		break;
	case 'x':
		put_hex(f, m->body);
		break;
	case 's':
		fprintf(f, "%" PRIu64, m->body.len);
		break;
	case 'o':
		fprintf(f, "%" PRIu64, m->offset);
		break;
	case 'q':
		fprintf(f, "%" PRIu32, m->queue);
		break;
	case 'p':
		fprintf(f, "%" PRIu64, m->position);
		break;
	case 'k':
		put_slice(f, find_attr(m->attrs, ALM_ATTR_KEY));
		break;
	case 't':
		put_slice(f, find_attr(m->attrs, ALM_ATTR_TAG));
		break;
	case 'T':
		fputs(m->topic, f);
		break;
	case 'P':
		put_properties(f, m->attrs, NULL, 0);
		break;
	case 'd':
		fputs(format_time(m->born, time, sizeof time), f);
		break;
	case 'D':
		fprintf(f, "%" PRIu64, m->born);
		break;
	default:
		fputc('%', f);
	}
}

static const char *
put_escape(FILE *f, const char *p)
{
	char hex[3] = {p[0] == 'x' ? p[1] : 0, p[0] == 'x' ? p[2] : 0, 0};

	switch (*p) {
	case 'n':
		fputc('\n', f);
		break;
	case 'r':
		fputc('\r', f);
		break;
	case 't':
		fputc('\t', f);
		break;
	case '0':
		fputc(0, f);
		break;
	case 'x':
		fputc((int)strtol(hex, NULL, 16), f);
		return p + 2;
	default:
		fputc('\\', f);
	}
	return p;
}

void
format_message(FILE *f, const char *fmt, const struct message_view *m)
{
	for (const char *p = fmt; *p != 0; p++) {
		if (*p == '\\') {
			p = put_escape(f, p + 1);
		} else if (*p != '%') {
			fputc(*p, f);
		} else if (*++p == '{') {
			const char *end = strchr(p, '}');

			put_properties(f, m->attrs, p + 1, (size_t)(end - p - 1));
			p = end;
		} else {
			put_letter(f, *p, m);
		}
	}
}

static void
add_body(json_t *obj, struct alm_slice body)
{
	char *b64;

	if (utf8_valid(body.data, body.len)) {
		json_object_set_new(obj, "body", json_bytes(body.data, body.len));
		return;
	}
	b64 = base64(body.data, body.len);
	json_object_set_new(obj, "body_base64", json_string(b64 != NULL ? b64 : ""));
	free(b64);
}

json_t *
message_json(const struct message_view *m)
{
	struct alm_slice v, name, value;
	json_t *obj, *keys = json_array(), *props = json_array();
	uint64_t at = 0;
	uint32_t type;

	obj = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "topic", m->topic, "queue", (json_int_t)m->queue,
	    "offset", (json_int_t)m->offset, "position", (json_int_t)m->position, "born",
	    (json_int_t)m->born, "size", (json_int_t)m->body.len);
	while (next_attr(m->attrs, &at, &type, &v)) {
		if (type == ALM_ATTR_KEY)
			json_array_append_new(keys, json_bytes(v.data, v.len));
		else if (type == ALM_ATTR_TAG)
			json_object_set_new(obj, "tag", json_bytes(v.data, v.len));
		else if (type == ALM_ATTR_PROPERTY && split_property(v, &name, &value))
			json_array_append_new(props,
			    json_pack("[o,o]", json_bytes(name.data, name.len),
				json_bytes(value.data, value.len)));
	}
	if (json_array_size(keys) > 0)
		json_object_set_new(obj, "key", json_incref(json_array_get(keys, 0)));
	if (json_array_size(keys) > 1)
		json_object_set(obj, "keys", keys);
	if (json_array_size(props) > 0)
		json_object_set(obj, "properties", props);
	json_decref(keys);
	json_decref(props);
	add_body(obj, m->body);
	return obj;
}
