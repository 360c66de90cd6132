/* Scattered buffers against one in one piece: every part of it is sliced, read and written where it should be, and no further. */
#include "common/iovec.h"
#include "tests/lib/test.h"

#include <string.h>

enum { BYTES = 23, PIECES = 5 };

static const size_t lens[PIECES] = {1, 0, 7, 5, 10};
static uint8_t memory[BYTES];
static struct iovec iov[PIECES];

static int setup(void **state)
{
	(void)state;
	size_t at = 0;
	for (unsigned i = 0; i < PIECES; at += lens[i++])
		iov[i] = (struct iovec){.iov_base = memory + at, .iov_len = lens[i]};
	for (unsigned i = 0; i < BYTES; i++)
		memory[i] = (uint8_t)(i + 1);
	return 0;
}

static void test_parts(void **state)
{
	(void)state;
	assert_int_equal(iovec_bytes(iov, PIECES), BYTES);
	for (size_t skip = 0; skip <= BYTES + 1; skip++) {
		for (size_t len = 0; len <= BYTES + 1; len++) {
			size_t there = skip < BYTES ? BYTES - skip : 0, want = len < there ? len : there;
			struct iovec part[PIECES];
			uint8_t data[BYTES + 1] = {0};
			unsigned n = iovec_slice(iov, PIECES, skip, len, part);
			assert_int_equal(iovec_bytes(part, n), want);
			if (n > 0)
				assert_ptr_equal(part[0].iov_base, memory + skip);
			for (unsigned i = 0; i < n; i++)
				assert_int_not_equal(part[i].iov_len, 0);
			assert_int_equal(iovec_get(iov, PIECES, skip, data, len), want);
			assert_memory_equal(data, memory + (want ? skip : 0), want);
			assert_int_equal(data[want], 0);
		}
	}
}

static void test_put(void **state)
{
	(void)state;
	static const uint8_t ones[BYTES] = {[0 ... BYTES - 1] = 0xff};
	for (size_t skip = 0; skip < BYTES; skip++) {
		setup(NULL);
		assert_int_equal(iovec_put(iov, PIECES, skip, ones, 4), BYTES - skip < 4 ? BYTES - skip : 4);
		for (size_t i = 0; i < BYTES; i++)
			assert_int_equal(memory[i], i >= skip && i < skip + 4 ? 0xff : i + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_parts, setup),
					   cmocka_unit_test_setup(test_put, setup)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
