/* emulate_iret.c: iret in protected mode, of 16 and 32 bits (SDM volume 2, IRET).
 *
 * To the same or an outer privilege level.  Not here, since KVM has them or nothing has needed them: real mode, long mode,
 * the return to virtual-8086 mode, and to another task. */
#include "vmm/emulate_impl.h"

/* What is popped, of which an inner return leaves the last two alone. */
struct frame {
	uint32_t eip, cs, eflags, esp, ss;
};
enum { FRAME_SAME = 3, FRAME_OUTER = 5 };

/* The first n values on the stack, which is at base; the stack pointer stays. */
static enum emulate read_frame(struct emulation *e, uint64_t base, unsigned n, struct frame *frame)
{
	const struct kvm_segment *ss = &e->sregs.ss;
	uint32_t *to[FRAME_OUTER] = {&frame->eip, &frame->cs, &frame->eflags, &frame->esp, &frame->ss};
	uint32_t mask = ss->db ? UINT32_MAX : UINT16_MAX, sp = (uint32_t)e->regs.rsp & mask;
	for (unsigned i = 0; i < n; i++) {
		uint32_t at = (sp + i * e->operand) & mask;
		if (!emulate_inside(ss, at, e->operand))
			return emulate_fault_code(e, VECTOR_STACK, 0);
		*to[i] = 0;
		enum emulate result = emulate_read(e, (uint32_t)(base + at), to[i], e->operand,
						   emulate_cpl(e) == 3 ? ACCESS_USER : 0);
		if (result != EMULATE_DONE)
			return result;
	}
	return EMULATE_DONE;
}

/* The code segment to which it returns. */
static enum emulate check_code(struct emulation *e, const struct frame *frame, struct kvm_segment *cs)
{
	uint16_t selector = (uint16_t)frame->cs;
	uint32_t code = emulate_selector_code(selector);
	unsigned rpl = selector & SELECTOR_RPL;
	if (emulate_selector_null(selector))
		return emulate_fault_code(e, VECTOR_PROTECTION, 0);
	enum emulate result = emulate_descriptor(e, selector, cs);
	if (result != EMULATE_DONE)
		return result;
	if (!cs->s || !(cs->type & SEGMENT_CODE) || rpl < emulate_cpl(e) ||
	    (cs->type & SEGMENT_CONFORMING ? cs->dpl > rpl : cs->dpl != rpl))
		return emulate_fault_code(e, VECTOR_PROTECTION, code);
	return cs->present ? EMULATE_DONE : emulate_fault_code(e, VECTOR_NOT_PRESENT, code);
}

static enum emulate check_stack(struct emulation *e, const struct frame *frame, struct kvm_segment *ss)
{
	uint16_t selector = (uint16_t)frame->ss;
	uint32_t code = emulate_selector_code(selector);
	unsigned rpl = frame->cs & SELECTOR_RPL;
	if (emulate_selector_null(selector))
		return emulate_fault_code(e, VECTOR_PROTECTION, 0);
	enum emulate result = emulate_descriptor(e, selector, ss);
	if (result != EMULATE_DONE)
		return result;
	if ((selector & SELECTOR_RPL) != rpl || !ss->s || ss->type & SEGMENT_CODE ||
	    !(ss->type & SEGMENT_WRITABLE) || ss->dpl != rpl)
		return emulate_fault_code(e, VECTOR_PROTECTION, code);
	return ss->present ? EMULATE_DONE : emulate_fault_code(e, VECTOR_STACK, code);
}

/* What of the flags the frame may set, at the level that executes iret. */
static uint64_t new_flags(const struct emulation *e, uint32_t popped)
{
	uint64_t may = FLAGS_STATUS | FLAGS_TF | FLAGS_DF | FLAGS_NT;
	unsigned cpl = emulate_cpl(e);
	if (e->operand == 4)
		may |= FLAGS_RF | FLAGS_AC | FLAGS_ID | (cpl ? 0 : FLAGS_VIF | FLAGS_VIP);
	if (cpl <= (e->regs.rflags & FLAGS_IOPL) >> 12)
		may |= FLAGS_IF;
	if (!cpl)
		may |= FLAGS_IOPL;
	return (e->regs.rflags & ~may) | (popped & may) | FLAGS_FIXED;
}

