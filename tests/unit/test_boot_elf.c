/* test_boot_elf.c: ELF kernels with a PVH note: what is loaded where, and what a damaged or hostile file gets. */
#include "common/buf.h"
#include "tests/lib/kernel.h"
#include "tests/lib/random.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/acpi.h"
#include "vmm/boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1ull << 20)

static const uint8_t code[] = {0xb0, 0x41, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xf4, 0xeb, 0xfd};

/* Offsets in the 64-bit file that a test damages. */
enum {
	E_TYPE = 16,
	E_MACHINE = 18,
	E_PHOFF = 32,
	E_PHENTSIZE = 54,
	E_PHNUM = 56,
	LOAD = KERNEL_ELF_PHDR,
	NOTE = KERNEL_ELF_PHDR + KERNEL_ELF_PHDR_LEN,
	P_TYPE = 0,
	P_OFFSET = 8,
	P_PADDR = 24,
	P_FILESZ = 32,
	P_MEMSZ = 40,
};

struct fixture {
	char folder[TEMP_MAX];
	char kernel_path[TEMP_MAX];
	char initrd_path[TEMP_MAX];
	struct memory ram;
	struct kernel kernel;
};

static void make_ram(struct memory *ram, uint64_t bytes)
{
	struct err err = {0};
	int fd = memory_create_fd(bytes, "test", &err);

	assert_int_equal(memory_map(ram, fd, bytes, &err), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	temp_make(f->folder);
	make_ram(&f->ram, 16 * MIB);
	kernel_elf(&f->kernel, code, sizeof(code));
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
	struct vm_config config = {.cpus = 2, .memory_bytes = f->ram.size};

	kernel_write(&f->kernel, f->folder, f->kernel_path);
	config.kernel = f->kernel_path;
	config.cmdline = (char *)cmdline;
	config.initrd = (char *)initrd;
	return boot_load(&f->ram, &config, start, err);
}

/* The kernel as it is now is refused, with these words and its path. */
static void refuse(struct fixture *f, const char *words)
{
	struct boot_start start;
	struct err err = {0};

	assert_int_equal(load(f, NULL, NULL, &start, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	if (!strstr(err.text, words) || !strstr(err.text, f->kernel_path))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
	kernel_elf(&f->kernel, code, sizeof(code));
}

static void check_info(const struct fixture *f, uint64_t initrd_len)
{
	const uint8_t *info = memory_at(&f->ram, BOOT_START_INFO, 4096);
	const uint8_t *map;
	uint64_t end = 0, ram = 0;

	assert_int_equal(le32_get(info), 0x336ec578);
	assert_int_equal(le32_get(info + 4), 1);
	assert_int_equal(le64_get(info + 32), ACPI_GPA);
	assert_memory_equal(memory_at(&f->ram, ACPI_GPA, 8), "RSD PTR ", 8);
	assert_int_equal(le32_get(info + 12), initrd_len ? 1 : 0);
	map = memory_at(&f->ram, le64_get(info + 40), 24 * 8);
	for (uint32_t i = 0; i < le32_get(info + 48); i++, map += 24) {
		assert_true(le64_get(map) >= end); /* in order, without overlaps */
		end = le64_get(map) + le64_get(map + 8);
		if (le32_get(map + 16) == 1) {
			assert_non_null(memory_at(&f->ram, le64_get(map), le64_get(map + 8)));
			ram += le64_get(map + 8);
		}
	}
	assert_int_equal(ram, f->ram.size - (MIB - BOOT_LOW_END));
}

static void test_loads(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};

	assert_int_equal(load(f, "quiet x=1", NULL, &start, &err), 0);
	assert_false(start.long_mode);
	assert_int_equal(start.rip, KERNEL_ADDRESS);
	assert_int_equal(start.info, BOOT_START_INFO);
	assert_memory_equal(memory_at(&f->ram, KERNEL_ADDRESS, sizeof(code)), code, sizeof(code));
	assert_string_equal(memory_at(&f->ram, BOOT_CMDLINE, 16), "quiet x=1");
	check_info(f, 0);
}

static void test_loads_32_bit_file(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};

	kernel_elf32(&f->kernel, code, sizeof(code));
	assert_int_equal(load(f, NULL, NULL, &start, &err), 0);
	assert_int_equal(start.rip, KERNEL_ADDRESS);
	assert_memory_equal(memory_at(&f->ram, KERNEL_ADDRESS, sizeof(code)), code, sizeof(code));
	assert_string_equal(memory_at(&f->ram, BOOT_CMDLINE, 1), "");
}

static void test_high_ram_is_in_the_map(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};

	memory_unmap(&f->ram);
	make_ram(&f->ram, MEMORY_LOW_MAX + 64 * MIB);
	assert_int_equal(load(f, NULL, NULL, &start, &err), 0);
	check_info(f, 0);
}

