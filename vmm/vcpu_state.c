/* vcpu_state.c: what KVM gives and takes of a vCPU, and in which order. */
#include "vmm/vcpu_state.h"
#include "vmm/machine_impl.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* ---- parts that are one structure, one call ------------------------------------------------------------- */

enum part { PART_MP, PART_EVENTS, PART_REGS, PART_SREGS, PART_XCRS, PART_DEBUG, PART_LAPIC, PARTS };

/* In the order in which they are read.  MP state first: reading it makes KVM act on a pending INIT or SIPI,
 * which changes the registers.  Events second, for the same reason (a pending NMI is taken up). */
static const struct {
	enum state_id id;
	const char *name;
	size_t size;
	unsigned long get, set;
} parts[PARTS] = {
    [PART_MP] = {STATE_VCPU_MP, "run state", sizeof(struct kvm_mp_state), KVM_GET_MP_STATE, KVM_SET_MP_STATE},
    [PART_EVENTS] = {STATE_VCPU_EVENTS, "pending events", sizeof(struct kvm_vcpu_events), KVM_GET_VCPU_EVENTS,
		     KVM_SET_VCPU_EVENTS},
    [PART_REGS] = {STATE_VCPU_REGS, "registers", sizeof(struct kvm_regs), KVM_GET_REGS, KVM_SET_REGS},
    [PART_SREGS] = {STATE_VCPU_SREGS, "system registers", sizeof(struct kvm_sregs2), KVM_GET_SREGS2,
		    KVM_SET_SREGS2},
    [PART_XCRS] = {STATE_VCPU_XCRS, "extended control registers", sizeof(struct kvm_xcrs), KVM_GET_XCRS,
		   KVM_SET_XCRS},
    [PART_DEBUG] = {STATE_VCPU_DEBUG, "debug registers", sizeof(struct kvm_debugregs), KVM_GET_DEBUGREGS,
		    KVM_SET_DEBUGREGS},
    [PART_LAPIC] = {STATE_VCPU_LAPIC, "local APIC", sizeof(struct kvm_lapic_state), KVM_GET_LAPIC,
		    KVM_SET_LAPIC},
};

union part_data {
	struct kvm_mp_state mp;
	struct kvm_vcpu_events events;
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	struct kvm_lapic_state lapic;
};

static int save_part(const struct vcpu *vcpu, enum part part, struct state_writer *writer, struct err *err)
{
	union part_data data;
	memset(&data, 0, sizeof(data)); /* KVM leaves padding and reserved bytes alone */
	if (ioctl(vcpu->fd, parts[part].get, &data))
		return err_sys(err, "vCPU %u: cannot read its %s", vcpu->index, parts[part].name);
	state_put(writer, parts[part].id, vcpu->index, &data, parts[part].size);
	return 0;
}

static int load_part(const struct vcpu *vcpu, enum part part, const struct state *state, struct err *err)
{
	union part_data data;
	const struct state_section *section = state_get(state, parts[part].id, vcpu->index);
	memcpy(&data, section->data, parts[part].size); /* state_parse has checked the length */
	if (ioctl(vcpu->fd, parts[part].set, &data))
		return err_sys(err, "machine state: KVM on this host refuses the %s of vCPU %u",
			       parts[part].name, vcpu->index);
	return 0;
}

/* ---- FPU and vector registers --------------------------------------------------------------------------- */

static int save_xsave(const struct vcpu *vcpu, struct state_writer *writer, struct err *err)
{
	const struct kvm *kvm = &vcpu->machine->kvm;
	state_open(writer, STATE_VCPU_XSAVE, vcpu->index);
	void *at = buf_reserve(writer->out, kvm->xsave_bytes);
	memset(at, 0, kvm->xsave_bytes);
	if (ioctl(vcpu->fd, kvm->xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, at))
		return err_sys(err, "vCPU %u: cannot read its vector registers", vcpu->index);
	writer->out->len += kvm->xsave_bytes;
	state_close(writer);
	return 0;
}

static int load_xsave(const struct vcpu *vcpu, const struct state *state, struct err *err)
{
	const struct state_section *section = state_get(state, STATE_VCPU_XSAVE, vcpu->index);
	uint32_t bytes = vcpu->machine->kvm.xsave_bytes;
	if (section->len > bytes)
		return err_set(err, ERR_REFUSED,
			       "machine state: vCPU %u has %u bytes of vector registers, this host's CPU %u",
			       vcpu->index, section->len, bytes);
	void *xsave = calloc(1, bytes);
	if (!xsave)
		return err_sys(err, "machine state");
	memcpy(xsave, section->data, section->len);
	int failed = ioctl(vcpu->fd, KVM_SET_XSAVE, xsave);
	if (failed)
		err_sys(err, "machine state: KVM on this host refuses the vector registers of vCPU %u",
			vcpu->index);
	free(xsave);
	return failed;
}

