/* test_machine.c: machines on real KVM: they run, stand still, and end as they should. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	return 0;
}

#define BOOT32(name) vm_boot32(&vm, guest_##name, guest_##name##_end)
#define BOOT64(name) vm_boot64(&vm, guest_##name, guest_##name##_end)

/* Says its boot parameters' address and a word in one string instruction. */
GUEST_CODE(hello, 32,
	   "	mov $0x3f8, %dx\n"
	   "	mov %bh, %al\n"
	   "	out %al, %dx\n"
	   "	mov $0x90000, %esp\n"
	   "	call 1f\n"
	   "	.ascii \"hello\"\n"
	   "1:	pop %esi\n"
	   "	mov $5, %ecx\n"
	   "	cld\n"
	   "	rep outsb\n"
	   "2:	hlt\n"
	   "	jmp 2b\n");

static void test_pvh_boot(void **state)
{
	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(hello);
	assert_false(machine_running(vm.machine));
	machine_resume(vm.machine);
	assert_true(machine_running(vm.machine));
	vm_wait_console(&vm, 6);
	assert_int_equal(vm.console[0], 0x20); /* BOOT_START_INFO >> 8 */
	assert_memory_equal(vm.console + 1, "hello", 5);
	machine_pause(vm.machine);
	assert_false(machine_running(vm.machine));
}

/* How KVM hands over a string instruction depends on KVM; all forms are one write for the console. */
static void test_string_output(void **state)
{
	uint8_t data[] = "string";
	uint8_t wide[] = {0x11, 0x22, 0x33, 0x44};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	ioport_access(vm.machine, true, 0x3f8, 1, 6, data);
	assert_int_equal(vm.longest, 6);
	assert_memory_equal(vm.console, "string", 6);
	ioport_access(vm.machine, true, 0x3fe, 2, 2, wide); /* two times MSR (read-only) and SCR */
	ioport_access(vm.machine, false, 0x3ff, 2, 2, wide);
	assert_memory_equal(wide, "\x44\xff\x44\xff", 4); /* nothing is at 0x400 */
	ioport_access(vm.machine, false, 0x1234, 4, 1, wide);
	assert_memory_equal(wide, "\xff\xff\xff\xff", 4);
	ioport_access(vm.machine, true, 0x80, 1, 6, data);
	assert_int_equal(vm.console_len, 6);
}

GUEST_CODE(hello64, 64,
	   "	mov $0x3f8, %edx\n"
	   "	mov %rsi, %rax\n"
	   "	shr $8, %rax\n"
	   "	out %al, %dx\n"
	   "	mov $0x1122334455667788, %rax\n" /* only in long mode */
	   "	shr $56, %rax\n"
	   "	out %al, %dx\n"
	   "1:	hlt\n"
	   "	jmp 1b\n");

static void test_linux_boot(void **state)
{
	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT64(hello64);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 2);
	assert_int_equal(vm.console[0], 0x30); /* BOOT_PARAMS >> 8 */
	assert_int_equal(vm.console[1], 0x11);
}

/* Counts on the console; checks on the way that every port and memory access is completed exactly once: what it
 * writes to the scratch register comes back, and where nothing is there are ones. */
GUEST_CODE(count, 32,
	   "	xor %ecx, %ecx\n"
	   "1:	mov $0x3ff, %dx\n"
	   "	mov %cl, %al\n"
	   "	out %al, %dx\n"
	   "	xor %eax, %eax\n"
	   "	in %dx, %al\n"
	   "	cmp %al, %cl\n"
	   "	jne 2f\n"
	   "	mov 0xd0000000, %eax\n"
	   "	cmp $0xffffffff, %eax\n"
	   "	jne 2f\n"
	   "	mov $0x3f8, %dx\n"
	   "	mov %cl, %al\n"
	   "	out %al, %dx\n"
	   "	inc %ecx\n"
	   "	jmp 1b\n"
	   "2:	mov $0xfe, %al\n" /* a reset says that something was wrong */
	   "	out %al, $0x64\n");

static void check_count(const struct vm *counted)
{
	for (size_t i = 0; i < counted->console_len; i++)
		if (counted->console[i] != (uint8_t)i)
			fail_msg("byte %zu of the count is %u", i, counted->console[i]);
}
static void test_pause_completes_io(void **state)
{
	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	machine_pause(vm.machine); /* idempotent, also before the first resume */
	for (unsigned round = 1; round <= 200; round++) {
		struct kvm_regs before, after;
		size_t len;
		machine_resume(vm.machine);
		machine_resume(vm.machine);
		vm_wait_console(&vm, 20 * round);
		machine_pause(vm.machine);
		machine_pause(vm.machine);
		len = vm_console_len(&vm);
		assert_int_equal(ioctl(vm.machine->vcpus[0].fd, KVM_GET_REGS, &before), 0);
		/* ecx counts what was written; a byte that is out while ecx lags is between two instructions */
		assert_true(before.rcx == len || before.rcx == len - 1);
		for (unsigned i = 0; i < 100; i++)
			sched_yield();
		assert_int_equal(ioctl(vm.machine->vcpus[0].fd, KVM_GET_REGS, &after), 0);
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(vm_console_len(&vm), len);
	}
	check_count(&vm);
	assert_false(vm.ended);
}

