/* test_machine_state.c: a machine that is saved and loaded on real KVM goes on exactly, and state that is not what it
 * should be is refused. */
#include "common/buf.h"
#include "common/io.h"
#include "tests/lib/need.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/clock.h"
#include "vmm/machine_impl.h"
#include "vmm/state.h"

#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#define S 1000000000ull

static struct vm vm;
static struct buf saved;
static struct state parsed;

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
	buf_free(&saved);
	return 0;
}

#define BOOT32(name) vm_boot32(&vm, guest_##name, guest_##name##_end)

/* Counts on the console, with what it counts in a register, in memory and in the UART's scratch register; a reset
 * says that they came apart. */
GUEST_CODE(count, 32,
	   "	xor %ecx, %ecx\n"
	   "1:	mov %ecx, 0x200000\n"
	   "	mov $0x3ff, %dx\n"
	   "	mov %cl, %al\n"
	   "	out %al, %dx\n"
	   "	in %dx, %al\n"
	   "	cmp %al, %cl\n"
	   "	jne 2f\n"
	   "	cmp %ecx, 0x200000\n"
	   "	jne 2f\n"
	   "	mov $0x3f8, %dx\n"
	   "	out %al, %dx\n"
	   "	inc %ecx\n"
	   "	jmp 1b\n"
	   "2:	mov $0xfe, %al\n"
	   "	out %al, $0x64\n");

static void check_count(void)
{
	for (size_t i = 0; i < vm.console_len; i++)
		if (vm.console[i] != (uint8_t)i)
			fail_msg("byte %zu of the count is %u", i, vm.console[i]);
	assert_false(vm.ended);
}

static void test_goes_on(void **state)
{
	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	for (unsigned round = 0; round < 30; round++) {
		machine_resume(vm.machine);
		vm_wait_console(&vm, vm_console_len(&vm) + 50);
		vm_move(&vm);
	}
	machine_resume(vm.machine);
	vm_wait_console(&vm, vm_console_len(&vm) + 50);
	machine_pause(vm.machine);
	check_count();
}

/* A save changes nothing: the source can go on, as it must when the hand-over fails. */
static void test_source_goes_on(void **state)
{
	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	for (unsigned round = 0; round < 30; round++) {
		machine_resume(vm.machine);
		vm_wait_console(&vm, vm_console_len(&vm) + 50);
		vm_save(&vm, &saved);
	}
	check_count();
}

/* ---- everything is in it -------------------------------------------------------------------------------- */

/* Values in registers that a new vCPU does not have. */
static void set_unusual(struct vcpu *vcpu)
{
	static const uint32_t msrs[] = {0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000102};
	struct kvm_xsave xsave;
	struct kvm_debugregs debug;
	struct kvm_regs regs;

	assert_int_equal(ioctl(vcpu->fd, KVM_GET_XSAVE, &xsave), 0);
	for (unsigned i = 0; i < 64; i++)
		xsave.region[40 + i] = 0x01010101 * (i + 1 + vcpu->index); /* xmm0 to xmm15 */
	xsave.region[128] |= 2;                                            /* XSTATE_BV: SSE */
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_XSAVE, &xsave), 0);
	assert_int_equal(ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &debug), 0);
	for (unsigned i = 0; i < 4; i++)
		debug.db[i] = 0x1000 * (i + 1 + vcpu->index);
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug), 0);
	assert_int_equal(ioctl(vcpu->fd, KVM_GET_REGS, &regs), 0);
	regs.r15 = 0x1122334455667788 + vcpu->index;
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_REGS, &regs), 0);
	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++)
		assert_int_equal(msr_set(vcpu->fd, msrs[i], 0x1230 + i + vcpu->index), 0);
}

/* Where two states of what should be the same machine differ.  Time has passed between them: the clock, the moment at
 * which the timer chip's counters were loaded, and ACPI's timer, which ends the section of the power registers. */
static void compare(const struct buf *first, const struct buf *second)
{
	static struct state other;
	struct err err = {0};

	assert_int_equal(state_parse(first->data, first->len, &parsed, &err), 0);
	assert_int_equal(state_parse(second->data, second->len, &other, &err), 0);
	for (enum state_id id = 1; id < STATE_ID_END; id++) {
		for (unsigned i = 0; i < CONFIG_MAX_CPUS; i++) {
			const struct state_section *x = state_get(&parsed, id, i),
						   *y = state_get(&other, id, i);
			assert_int_equal(!x->data, !y->data);
			if (!x->data || id == STATE_CLOCK || id == STATE_PIT)
				continue;
			assert_int_equal(x->len, y->len);
			if (memcmp(x->data, y->data, x->len - (id == STATE_POWER ? 16 : 0)))
				fail_msg("section %u %u is not what was saved", id, i);
		}
	}
}

