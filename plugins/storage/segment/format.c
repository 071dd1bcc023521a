/* format.c - names, checksums and plausibility of what format.h describes.  Pure; any thread. */
#include "format.h"

#include <stdio.h>

void
seg_name(char out[SEG_NAME_MAX], uint64_t first, const char *suffix)
{
	snprintf(out, SEG_NAME_MAX, "%016llx.%s", (unsigned long long)first, suffix);
}

int
seg_name_parse(const char *name, uint32_t digits, const char *suffix, uint64_t *out)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < digits; i++) {
		char c = name[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return 0;
	}
	if (name[digits] != '.' || strcmp(name + digits + 1, suffix) != 0)
		return 0;
	*out = v;
	return 1;
}

/* CRC32C of a block whose crc field, four bytes at crc_at, counts as zero. */
static uint32_t
block_crc(const struct alm_host *host, const void *block, uint64_t len, uint64_t crc_at)
{
	static const uint32_t zero;
	const char *p = block;
	uint32_t crc = host->crc32c(0, p, crc_at);

	crc = host->crc32c(crc, &zero, sizeof zero);
	return host->crc32c(crc, p + crc_at + 4, len - crc_at - 4);
}

void
seg_head_seal(const struct alm_host *host, struct seg_head *h)
{
	h->crc = block_crc(host, h, sizeof *h, offsetof(struct seg_head, crc));
}

int
seg_head_good(const struct alm_host *host, const struct seg_head *h, uint64_t magic, uint64_t first)
{
	return h->magic == magic && h->version == SEG_VERSION && h->first == first &&
	    h->size > SEG_BLOCK &&
	    h->crc == block_crc(host, h, sizeof *h, offsetof(struct seg_head, crc));
}

void
seg_row_make(const struct alm_host *host, const struct alm_batch *b, struct seg_row *r)
{
	r->index = b->index;
	r->term = b->term;
	r->position = b->position;
	r->commit = b->commit;
	r->length = b->length;
	r->header_crc = b->header_crc;
	r->body_crc = b->body_crc;
	r->crc = host->crc32c(0, r, offsetof(struct seg_row, crc));
}

int
seg_row_good(const struct alm_host *host, const struct seg_row *r)
{
	return r->crc == host->crc32c(0, r, offsetof(struct seg_row, crc)) &&
	    r->length >= sizeof(struct alm_batch);
}

int
seg_batch_header_good(const struct alm_host *host, const struct alm_batch *b, uint64_t position,
    uint64_t max)
{
	return max >= sizeof *b && b->position == position && alm_batch_plausible(b, max) &&
	    b->header_crc ==
		block_crc(host, b, sizeof *b, offsetof(struct alm_batch, header_crc));
}