static void write_initrd(struct fixture *f, size_t len)
{
	uint8_t *data = malloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7);
	kernel_write_file(f->folder, "initrd", data, len, f->initrd_path);
	free(data);
}

static void test_initrd(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};
	const uint8_t *info, *module, *at;
	size_t len = 2 * MIB + 123;

	write_initrd(f, len);
	assert_int_equal(load(f, NULL, f->initrd_path, &start, &err), 0);
	check_info(f, len);
	info = memory_at(&f->ram, BOOT_START_INFO, 4096);
	module = memory_at(&f->ram, le64_get(info + 16), 32);
	assert_int_equal(le64_get(module + 8), len);
	assert_int_equal(le64_get(module) % 4096, 0);
	at = memory_at(&f->ram, le64_get(module), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(at[i], (uint8_t)(i * 7));
}

static void test_initrd_must_fit(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};

	/* The code's page and the one of its zeroed part, then pages to the end. */
	write_initrd(f, 16 * MIB - KERNEL_ADDRESS - 2 * 4096);
	assert_int_equal(load(f, NULL, f->initrd_path, &start, &err), 0);
	write_initrd(f, 16 * MIB - KERNEL_ADDRESS - 2 * 4096 + 1);
	assert_int_equal(load(f, NULL, f->initrd_path, &start, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(err.text, "do not fit"));
}

