/* Physical memory: a small allocator from the bottom, the filled pages after it. */
#ifndef GUEST_RAM_H
#define GUEST_RAM_H

#include "bootinfo.h"
#include <stddef.h>
#include <stdint.h>

/* Takes the memory map in and maps what lies above 4 GiB (up to 512 GiB).  Before anything else here. */
void ram_init(const struct bootinfo *info);

/* All RAM of the memory map in bytes, in whole MiB: the holes below 1 MiB do not show. */
uint64_t ram_total(void);

/* Returns zeroed, page-aligned memory below 4 GiB, never freed.  Stops the machine where there is none. */
void *ram_alloc(uint64_t bytes);

/* How many whole pages are left.  Ends the time of ram_alloc(), which would move them. */
uint64_t ram_pages(void);

/* The pages left, numbered from 0.  After ram_pages(); any CPU. */
void *ram_page(uint64_t index);

#endif