static void test_all_of_it(void **state)
{
	struct buf again = {0};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 2, DIRTY_AUTO);
	BOOT32(count);
	for (unsigned i = 0; i < 2; i++)
		set_unusual(&vm.machine->vcpus[i]);
	machine_console_input(vm.machine, "x", 1);
	ioport_access(vm.machine, true, 0x70, 1, 1, (uint8_t[]){0x55});
	ioport_access(vm.machine, true, 0x71, 1, 1, (uint8_t[]){0xaa});
	ioport_access(vm.machine, true, 0x602, 1, 1, (uint8_t[]){0x20});
	vm_save(&vm, &saved);
	vm_load(&vm, &saved);
	vm_save(&vm, &again);
	compare(&saved, &again);
	buf_clear(&saved);
	vm_load(&vm, &again); /* and the copy of a copy */
	vm_save(&vm, &saved);
	compare(&saved, &again);
	buf_free(&again);
}

static void test_chips(void **state)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_pit_state2 pit;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	assert_int_equal(ioctl(vm.machine->kvm.vm, KVM_GET_IRQCHIP, &chip), 0);
	chip.chip.ioapic.redirtbl[5].fields.vector = 0x77;
	assert_int_equal(ioctl(vm.machine->kvm.vm, KVM_SET_IRQCHIP, &chip), 0);
	assert_int_equal(ioctl(vm.machine->kvm.vm, KVM_GET_PIT2, &pit), 0);
	pit.channels[0].count = 11932;
	pit.channels[0].mode = 2;
	assert_int_equal(ioctl(vm.machine->kvm.vm, KVM_SET_PIT2, &pit), 0);
	vm_move(&vm);
	assert_int_equal(ioctl(vm.machine->kvm.vm, KVM_GET_IRQCHIP, &chip), 0);
	assert_int_equal(chip.chip.ioapic.redirtbl[5].fields.vector, 0x77);
	assert_int_equal(ioctl(vm.machine->kvm.vm, KVM_GET_PIT2, &pit), 0);
	assert_int_equal(pit.channels[0].count, 11932);
	assert_int_equal(pit.channels[0].mode, 2);
}

/* ---- time ----------------------------------------------------------------------------------------------- */

static uint64_t read_tsc(unsigned vcpu)
{
	uint64_t tsc = 0;

	assert_int_equal(msr_get(vm.machine->vcpus[vcpu].fd, MSR_TSC, &tsc), 0);
	return tsc;
}

static uint64_t read_kvm_clock(void)
{
	struct kvm_clock_data clock = {0};

	assert_int_equal(ioctl(vm.machine->kvm.vm, KVM_GET_CLOCK, &clock), 0);
	return clock.clock;
}

/* A software KVM may show every guest the host's TSC, whatever it is told. */
static bool tsc_can_be_set(void)
{
	uint64_t tsc = read_tsc(0), wanted = tsc + (1ull << 50);

	assert_int_equal(msr_set(vm.machine->vcpus[0].fd, MSR_TSC, wanted), 0);
	return read_tsc(0) >= wanted;
}

/* Load state whose save seems to have been `ago` ns ago.  How much time passed for the guest is `expected`, and
 * whatever the test took. */
static void check_elapsed(int64_t ago, uint64_t expected, bool with_tsc)
{
	uint64_t began = clock_mono_ns(), khz, tsc, ns, took;
	struct err err = {0};
	uint8_t *clock;

	buf_clear(&saved);
	tsc = read_tsc(0);
	ns = read_kvm_clock();
	vm_save(&vm, &saved);
	assert_int_equal(state_parse(saved.data, saved.len, &parsed, &err), 0);
	clock = (uint8_t *)state_get(&parsed, STATE_CLOCK, 0)->data;
	khz = le32_get(clock + 24);
	le64_put(clock, le64_get(clock) - (uint64_t)ago);
	vm_load(&vm, &saved);
	tsc = (read_tsc(0) - tsc) * 1000000 / khz;
	ns = read_kvm_clock() - ns;
	took = clock_mono_ns() - began;
	if (with_tsc && (tsc < expected || tsc > expected + took))
		fail_msg("the TSC went on by %llu ns", (unsigned long long)tsc);
	if (ns < expected || ns > expected + took)
		fail_msg("KVM's clock went on by %llu ns", (unsigned long long)ns);
}

