/* emulate_impl.h: what the handlers of instructions share.  Nothing but emulate*.c includes it.
 *
 * A handler works on copies of the registers and returns EMULATE_DONE, whereupon they become the vCPU's and RIP moves behind
 * the instruction (unless it set rip itself: emulate_jump); with any other result they are thrown away.  Writes to memory
 * stay, so a handler checks everything before its first one. */
#ifndef VMM_EMULATE_IMPL_H
#define VMM_EMULATE_IMPL_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;

enum emulate {
	EMULATE_DONE,
	EMULATE_FAULT,  /* it raises the exception that emulate_fault took down */
	EMULATE_CANNOT, /* the VM ends, with the instruction's bytes */
};

enum { EMULATE_CODE_MAX = 15 };

struct emulation {
	struct vcpu *vcpu;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events
	    events; /* no exception: the one that KVM raised for want of an emulation is gone */

	uint8_t code[EMULATE_CODE_MAX];
	unsigned code_len; /* bytes that are there; more are fetched when they are asked for */
	unsigned
	    len; /* bytes of the instruction that are decoded: prefixes and opcode; emulate_byte takes the next */
	unsigned operand; /* 2, 4 or 8: the operand's size in bytes */
	uint8_t rex;      /* the REX prefix, or 0 */
	bool other_place; /* a prefix wants another segment, or another size of addresses */
	bool jumped;      /* regs.rip is where it goes on */
};

/* emulate_fault: what a handler returns to raise an exception.  emulate_fault_code: one with an error code. */
enum emulate emulate_fault(struct emulation *e, uint8_t vector);
enum emulate emulate_fault_code(struct emulation *e, uint8_t vector, uint32_t code);
/* emulate_jump: it goes on at rip, not behind the instruction. */
void emulate_jump(struct emulation *e, uint64_t rip);
/* emulate_byte: the instruction's next byte. */
enum emulate emulate_byte(struct emulation *e, uint8_t *byte);
/* emulate_cpl: the privilege level, 0 to 3. */
unsigned emulate_cpl(const struct emulation *e);

/* Memory (emulate_memory.c) at linear addresses, as an access by the processor: through the guest's page tables, with the
 * rights that they give, accessed and dirty bits set, what is written seen by dirty tracking.
 * access: what the page fault's error code says of it, or'ed.  EMULATE_DONE; EMULATE_FAULT: a page fault; EMULATE_CANNOT: it
 * is not RAM.  write: all of it or nothing. */
enum { ACCESS_READ = 0, ACCESS_WRITE = 1u << 1, ACCESS_USER = 1u << 2, ACCESS_FETCH = 1u << 4 };
enum emulate emulate_read(struct emulation *e, uint64_t linear, void *data, size_t len, unsigned access);
enum emulate emulate_write(struct emulation *e, uint64_t linear, const void *data, size_t len,
			   unsigned access);

/* Segments (emulate_segment.c). */
enum { SELECTOR_RPL = 3, SELECTOR_TABLE = 4 };
enum { SEGMENT_CODE = 8, SEGMENT_CONFORMING = 4, SEGMENT_WRITABLE = 2, SEGMENT_ACCESSED = 1 }; /* its type */

static inline uint32_t emulate_selector_code(uint16_t selector)
{
	return selector & 0xfffcu;
}
static inline bool emulate_selector_null(uint16_t selector)
{
	return emulate_selector_code(selector) == 0;
}
/* emulate_descriptor: what the selector (not a null one) stands for, in the GDT or LDT.  #GP(selector) where that has none.
 * emulate_accessed: the processor has loaded it: its accessed bit is set, there and in *segment. */
enum emulate emulate_descriptor(struct emulation *e, uint16_t selector, struct kvm_segment *segment);
enum emulate emulate_accessed(struct emulation *e, struct kvm_segment *segment);
/* emulate_segment_null: the register as a null selector leaves it. */
void emulate_segment_null(struct kvm_segment *segment);
/* emulate_inside: the bytes [offset, offset + len) are within the segment. */
bool emulate_inside(const struct kvm_segment *segment, uint32_t offset, size_t len);

enum {
	VECTOR_BREAKPOINT = 3,
	VECTOR_INVALID = 6,
	VECTOR_NO_FPU = 7,
	VECTOR_NOT_PRESENT = 11,
	VECTOR_STACK = 12,
	VECTOR_PROTECTION = 13,
	VECTOR_PAGE = 14,
	VECTOR_FPU = 16,
};

enum {
	CR0_PE = 1u << 0,
	CR0_MP = 1u << 1,
	CR0_TS = 1u << 3,
	CR0_WP = 1u << 16,
	CR0_PG = 1u << 31,
	CR4_LA57 = 1u << 12,
	CR4_OSXSAVE = 1u << 18,
	CR4_SMEP = 1u << 20,
	CR4_SMAP = 1u << 21,
	EFER_LMA = 1u << 10,
	EFER_NXE = 1u << 11,
};

enum {
	FLAGS_FIXED = 1u << 1,
	FLAGS_STATUS = 0x8d5, /* CF, PF, AF, ZF, SF, OF */
	FLAGS_TF = 1u << 8,
	FLAGS_IF = 1u << 9,
	FLAGS_DF = 1u << 10,
	FLAGS_IOPL = 3u << 12,
	FLAGS_NT = 1u << 14,
	FLAGS_RF = 1u << 16,
	FLAGS_VM = 1u << 17,
	FLAGS_AC = 1u << 18,
	FLAGS_VIF = 1u << 19,
	FLAGS_VIP = 1u << 20,
	FLAGS_ID = 1u << 21,
};

/* Bits of the flags that are always 0. */
#define FLAGS_ZERO 0xffc08028u

/* The handlers, one file for each kind of instruction. */
enum emulate emulate_iret(struct emulation *e);
enum emulate emulate_int3(struct emulation *e); /* emulate_fpu.c, as the next two */
enum emulate emulate_wait(struct emulation *e);
enum emulate emulate_xsave(struct emulation *e);

#endif
