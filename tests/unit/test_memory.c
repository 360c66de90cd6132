/* test_memory.c: guest RAM: what may become it, and where a guest-physical address lies in it. */
#include "tests/lib/test.h"
#include "vmm/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1ull << 20)

static struct memory make(uint64_t bytes)
{
	struct memory memory;
	struct err err = {0};
	int fd = memory_create_fd(bytes, "test", &err);

	assert_true(fd >= 0);
	assert_int_equal(memory_map(&memory, fd, bytes, &err), 0);
	return memory;
}

static void test_small(void **state)
{
	struct memory memory = make(8 * MIB);

	(void)state;
	assert_ptr_equal(memory_at(&memory, 0, 8 * MIB), memory.base);
	assert_ptr_equal(memory_at(&memory, 8 * MIB - 1, 1), memory.base + 8 * MIB - 1);
	assert_null(memory_at(&memory, 8 * MIB - 1, 2));
	assert_null(memory_at(&memory, 8 * MIB, 1));
	assert_null(memory_at(&memory, MEMORY_HIGH_BASE, 1));
	assert_null(memory_at(&memory, 0, UINT64_MAX));
	assert_null(memory_at(&memory, UINT64_MAX, 1));
	assert_int_equal(memory_offset(&memory, 8 * MIB), UINT64_MAX);
	memory_unmap(&memory);
}

/* The part above the hole follows the low part in the file. */
static void test_hole(void **state)
{
	struct memory memory = make(MEMORY_LOW_MAX + 16 * MIB);

	(void)state;
	assert_int_equal(memory_offset(&memory, MEMORY_LOW_MAX - 1), MEMORY_LOW_MAX - 1);
	assert_int_equal(memory_offset(&memory, MEMORY_LOW_MAX), UINT64_MAX);
	assert_int_equal(memory_offset(&memory, MEMORY_HIGH_BASE - 1), UINT64_MAX);
	assert_int_equal(memory_offset(&memory, MEMORY_HIGH_BASE), MEMORY_LOW_MAX);
	assert_int_equal(memory_offset(&memory, MEMORY_HIGH_BASE + 16 * MIB), UINT64_MAX);
	assert_null(memory_at(&memory, MEMORY_LOW_MAX - 1, 2));
	assert_null(memory_at(&memory, MEMORY_LOW_MAX - 1, MEMORY_HIGH_BASE));
	assert_ptr_equal(memory_at(&memory, MEMORY_HIGH_BASE, 16 * MIB), memory.base + MEMORY_LOW_MAX);
	assert_null(memory_at(&memory, MEMORY_HIGH_BASE + 1, 16 * MIB));
	memory_unmap(&memory);
}

/* What comes from another process must be of the right size and stay so. */
static void test_refusals(void **state)
{
	struct memory memory;
	struct err err = {0};
	int fd = memory_create_fd(8 * MIB, "test", &err);
	int loose = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	assert_int_equal(memory_map(&memory, fd, 8 * MIB + 4096, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_null(memory.base);
	assert_int_equal(ftruncate(loose, 8 * MIB), 0);
	assert_int_equal(memory_map(&memory, loose, 8 * MIB, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_int_equal(memory_map(&memory, -1, 8 * MIB, &err), -1);
	assert_int_equal(memory_map(&memory, STDIN_FILENO, 0, &err), -1);
	/* A failed map left the descriptor with its owner. */
	assert_int_equal(close(fd), 0);
	assert_int_equal(close(loose), 0);
}

static void test_sealed(void **state)
{
	struct memory memory = make(8 * MIB);

	(void)state;
	assert_int_equal(ftruncate(memory.fd, 4 * MIB), -1);
	assert_int_equal(ftruncate(memory.fd, 16 * MIB), -1);
	memory_unmap(&memory);
	memory_unmap(&memory); /* harmless */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_small),
	    cmocka_unit_test(test_hole),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_sealed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
