/* base/batch.c - the checks of almadia/log.h that need checksums.  Any thread, no state.
 *
 * A batch lies in memory aligned to 8 bytes.  Its content may be anything: nothing is read before
 * its bounds are known.
 */
#include "base/base.h"

#include <almadia/log.h>

_Static_assert(sizeof(struct alm_batch) == 96 && sizeof(struct alm_record) == 64 &&
		   sizeof(struct alm_dir) == 40,
    "layout of the log");

/* header_crc: the header with that field zero. */
uint32_t
batch_header_crc(const struct alm_batch *b)
{
	struct alm_batch h = *b;

	h.header_crc = 0;
	return crc32c(0, &h, sizeof h);
}

uint32_t
batch_body_crc(const struct alm_batch *b)
{
	uint32_t at = sizeof *b, crc = 0;
	const struct alm_record *r;

	while ((r = alm_batch_next(b, &at)) != NULL)
		crc = crc32c(crc, r, 16);
	return crc32c(crc, alm_batch_dir(b), b->length - b->dir_offset);
}

static int
fault(uint64_t *at, uint64_t where)
{
	if (at)
		*at = where;
	return ALM_ECORRUPT;
}

/* Every record fits, says where it is, and has a good crc; the count is the header's. */
static int
check_records(const struct alm_batch *b, uint64_t *at)
{
	uint32_t next = sizeof *b, here = next, n = 0;
	const struct alm_record *r;

	for (; (r = alm_batch_next(b, &next)) != NULL; here = next, n++)
		if (r->batch_offset != here ||
		    r->crc != crc32c(0, (const char *)r + 8, r->length - 8))
			return fault(at, here);
	if (next != b->dir_offset)
		return fault(at, next);
	if (n != b->records)
		return fault(at, offsetof(struct alm_batch, records));
	return ALM_OK;
}

static int
check_directory(const struct alm_batch *b, uint64_t *at)
{
	const struct alm_dir *d = alm_batch_dir(b);
	uint32_t i;

	for (i = 0; i < b->dir_count; i++)
		if (d[i].count == 0 || d[i].first_byte < sizeof *b ||
		    d[i].first_byte >= d[i].end_byte || d[i].end_byte > b->dir_offset ||
		    d[i].first_byte % 8 != 0 || d[i].end_byte % 8 != 0)
			return fault(at, b->dir_offset + (uint64_t)i * sizeof *d);
	return ALM_OK;
}

int
batch_check(const void *batch, uint64_t len, uint64_t *at)
{
	const struct alm_batch *b = batch;
	int rc;

	if (len < sizeof *b || !alm_batch_plausible(b, len))
		return fault(at, 0);
	if (b->header_crc != batch_header_crc(b))
		return fault(at, offsetof(struct alm_batch, header_crc));
	rc = check_records(b, at);
	if (rc != ALM_OK)
		return rc;
	if (b->body_crc != batch_body_crc(b))
		return fault(at, b->dir_offset);
	return check_directory(b, at);
}
