/* clock.c: TSC and KVM clock of a saved machine.
 * Source: Linux, Documentation/virt/kvm/devices/vcpu.rst (KVM_VCPU_TSC_CTRL) and api.rst (KVM_SET_CLOCK). */
#include "vmm/clock.h"
#include "common/io.h"
#include "vmm/machine_impl.h"
#include <errno.h>
#include <sys/ioctl.h>

uint64_t clock_elapsed(uint64_t saved_ns, uint64_t now_ns)
{
	if (now_ns <= saved_ns)
		return 0;
	uint64_t passed = now_ns - saved_ns;
	return passed < CLOCK_MAX_ELAPSED_NS ? passed : CLOCK_MAX_ELAPSED_NS;
}

bool clock_same_khz(uint64_t a, uint64_t b)
{
	uint64_t apart = a > b ? a - b : b - a;
	return apart * 1000000 <= a * CLOCK_TSC_TOLERANCE_PPM;
}

uint32_t clock_tsc_khz(int vcpu_fd)
{
	int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	return khz > 0 ? (uint32_t)khz : 0;
}

uint64_t clock_tsc_at(uint64_t tsc, uint32_t khz, uint64_t saved_ns, uint64_t now_ns)
{
	return tsc + (uint64_t)((unsigned __int128)clock_elapsed(saved_ns, now_ns) * khz / 1000000);
}

/* A vCPU's TSC is the host's (scaled) plus an offset.  Linux 5.16 and later show it. */
static int offset_attr(int vcpu_fd, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
	    .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};
	return ioctl(vcpu_fd, request, &attr);
}

/* What the TSC of vCPU 0 shows, and the wall clock at that moment. */
static int read_tsc(const struct machine *machine, uint64_t *tsc, uint64_t *real_ns, struct err *err)
{
	uint64_t before = clock_real_ns();
	if (msr_get(machine->vcpus[0].fd, MSR_TSC, tsc))
		return err_set(err, ERR_SYSTEM, "KVM: cannot read the TSC");
	uint64_t after = clock_real_ns();
	*real_ns = before + (after > before ? (after - before) / 2 : 0);
	return 0;
}

/* ---- save ---------------------------------------------------------------------------------------------- */

/* KVM's clock as it was, or will be, at wall-clock time at_ns. */
static int read_kvm_clock(const struct machine *machine, uint64_t at_ns, uint64_t *kvm_ns, struct err *err)
{
	struct kvm_clock_data clock = {0};
	uint64_t before = clock_real_ns();
	if (ioctl(machine->kvm.vm, KVM_GET_CLOCK, &clock))
		return err_sys(err, "KVM: cannot read its clock");
	uint64_t after = clock_real_ns();
	uint64_t when = before + (after > before ? (after - before) / 2 : 0);
	if (clock.flags & KVM_CLOCK_REALTIME)
		when = clock.realtime;
	*kvm_ns = clock.clock + at_ns - when; /* modulo 2^64: at_ns may be earlier */
	return 0;
}

int clock_save(struct machine *machine, struct state_writer *writer, struct err *err)
{
	uint64_t tsc = 0, real_ns = 0, kvm_ns = 0, first = 0;
	if (read_tsc(machine, &tsc, &real_ns, err) || read_kvm_clock(machine, real_ns, &kvm_ns, err))
		return -1;
	state_open(writer, STATE_CLOCK, 0);
	buf_put_u64(writer->out, real_ns);
	buf_put_u64(writer->out, kvm_ns);
	buf_put_u64(writer->out, tsc);
	buf_put_u32(writer->out, machine->tsc_khz);
	buf_put_u32(writer->out, 0);
	state_close(writer);
	for (unsigned i = 0; i < machine->cpus; i++) {
		uint64_t offset = 0;
		/* Without the attribute KVM itself keeps TSCs in step that are set to nearly the same. */
		if (offset_attr(machine->vcpus[i].fd, KVM_GET_DEVICE_ATTR, &offset))
			offset = first;
		if (i == 0)
			first = offset;
		state_open(writer, STATE_VCPU_TSC, i);
		buf_put_u64(writer->out, offset - first);
		state_close(writer);
	}
	return 0;
}

