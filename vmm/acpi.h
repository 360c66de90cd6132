/* acpi.h: the ACPI tables by which a guest finds its processors, the IOAPIC and the power registers:
 * RSDP, XSDT, FADT with FACS, MADT, and a DSDT that holds \_S5 only. */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

/* Below 1 MiB, where a guest that was told no address looks for the RSDP as well (ACPI 6.4, 5.2.5.1). */
#define ACPI_GPA 0xe0000u
enum { ACPI_MAX = 4096 };

/* acpi_build(out, gpa, cpus): the tables, for guest-physical address gpa (a multiple of 64); the RSDP comes
 * first.  cpus at most CONFIG_MAX_CPUS.  Returns their length. */
size_t acpi_build(uint8_t out[ACPI_MAX], uint64_t gpa, unsigned cpus);

#endif