/* A data segment of an inner level is not for an outer one. */
static void leave_inner(struct kvm_segment *segment, unsigned cpl)
{
	bool code = segment->type & SEGMENT_CODE, conforming = segment->type & SEGMENT_CONFORMING;
	if (!segment->unusable && segment->dpl < cpl && !(code && conforming))
		emulate_segment_null(segment);
}

static void set_stack(struct emulation *e, uint32_t esp)
{
	uint64_t mask = e->sregs.ss.db ? UINT32_MAX : UINT16_MAX;
	e->regs.rsp = (e->regs.rsp & UINT32_MAX & ~mask) | (esp & mask);
}

static enum emulate return_outer(struct emulation *e, struct frame *frame, struct kvm_segment *cs)
{
	struct kvm_segment *const data[] = {&e->sregs.ds, &e->sregs.es, &e->sregs.fs, &e->sregs.gs};
	unsigned cpl = frame->cs & SELECTOR_RPL;
	struct kvm_segment ss;
	enum emulate result = read_frame(e, e->sregs.ss.base, FRAME_OUTER, frame);
	if (result == EMULATE_DONE)
		result = check_stack(e, frame, &ss);
	if (result == EMULATE_DONE && !emulate_inside(cs, frame->eip, 1))
		result = emulate_fault_code(e, VECTOR_PROTECTION, 0);
	if (result == EMULATE_DONE)
		result = emulate_accessed(e, cs);
	if (result == EMULATE_DONE)
		result = emulate_accessed(e, &ss);
	if (result != EMULATE_DONE)
		return result;
	e->sregs.ss = ss;
	set_stack(e, frame->esp);
	for (unsigned i = 0; i < sizeof(data) / sizeof(data[0]); i++)
		leave_inner(data[i], cpl);
	return EMULATE_DONE;
}

static enum emulate return_same(struct emulation *e, const struct frame *frame, struct kvm_segment *cs)
{
	if (!emulate_inside(cs, frame->eip, 1))
		return emulate_fault_code(e, VECTOR_PROTECTION, 0);
	enum emulate result = emulate_accessed(e, cs);
	if (result == EMULATE_DONE)
		set_stack(e, (uint32_t)e->regs.rsp + FRAME_SAME * e->operand);
	return result;
}

static enum emulate return_by(struct emulation *e, uint64_t base)
{
	struct frame frame;
	struct kvm_segment cs;
	enum emulate result = read_frame(e, base, FRAME_SAME, &frame);
	if (result != EMULATE_DONE)
		return result;
	if (e->operand == 4 && frame.eflags & FLAGS_VM && !emulate_cpl(e))
		return EMULATE_CANNOT;
	result = check_code(e, &frame, &cs);
	if (result != EMULATE_DONE)
		return result;
	uint64_t flags = new_flags(e, frame.eflags);
	if ((frame.cs & SELECTOR_RPL) > emulate_cpl(e))
		result = return_outer(e, &frame, &cs);
	else
		result = return_same(e, &frame, &cs);
	if (result != EMULATE_DONE)
		return result;
	e->sregs.cs = cs;
	e->regs.rflags = flags;
	e->events.nmi.masked = 0;
	emulate_jump(e, frame.eip);
	return EMULATE_DONE;
}

/* A KVM that comes here delivers interrupts and exceptions of ring 0 with a mistake of its own: it pushes their frames as if
 * the stack segment had base 0.  What it should have written to is stale and may look like a frame; so where there is one in
 * the wrong place, that is it.  (A guest that makes frames itself, on such a stack, could be taken for this; none is known.) */
static bool return_by_misplaced(struct emulation *e)
{
	struct emulation other = *e;
	struct frame frame;
	if (!e->sregs.ss.base || emulate_cpl(e) ||
	    read_frame(&other, 0, FRAME_SAME, &frame) != EMULATE_DONE ||
	    (frame.eflags & (FLAGS_ZERO | FLAGS_FIXED | FLAGS_VM)) != FLAGS_FIXED ||
	    return_by(&other, 0) != EMULATE_DONE || emulate_cpl(&other))
		return false;
	*e = other;
	return true;
}

enum emulate emulate_iret(struct emulation *e)
{
	if (!(e->sregs.cr0 & CR0_PE) || e->sregs.efer & EFER_LMA || e->regs.rflags & (FLAGS_NT | FLAGS_VM))
		return EMULATE_CANNOT;
	return return_by_misplaced(e) ? EMULATE_DONE : return_by(e, e->sregs.ss.base);
}
