#include "tests/bench/warm.h"
#include <stdint.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

void warm_hold(struct warm *warm, unsigned mib)
{
	size_t len = (size_t)mib << 20;
	struct sysinfo info;
	void *base;

	warm->base = NULL;
	warm->len = 0;
	if (sysinfo(&info) != 0 || (uint64_t)info.freeram * info.mem_unit < 2 * (uint64_t)len)
		return;
	base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (base == MAP_FAILED)
		return;
	warm->base = base;
	warm->len = len;
}

void warm_release(struct warm *warm, unsigned mib)
{
	size_t len = (size_t)mib << 20;

	if (len > warm->len)
		len = warm->len;
	if (len == 0)
		return;
	/* From the end, so that base stays where it is. */
	munmap((char *)warm->base + warm->len - len, len);
	warm->len -= len;
}
