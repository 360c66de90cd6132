/* acpi.h: the ACPI tables by which a guest finds its processors, the IOAPIC, the PCI bus, the power registers and
 * timer, and devices that cannot be found otherwise: RSDP, XSDT, FADT with FACS, MADT, DSDT. */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include "common/buf.h"
#include <stddef.h>
#include <stdint.h>

/* Below 1 MiB, where a guest that was told no address looks for the RSDP as well (ACPI 6.4, 5.2.5.1). */
#define ACPI_GPA 0xe0000u
enum { ACPI_MAX = 8192, ACPI_RSDP_LEN = 36, ACPI_RSDP_ROOM = 64 };
/* The generation's id: 16 bytes behind the tables, where no firmware has its place. */
#define ACPI_GENERATION_GPA 0xf0000u

/* Addresses and checksums in the tables, for firmware that moves them: offsets from the first byte. */
enum { ACPI_LINKS = 8 };
struct acpi_links {
	unsigned pointers, sums;
	struct {
		uint32_t offset;
		uint8_t size;
	} pointer[ACPI_LINKS];
	struct {
		uint32_t offset, start, len;
	} sum[ACPI_LINKS];
};

/* acpi_build(out, gpa, cpus, generation, links): the tables, for guest-physical address gpa (a multiple of 64); the
 * RSDP comes first, what follows it ACPI_RSDP_ROOM later.  cpus at most CONFIG_MAX_CPUS; generation: the address of the
 * generation's id; links: filled, or NULL.  Returns their length. */
size_t acpi_build(uint8_t out[ACPI_MAX], uint64_t gpa, unsigned cpus, uint64_t generation,
		  struct acpi_links *links);

/* For acpi.c: the DSDT's content, appended. */
void acpi_dsdt(struct buf *out, uint64_t generation);

#endif
