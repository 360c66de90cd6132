/* emulate_syscall.c: the trap for system calls.  Source: AMD APM volume 3, SYSCALL; Linux, Documentation/virt/kvm/api.rst,
 * KVM_X86_SET_MSR_FILTER. */
#include "vmm/emulate_syscall.h"
#include "common/buf.h"
#include "vmm/emulate_impl.h"
#include "vmm/machine_impl.h"
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_SFMASK = 0xc0000084 };

#define LARGE_PAGE   (2u << 20)
#define TRAP_EXIT    (EMULATE_TRAP_GPA + LARGE_PAGE) /* a write here is a system call */
#define TRAP_LINEAR  0xffffffffffa00000ull /* where the guest sees the page, and behind it TRAP_EXIT */
#define ADDRESS_BITS 0x000ffffffffff000ull
enum {
	ENTRY_PRESENT = 0x01,
	ENTRY_WRITE = 0x02,
	ENTRY_USER = 0x04,
	ENTRY_ACCESSED = 0x20,
	ENTRY_DIRTY = 0x40,
	ENTRY_LARGE = 0x80,
	ENTRIES = 512,
	CODE_LEN = 9, /* of the instruction that exits */
};

/* movabs %al, TRAP_LINEAR + LARGE_PAGE, which changes no register; ud2, which is not reached. */
static void put_code(uint8_t *page)
{
	page[0] = 0xa2;
	le64_put(page + 1, TRAP_LINEAR + LARGE_PAGE);
	page[CODE_LEN] = 0x0f;
	page[CODE_LEN + 1] = 0x0b;
}

static int catch_lstar(struct machine *machine, struct err *err)
{
	static uint8_t none; /* the bitmap: neither reads nor writes are KVM's */
	struct kvm_msr_filter filter = {
	    .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
	    .ranges = {{.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.nmsrs = 1,
			.base = MSR_LSTAR,
			.bitmap = &none}},
	};
	if (kvm_enable(&machine->kvm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER) ||
	    ioctl(machine->kvm.vm, KVM_X86_SET_MSR_FILTER, &filter))
		return err_sys(err, "KVM: cannot watch the MSR of system calls");
	return 0;
}

int emulate_syscall_prepare(struct machine *machine, struct err *err)
{
	uint8_t *page = mmap(NULL, MEMORY_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return err_sys(err, "cannot make the page of system calls");
	machine->trap = page;
	put_code(page);
	if (kvm_set_slot(&machine->kvm, SLOT_TRAP, KVM_MEM_READONLY, EMULATE_TRAP_GPA, MEMORY_PAGE, page))
		return err_sys(err, "KVM: cannot place the page of system calls");
	return catch_lstar(machine, err);
}

void emulate_syscall_free(struct machine *machine)
{
	if (machine->trap)
		munmap(machine->trap, MEMORY_PAGE);
	machine->trap = NULL;
}

/* ---- the guest's page directory ------------------------------------------------------------------------------ */

/* An entry of the tables, marked as one of user pages.  Linux's are so at these levels already. */
static bool step(struct machine *machine, uint64_t *table, unsigned index)
{
	uint64_t gpa = (*table & ADDRESS_BITS) + index * 8ull;
	const uint8_t *at = memory_at(&machine->ram, gpa, 8);
	uint64_t entry = at ? le64_get(at) : 0;
	if (!(entry & ENTRY_PRESENT) || entry & ENTRY_LARGE)
		return false;
	*table = entry;
	entry |= ENTRY_USER;
	return entry == *table || !machine_write_ram(machine, gpa, &entry, 8);
}

/* Linear addresses from TRAP_LINEAR on to TRAP_GPA; false where something else is there. */
static bool map_trap(struct machine *machine, const struct kvm_sregs *sregs)
{
	uint64_t table = sregs->cr3;
	uint64_t wanted[2] = {EMULATE_TRAP_GPA | ENTRY_LARGE | ENTRY_PRESENT | ENTRY_USER | ENTRY_ACCESSED,
			      TRAP_EXIT | ENTRY_LARGE | ENTRY_PRESENT | ENTRY_USER | ENTRY_WRITE |
				  ENTRY_ACCESSED | ENTRY_DIRTY};
	if (!(sregs->efer & EFER_LMA) || sregs->cr4 & CR4_LA57 ||
	    !step(machine, &table, TRAP_LINEAR >> 39 & (ENTRIES - 1)) ||
	    !step(machine, &table, TRAP_LINEAR >> 30 & (ENTRIES - 1)))
		return false;
	uint64_t gpa = (table & ADDRESS_BITS) + (TRAP_LINEAR >> 21 & (ENTRIES - 1)) * 8;
	const uint8_t *at = memory_at(&machine->ram, gpa, sizeof(wanted));
	if (!at)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t entry = le64_get(at + 8 * i);
		/* The processor may have marked ours since another vCPU came here. */
		if (entry && (entry | ENTRY_ACCESSED | ENTRY_DIRTY) != (wanted[i] | ENTRY_DIRTY))
			return false;
	}
	return !machine_write_ram(machine, gpa, wanted, sizeof(wanted));
}