/* Never leaves the guest by itself. */
GUEST_CODE(spin, 32,
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n"
	   "1:	jmp 1b\n");

GUEST_CODE(halt, 32,
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n"
	   "1:	hlt\n"
	   "	jmp 1b\n");

/* KVM keeps a vCPU to itself while it runs, and this one runs for ever: who asks must not wait for it. */
static void test_asked_while_it_runs(void **state)
{
	struct err err = {0};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(spin);
	json_t *before = machine_cpu_json(vm.machine, &err);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	alarm(VM_PATIENCE_S); /* ends the program, as nothing else could */
	json_t *meanwhile = machine_cpu_json(vm.machine, &err);
	alarm(0);
	assert_true(json_equal(before, meanwhile));
	assert_true(json_integer_value(json_object_get(before, "tsc_khz")) > 0);
	json_decref(before);
	json_decref(meanwhile);
}

static void test_pause_in_loop_and_halt(void **state)
{
	(void)state;
	need_kvm();
	for (unsigned i = 0; i < 2; i++) {
		vm_make(&vm, 16, 2, DIRTY_AUTO); /* the second vCPU waits for its start all the time */
		if (i)
			BOOT32(spin);
		else
			BOOT32(halt);
		for (unsigned round = 0; round < 20; round++) {
			machine_resume(vm.machine);
			vm_wait_console(&vm, 1);
			machine_pause(vm.machine);
		}
		vm_free(&vm);
	}
}

