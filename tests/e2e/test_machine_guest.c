/* test_machine_guest.c: the test guest, which computes in ring 3 on several CPUs and verifies its memory all the time,
 * in machines that are booted, moved and tracked. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct vm vm;
static struct pageset set;

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	pageset_close(&set);
	memset(&set, 0, sizeof(set));
	return 0;
}

static void boot(const char *file, uint64_t mib, unsigned cpus, enum dirty_mode mode, const char *cmdline)
{
	const char *build = getenv("DROVER_BUILD");
	char path[PATH_MAX];
	struct vm_config config;
	struct err err = {0};

	vm_make(&vm, mib, cpus, mode);
	config = vm.config;
	snprintf(path, sizeof(path), "%s/guest/%s", build ? build : "build", file);
	config.kernel = path;
	config.cmdline = (char *)cmdline;
	if (machine_boot(vm.machine, &config, &err))
		fail_msg("%s", err.text);
	machine_resume(vm.machine);
}

/* How many report lines have come in all; fails the test at one that counts errors. */
static unsigned reports(void)
{
	unsigned count = 0;

	pthread_mutex_lock(&vm.lock);
	for (char *line = (char *)vm.console, *end; (end = strchr(line, '\n')); line = end + 1) {
		unsigned long long seq, errors;
		char *field;
		if (!(field = strstr(line, " seq=")) || field > end)
			continue;
		seq = strtoull(field + 5, NULL, 10);
		field = strstr(line, " errors=");
		errors = field && field < end ? strtoull(field + 8, NULL, 10) : ULLONG_MAX;
		if (seq != count || errors) {
			pthread_mutex_unlock(&vm.lock);
			fail_msg("report %u: %.*s", count, (int)(end - line), line);
		}
		count++;
	}
	pthread_mutex_unlock(&vm.lock);
	return count;
}

static void wait_reports(unsigned more)
{
	unsigned wanted = reports() + more;

	while (reports() < wanted)
		vm_wait_console(&vm, vm_console_len(&vm) + 1);
}

static void test_boots_by_pvh(void **state)
{
	(void)state;
	need_kvm();
	boot("testguest.elf", 64, 1, DIRTY_AUTO, "fill=8M report=50");
	wait_reports(3);
}

static void test_boots_by_linux_protocol(void **state)
{
	(void)state;
	need_kvm();
	boot("testguest.bzImage", 64, 1, DIRTY_AUTO, "fill=8M report=50");
	wait_reports(3);
}

static void test_uses_all_of_a_large_ram(void **state)
{
	(void)state;
	need_kvm();
	boot("testguest.elf", 8192, 1, DIRTY_AUTO, "fill=8M report=50");
	wait_reports(2);
	assert_non_null(strstr((char *)vm.console, "ram=8192M"));
}

/* From machine to machine, working on two CPUs: nothing is lost, nothing is done twice. */
static void test_moves(void **state)
{
	(void)state;
	need_kvm();
	boot("testguest.elf", 64, 2, DIRTY_AUTO, "fill=16M dirty=50 cpus=2 report=50");
	for (unsigned i = 0; i < 8; i++) {
		wait_reports(2);
		vm_move(&vm);
		machine_resume(vm.machine);
	}
	wait_reports(2);
	assert_false(vm.ended);
}

static void copy_dirty(uint8_t *replica)
{
	uint64_t got[256], cursor = 0;
	size_t n;

	while ((n = pageset_take(&set, &cursor, got, 256)))
		for (size_t i = 0; i < n; i++)
			memcpy(replica + got[i] * MEMORY_PAGE, vm.machine->ram.base + got[i] * MEMORY_PAGE,
			       MEMORY_PAGE);
}

/* Pre-copy of the working guest gives its RAM, to the last byte, and the guest goes on. */
static void replicate(enum dirty_mode mode)
{
	struct err err = {0};
	struct buf state = {0};
	size_t bytes = 64 << 20;
	uint8_t *replica = malloc(bytes);

	need_kvm();
	boot("testguest.elf", bytes >> 20, 2, mode, "fill=32M dirty=max pattern=random cpus=2 report=50");
	wait_reports(2);
	if (pageset_create(&set, bytes / MEMORY_PAGE, &err) || machine_dirty_start(vm.machine, &set, &err))
		fail_msg("%s", err.text);
	memcpy(replica, vm.machine->ram.base, bytes);
	for (unsigned round = 0; round < 10; round++) {
		wait_reports(1);
		if (machine_dirty_harvest(vm.machine, &err))
			fail_msg("%s", err.text);
		assert_true(pageset_count(&set) > 0);
		copy_dirty(replica);
	}
	vm_save(&vm, &state);
	if (machine_dirty_harvest(vm.machine, &err))
		fail_msg("%s", err.text);
	copy_dirty(replica);
	for (size_t at = 0; at < bytes; at += MEMORY_PAGE)
		if (memcmp(replica + at, vm.machine->ram.base + at, MEMORY_PAGE))
			fail_msg("page 0x%zx of the copy is not what the guest wrote", at / MEMORY_PAGE);
	free(replica);
	vm_load(&vm, &state);
	buf_free(&state);
	machine_resume(vm.machine);
	wait_reports(3);
}

static void test_replicates_by_ring(void **state)
{
	(void)state;
	replicate(DIRTY_RING);
}

static void test_replicates_by_bitmap(void **state)
{
	(void)state;
	replicate(DIRTY_BITMAP);
}

static void test_works_on_while_throttled(void **state)
{
	(void)state;
	need_kvm();
	boot("testguest.elf", 64, 2, DIRTY_AUTO, "fill=8M dirty=max cpus=2 report=50");
	wait_reports(2);
	machine_throttle(vm.machine, 80);
	wait_reports(3);
	machine_throttle(vm.machine, 0);
	wait_reports(3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_boots_by_pvh),
	    TEST(test_boots_by_linux_protocol),
	    TEST(test_uses_all_of_a_large_ram),
	    TEST(test_moves),
	    TEST(test_replicates_by_ring),
	    TEST(test_replicates_by_bitmap),
	    TEST(test_works_on_while_throttled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
