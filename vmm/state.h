/* state.h: the container of a saved machine: a header and sections (docs/state.md).
 * Knows which sections there are, not what is in them; works on bytes only, so that it can be fuzzed. */
#ifndef VMM_STATE_H
#define VMM_STATE_H

#include "common/buf.h"
#include "common/err.h"
#include "vmm/config.h"
#include <stddef.h>
#include <stdint.h>

enum {
	STATE_VERSION = 1,     /* of the container */
	STATE_VERSION_MIN = 1, /* the oldest that is read: the one before STATE_VERSION */
	STATE_HEADER_LEN = 24,
	STATE_SECTION_HEADER_LEN = 16,
	STATE_MAX_LEN = 16 << 20,
};

/* What a section is about.  Numbers are never used again for something else. */
enum state_id {
	STATE_MACHINE = 1,
	STATE_CPUID = 2,
	STATE_CLOCK = 3,
	STATE_PIC = 4,
	STATE_IOAPIC = 5,
	STATE_PIT = 6,
	STATE_SERIAL = 7,
	STATE_RTC = 8,
	STATE_POWER = 9,
	STATE_PCI = 10,
	STATE_VIRTIO = 11,
	STATE_FIRMWARE = 12,
	STATE_FWCFG = 13,
	STATE_NETROM = 14,
	STATE_EMULATION = 15,
	STATE_VCPU_REGS = 16,
	STATE_VCPU_SREGS = 17,
	STATE_VCPU_XSAVE = 18,
	STATE_VCPU_XCRS = 19,
	STATE_VCPU_DEBUG = 20,
	STATE_VCPU_MSRS = 21,
	STATE_VCPU_LAPIC = 22,
	STATE_VCPU_MP = 23,
	STATE_VCPU_EVENTS = 24,
	STATE_VCPU_TSC = 25,
	STATE_ID_END,
};

struct state_section {
	uint32_t version;
	uint32_t len;
	const uint8_t *data; /* NULL: not there */
};

/* A parsed container; points into the bytes that it was parsed from. */
struct state {
	struct state_section sections[STATE_ID_END][CONFIG_MAX_CPUS];
};

/* state_parse(data, len, state, err): checks header, bounds, that every section is one that this version knows, in a
 * version that it reads, of a length that it can have, and there once.  data is not trusted. */
int state_parse(const void *data, size_t len, struct state *state, struct err *err);
/* state_complete(state, cpus, err): every section that a machine with that many vCPUs has is there, and none of a
 * vCPU that it does not have. */
int state_complete(const struct state *state, unsigned cpus, struct err *err);
const struct state_section *state_get(const struct state *state, enum state_id id, unsigned instance);

/* Writing: begin, then per section open, put its content into out, close; at last end, which completes the header. */
struct state_writer {
	struct buf *out;
	size_t header_at;
	size_t section_at;
	uint32_t count;
};
void state_begin(struct state_writer *writer, struct buf *out);
void state_open(struct state_writer *writer, enum state_id id, unsigned instance);
void state_close(struct state_writer *writer);
void state_end(struct state_writer *writer);
/* state_put: open, put, close. */
void state_put(struct state_writer *writer, enum state_id id, unsigned instance, const void *data,
	       size_t len);

#endif