static void test_time_passes(void **state)
{
	bool with_tsc;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	with_tsc = tsc_can_be_set();
	if (!with_tsc)
		print_message(
		    "KVM on this host ignores what a TSC is set to: only its own clock is looked at\n");
	check_elapsed(0, 0, with_tsc);
	check_elapsed(3 * (int64_t)S, 3 * S, with_tsc);
	check_elapsed(3600 * (int64_t)S, 10 * S, with_tsc);
	check_elapsed(-3600 * (int64_t)S, 0, with_tsc);
}

/* The guest set one TSC apart from the other: it stays so, to the cycle, and so do TSCs that agree. */
static void test_tscs_keep_their_difference(void **state)
{
	uint64_t offset[2];
	struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 2, DIRTY_AUTO);
	if (ioctl(vm.machine->vcpus[0].fd, KVM_HAS_DEVICE_ATTR, &attr) || !tsc_can_be_set()) {
		vm_free(&vm);
		need_skip("KVM on this host has no TSC offsets, or ignores them");
	}
	BOOT32(count);
	for (uint64_t apart = 0; apart <= 1000000; apart += 1000000) {
		for (unsigned i = 0; i < 2; i++) {
			attr.addr = (uintptr_t)&offset[i];
			assert_int_equal(ioctl(vm.machine->vcpus[i].fd, KVM_GET_DEVICE_ATTR, &attr), 0);
		}
		offset[1] = offset[0] + apart;
		assert_int_equal(ioctl(vm.machine->vcpus[1].fd, KVM_SET_DEVICE_ATTR, &attr), 0);
		vm_move(&vm);
		for (unsigned i = 0; i < 2; i++) {
			attr.addr = (uintptr_t)&offset[i];
			assert_int_equal(ioctl(vm.machine->vcpus[i].fd, KVM_GET_DEVICE_ATTR, &attr), 0);
		}
		assert_int_equal(offset[1] - offset[0], apart);
	}
}

/* load_at: the machine's state as a host whose TSC runs at khz would have saved it, into a new machine; whether that takes it.
 * If so, *later is the frequency that the guest has then, as the next host hears of it. */
static bool load_at(uint64_t khz, uint64_t *later, struct err *err)
{
	buf_clear(&saved);
	vm_save(&vm, &saved);
	assert_int_equal(state_parse(saved.data, saved.len, &parsed, err), 0);
	le32_put((uint8_t *)state_get(&parsed, STATE_CLOCK, 0)->data + 24, (uint32_t)khz);
	vm_replace(&vm);
	*err = (struct err){0};
	if (machine_load(vm.machine, saved.data, saved.len, err))
		return false;
	json_t *cpu = machine_cpu_json(vm.machine, err);
	*later = (uint64_t)json_integer_value(json_object_get(cpu, "tsc_khz"));
	json_decref(cpu);
	return true;
}

static void test_other_frequencies(void **state)
{
	struct err err = {0};
	uint64_t own, later = 0;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 2, DIRTY_AUTO);
	BOOT32(count);
	own = clock_tsc_khz(vm.machine->vcpus[0].fd);
	/* As near as two hosts of one kind are: taken, whatever the CPU can. */
	if (!load_at(own + own / 10000, &later, &err))
		fail_msg("%s", err.text);
	assert_true(clock_same_khz(own, later));
	bool scaling = vm.machine->kvm.tsc_scaling;
	if (load_at(own / 2, &later, &err)) {
		/* It keeps the frequency that it came with. */
		assert_true(scaling);
		assert_int_equal(later, own / 2);
	} else {
		assert_false(scaling);
		assert_int_equal(err.kind, ERR_REFUSED);
		assert_non_null(strstr(err.text, "and its CPU cannot scale it"));
	}
}

/* ---- refusals ------------------------------------------------------------------------------------------- */

