#include "ram.h"
#include "arch.h"
#include "stop.h"

#define GIB        (1ull << 30)
#define LARGE_PAGE (2ull << 20)
#define MAP_END    (512 * GIB) /* what one page directory pointer table reaches */
#define ALLOC_END  (4 * GIB)

extern char image_end[];
extern uint64_t pdpt[512];

static struct ram_range ranges[BOOTINFO_RANGES]; /* ascending, whole pages, above the image */
static unsigned n_ranges;
static uint64_t total;
static bool sealed; /* pages have their numbers */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void insert(struct ram_range r)
{
	unsigned at = n_ranges++;

	while (at > 0 && ranges[at - 1].start > r.start) {
		ranges[at] = ranges[at - 1];
		at--;
	}
	ranges[at] = r;
}

static void map_gib(uint64_t gib)
{
	uint64_t *directory;

	if (pdpt[gib])
		return;
	directory = ram_alloc(PAGE_SIZE);
	for (unsigned i = 0; i < 512; i++)
		directory[i] = (gib * GIB + i * LARGE_PAGE) | PTE_LARGE;
	pdpt[gib] = (uintptr_t)directory | PTE_TABLE;
}

void ram_init(const struct bootinfo *info)
{
	uint64_t image = (uintptr_t)image_end;

	for (unsigned i = 0; i < info->n_ram; i++) {
		struct ram_range r = info->ram[i];

		total += r.end - r.start;
		r.start = (max_u64(r.start, image) + PAGE_SIZE - 1) & -(uint64_t)PAGE_SIZE;
		r.end = min_u64(r.end, MAP_END) & -(uint64_t)PAGE_SIZE;
		if (r.start < r.end)
			insert(r);
	}
	for (unsigned i = 0; i < n_ranges; i++)
		for (uint64_t gib = ranges[i].start / GIB; gib <= (ranges[i].end - 1) / GIB; gib++)
			map_gib(gib);
}

uint64_t ram_total(void)
{
	return (total + (1 << 20) - 1) >> 20 << 20;
}

void *ram_alloc(uint64_t bytes)
{
	uint64_t size = (bytes + PAGE_SIZE - 1) & -(uint64_t)PAGE_SIZE;
	uint64_t *at;

	if (sealed)
		stop_error("memory taken after the pages were counted", NULL);
	if (n_ranges == 0 || ranges[0].end - ranges[0].start < size || ranges[0].start + size > ALLOC_END)
		stop_error("fill does not fit into memory", NULL);
	at = (uint64_t *)(uintptr_t)ranges[0].start;
	ranges[0].start += size;
	for (uint64_t i = 0; i < size / sizeof(*at); i++)
		at[i] = 0;
	return at;
}

uint64_t ram_pages(void)
{
	uint64_t pages = 0;

	sealed = true;
	for (unsigned i = 0; i < n_ranges; i++)
		pages += (ranges[i].end - ranges[i].start) / PAGE_SIZE;
	return pages;
}

void *ram_page(uint64_t index)
{
	uint64_t offset = index * PAGE_SIZE;
	const struct ram_range *r = ranges;

	while (offset >= r->end - r->start) {
		offset -= r->end - r->start;
		r++;
	}
	return (void *)(uintptr_t)(r->start + offset);
}
