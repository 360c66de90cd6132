/* acpi.c: building the tables.  Layouts and field offsets: ACPI specification 6.4, chapter 5. */
#include "vmm/acpi.h"
#include "vmm/pci.h"
#include "vmm/power.h"
#include <assert.h>
#include <string.h>

enum {
	HEADER_LEN = 36,
	FADT_LEN = 276,
	FACS_LEN = 64,
	OVERRIDE_LEN = 10, /* an interrupt source override */
	ALIGN = 64,
};

struct tables {
	uint8_t *out;
	uint64_t gpa;
	size_t len;
	struct acpi_links *links;
};

static uint8_t checksum(const uint8_t *at, size_t len)
{
	uint8_t sum = 0;
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + at[i]);
	return (uint8_t)-sum;
}

/* Room for len bytes, zeroed and aligned. */
static uint8_t *take(struct tables *t, size_t len)
{
	uint8_t *at = t->out + t->len;
	assert(len <= ACPI_MAX - t->len);
	memset(at, 0, len);
	t->len += (len + ALIGN - 1) / ALIGN * ALIGN;
	return at;
}

static uint64_t address(const struct tables *t, const uint8_t *at)
{
	return t->gpa + (uint64_t)(at - t->out);
}

static void header(uint8_t *at, const char *signature, uint8_t revision, size_t len)
{
	memcpy(at, signature, 4);
	le32_put(at + 4, (uint32_t)len);
	at[8] = revision;
	memcpy(at + 10, "DROVER", 6);
	memcpy(at + 16, "DROVERVM", 8);
	le32_put(at + 24, 1);
	memcpy(at + 28, "DROV", 4);
	le32_put(at + 32, 1);
}

/* An address in a table, of 4 or 8 bytes. */
static void link_to(struct tables *t, uint8_t *at, uint8_t size, uint64_t gpa)
{
	struct acpi_links *links = t->links;
	uint8_t bytes[8];
	le64_put(bytes, gpa);
	memcpy(at, bytes, size);
	assert(links->pointers < ACPI_LINKS);
	links->pointer[links->pointers].offset = (uint32_t)(at - t->out);
	links->pointer[links->pointers++].size = size;
}

/* The byte at `place` makes the sum of these 0. */
static void seal_at(struct tables *t, uint8_t *at, size_t len, size_t place)
{
	struct acpi_links *links = t->links;
	uint32_t start = (uint32_t)(at - t->out);
	at[place] = 0;
	at[place] = checksum(at, len);
	assert(links->sums < ACPI_LINKS);
	links->sum[links->sums].offset = start + (uint32_t)place;
	links->sum[links->sums].start = start;
	links->sum[links->sums++].len = (uint32_t)len;
}

static void seal(struct tables *t, uint8_t *at, size_t len)
{
	seal_at(t, at, len, 9);
}

static const uint8_t *build_dsdt(struct tables *t, uint64_t generation)
{
	struct buf content = {0};
	acpi_dsdt(&content, generation);
	size_t len = HEADER_LEN + content.len;
	uint8_t *at = take(t, len);
	header(at, "DSDT", 2, len);
	memcpy(at + HEADER_LEN, content.data, content.len);
	seal(t, at, len);
	buf_free(&content);
	return at;
}

static const uint8_t *build_facs(struct tables *t)
{
	uint8_t *at = take(t, FACS_LEN);
	memcpy(at, "FACS", 4);
	le32_put(at + 4, FACS_LEN);
	at[32] = 2;
	return at;
}

/* A Generic Address Structure in port space. */
static void port_address(uint8_t *at, uint16_t port, uint8_t bits)
{
	at[0] = 1; /* system I/O */
	at[1] = bits;
	at[3] = bits == 8 ? 1 : bits == 16 ? 2 : 3; /* access size */
	le64_put(at + 4, port);
}

