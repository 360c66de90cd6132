/* emulate_fpu.c: int3, fwait, xsave and xrstor: what a Linux kernel needs beyond KVM's emulator to handle its own
 * breakpoints and to switch the vector registers of its processes (SDM volume 1, chapter 13; volume 2, XSAVE and XRSTOR).
 *
 * xsave and xrstor in 64-bit mode, in the standard form, of the x87, SSE and AVX registers.  KVM keeps these in the very
 * same form (KVM_GET_XSAVE), so that saving and restoring is to copy the parts that are asked for. */
#include "common/buf.h"
#include "vmm/emulate_impl.h"
#include "vmm/machine_impl.h"
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	X87 = 1u << 0,
	SSE = 1u << 1,
	AVX = 1u << 2,
	PARTS = X87 | SSE | AVX,
	FSW = 2,            /* the x87 status word */
	FSW_SUMMARY = 0x80, /* an exception is pending */
	MXCSR_AT = 24,
	HEADER_AT = 512,
	HEADER_BYTES = 64,
	AREA_BYTES = 832, /* legacy part, header, AVX */
	ALIGNMENT = 64,
	GROUP_XSAVE = 4, /* the reg field of ModRM */
	GROUP_XRSTOR = 5,
};

enum emulate emulate_int3(struct emulation *e)
{
	/* A trap: what is pushed is the address behind it. */
	(void)emulate_fault(e, VECTOR_BREAKPOINT);
	return EMULATE_DONE;
}

/* own_state: the vCPU's registers as KVM_GET_XSAVE has them, which the caller frees; NULL: they cannot be had. */
static uint8_t *own_state(const struct emulation *e)
{
	const struct kvm *kvm = &e->vcpu->machine->kvm;
	uint8_t *own = calloc(1, kvm->xsave_bytes);
	if (own && ioctl(e->vcpu->fd, kvm->xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, own)) {
		free(own);
		own = NULL;
	}
	return own;
}

