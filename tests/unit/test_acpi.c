/* test_acpi.c: the tables, walked as an operating system would, and read by ACPI's own compiler. */
#include "common/buf.h"
#include "tests/lib/kernel.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/acpi.h"
#include "vmm/config.h"
#include "vmm/pci.h"
#include "vmm/power.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GENERATION 0x123456000ull

static uint8_t tables[ACPI_MAX];
static size_t tables_len;
static struct acpi_links links;

static const uint8_t *at(uint64_t gpa, size_t len)
{
	assert_in_range(gpa, ACPI_GPA, ACPI_GPA + tables_len - 1);
	assert_true(gpa - ACPI_GPA + len <= tables_len);
	return tables + (gpa - ACPI_GPA);
}

static uint8_t sum(const uint8_t *data, size_t len)
{
	uint8_t total = 0;

	for (size_t i = 0; i < len; i++)
		total = (uint8_t)(total + data[i]);
	return total;
}

static const uint8_t *table_at(uint64_t gpa, const char *signature, size_t *len)
{
	const uint8_t *table = at(gpa, 36);

	assert_memory_equal(table, signature, 4);
	*len = le32_get(table + 4);
	at(gpa, *len);
	assert_int_equal(sum(table, *len), 0);
	return table;
}

static const uint8_t *xsdt_entry(unsigned i, const char *signature, size_t *len)
{
	size_t xsdt_len;
	const uint8_t *xsdt = table_at(le64_get(tables + 24), "XSDT", &xsdt_len);

	assert_int_equal(xsdt_len, 36 + 16);
	return table_at(le64_get(xsdt + 36 + 8 * (size_t)i), signature, len);
}

static void build(unsigned cpus)
{
	tables_len = acpi_build(tables, ACPI_GPA, cpus, GENERATION, &links);
	assert_true(tables_len <= ACPI_MAX);
	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_int_equal(sum(tables, 20), 0);
	assert_int_equal(sum(tables, 36), 0);
	assert_int_equal(tables[15], 2);
}

static void test_fadt(void **state)
{
	size_t len, dsdt_len;
	const uint8_t *fadt, *facs, *dsdt;

	(void)state;
	build(1);
	fadt = xsdt_entry(0, "FACP", &len);
	assert_int_equal(len, 276);
	assert_int_equal(le32_get(fadt + 56), POWER_PM1_EVENT);
	assert_int_equal(le64_get(fadt + 148 + 4), POWER_PM1_EVENT);
	assert_int_equal(le32_get(fadt + 64), POWER_PM1_CONTROL);
	assert_int_equal(le64_get(fadt + 172 + 4), POWER_PM1_CONTROL);
	assert_int_equal(le64_get(fadt + 116 + 4), POWER_RESET_PORT);
	assert_int_equal(fadt[128], POWER_RESET_VALUE);
	assert_int_equal(le64_get(fadt + 132), 0); /* one of the two places of this address must be 0 */
	assert_int_equal(le32_get(fadt + 40), le64_get(fadt + 140));
	facs = at(le32_get(fadt + 36), 64);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(le32_get(fadt + 36) % 64, 0);
	dsdt = table_at(le64_get(fadt + 140), "DSDT", &dsdt_len);
	/* The last thing in it: Name (\_S5, Package (2) {5, 5}); the package's length byte covers the rest. */
	assert_memory_equal(dsdt + dsdt_len - 13, "\x08\\_S5_\x12\x06\x02\x0a\x05\x0a\x05", 13);
	/* The power button is one of the fixed registers, the timer counts in 32 bits. */
	assert_int_equal(le32_get(fadt + 112) & (16 | 256), 256);
	assert_int_equal(le32_get(fadt + 76), POWER_TIMER);
	assert_int_equal(le64_get(fadt + 208 + 4), POWER_TIMER);
	assert_int_equal(fadt[91], 4);
	assert_int_equal(le32_get(fadt + 80), POWER_GPE);
	assert_int_equal(le64_get(fadt + 220 + 4), POWER_GPE);
	assert_int_equal(fadt[92], POWER_GPE_LEN);
}

