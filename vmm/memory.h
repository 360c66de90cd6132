/* memory.h: guest RAM: one memfd, mapped shared, and where it lies in guest-physical space.
 *
 *   offset 0 .. min(size, 3 GiB)   at guest-physical 0
 *   the rest                       at guest-physical 4 GiB and up
 * so that 3 GiB .. 4 GiB stays free for PCI, the LAPIC and the IOAPIC. */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_LOW_MAX   (3ull << 30)
#define MEMORY_HIGH_BASE (4ull << 30)
#define MEMORY_PAGE      4096u

struct memory {
	int fd;
	uint8_t *base;
	uint64_t size;
	uint64_t low; /* bytes below the hole */
};

/* memory_create_fd(bytes, name, err): an empty memfd of that size, sealed against shrinking and growing. */
int memory_create_fd(uint64_t bytes, const char *name, struct err *err);
/* memory_map(memory, fd, size, err): checks that fd is exactly size bytes, maps it, takes it over on success.
 */
int memory_map(struct memory *memory, int fd, uint64_t size, struct err *err);
/* memory_use_huge_pages(memory): as far as the system has them, from now on.
 * memory_huge_pages_off(): the sysfs file by which this host keeps shared memory from having them whatever is asked for, or NULL. */
void memory_use_huge_pages(const struct memory *memory);
const char *memory_huge_pages_off(void);
void memory_unmap(struct memory *memory);

/* memory_at(memory, gpa, len): host address of guest-physical [gpa, gpa+len), or NULL when any byte of it is
 * not RAM or it crosses the hole.  memory_offset: the same as an offset into the memfd, UINT64_MAX when not
 * RAM. */
void *memory_at(const struct memory *memory, uint64_t gpa, uint64_t len);
uint64_t memory_offset(const struct memory *memory, uint64_t gpa);

#endif