static const uint8_t *build_fadt(struct tables *t, uint64_t facs, uint64_t dsdt)
{
	enum {
		WBINVD = 1,
		PROC_C1 = 4,
		NO_SLEEP_BUTTON = 32,
		NO_FIXED_RTC = 64,
		TIMER_32_BITS = 256,
		RESET = 1024
	};
	enum { LEGACY_DEVICES = 1, NO_VGA = 4 };
	uint8_t *at = take(t, FADT_LEN);
	header(at, "FACP", 6, FADT_LEN);
	link_to(t, at + 36, 4, facs); /* and then X_FIRMWARE_CTRL must be 0 */
	link_to(t, at + 40, 4, dsdt);
	le16_put(at + 46, POWER_SCI_IRQ);
	le32_put(at + 56, POWER_PM1_EVENT);
	le32_put(at + 64, POWER_PM1_CONTROL);
	le32_put(at + 76, POWER_TIMER);
	le32_put(at + 80, POWER_GPE);
	at[88] = 4;              /* PM1 event block: status and enable */
	at[89] = 2;              /* PM1 control block */
	at[91] = 4;              /* timer */
	at[92] = POWER_GPE_LEN;  /* general-purpose events: status and enable */
	le16_put(at + 96, 101);  /* worst-case latencies of C2 and C3: */
	le16_put(at + 98, 1001); /* there are no such states */
	at[108] = 0x32;          /* the RTC's century register */
	/* No keyboard controller: its reset line is all there is of it. */
	le16_put(at + 109, LEGACY_DEVICES | NO_VGA);
	le32_put(at + 112, WBINVD | PROC_C1 | NO_SLEEP_BUTTON | NO_FIXED_RTC | TIMER_32_BITS | RESET);
	port_address(at + 116, POWER_RESET_PORT, 8);
	at[128] = POWER_RESET_VALUE;
	at[131] = 4; /* minor version */
	link_to(t, at + 140, 8, dsdt);
	port_address(at + 148, POWER_PM1_EVENT, 32);
	port_address(at + 172, POWER_PM1_CONTROL, 16);
	port_address(at + 208, POWER_TIMER, 32);
	port_address(at + 220, POWER_GPE, 8 * POWER_GPE_LEN);
	memcpy(at + 268, "drover", 6); /* hypervisor vendor */
	seal(t, at, FADT_LEN);
	return at;
}

/* KVM wires ISA interrupt n to input n of the IOAPIC, also the timer's.  Those of ACPI and of the PCI bus differ in
 * kind: level-triggered, active high. */
static uint8_t *put_override(uint8_t *at, uint8_t irq)
{
	at[0] = 2;
	at[1] = OVERRIDE_LEN;
	at[3] = irq;
	le32_put(at + 4, irq);
	le16_put(at + 8, 0x000d);
	return at + OVERRIDE_LEN;
}

static const uint8_t *build_madt(struct tables *t, unsigned cpus)
{
	enum { LAPIC_LEN = 8, IOAPIC_LEN = 12, OVERRIDES = 1 + PCI_INTX_LINES, NMI_LEN = 6 };
	size_t len = HEADER_LEN + 8 + cpus * LAPIC_LEN + IOAPIC_LEN + OVERRIDES * OVERRIDE_LEN + NMI_LEN;
	uint8_t *table = take(t, len);
	header(table, "APIC", 5, len);
	le32_put(table + 36, 0xfee00000);
	le32_put(table + 40, 1); /* PCAT_COMPAT: there are two 8259s as well */
	uint8_t *at = table + HEADER_LEN + 8;
	for (unsigned i = 0; i < cpus; i++, at += LAPIC_LEN) {
		at[1] = LAPIC_LEN;
		at[2] = at[3] = (uint8_t)i; /* processor uid, APIC id */
		le32_put(at + 4, 1);        /* enabled */
	}
	at[0] = 1;
	at[1] = IOAPIC_LEN;
	le32_put(at + 4, 0xfec00000);
	at += IOAPIC_LEN;
	at = put_override(at, POWER_SCI_IRQ);
	for (unsigned i = 0; i < PCI_INTX_LINES; i++)
		at = put_override(at, (uint8_t)(PCI_INTX_FIRST + i));
	at[0] = 4; /* NMI on LINT1 of all processors */
	at[1] = NMI_LEN;
	at[2] = 0xff;
	at[5] = 1;
	seal(t, table, len);
	return table;
}

static const uint8_t *build_xsdt(struct tables *t, uint64_t fadt, uint64_t madt)
{
	enum { LEN = HEADER_LEN + 16 };
	uint8_t *at = take(t, LEN);
	header(at, "XSDT", 1, LEN);
	link_to(t, at + 36, 8, fadt);
	link_to(t, at + 44, 8, madt);
	seal(t, at, LEN);
	return at;
}

size_t acpi_build(uint8_t out[ACPI_MAX], uint64_t gpa, unsigned cpus, uint64_t generation,
		  struct acpi_links *links)
{
	struct acpi_links unused = {0};
	struct tables t = {.out = out, .gpa = gpa, .links = links ? links : &unused};
	memset(out, 0, ACPI_MAX);
	memset(t.links, 0, sizeof(*t.links));
	uint8_t *rsdp = take(&t, ACPI_RSDP_LEN);
	uint64_t dsdt = address(&t, build_dsdt(&t, generation));
	uint64_t facs = address(&t, build_facs(&t));
	uint64_t fadt = address(&t, build_fadt(&t, facs, dsdt));
	uint64_t madt = address(&t, build_madt(&t, cpus));
	uint64_t xsdt = address(&t, build_xsdt(&t, fadt, madt));
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "DROVER", 6);
	rsdp[15] = 2;
	le32_put(rsdp + 20, ACPI_RSDP_LEN);
	link_to(&t, rsdp + 24, 8, xsdt);
	seal_at(&t, rsdp, 20, 8); /* the part that ACPI 1.0 knew */
	seal_at(&t, rsdp, ACPI_RSDP_LEN, 32);
	return t.len;
}
