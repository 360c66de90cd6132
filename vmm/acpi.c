/* acpi.c: building the tables.  Layouts and field offsets: ACPI specification 6.4, chapter 5. */
#include "vmm/acpi.h"
#include "common/buf.h"
#include "vmm/power.h"
#include <string.h>

enum {
	RSDP_LEN = 36,
	HEADER_LEN = 36,
	FADT_LEN = 276,
	FACS_LEN = 64,
	ALIGN = 64,
};

struct tables {
	uint8_t *out;
	uint64_t gpa;
	size_t len;
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

static void seal(uint8_t *at, size_t len)
{
	at[9] = 0;
	at[9] = checksum(at, len);
}

static const uint8_t *build_dsdt(struct tables *t)
{
	/* Name (\_S5, Package (2) { type, type }) */
	static const uint8_t s5[] = {0x08,
				     '\\',
				     '_',
				     'S',
				     '5',
				     '_',
				     0x12,
				     0x06,
				     0x02,
				     0x0a,
				     POWER_SLEEP_TYPE_OFF,
				     0x0a,
				     POWER_SLEEP_TYPE_OFF};
	uint8_t *at = take(t, HEADER_LEN + sizeof(s5));
	header(at, "DSDT", 2, HEADER_LEN + sizeof(s5));
	memcpy(at + HEADER_LEN, s5, sizeof(s5));
	seal(at, HEADER_LEN + sizeof(s5));
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
	at[3] = bits == 8 ? 1 : 2; /* access size */
	le64_put(at + 4, port);
}

static const uint8_t *build_fadt(struct tables *t, uint64_t facs, uint64_t dsdt)
{
	enum {
		WBINVD = 1,
		PROC_C1 = 4,
		NO_POWER_BUTTON = 16,
		NO_SLEEP_BUTTON = 32,
		NO_FIXED_RTC = 64,
		RESET = 1024
	};
	enum { LEGACY_DEVICES = 1, NO_VGA = 4 };
	uint8_t *at = take(t, FADT_LEN);
	header(at, "FACP", 6, FADT_LEN);
	le32_put(at + 36, (uint32_t)facs); /* and then X_FIRMWARE_CTRL must be 0 */
	le32_put(at + 40, (uint32_t)dsdt);
	le16_put(at + 46, POWER_SCI_IRQ);
	le32_put(at + 56, POWER_PM1_EVENT);
	le32_put(at + 64, POWER_PM1_CONTROL);
	at[88] = 4;              /* PM1 event block: status and enable */
	at[89] = 2;              /* PM1 control block */
	le16_put(at + 96, 101);  /* worst-case latencies of C2 and C3: */
	le16_put(at + 98, 1001); /* there are no such states */
	at[108] = 0x32;          /* the RTC's century register */
	/* No keyboard controller: its reset line is all there is of it. */
	le16_put(at + 109, LEGACY_DEVICES | NO_VGA);
	le32_put(at + 112, WBINVD | PROC_C1 | NO_POWER_BUTTON | NO_SLEEP_BUTTON | NO_FIXED_RTC | RESET);
	port_address(at + 116, POWER_RESET_PORT, 8);
	at[128] = POWER_RESET_VALUE;
	at[131] = 4; /* minor version */
	le64_put(at + 140, dsdt);
	port_address(at + 148, POWER_PM1_EVENT, 32);
	port_address(at + 172, POWER_PM1_CONTROL, 16);
	memcpy(at + 268, "drover", 6); /* hypervisor vendor */
	seal(at, FADT_LEN);
	return at;
}

static const uint8_t *build_madt(struct tables *t, unsigned cpus)
{
	enum { LAPIC_LEN = 8, IOAPIC_LEN = 12, OVERRIDE_LEN = 10, NMI_LEN = 6 };
	size_t len = HEADER_LEN + 8 + cpus * LAPIC_LEN + IOAPIC_LEN + OVERRIDE_LEN + NMI_LEN;
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
	/* KVM wires ISA interrupt n to input n of the IOAPIC, also the timer's.  Only ACPI's own differs in kind. */
	at[0] = 2;
	at[1] = OVERRIDE_LEN;
	at[3] = POWER_SCI_IRQ;
	le32_put(at + 4, POWER_SCI_IRQ);
	le16_put(at + 8, 0x000d); /* level-triggered, active high */
	at += OVERRIDE_LEN;
	at[0] = 4; /* NMI on LINT1 of all processors */
	at[1] = NMI_LEN;
	at[2] = 0xff;
	at[5] = 1;
	seal(table, len);
	return table;
}

static const uint8_t *build_xsdt(struct tables *t, uint64_t fadt, uint64_t madt)
{
	enum { LEN = HEADER_LEN + 16 };
	uint8_t *at = take(t, LEN);
	header(at, "XSDT", 1, LEN);
	le64_put(at + 36, fadt);
	le64_put(at + 44, madt);
	seal(at, LEN);
	return at;
}

size_t acpi_build(uint8_t out[ACPI_MAX], uint64_t gpa, unsigned cpus)
{
	struct tables t = {.out = out, .gpa = gpa};
	memset(out, 0, ACPI_MAX);
	uint8_t *rsdp = take(&t, RSDP_LEN);
	uint64_t dsdt = address(&t, build_dsdt(&t));
	uint64_t facs = address(&t, build_facs(&t));
	uint64_t fadt = address(&t, build_fadt(&t, facs, dsdt));
	uint64_t madt = address(&t, build_madt(&t, cpus));
	uint64_t xsdt = address(&t, build_xsdt(&t, fadt, madt));
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "DROVER", 6);
	rsdp[15] = 2;
	le32_put(rsdp + 20, RSDP_LEN);
	le64_put(rsdp + 24, xsdt);
	rsdp[8] = checksum(rsdp, 20); /* the part that ACPI 1.0 knew */
	rsdp[32] = checksum(rsdp, RSDP_LEN);
	return t.len;
}