/* Every processor once and enabled, an IOAPIC, ACPI's interrupt level-triggered. */
static void walk_madt(unsigned cpus)
{
	size_t len, offset;
	unsigned lapics = 0, ioapics = 0, overrides = 0, nmis = 0;
	const uint8_t *madt;

	build(cpus);
	madt = xsdt_entry(1, "APIC", &len);
	assert_int_equal(le32_get(madt + 36), 0xfee00000);
	for (offset = 44; offset < len; offset += madt[offset + 1]) {
		const uint8_t *entry = madt + offset;
		assert_true(offset + 2 <= len && entry[1] >= 2 && offset + entry[1] <= len);
		switch (entry[0]) {
		case 0:
			assert_int_equal(entry[1], 8);
			assert_int_equal(entry[3], lapics++);
			assert_int_equal(le32_get(entry + 4), 1);
			break;
		case 1:
			ioapics++;
			assert_int_equal(le32_get(entry + 4), 0xfec00000);
			assert_int_equal(le32_get(entry + 8), 0);
			break;
		case 2:
			assert_int_equal(entry[3],
					 overrides ? PCI_INTX_FIRST + overrides - 1 : POWER_SCI_IRQ);
			assert_int_equal(le32_get(entry + 4), entry[3]);
			assert_int_equal(le16_get(entry + 8), 0x000d);
			overrides++;
			break;
		case 4:
			nmis++;
			break;
		default:
			fail_msg("entry of type %u", entry[0]);
		}
	}
	assert_int_equal(offset, len);
	assert_int_equal(lapics, cpus);
	assert_int_equal(ioapics, 1);
	assert_int_equal(overrides, 1 + PCI_INTX_LINES);
	assert_int_equal(nmis, 1);
}

static void test_madt(void **state)
{
	(void)state;
	walk_madt(1);
	walk_madt(2);
	walk_madt(CONFIG_MAX_CPUS);
}

/* Whoever moves the tables by what acpi_links says gets what acpi_build makes for the new place. */
static void test_links(void **state)
{
	static uint8_t there[ACPI_MAX];
	const uint64_t place = 0x7ffe0000;

	(void)state;
	for (unsigned cpus = 1; cpus <= CONFIG_MAX_CPUS; cpus += 21) {
		build(cpus);
		acpi_build(there, place, cpus, GENERATION, NULL);
		for (unsigned i = 0; i < links.pointers; i++) {
			uint8_t *at = tables + links.pointer[i].offset;
			if (links.pointer[i].size == 8)
				le64_put(at, le64_get(at) + place - ACPI_GPA);
			else
				le32_put(at, (uint32_t)(le32_get(at) + place - ACPI_GPA));
		}
		/* In their order, since the RSDP's second sum covers its first. */
		for (unsigned i = 0; i < links.sums; i++) {
			uint8_t *at = tables + links.sum[i].offset;
			*at = (uint8_t)(*at - sum(tables + links.sum[i].start, links.sum[i].len));
		}
		assert_memory_equal(tables, there, sizeof(there));
	}
}

/* ---- by iasl ------------------------------------------------------------------------------------------------- */

static void run(const char *folder, const char *command)
{
	char line[2 * TEMP_MAX];

	snprintf(line, sizeof(line), "cd '%s' && %s >log 2>&1", folder, command);
	if (system(line)) {
		snprintf(line, sizeof(line), "cat '%s'/log", folder);
		(void)!system(line);
		fail_msg("%s failed", command);
	}
}

/* Each table is taken apart and, what comes out, put together again, without an error. */
static void test_iasl(void **state)
{
	static const char *const says[] = {"Device (PCI0)",
					   "EisaId (\"PNP0A03\")",
					   "EisaId (\"PNP0501\")",
					   "EisaId (\"PNP0B00\")",
					   "\"VM_Gen_Counter\"",
					   "0x23456000",
					   "0x001FFFFF",
					   "0xE0000000,         // Range Minimum",
					   "0xFEBFFFFF,         // Range Maximum",
					   "Notify (\\_SB.VGEN, 0x80)",
					   "Name (\\_S5, Package (0x02)"};
	char path[TEMP_MAX];
	size_t len;
	FILE *text;

	build(2);
	const uint8_t *fadt = xsdt_entry(0, "FACP", &len);
	kernel_write_file(*state, "facp.aml", fadt, len, path);
	const uint8_t *dsdt = table_at(le64_get(fadt + 140), "DSDT", &len);
	kernel_write_file(*state, "dsdt.aml", dsdt, len, path);
	const uint8_t *madt = xsdt_entry(1, "APIC", &len);
	kernel_write_file(*state, "apic.aml", madt, len, path);
	run(*state, "iasl -d facp.aml dsdt.aml apic.aml");
	run(*state, "iasl -ve facp.dsl && iasl -ve apic.dsl && iasl -ve dsdt.dsl");

	static char dsl[1 << 16];
	snprintf(path, sizeof(path), "%s/dsdt.dsl", (char *)*state);
	text = fopen(path, "r");
	assert_non_null(text);
	dsl[fread(dsl, 1, sizeof(dsl) - 1, text)] = 0;
	fclose(text);
	for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++)
		if (!strstr(dsl, says[i]))
			fail_msg("the DSDT does not say %s", says[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fadt),
	    cmocka_unit_test(test_madt),
	    cmocka_unit_test(test_links),
	    cmocka_unit_test_setup_teardown(test_iasl, temp_setup, temp_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