/* ---- MSRs ----------------------------------------------------------------------------------------------- */

static int save_msrs(const struct vcpu *vcpu, struct state_writer *writer, struct err *err)
{
	struct msr_values values;
	if (msr_get_all(vcpu->fd, vcpu->machine->msrs, &values, err))
		return err_context(err, "vCPU %u", vcpu->index);
	state_put(writer, STATE_VCPU_MSRS, vcpu->index, values.entries,
		  values.count * sizeof(values.entries[0]));
	return 0;
}

/* own: they were read here, and may be more than those that the guest came with.  Fills *values, without the TSC-deadline register, which goes to *deadline. */
static int parse_msrs(const struct vcpu *vcpu, const struct state *state, bool own, struct msr_values *values,
		      uint64_t *deadline, struct err *err)
{
	const struct state_section *section = state_get(state, STATE_VCPU_MSRS, vcpu->index);
	if (section->len % sizeof(struct kvm_msr_entry))
		return err_set(err, ERR_INPUT, "machine state: %u bytes of MSRs are not whole entries",
			       section->len);
	values->count = values->padding = 0;
	for (uint32_t at = 0; at < section->len; at += sizeof(struct kvm_msr_entry)) {
		struct kvm_msr_entry entry;
		memcpy(&entry, section->data + at, sizeof(entry));
		if (!own && !msr_list_has(vcpu->machine->msrs, entry.index))
			return err_set(
			    err, ERR_REFUSED,
			    "machine state: the guest has MSR 0x%x, which KVM on this host does not keep",
			    entry.index);
		entry.reserved = 0;
		if (entry.index == MSR_TSC_DEADLINE)
			*deadline = entry.data;
		else
			values->entries[values->count++] = entry;
	}
	return 0;
}

/* ---- order ---------------------------------------------------------------------------------------------- */

int vcpu_state_save(const struct vcpu *vcpu, struct state_writer *writer, struct err *err)
{
	for (enum part part = 0; part < PARTS; part++)
		if (save_part(vcpu, part, writer, err))
			return -1;
	if (save_xsave(vcpu, writer, err) || save_msrs(vcpu, writer, err))
		return -1;
	return 0;
}

static int load(const struct vcpu *vcpu, const struct state *state, bool own, struct err *err)
{
	struct msr_values msrs;
	uint64_t deadline = 0;
	if (parse_msrs(vcpu, state, own, &msrs, &deadline, err))
		return -1;
	/* System registers before all else: they set the mode against which KVM checks the rest, and the APIC base
	 * decides in which of its two formats the local APIC's registers are. */
	if (load_part(vcpu, PART_SREGS, state, err) || load_part(vcpu, PART_XCRS, state, err) ||
	    load_xsave(vcpu, state, err) || load_part(vcpu, PART_DEBUG, state, err) ||
	    load_part(vcpu, PART_REGS, state, err))
		return -1;
	if (msr_set_all(vcpu->fd, &msrs, err))
		return err_context(err, "machine state: vCPU %u", vcpu->index);
	if (load_part(vcpu, PART_LAPIC, state, err))
		return -1;
	/* The deadline only counts while the local APIC's timer is in that mode, and is compared with the TSC. */
	if (deadline && msr_set(vcpu->fd, MSR_TSC_DEADLINE, deadline))
		return err_set(err, ERR_REFUSED,
			       "machine state: vCPU %u: KVM on this host does not take its timer's deadline",
			       vcpu->index);
	/* The run state needs the local APIC (which holds pending INIT and SIPI); events come last, since setting
	 * registers drops pending exceptions. */
	if (load_part(vcpu, PART_MP, state, err) || load_part(vcpu, PART_EVENTS, state, err))
		return -1;
	return 0;
}

int vcpu_state_load(const struct vcpu *vcpu, const struct state *state, struct err *err)
{
	return load(vcpu, state, false, err);
}

int vcpu_state_reset(const struct vcpu *vcpu, const struct state *state, struct err *err)
{
	return load(vcpu, state, true, err);
}