/* ---- exits --------------------------------------------------------------------------------------------------- */

static void lstar_written(struct vcpu *vcpu)
{
	uint64_t value = vcpu->run->msr.data;
	bool trapped = value && map_trap(vcpu->machine, &vcpu->run->s.regs.sregs);
	vcpu->run->msr.error = msr_set(vcpu->fd, MSR_LSTAR, trapped ? TRAP_LINEAR : value) != 0;
	if (vcpu->run->msr.error)
		return;
	vcpu->lstar = trapped ? value : 0;
	if (trapped)
		emulate_tick_limit(vcpu->machine, true);
}

static void lstar_read(struct vcpu *vcpu)
{
	uint64_t value = vcpu->lstar;
	vcpu->run->msr.error = !value && msr_get(vcpu->fd, MSR_LSTAR, &value);
	vcpu->run->msr.data = value;
}

static struct kvm_segment kernel_segment(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){.selector = selector,
				    .limit = 0xffffffff,
				    .type = type,
				    .present = 1,
				    .s = 1,
				    .g = 1,
				    .l = code,
				    .db = !code};
}

/* The rest of the instruction.  A program may also jump to the page by itself: as the flags are masked once more, that is a
 * system call like any other, with a return address and flags of its choice, which the kernel cannot rely on anyway. */
static bool system_call(struct vcpu *vcpu)
{
	struct kvm_sync_regs *sync = &vcpu->run->s.regs;
	uint64_t star, mask;
	if (!vcpu->lstar || sync->regs.rip != TRAP_LINEAR + CODE_LEN || sync->sregs.ss.dpl != 3 ||
	    !sync->sregs.cs.l || msr_get(vcpu->fd, MSR_STAR, &star) || msr_get(vcpu->fd, MSR_SFMASK, &mask))
		return false;
	uint16_t code = (uint16_t)(star >> 32) & 0xfffc;
	sync->sregs.cs = kernel_segment(code, SEGMENT_CODE | SEGMENT_WRITABLE | SEGMENT_ACCESSED, true);
	sync->sregs.ss = kernel_segment((uint16_t)(code + 8), SEGMENT_WRITABLE | SEGMENT_ACCESSED, false);
	sync->regs.rip = vcpu->lstar;
	sync->regs.rflags = (sync->regs.rflags & ~(mask | FLAGS_RF)) | FLAGS_FIXED;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	return true;
}

bool emulate_syscall_exit(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	if (!vcpu->machine->trap)
		return false;
	switch (run->exit_reason) {
	case KVM_EXIT_X86_WRMSR:
		lstar_written(vcpu);
		return true;
	case KVM_EXIT_X86_RDMSR:
		lstar_read(vcpu);
		return true;
	case KVM_EXIT_MMIO:
		return run->mmio.phys_addr == TRAP_EXIT && run->mmio.is_write && system_call(vcpu);
	default:
		return false;
	}
}

/* ---- state --------------------------------------------------------------------------------------------------- */

void emulate_syscall_reset(struct machine *machine)
{
	for (unsigned i = 0; i < machine->cpus; i++)
		machine->vcpus[i].lstar = 0;
	if (machine->trap)
		emulate_tick_limit(machine, false);
}

void emulate_syscall_save(const struct machine *machine, struct state_writer *writer)
{
	if (!machine->trap)
		return;
	state_open(writer, STATE_EMULATION, 0);
	for (unsigned i = 0; i < machine->cpus; i++)
		buf_put_u64(writer->out, machine->vcpus[i].lstar);
	state_close(writer);
}

int emulate_syscall_load(struct machine *machine, const struct state *state, struct err *err)
{
	const struct state_section *section = state_get(state, STATE_EMULATION, 0);
	if (!section->data)
		return 0;
	if (section->len != machine->cpus * 8)
		return err_set(err, ERR_INPUT, "machine state: section emulation has %u bytes, not 8 a vCPU",
			       section->len);
	if (!machine->emulation)
		return err_set(err, ERR_REFUSED,
			       "machine state: the guest ran where KVM has no hardware virtualization; it "
			       "goes on only in a VM that is defined with emulate");
	for (unsigned i = 0; i < machine->cpus; i++) {
		struct vcpu *vcpu = &machine->vcpus[i];
		uint64_t lstar = le64_get(section->data + 8ull * i);
		if (machine->trap) {
			vcpu->lstar = lstar;
			if (lstar)
				emulate_tick_limit(machine, true);
		} else if (lstar && msr_set(vcpu->fd, MSR_LSTAR, lstar))
			return err_set(err, ERR_INPUT,
				       "machine state: vCPU %u cannot have 0x%llx for its system calls", i,
				       (unsigned long long)lstar);
	}
	return 0;
}
