/* reader.h - the reader half; as in almadia/storage.h. */
#ifndef SEGMENT_READER_H
#define SEGMENT_READER_H

#include "format.h"

int segr_open(const struct alm_host *, const char *dir, struct alm_reader **out);
void segr_close(struct alm_reader *);
int segr_get(struct alm_reader *, uint64_t position, uint64_t limit, struct alm_view *out);
int segr_seek(struct alm_reader *, uint64_t position, uint64_t limit, struct alm_view *out);
int segr_find(struct alm_reader *, uint64_t index, uint64_t limit, struct alm_view *out);
void segr_trim(struct alm_reader *, uint64_t first_position);

#endif
