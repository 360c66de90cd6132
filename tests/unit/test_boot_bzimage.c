/* test_boot_bzimage.c: bzImages: what Linux is handed, and what a damaged or hostile file gets. */
#include "common/buf.h"
#include "tests/lib/kernel.h"
#include "tests/lib/random.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/acpi.h"
#include "vmm/boot.h"

#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)

static const uint8_t code[] = {0xf4, 0xeb, 0xfd};

enum {
	SETUP_SECTS = 0x1f1,
	SYSSIZE = 0x1f4,
	BOOT_FLAG = 0x1fe,
	JUMP = 0x201,
	MAGIC = 0x202,
	PROTOCOL = 0x206,
	LOADFLAGS = 0x211,
	INITRD_MAX = 0x22c,
	ALIGNMENT = 0x230,
	RELOCATABLE = 0x234,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
};

struct fixture {
	char folder[TEMP_MAX];
	char kernel_path[TEMP_MAX];
	char initrd_path[TEMP_MAX];
	struct memory ram;
	struct kernel kernel;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err = {0};
	int fd = memory_create_fd(16 * MIB, "test", &err);

	temp_make(f->folder);
	assert_int_equal(memory_map(&f->ram, fd, 16 * MIB, &err), 0);
	kernel_bzimage(&f->kernel, code, sizeof(code));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	memory_unmap(&f->ram);
	temp_remove(f->folder);
	free(f);
	return 0;
}

static int load(struct fixture *f, const char *cmdline, const char *initrd, struct boot_start *start,
		struct err *err)
{
	struct vm_config config = {.cpus = 1, .memory_bytes = f->ram.size};

	kernel_write(&f->kernel, f->folder, f->kernel_path);
	config.kernel = f->kernel_path;
	config.cmdline = (char *)cmdline;
	config.initrd = (char *)initrd;
	return boot_load(&f->ram, &config, start, err);
}

static void refuse(struct fixture *f, const char *words)
{
	struct boot_start start;
	struct err err = {0};

	assert_int_equal(load(f, NULL, NULL, &start, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	if (!strstr(err.text, words) || !strstr(err.text, f->kernel_path))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
	kernel_bzimage(&f->kernel, code, sizeof(code));
}

static void test_loads(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};
	const uint8_t *params;

	assert_int_equal(load(f, "root=/dev/vda", NULL, &start, &err), 0);
	assert_true(start.long_mode);
	assert_int_equal(start.rip, KERNEL_ADDRESS + 0x200);
	assert_int_equal(start.info, BOOT_PARAMS);
	assert_memory_equal(memory_at(&f->ram, start.rip, sizeof(code)), code, sizeof(code));
	params = memory_at(&f->ram, BOOT_PARAMS, 4096);
	assert_memory_equal(params + 0x1f1, f->kernel.data + 0x1f1, 0x210 - 0x1f1); /* its own setup header */
	assert_int_equal(params[0x210], 0xff);
	assert_int_equal(le64_get(params + 0x70), ACPI_GPA);
	assert_int_equal(le32_get(params + 0x218), 0);
	assert_int_equal(le32_get(params + 0x21c), 0);
	assert_string_equal(memory_at(&f->ram, le32_get(params + 0x228), 14), "root=/dev/vda");
}

static void test_memory_map(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};
	const uint8_t *params, *entry;
	uint64_t end = 0, ram = 0;

	assert_int_equal(load(f, NULL, NULL, &start, &err), 0);
	params = memory_at(&f->ram, BOOT_PARAMS, 4096);
	entry = params + 0x2d0;
	for (unsigned i = 0; i < params[0x1e8]; i++, entry += 20) {
		uint64_t gpa = le64_get(entry), len = le64_get(entry + 8);
		assert_true(gpa >= end);
		end = gpa + len;
		if (le32_get(entry + 16) == 1) {
			assert_true(gpa + len <= ACPI_GPA || gpa >= MIB); /* the tables are not for use */
			ram += len;
		}
	}
	assert_int_equal(ram, f->ram.size - (MIB - BOOT_LOW_END));
}

/* Every address below 4 GiB is mapped to itself. */
static void test_page_tables(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};

	assert_int_equal(load(f, NULL, NULL, &start, &err), 0);
	for (uint64_t address = 0; address < 4096 * MIB; address += 2 * MIB) {
		uint64_t entry = BOOT_PAGE_TABLES | 1;
		for (int shift = 39; shift >= 21; shift -= 9) {
			const uint8_t *table = memory_at(&f->ram, entry & ~0xfffull, 4096);
			assert_non_null(table);
			entry = le64_get(table + 8 * (address >> shift & 511));
			assert_int_equal(entry & 3, 3);
		}
		assert_int_equal(entry, address | 0x83);
	}
}

