/* test_acpi.c: the tables, walked as an operating system would. */
#include "common/buf.h"
#include "tests/lib/test.h"
#include "vmm/acpi.h"
#include "vmm/config.h"
#include "vmm/power.h"

#include <string.h>

static uint8_t tables[ACPI_MAX];
static size_t tables_len;

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
	tables_len = acpi_build(tables, ACPI_GPA, cpus);
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
	/* The only thing in it: Name (\_S5, Package (2) {5, 5}); the package's length byte covers the rest. */
	assert_int_equal(dsdt_len, 36 + 13);
	assert_memory_equal(dsdt + 36, "\x08\\_S5_\x12\x06\x02\x0a\x05\x0a\x05", 13);
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
			overrides++;
			assert_int_equal(entry[3], POWER_SCI_IRQ);
			assert_int_equal(le32_get(entry + 4), POWER_SCI_IRQ);
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
	assert_int_equal(overrides, 1);
	assert_int_equal(nmis, 1);
}

static void test_madt(void **state)
{
	(void)state;
	walk_madt(1);
	walk_madt(2);
	walk_madt(CONFIG_MAX_CPUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fadt),
	    cmocka_unit_test(test_madt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