GUEST_CODE(reset, 32,
	   "	mov $0xfe, %al\n"
	   "	out %al, $0x64\n"
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n" /* is not reached */);

GUEST_CODE(reset_cf9, 32,
	   "	mov $0x80000000, %eax\n" /* PCI configuration, across 0xcf9: no reset */
	   "	mov $0xcf8, %dx\n"
	   "	out %eax, %dx\n"
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n"
	   "	mov $0xcf9, %dx\n"
	   "	mov $6, %al\n"
	   "	out %al, %dx\n"
	   "1:	jmp 1b\n");

GUEST_CODE(power_off, 32,
	   "	mov $0x604, %dx\n"
	   "	mov $0x3400, %ax\n" /* SLP_EN, type 5 */
	   "	out %ax, %dx\n"
	   "1:	jmp 1b\n");

static void ends(const uint8_t *code, const uint8_t *end, enum machine_end why, const char *words,
		 size_t console)
{
	struct buf buf = {0};
	struct err err = {0};

	vm_make(&vm, 16, 1, DIRTY_AUTO);
	vm_boot32(&vm, code, end);
	machine_resume(vm.machine);
	vm_wait_end(&vm);
	assert_false(machine_running(vm.machine));
	machine_pause(vm.machine);
	machine_resume(vm.machine); /* it does not come back to life */
	assert_false(machine_running(vm.machine));
	assert_int_equal(machine_save(vm.machine, &buf, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_int_equal(buf.len, 0);
	assert_int_equal(vm.ends, 1);
	assert_int_equal(vm.why, why);
	if (!strstr(vm.detail, words))
		fail_msg("\"%s\" does not say \"%s\"", vm.detail, words);
	assert_int_equal(vm.console_len, console);
	vm_free(&vm);
}
static void test_ends(void **state)
{
	(void)state;
	need_kvm();
	ends(guest_reset, guest_reset_end, MACHINE_END_RESET, "keyboard", 0);
	ends(guest_reset_cf9, guest_reset_cf9_end, MACHINE_END_RESET, "0xcf9", 1);
	ends(guest_power_off, guest_power_off_end, MACHINE_END_RESET, "power-off", 0);
}

/* An exception without a table for it. */

GUEST_CODE(triple_fault, 32,
	   "	mov $0x90000, %esp\n"
	   "	push $0\n"
	   "	push $0\n"
	   "	lidt (%esp)\n"
	   "	ud2\n");

static void test_triple_fault(void **state)
{
	(void)state;
	need_kvm();
	ends(guest_triple_fault, guest_triple_fault_end, MACHINE_END_CRASH, "on vCPU 0 at RIP 0x", 0);
}

/* Echoes what is typed. */

GUEST_CODE(echo, 32,
	   "	mov $0x3fa, %dx\n"
	   "	mov $1, %al\n"
	   "	out %al, %dx\n" /* FIFO on */
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n" /* ready */
	   "1:	mov $0x3fd, %dx\n"
	   "2:	in %dx, %al\n"
	   "	test $1, %al\n"
	   "	jz 2b\n"
	   "	mov $0x3f8, %dx\n"
	   "	in %dx, %al\n"
	   "	out %al, %dx\n"
	   "	jmp 1b\n");

static void test_console_input(void **state)
{
	static const char text[] = "The receive queue has sixteen places, and this line does not fit.";

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(echo);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	vm_type(&vm, text, sizeof(text));
	vm_wait_console(&vm, 1 + sizeof(text));
	assert_memory_equal(vm.console + 1, text, sizeof(text));
}

/* Starts the second CPU by INIT and SIPI; both say something, each a different thing. */

GUEST_CODE(smp, 32,
	   "	mov $0x90000, %esp\n"
	   "	call 1f\n"
	   "1:	pop %esi\n"
	   "	lea trampoline_start - 1b(%esi), %esi\n"
	   "	mov $0x8000, %edi\n"
	   "	mov $(trampoline_end - trampoline_start), %ecx\n"
	   "	cld\n"
	   "	rep movsb\n"
	   "	mov $0xfee00000, %edi\n"
	   "	movl $0x1ff, 0xf0(%edi)\n"       /* local APIC on */
	   "	movl $0x01000000, 0x310(%edi)\n" /* to APIC id 1: */
	   "	movl $0x4500, 0x300(%edi)\n"     /* INIT */
	   "	movl $0x01000000, 0x310(%edi)\n"
	   "	movl $0x4608, 0x300(%edi)\n" /* start at 0x8000 */
	   "	mov $0x3f8, %dx\n"
	   "2:	mov 0x9000, %ecx\n" /* what the other counts */
	   "3:	cmp 0x9000, %ecx\n"
	   "	je 3b\n"
	   "	mov $'0', %al\n"
	   "	out %al, %dx\n"
	   "	jmp 2b\n"
	   "trampoline_start:\n"
	   "	.code16\n"
	   "	xor %ax, %ax\n"
	   "	mov %ax, %ds\n"
	   "	mov $0x3f8, %dx\n"
	   "	mov $'1', %al\n"
	   "4:	out %al, %dx\n"
	   "	incw 0x9000\n"
	   "	jmp 4b\n"
	   "	.code32\n"
	   "trampoline_end:\n");

/* Wait until each of the two has said something more than `more` times. */
static void hear_both(unsigned more)
{
	unsigned voices[2];
	size_t from = vm_console_len(&vm);

	do {
		vm_wait_console(&vm, vm_console_len(&vm) + 10);
		voices[0] = voices[1] = 0;
		for (size_t i = from, len = vm_console_len(&vm); i < len; i++) {
			assert_in_range(vm.console[i], '0', '1');
			voices[vm.console[i] - '0']++;
		}
	} while (voices[0] <= more || voices[1] <= more);
}

static void test_two_vcpus(void **state)
{
	(void)state;
	need_kvm();
	vm_make(&vm, 16, 2, DIRTY_AUTO);
	BOOT32(smp);
	for (unsigned i = 0; i < 5; i++) {
		machine_resume(vm.machine);
		hear_both(20);
		machine_pause(vm.machine);
	}
}

/* Both vCPUs' threads are there under their names and take no signal but the kick. */
static void test_threads(void **state)
{
	unsigned found = 0;
	struct dirent *entry;
	DIR *tasks;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 2, DIRTY_AUTO);
	tasks = opendir("/proc/self/task");
	while ((entry = readdir(tasks))) {
		char path[320], line[256];
		unsigned long long blocked = 0;
		bool is_vcpu = false;
		FILE *file;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file)) {
			is_vcpu |= !strcmp(line, "Name:\tvcpu0\n") || !strcmp(line, "Name:\tvcpu1\n");
			sscanf(line, "SigBlk: %llx", &blocked);
		}
		if (file)
			fclose(file);
		found += is_vcpu;
		if (is_vcpu) {
			assert_true(blocked & 1ull << (SIGTERM - 1));
			assert_true(blocked & 1ull << (SIGCHLD - 1));
			assert_false(blocked & 1ull << (VCPU_KICK - 1));
		}
	}
	closedir(tasks);
	assert_int_equal(found, 2);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The share of a tenth of a second, at least, that vCPU 0 spends running, in percent. */
static unsigned cpu_share(void)
{
	const struct timespec tenth = {.tv_nsec = 100000000};
	uint64_t wall, cpu;
	clockid_t clock;

	assert_int_equal(pthread_getcpuclockid(vm.machine->vcpus[0].thread, &clock), 0);
	wall = now_ns(CLOCK_MONOTONIC);
	cpu = now_ns(clock);
	nanosleep(&tenth, NULL); /* what is measured, not a wait for something */
	wall = now_ns(CLOCK_MONOTONIC) - wall;
	cpu = now_ns(clock) - cpu;
	return (unsigned)(cpu * 100 / wall);
}
static void test_throttle(void **state)
{
	static const unsigned percents[] = {50, 80, 95, 99};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(spin);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	for (unsigned i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
		machine_throttle(vm.machine, percents[i]);
		cpu_share();
		/* it may be less, on a busy host; at all times something */
		assert_in_range(cpu_share() + 1, 1, 100 - percents[i] + 6);
	}
	machine_throttle(vm.machine, 0);
	for (unsigned tries = 0; cpu_share() <= 10 && tries < 200;
	     tries++) /* others may want the processor */
		assert_true(tries < 199);
	machine_throttle(vm.machine, 200); /* as much as there is */
}

/* A throttled vCPU rests for up to 99 ms; a pause does not wait for that. */
static void test_pause_while_throttled(void **state)
{
	uint64_t best = UINT64_MAX;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	machine_throttle(vm.machine, 99);
	machine_resume(vm.machine);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t began;
		vm_wait_console(&vm, vm_console_len(&vm) + 1);
		began = now_ns(CLOCK_MONOTONIC);
		machine_pause(vm.machine);
		began = now_ns(CLOCK_MONOTONIC) - began;
		if (began < best)
			best = began;
		machine_resume(vm.machine);
	}
	assert_true(best < 20000000);
	machine_pause(vm.machine);
	check_count(&vm);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* Resident memory of this process that is not guest RAM, in KiB. */
static long resident(void)
{
	char line[256];
	long all = 0, shared = 0;
	FILE *file = fopen("/proc/self/status", "re");

	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "VmRSS: %ld", &all);
		sscanf(line, "RssShmem: %ld", &shared);
	}
	fclose(file);
	return all - shared;
}