/* ---- load ---------------------------------------------------------------------------------------------- */

struct saved {
	uint64_t real_ns, kvm_ns, tsc;
	uint32_t khz;
};

static int parse(const struct state *state, struct saved *saved, struct err *err)
{
	const struct state_section *section = state_get(state, STATE_CLOCK, 0);
	struct reader r = reader_of(section->data, section->len);
	*saved = (struct saved){reader_u64(&r), reader_u64(&r), reader_u64(&r), reader_u32(&r)};
	if (r.bad || saved->khz < 1000)
		return err_set(err, ERR_INPUT, "machine state: a TSC of %u kHz cannot be", saved->khz);
	return 0;
}

static int set_frequency(struct machine *machine, uint32_t khz, struct err *err)
{
	uint32_t own = machine->tsc_khz;
	bool same = clock_same_khz(khz, own);
	if (own == khz)
		return 0;
	if (!same && !machine->kvm.tsc_scaling)
		return err_set(
		    err, ERR_REFUSED,
		    "the guest's TSC runs at %u kHz, this host's at %u, and its CPU cannot scale it", khz,
		    own);
	for (unsigned i = 0; i < machine->cpus; i++)
		/* Where the difference is within the tolerance it does not matter if KVM notes it. */
		if (ioctl(machine->vcpus[i].fd, KVM_SET_TSC_KHZ, (unsigned long)khz) && !same)
			return err_sys(err, "vCPU %u: KVM cannot run its TSC at %u kHz", i, khz);
	machine->tsc_khz = clock_tsc_khz(machine->vcpus[0].fd);
	return 0;
}

static uint64_t delta_of(const struct state *state, unsigned vcpu)
{
	return le64_get(state_get(state, STATE_VCPU_TSC, vcpu)->data);
}

/* By offsets: that of vCPU 0 is moved by what its TSC is away from where it should be, and the others get the same
 * plus their difference, so that they are in step to the cycle. */
static int set_offsets(const struct machine *machine, const struct state *state, const struct saved *saved,
		       uint64_t offset, struct err *err)
{
	uint64_t tsc = 0, now = 0;
	if (read_tsc(machine, &tsc, &now, err))
		return -1;
	offset += clock_tsc_at(saved->tsc, saved->khz, saved->real_ns, now) - tsc;
	for (unsigned i = 0; i < machine->cpus; i++) {
		uint64_t own = offset + delta_of(state, i);
		if (offset_attr(machine->vcpus[i].fd, KVM_SET_DEVICE_ATTR, &own))
			return err_sys(err, "vCPU %u: cannot set its TSC", i);
	}
	return 0;
}

/* By values: KVM takes values that fit each other for an attempt to set TSCs in step, and makes it so. */
static int set_values(const struct machine *machine, const struct state *state, const struct saved *saved,
		      struct err *err)
{
	for (unsigned i = 0; i < machine->cpus; i++) {
		uint64_t tsc = clock_tsc_at(saved->tsc, saved->khz, saved->real_ns, clock_real_ns());
		if (msr_set(machine->vcpus[i].fd, MSR_TSC, tsc + delta_of(state, i)))
			return err_set(err, ERR_SYSTEM, "vCPU %u: cannot set its TSC", i);
	}
	return 0;
}

int clock_load(struct machine *machine, const struct state *state, struct err *err)
{
	struct saved saved;
	uint64_t offset = 0;
	if (parse(state, &saved, err) || set_frequency(machine, saved.khz, err))
		return -1;
	int failed = offset_attr(machine->vcpus[0].fd, KVM_GET_DEVICE_ATTR, &offset)
			 ? set_values(machine, state, &saved, err)
			 : set_offsets(machine, state, &saved, offset, err);
	if (failed)
		return -1;
	struct kvm_clock_data clock = {.clock = saved.kvm_ns + clock_elapsed(saved.real_ns, clock_real_ns())};
	if (ioctl(machine->kvm.vm, KVM_SET_CLOCK, &clock))
		return err_sys(err, "KVM: cannot set its clock");
	return 0;
}
