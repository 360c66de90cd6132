/* must.c: memory for bookkeeping, of which there must be enough (dvol.h). */
#include "imagefmt/vol.h"

#include <stdlib.h>

void *must_alloc(size_t count, size_t size)
{
	void *memory = calloc(count, size);
	if (memory == NULL)
		abort();
	return memory;
}

void *must_align(size_t len)
{
	void *memory = aligned_alloc(BLOCK, len);
	if (memory == NULL)
		abort();
	return memory;
}

void *must_grow(void *list, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return list;
	size_t wanted = *cap < 16 ? 16 : *cap * 2;
	list = reallocarray(list, wanted, size);
	if (list == NULL)
		abort();
	*cap = wanted;
	return list;
}