static void test_files_that_are_none(void **state)
{
	struct fixture *f = *state;
	struct vm_config config = {.cpus = 1, .memory_bytes = f->ram.size};
	struct boot_start start;
	struct err err = {0};
	char path[TEMP_MAX];

	config.kernel = f->folder;
	assert_int_equal(boot_load(&f->ram, &config, &start, &err), -1);
	assert_non_null(strstr(err.text, "not a regular file"));
	snprintf(path, sizeof(path), "%.4000s/pipe", f->folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	config.kernel = path;
	assert_int_equal(boot_load(&f->ram, &config, &start, &err), -1); /* and does not wait for a writer */
	assert_non_null(strstr(err.text, "not a regular file"));
	snprintf(path, sizeof(path), "%.4000s/absent", f->folder);
	assert_int_equal(boot_load(&f->ram, &config, &start, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	f->kernel.len = 0;
	refuse(f, "empty");
	config.kernel = NULL;
	assert_int_equal(boot_load(&f->ram, &config, &start, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
}

static void test_refused_headers(void **state)
{
	struct fixture *f = *state;
	uint8_t *d = f->kernel.data;

	d[4] = 3;
	refuse(f, "32 or 64 bits");
	d[5] = 2;
	refuse(f, "little-endian");
	le16_put(d + E_MACHINE, 183);
	refuse(f, "machine type 183");
	le16_put(d + E_TYPE, 1);
	refuse(f, "not an executable");
	le16_put(d + E_PHNUM, 0);
	refuse(f, "program headers");
	le16_put(d + E_PHNUM, 0xffff);
	refuse(f, "program headers");
	le16_put(d + E_PHENTSIZE, 55);
	refuse(f, "55 bytes each");
	le64_put(d + E_PHOFF, UINT64_MAX - 10);
	refuse(f, "cut short");
	le64_put(d + E_PHOFF, f->kernel.len - 60);
	refuse(f, "cut short");
}

static void test_refused_segments(void **state)
{
	struct fixture *f = *state;
	uint8_t *d = f->kernel.data;

	le64_put(d + LOAD + P_PADDR, 0x8000);
	refuse(f, "below 1 MiB");
	le64_put(d + LOAD + P_PADDR, 16 * MIB - 4096);
	refuse(f, "does not fit");
	le64_put(d + LOAD + P_PADDR, UINT64_MAX - 4096);
	refuse(f, "does not fit");
	le64_put(d + LOAD + P_MEMSZ, UINT64_MAX);
	refuse(f, "does not fit");
	le64_put(d + LOAD + P_MEMSZ, 4);
	refuse(f, "more bytes in the file");
	le64_put(d + LOAD + P_OFFSET, UINT64_MAX - 4);
	refuse(f, "cut short");
	le64_put(d + LOAD + P_FILESZ, sizeof(code) + 1);
	refuse(f, "cut short");
	memcpy(d + NOTE, d + LOAD, KERNEL_ELF_PHDR_LEN);
	refuse(f, "overlap");
	le64_put(d + LOAD + P_MEMSZ, 0);
	le64_put(d + LOAD + P_FILESZ, 0);
	refuse(f, "no segment to load");
}

static void test_refused_notes(void **state)
{
	struct fixture *f = *state;
	uint8_t *d = f->kernel.data;

	le32_put(d + NOTE + P_TYPE, 0);
	refuse(f, "PVH entry note");
	le32_put(d + KERNEL_ELF_NOTE + 8, 17);
	refuse(f, "PVH entry note");
	memcpy(d + KERNEL_ELF_NOTE + 12, "GNU", 4);
	refuse(f, "PVH entry note");
	le32_put(d + KERNEL_ELF_NOTE, UINT32_MAX);
	refuse(f, "damaged");
	le32_put(d + KERNEL_ELF_NOTE + 4, UINT32_MAX);
	refuse(f, "damaged");
	le32_put(d + KERNEL_ELF_NOTE + 4, 2);
	refuse(f, "damaged");
	le64_put(d + NOTE + P_FILESZ, 1 << 20);
	refuse(f, "notes have");
	le64_put(d + NOTE + P_OFFSET, UINT64_MAX);
	refuse(f, "cut short");
	le32_put(d + KERNEL_ELF_NOTE + 16, 0x200000);
	refuse(f, "entry point 0x200000");
	/* the zeroed part is no place to begin either */
	le32_put(d + KERNEL_ELF_NOTE + 16, KERNEL_ADDRESS + sizeof(code));
	refuse(f, "entry point");
}

static void test_long_cmdline(void **state)
{
	struct fixture *f = *state;
	struct boot_start start;
	struct err err = {0};
	char line[2049];

	memset(line, 'a', sizeof(line));
	line[2047] = '\0';
	assert_int_equal(load(f, line, NULL, &start, &err), 0);
	assert_string_equal(memory_at(&f->ram, BOOT_CMDLINE, 2048), line);
	line[2047] = 'a';
	line[2048] = '\0';
	assert_int_equal(load(f, line, NULL, &start, &err), -1);
	assert_non_null(strstr(err.text, "at most 2047"));
}

/* Whatever is in the file: an answer, and within memory (the sanitizers watch). */
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
		if (round % 2)
			kernel_elf(&f->kernel, code, sizeof(code));
		else
			kernel_elf32(&f->kernel, code, sizeof(code));
		for (unsigned i = random_next(&random) % 4 + 1; i; i--) {
			uint64_t r = random_next(&random);
			size_t at = (r >> 8) % (KERNEL_ELF_NOTE + 20);
			f->kernel.data[at] = r & 0x80 ? (uint8_t)r : 0xff;
		}
		load(f, NULL, NULL, &start, &err);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_loads),           TEST(test_loads_32_bit_file), TEST(test_high_ram_is_in_the_map),
	    TEST(test_initrd),          TEST(test_initrd_must_fit),   TEST(test_files_that_are_none),
	    TEST(test_refused_headers), TEST(test_refused_segments),  TEST(test_refused_notes),
	    TEST(test_long_cmdline),    TEST(test_cut_and_mutated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