static void refuse(enum err_kind kind, const char *words)
{
	struct err err = {0};

	vm_replace(&vm);
	assert_int_equal(machine_load(vm.machine, saved.data, saved.len, &err), -1);
	assert_int_equal(err.kind, kind);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

/* A fresh state of vm in saved, and a section's content in it. */
static uint8_t *fresh(enum state_id id)
{
	struct err err = {0};

	buf_clear(&saved);
	vm_save(&vm, &saved);
	assert_int_equal(state_parse(saved.data, saved.len, &parsed, &err), 0);
	return (uint8_t *)state_get(&parsed, id, 0)->data;
}

static void test_refused_states(void **state)
{
	uint8_t *section;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	section = fresh(STATE_MACHINE);
	le64_put(section, 32 << 20);
	refuse(ERR_INPUT, "33554432 bytes of RAM");
	section = fresh(STATE_MACHINE);
	le32_put(section + 8, 2);
	refuse(ERR_INPUT, "2 vCPUs");
	section = fresh(STATE_VCPU_MSRS);
	le32_put(section, 0x12345);
	refuse(ERR_REFUSED, "MSR 0x12345");
	section = fresh(STATE_CLOCK);
	le32_put(section + 24, 0);
	refuse(ERR_INPUT, "TSC of 0 kHz");
	section = fresh(STATE_SERIAL);
	section[8] = 17;
	refuse(ERR_INPUT, "serial port state");
	section = fresh(STATE_RTC);
	section[0] = 0xff;
	refuse(ERR_INPUT, "real-time clock");
	fresh(STATE_MACHINE);
	le64_put(saved.data + 16, saved.len - 1);
	saved.len--;
	refuse(ERR_INPUT, "machine state");
}

/* Another frequency than this host's is taken only where the CPU can scale. */
static void test_other_frequency(void **state)
{
	struct err err = {0};
	uint8_t *section;
	uint32_t khz;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	section = fresh(STATE_CLOCK);
	khz = le32_get(section + 24);
	le32_put(section + 24, khz + khz / 10);
	if (!vm.machine->kvm.tsc_scaling) {
		refuse(ERR_REFUSED, "cannot scale");
		return;
	}
	vm_replace(&vm);
	assert_int_equal(machine_load(vm.machine, saved.data, saved.len, &err), 0);
	assert_int_equal(clock_tsc_khz(vm.machine->vcpus[0].fd), khz + khz / 10);
}

static void test_wrong_times(void **state)
{
	struct err err = {0};

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	machine_resume(vm.machine);
	assert_int_equal(machine_save(vm.machine, &saved, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	vm_wait_console(&vm, 1);
	vm_save(&vm, &saved);
	assert_int_equal(machine_load(vm.machine, saved.data, saved.len, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
}

/* State with bytes changed is refused or loaded; the guest may then do what it wants, and the machine still stops
 * when told and can be unmade. */
static void test_mutated(void **state)
{
	uint64_t random = random_begin();
	struct buf mutated = {0};
	struct err err = {0};
	unsigned loaded = 0;

	(void)state;
	need_kvm();
	vm_make(&vm, 16, 1, DIRTY_AUTO);
	BOOT32(count);
	machine_resume(vm.machine);
	vm_wait_console(&vm, 10);
	vm_save(&vm, &saved);
	for (size_t len = 0; len < saved.len; len++) {
		vm.machine->ever_ran = false; /* nothing is applied of what is not whole */
		assert_int_equal(machine_load(vm.machine, saved.data, len, &err), -1);
	}
	for (unsigned round = 0; round < 100; round++) {
		buf_clear(&mutated);
		buf_put(&mutated, saved.data, saved.len);
		for (unsigned i = random_next(&random) % 3 + 1; i; i--) {
			uint64_t r = random_next(&random);
			mutated.data[STATE_HEADER_LEN + (r >> 8) % (saved.len - STATE_HEADER_LEN)] =
			    (uint8_t)r;
		}
		vm_replace(&vm);
		if (machine_load(vm.machine, mutated.data, mutated.len, &err)) {
			assert_true(err.text[0]);
			continue;
		}
		loaded++;
		machine_resume(vm.machine);
		sched_yield();
		machine_pause(vm.machine);
	}
	print_message("%u of 100 were loaded\n", loaded);
	buf_free(&mutated);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_goes_on),
	    TEST(test_source_goes_on),
	    TEST(test_all_of_it),
	    TEST(test_chips),
	    TEST(test_time_passes),
	    TEST(test_other_frequencies),
	    TEST(test_tscs_keep_their_difference),
	    TEST(test_refused_states),
	    TEST(test_other_frequency),
	    TEST(test_wrong_times),
	    TEST(test_mutated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
