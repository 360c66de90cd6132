/* emulate_segment.c: segment descriptors (SDM volume 3, 3.4.5 and 5.1). */
#include "vmm/emulate_impl.h"
#include <string.h>

enum { DESCRIPTOR_BYTES = 8, DESCRIPTOR_TYPE = 5 /* the byte with type, S, DPL and P */ };

/* Where the selector's descriptor is; false where its table ends before. */
static bool find(const struct emulation *e, uint16_t selector, uint64_t *linear)
{
	uint32_t offset = selector & ~7u, limit;
	if (selector & SELECTOR_TABLE) {
		const struct kvm_segment *ldt = &e->sregs.ldt;
		if (ldt->unusable || !ldt->present)
			return false;
		limit = ldt->limit;
		*linear = ldt->base + offset;
	} else {
		limit = e->sregs.gdt.limit;
		*linear = e->sregs.gdt.base + offset;
	}
	return limit >= DESCRIPTOR_BYTES - 1 && offset <= limit - (DESCRIPTOR_BYTES - 1);
}

/* The limit is kept as KVM has it: in bytes. */
static struct kvm_segment unpack(const uint8_t raw[DESCRIPTOR_BYTES], uint16_t selector)
{
	uint8_t access = raw[DESCRIPTOR_TYPE], flags = raw[6] >> 4;
	uint32_t limit = raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)(raw[6] & 0xf) << 16;
	return (struct kvm_segment){
	    .base = raw[2] | (uint32_t)raw[3] << 8 | (uint32_t)raw[4] << 16 | (uint32_t)raw[7] << 24,
	    .limit = flags & 8 ? limit << 12 | 0xfff : limit,
	    .selector = selector,
	    .type = access & 0xf,
	    .s = access >> 4 & 1,
	    .dpl = access >> 5 & 3,
	    .present = access >> 7,
	    .avl = flags & 1,
	    .l = flags >> 1 & 1,
	    .db = flags >> 2 & 1,
	    .g = flags >> 3 & 1,
	};
}

enum emulate emulate_descriptor(struct emulation *e, uint16_t selector, struct kvm_segment *segment)
{
	uint8_t raw[DESCRIPTOR_BYTES];
	uint64_t at;
	if (!find(e, selector, &at))
		return emulate_fault_code(e, VECTOR_PROTECTION, emulate_selector_code(selector));
	enum emulate result = emulate_read(e, at, raw, sizeof(raw), ACCESS_READ);
	if (result == EMULATE_DONE)
		*segment = unpack(raw, selector);
	return result;
}

enum emulate emulate_accessed(struct emulation *e, struct kvm_segment *segment)
{
	uint64_t at;
	uint8_t access;
	if (segment->type & SEGMENT_ACCESSED)
		return EMULATE_DONE;
	segment->type |= SEGMENT_ACCESSED;
	access = (uint8_t)(segment->type | segment->s << 4 | segment->dpl << 5 | segment->present << 7);
	if (!find(e, segment->selector, &at))
		return EMULATE_CANNOT; /* it was there a moment ago */
	return emulate_write(e, at + DESCRIPTOR_TYPE, &access, 1, ACCESS_WRITE);
}

void emulate_segment_null(struct kvm_segment *segment)
{
	*segment = (struct kvm_segment){.unusable = 1};
}

bool emulate_inside(const struct kvm_segment *segment, uint32_t offset, size_t len)
{
	bool down = segment->s && (segment->type & (SEGMENT_CODE | SEGMENT_CONFORMING)) == SEGMENT_CONFORMING;
	uint64_t last = (uint64_t)offset + len - 1;
	if (down)
		return offset > segment->limit && last <= (segment->db ? UINT32_MAX : UINT16_MAX);
	return last <= segment->limit;
}