static void test_initrd_below_its_limit(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};
	uint8_t data[5000];
	const uint8_t *params;

	memset(data, 0x5a, sizeof(data));
	kernel_write_file(f->folder, "initrd", data, sizeof(data), f->initrd_path);
	le32_put(f->kernel.data + INITRD_MAX, 8 * MIB - 1);
	assert_int_equal(load(f, NULL, f->initrd_path, &start, &err), 0);
	params = memory_at(&f->ram, BOOT_PARAMS, 4096);
	assert_int_equal(le32_get(params + 0x218), 8 * MIB - 8192);
	assert_int_equal(le32_get(params + 0x21c), sizeof(data));
	assert_memory_equal(memory_at(&f->ram, 8 * MIB - 8192, sizeof(data)), data, sizeof(data));
	/* the kernel's room to unpack itself (init_size) is not for the initrd */
	le32_put(f->kernel.data + INIT_SIZE, 7 * MIB - 8191);
	assert_int_equal(load(f, NULL, f->initrd_path, &start, &err), -1);
	assert_non_null(strstr(err.text, "do not fit"));
	le32_put(f->kernel.data + INITRD_MAX, 0);
	assert_int_equal(load(f, NULL, f->initrd_path, &start, &err), -1);
}

static void test_where_it_goes(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};

	le64_put(f->kernel.data + PREF_ADDRESS, 0x1234567);
	le32_put(f->kernel.data + ALIGNMENT, 0x200000);
	refuse(f, "needs RAM up to"); /* 18 MiB, moved up to 20 */
	le64_put(f->kernel.data + PREF_ADDRESS, 0x800001);
	le32_put(f->kernel.data + ALIGNMENT, 0x200000);
	assert_int_equal(load(f, NULL, NULL, &start, &err), 0);
	assert_int_equal(start.rip, 0xa00200);
	f->kernel.data[RELOCATABLE] = 0;
	assert_int_equal(load(f, NULL, NULL, &start, &err), 0);
	assert_int_equal(start.rip, 0x800201);
	le64_put(f->kernel.data + PREF_ADDRESS, 0x10000);
	refuse(f, "below 1 MiB");
	le64_put(f->kernel.data + PREF_ADDRESS, 0x10000);
	assert_int_equal(load(f, NULL, NULL, &start, &err),
			 0); /* relocatable again: the next place upwards */
	assert_int_equal(start.rip, 0x100200);
}

static void test_refused_headers(void **state)
{
	struct fixture *f = *state;
	uint8_t *d = f->kernel.data;

	d[MAGIC] = 'X';
	refuse(f, "neither");
	d[BOOT_FLAG] = 0;
	refuse(f, "neither");
	f->kernel.len = 0x263;
	refuse(f, "neither");
	le16_put(d + PROTOCOL, 0x20b);
	refuse(f, "2.11");
	d[LOADFLAGS] = 0;
	refuse(f, "64-bit entry");
	le16_put(d + XLOADFLAGS, 2);
	refuse(f, "64-bit entry");
	d[JUMP] = 0x61;
	refuse(f, "setup header ends");
	d[JUMP] = 0xff;
	refuse(f, "setup header ends");
	le32_put(d + SYSSIZE, 0);
	refuse(f, "0 bytes only");
	le32_put(d + SYSSIZE, UINT32_MAX);
	refuse(f, "needs RAM");
	le32_put(d + SYSSIZE, le32_get(d + SYSSIZE) + 1);
	refuse(f, "cut short");
	d[SETUP_SECTS] = 0; /* stands for 4 */
	refuse(f, "cut short");
	le32_put(d + INIT_SIZE, UINT32_MAX);
	refuse(f, "needs RAM");
	le64_put(d + PREF_ADDRESS, UINT64_MAX);
	refuse(f, "preferred address");
	le32_put(d + ALIGNMENT, 0x300000);
	refuse(f, "preferred address");
}

static void test_cmdline_limit(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};

	le32_put(f->kernel.data + CMDLINE_SIZE, 10);
	assert_int_equal(load(f, "0123456789", NULL, &start, &err), 0);
	assert_int_equal(load(f, "0123456789a", NULL, &start, &err), -1);
	assert_non_null(strstr(err.text, "at most 10"));
}

static void test_cut_and_mutated(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};
	uint64_t random = random_begin();
	size_t whole = f->kernel.len;

	for (size_t len = 1; len < whole; len++) {
		f->kernel.len = len;
		assert_int_equal(load(f, NULL, NULL, &start, &err), -1);
	}
	for (unsigned round = 0; round < 3000; round++) {
		kernel_bzimage(&f->kernel, code, sizeof(code));
		for (unsigned i = random_next(&random) % 4 + 1; i; i--) {
			uint64_t r = random_next(&random);
			f->kernel.data[0x1f1 + (r >> 8) % 0x77] = r & 0x80 ? (uint8_t)r : 0xff;
		}
		load(f, "x", NULL, &start, &err);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_loads),         TEST(test_memory_map),
	    TEST(test_page_tables),   TEST(test_initrd_below_its_limit),
	    TEST(test_where_it_goes), TEST(test_refused_headers),
	    TEST(test_cmdline_limit), TEST(test_cut_and_mutated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