static void test_small_beside_its_ram(void **state)
{
	static struct pageset set;
	struct err err = {0};
	long before = resident();

	(void)state;
	need_kvm();
	vm_make(&vm, 1024, 2, DIRTY_AUTO);
	BOOT32(spin);
	assert_int_equal(pageset_create(&set, (1024 << 20) / MEMORY_PAGE, &err), 0);
	assert_int_equal(machine_dirty_start(vm.machine, &set, &err), 0);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	assert_int_equal(machine_dirty_harvest(vm.machine, &err), 0);
	assert_in_range(resident() - before + 1024, 0, (8 << 10) + 1024);
	machine_dirty_stop(vm.machine);
	pageset_close(&set);
}
#define TEST_SIZE TEST(test_small_beside_its_ram),
#else
#define TEST_SIZE /* the sanitizers take more than that */
#endif

static void refuse_create(uint64_t bytes, unsigned cpus, int fd, enum err_kind kind)
{
	struct vm_config config = {.name = "x", .memory_bytes = bytes, .cpus = cpus};
	struct err err = {0};

	config_new_uuid(config.uuid);
	assert_null(machine_create(&config, fd, NULL, &err));
	assert_int_equal(err.kind, kind);
	assert_true(err.text[0]);
	if (fd >= 0)
		assert_int_equal(close(fd), -1); /* it was taken over */
}
static void test_refused_creation(void **state)
{
	struct err err = {0};

	(void)state;
	need_kvm();
	refuse_create(1 << 20, 1, -1, ERR_INPUT);
	refuse_create(16 << 20, 65, -1, ERR_INPUT);
	refuse_create(16 << 20, 1, memory_create_fd(8 << 20, "x", &err), ERR_INPUT);
	machine_destroy(NULL);
}
static void test_boot_once(void **state)
{
	struct err err = {0};
	struct vm_config config;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	config = vm.config;
	config.kernel = (char *)"/nonexistent";
	assert_int_equal(machine_boot(vm.machine, &config, &err), -1);
	BOOT32(halt);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 1);
	machine_pause(vm.machine);
	assert_int_equal(machine_boot(vm.machine, &config, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_pvh_boot),
	    TEST(test_string_output),
	    TEST(test_linux_boot),
	    TEST(test_pause_completes_io),
	    TEST(test_asked_while_it_runs),
	    TEST(test_pause_in_loop_and_halt),
	    TEST(test_ends),
	    TEST(test_triple_fault),
	    TEST(test_console_input),
	    TEST(test_two_vcpus),
	    TEST(test_threads),
	    TEST(test_throttle),
	    TEST(test_pause_while_throttled),
	    TEST_SIZE TEST(test_refused_creation),
	    TEST(test_boot_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
