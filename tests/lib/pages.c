#include "tests/lib/pages.h"

#include <stdlib.h>

int64_t encode_range(struct pages_encoder *encoder, const struct pages_source *source, uint64_t first,
		     uint64_t count, struct buf *out, struct err *err)
{
	enum { MOST = 1 << 20 };
	uint64_t n = count < MOST ? count : MOST, *list = malloc((n + 1) * sizeof(*list));
	int64_t taken;

	if (!list)
		abort();
	for (uint64_t i = 0; i < n; i++)
		list[i] = first + i;
	taken = pages_encode(encoder, source, list, n, out, err);
	free(list);
	return taken;
}
