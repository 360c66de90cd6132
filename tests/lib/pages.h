/* pages.h: pages of a range, as the list that the encoder takes. */
#ifndef TESTS_LIB_PAGES_H
#define TESTS_LIB_PAGES_H

#include "migrate/pages.h"

/* encode_range(encoder, source, first, count, out, err): pages_encode of the pages from `first` on. */
int64_t encode_range(struct pages_encoder *encoder, const struct pages_source *source, uint64_t first,
		     uint64_t count, struct buf *out, struct err *err);

#endif
