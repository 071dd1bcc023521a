/* base/buf.c - a byte buffer that grows.  Belongs to one thread; all zero is an empty buffer. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
buf_reserve(struct buf *b, uint64_t more)
{
	uint64_t cap = b->cap ? b->cap : 256;
	uint8_t *p;

	if (more <= b->cap - b->len)
		return ALM_OK;
	if (more > (UINT64_MAX >> 2) - b->len)
		return ALM_ENOMEM;
	while (cap < b->len + more)
		cap *= 2;
	p = realloc(b->data, cap);
	if (p == NULL)
		return ALM_ENOMEM;
	b->data = p;
	b->cap = cap;
	return ALM_OK;
}

int
buf_put(struct buf *b, const void *data, uint64_t len)
{
	if (len == 0)
		return ALM_OK;
	if (buf_reserve(b, len) != ALM_OK)
		return ALM_ENOMEM;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return ALM_OK;
}

int
buf_putf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n, rc = ALM_ENOMEM;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	/* One more byte for the NUL that vsnprintf insists on; it is not counted. */
	if (n >= 0 && buf_reserve(b, (uint64_t)n + 1) == ALM_OK) {
		vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (uint64_t)n;
		rc = ALM_OK;
	}
	va_end(again);
	va_end(ap);
	return rc;
}

void
buf_drop(struct buf *b, uint64_t len)
{
	if (len >= b->len) {
		b->len = 0;
		return;
	}
	b->len -= len;
	memmove(b->data, b->data + len, b->len);
}

void
buf_reset(struct buf *b)
{
	b->len = 0;
}

void
buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){NULL, 0, 0};
}
