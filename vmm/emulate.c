/* emulate.c: from KVM's failure to the handler of the instruction, and back.
 *
 * Registers come and go through the vCPU's run area (KVM_CAP_SYNC_REGS, which every KVM has that drover takes), so that an
 * instruction costs one exit and nothing beside it. */
#include "vmm/emulate.h"
#include "vmm/emulate_impl.h"
#include "vmm/machine_impl.h"
#include <string.h>

enum { SYNC = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS };

/* What there is.  An opcode behind 0x0f is 0x0f00 and its second byte. */
static const struct {
	uint16_t opcode;
	enum emulate (*handler)(struct emulation *e);
} instructions[] = {
    {0xcf, emulate_iret},
    {0xcc, emulate_int3},
    {0x9b, emulate_wait},
    {0x0fae, emulate_xsave},
};

/* ---- for handlers ---------------------------------------------------------------------------------------- */

enum emulate emulate_fault(struct emulation *e, uint8_t vector)
{
	e->events.exception.injected = 1;
	e->events.exception.nr = vector;
	e->events.exception.has_error_code = 0;
	e->events.exception.error_code = 0;
	return EMULATE_FAULT;
}

enum emulate emulate_fault_code(struct emulation *e, uint8_t vector, uint32_t code)
{
	(void)emulate_fault(e, vector);
	e->events.exception.has_error_code = 1;
	e->events.exception.error_code = code;
	return EMULATE_FAULT;
}

void emulate_jump(struct emulation *e, uint64_t rip)
{
	e->regs.rip = rip;
	e->jumped = true;
}

unsigned emulate_cpl(const struct emulation *e)
{
	if (!(e->sregs.cr0 & CR0_PE))
		return 0;
	return e->regs.rflags & FLAGS_VM ? 3 : e->sregs.ss.dpl;
}

/* ---- fetch and decode -------------------------------------------------------------------------------------- */

/* KVM hands over the bytes that it has fetched, of which it needs none beyond an opcode that it does not know. */
static void take_code(struct emulation *e)
{
	const struct kvm_run *run = e->vcpu->run;
	if (run->emulation_failure.ndata < 3 ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	unsigned n = run->emulation_failure.insn_size;
	e->code_len = n < EMULATE_CODE_MAX ? n : EMULATE_CODE_MAX;
	memcpy(e->code, run->emulation_failure.insn_bytes, e->code_len);
}

enum emulate emulate_byte(struct emulation *e, uint8_t *byte)
{
	if (e->len == EMULATE_CODE_MAX)
		return emulate_fault_code(e, VECTOR_PROTECTION, 0); /* no instruction is that long */
	if (e->len == e->code_len) {
		uint64_t at = e->regs.rip + e->sregs.cs.base + e->len;
		unsigned access = ACCESS_FETCH | (emulate_cpl(e) == 3 ? ACCESS_USER : 0);
		enum emulate result = emulate_read(e, at, &e->code[e->code_len], 1, access);
		if (result != EMULATE_DONE)
			return result;
		e->code_len++;
	}
	*byte = e->code[e->len++];
	return EMULATE_DONE;
}

static bool is_prefix(uint8_t byte)
{
	static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3};
	return memchr(prefixes, byte, sizeof(prefixes));
}

static enum emulate decode(struct emulation *e, uint16_t *opcode)
{
	bool long_mode = e->sregs.efer & EFER_LMA && e->sregs.cs.l, other_size = false;
	enum emulate result;
	uint8_t byte;
	while ((result = emulate_byte(e, &byte)) == EMULATE_DONE) {
		bool rex = long_mode && byte >> 4 == 4;
		if (!rex && !is_prefix(byte))
			break;
		e->rex = rex ? byte : 0; /* it counts as the last prefix only */
		other_size = other_size || byte == 0x66;
		e->other_place = e->other_place || byte == 0x64 || byte == 0x65 || byte == 0x67;
	}
	bool wide = e->rex & 8;
	e->operand = wide ? 8 : (e->sregs.cs.db || long_mode) != other_size ? 4 : 2;
	*opcode = byte;
	if (result != EMULATE_DONE || byte != 0x0f)
		return result;
	result = emulate_byte(e, &byte);
	*opcode = (uint16_t)(0x0f00 | byte);
	return result;
}

static enum emulate perform(struct emulation *e)
{
	uint16_t opcode;
	take_code(e);
	enum emulate result = decode(e, &opcode);
	if (result != EMULATE_DONE)
		return result;
	for (size_t i = 0; i < sizeof(instructions) / sizeof(instructions[0]); i++)
		if (instructions[i].opcode == opcode)
			return instructions[i].handler(e);
	return EMULATE_CANNOT;
}

/* ---- to and from KVM --------------------------------------------------------------------------------------- */

void emulate_prepare(struct vcpu *vcpu)
{
	vcpu->run->kvm_valid_regs |= SYNC;
}

static void load(struct emulation *e)
{
	const struct kvm_sync_regs *from = &e->vcpu->run->s.regs;
	e->regs = from->regs;
	e->sregs = from->sregs;
	e->events = from->events;
	e->events.flags &= ~(uint32_t)KVM_VCPUEVENT_VALID_NMI_PENDING; /* one may come meanwhile */
	/* Setting the general registers takes back the #UD that KVM has raised. */
	e->events.exception = (typeof(e->events.exception)){0};
	e->events.exception_has_payload = 0;
	e->events.exception_payload = 0;
}

bool emulate_instruction(struct vcpu *vcpu)
{
	struct emulation e = {.vcpu = vcpu};
	struct kvm_sync_regs *to = &vcpu->run->s.regs;
	load(&e);
	switch (perform(&e)) {
	case EMULATE_DONE:
		if (!e.jumped)
			e.regs.rip += e.len;
		to->regs = e.regs;
		to->sregs = e.sregs;
		break;
	case EMULATE_FAULT:
		to->sregs.cr2 = e.sregs.cr2; /* a page fault's address */
		break;
	case EMULATE_CANNOT:
		return false;
	}
	to->events = e.events;
	vcpu->run->kvm_dirty_regs |= SYNC;
	return true;
}