enum emulate emulate_wait(struct emulation *e)
{
	if ((e->sregs.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		return emulate_fault(e, VECTOR_NO_FPU);
	uint8_t *own = own_state(e);
	if (!own)
		return EMULATE_CANNOT;
	bool pending = own[FSW] & FSW_SUMMARY;
	free(own);
	return pending ? emulate_fault(e, VECTOR_FPU) : EMULATE_DONE;
}

/* ---- the operand ------------------------------------------------------------------------------------------- */

static uint64_t general(const struct emulation *e, unsigned number)
{
	const struct kvm_regs *r = &e->regs;
	const uint64_t all[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				  r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
	return all[number & 15];
}

/* A displacement of 0, 1 or 4 bytes is added to *address. */
static enum emulate add_displacement(struct emulation *e, unsigned bytes, uint64_t *address)
{
	uint8_t raw[4] = {0};
	for (unsigned i = 0; i < bytes; i++) {
		enum emulate result = emulate_byte(e, &raw[i]);
		if (result != EMULATE_DONE)
			return result;
	}
	*address += (uint64_t)(int64_t)(bytes == 1 ? (int8_t)raw[0] : (int32_t)le32_get(raw));
	return EMULATE_DONE;
}

/* The linear address of the memory operand that ModRM names, in 64-bit mode (SDM volume 2, 2.1.5 and 2.2.1). */
static enum emulate operand_address(struct emulation *e, uint8_t modrm, uint64_t *address)
{
	unsigned mod = modrm >> 6, rm = modrm & 7;
	unsigned displacement = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	bool behind = mod == 0 && rm == 5; /* relative to the next instruction */
	*address = 0;
	if (rm == 4) {
		uint8_t sib;
		enum emulate result = emulate_byte(e, &sib);
		if (result != EMULATE_DONE)
			return result;
		unsigned index = (sib >> 3 & 7) | (e->rex & 2u) << 2, base = sib & 7;
		if (index != 4)
			*address += general(e, index) << (sib >> 6);
		if (base == 5 && mod == 0)
			displacement = 4;
		else
			*address += general(e, base | (e->rex & 1u) << 3);
	} else if (behind) {
		displacement = 4;
	} else {
		*address = general(e, rm | (e->rex & 1u) << 3);
	}
	enum emulate result = add_displacement(e, displacement, address);
	if (behind)
		*address += e->regs.rip + e->len;
	return result;
}

/* ---- save and restore ---------------------------------------------------------------------------------------- */

struct area {
	uint8_t bytes[AREA_BYTES];
};

static unsigned own_access(const struct emulation *e)
{
	return emulate_cpl(e) == 3 ? ACCESS_USER : 0;
}

static void copy_parts(uint8_t *to, const uint8_t *from, uint64_t parts)
{
	if (parts & X87) {
		memcpy(to, from, MXCSR_AT);
		memcpy(to + 32, from + 32, 128);
	}
	if (parts & (SSE | AVX))
		memcpy(to + MXCSR_AT, from + MXCSR_AT, 4);
	if (parts & SSE)
		memcpy(to + 160, from + 160, 256);
	if (parts & AVX)
		memcpy(to + HEADER_AT + HEADER_BYTES, from + HEADER_AT + HEADER_BYTES, 256);
}

static enum emulate save(struct emulation *e, uint64_t address, uint64_t parts, const uint8_t *own)
{
	struct area area;
	/* What is not asked for stays in memory as it is. */
	enum emulate result = emulate_read(e, address, area.bytes, AREA_BYTES, ACCESS_WRITE | own_access(e));
	if (result != EMULATE_DONE)
		return result;
	uint64_t there = le64_get(area.bytes + HEADER_AT), have = le64_get(own + HEADER_AT);
	copy_parts(area.bytes, own, parts);
	if (parts & (SSE | AVX))
		memcpy(area.bytes + MXCSR_AT + 4, own + MXCSR_AT + 4, 4); /* its mask */
	le64_put(area.bytes + HEADER_AT, (there & ~parts) | (have & parts));
	return emulate_write(e, address, area.bytes, AREA_BYTES, own_access(e));
}

static enum emulate restore(struct emulation *e, uint64_t address, uint64_t parts, uint8_t *own)
{
	static const uint8_t zeroes[HEADER_BYTES];
	struct area area;
	enum emulate result = emulate_read(e, address, area.bytes, AREA_BYTES, ACCESS_READ | own_access(e));
	if (result != EMULATE_DONE)
		return result;
	uint64_t there = le64_get(area.bytes + HEADER_AT), have = le64_get(own + HEADER_AT);
	if (there & ~(uint64_t)PARTS || memcmp(area.bytes + HEADER_AT + 8, zeroes, HEADER_BYTES - 8))
		return emulate_fault_code(e, VECTOR_PROTECTION, 0);
	/* KVM takes MXCSR with the SSE registers only, while xrstor loads it in any case: so these are there, as zeroes. */
	if (parts & SSE && !(there & SSE)) {
		memset(area.bytes + 160, 0, 256);
		there |= SSE;
	}
	copy_parts(own, area.bytes, parts);
	le64_put(own + HEADER_AT, (have & ~parts) | (there & parts));
	/* It refuses a MXCSR with reserved bits, and nothing else here. */
	if (ioctl(e->vcpu->fd, KVM_SET_XSAVE, own))
		return emulate_fault_code(e, VECTOR_PROTECTION, 0);
	return EMULATE_DONE;
}

static enum emulate with_registers(struct emulation *e, uint64_t address, bool saves)
{
	struct kvm_xcrs xcrs;
	if (ioctl(e->vcpu->fd, KVM_GET_XCRS, &xcrs) || !xcrs.nr_xcrs)
		return EMULATE_CANNOT;
	uint64_t enabled = xcrs.xcrs[0].value;
	uint64_t parts = enabled & (e->regs.rdx << 32 | (e->regs.rax & UINT32_MAX));
	if (enabled & ~(uint64_t)PARTS)
		return EMULATE_CANNOT;
	uint8_t *own = own_state(e);
	if (!own)
		return EMULATE_CANNOT;
	enum emulate result = saves ? save(e, address, parts, own) : restore(e, address, parts, own);
	free(own);
	return result;
}

enum emulate emulate_xsave(struct emulation *e)
{
	uint8_t modrm;
	uint64_t address;
	enum emulate result = emulate_byte(e, &modrm);
	unsigned group = modrm >> 3 & 7;
	if (result != EMULATE_DONE)
		return result;
	if ((group != GROUP_XSAVE && group != GROUP_XRSTOR) || modrm >> 6 == 3 || e->other_place ||
	    !(e->sregs.efer & EFER_LMA) || !e->sregs.cs.l)
		return EMULATE_CANNOT;
	if (!(e->sregs.cr4 & CR4_OSXSAVE))
		return emulate_fault(e, VECTOR_INVALID);
	if (e->sregs.cr0 & CR0_TS)
		return emulate_fault(e, VECTOR_NO_FPU);
	result = operand_address(e, modrm, &address);
	if (result != EMULATE_DONE)
		return result;
	bool canonical = (int64_t)(address << 16) >> 16 == (int64_t)address;
	if (!canonical || address % ALIGNMENT)
		return emulate_fault_code(e, VECTOR_PROTECTION, 0);
	return with_registers(e, address, group == GROUP_XSAVE);
}
