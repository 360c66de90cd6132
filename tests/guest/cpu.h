/* Application processors: INIT/SIPI, and what a CPU needs to reach ring 3. */
#ifndef GUEST_CPU_H
#define GUEST_CPU_H

#include "layout.h"
#include <stdint.h>

/* Read by entry.S; the layout is that of layout.h.  Page-aligned, so that the TSS proper is in one page. */
struct cpu_hw {
	uint16_t pad[3];
	uint16_t gdt_limit;
	uint64_t gdt_base;
	uint64_t stack3;
	uint64_t entry3;
	uint64_t arg;
	uint64_t gdt[GDT_BYTES / 8];
	struct {
		uint32_t reserved0;
		uint64_t rsp0;
		uint8_t reserved1[90];
		uint16_t bitmap;
		uint8_t ports[8192];
		uint8_t end;
	} __attribute__((packed)) tss;
} __attribute__((packed, aligned(8)));

/* Lets devices, and a timer every `ms` milliseconds or more, wake the calling CPU with VECTOR_WAKE; before the first
 * cpu_sleep(), which returns after the next of them, or at once where one came since the last call. */
void cpu_wakeable(unsigned ms);
void cpu_sleep(void);

/* Starts the CPU with this APIC id; it runs entry(arg) in ring 3 on a stack of its own and has to set *online
 * there.  Waits for that, and stops the machine where it does not come.  CPU 0, after clock_init(). */
void cpu_start(unsigned apic_id, void (*entry)(void *arg), void *arg, const _Atomic uint32_t *online);

#endif
