/* state.c: writing and checking the container of a saved machine. */
#include "vmm/state.h"
#include "vmm/clock.h"
#include "vmm/cpuid.h"
#include "vmm/firmware.h"
#include "vmm/fwcfg.h"
#include "vmm/msr.h"
#include "vmm/netrom.h"
#include "vmm/power.h"
#include "vmm/rtc.h"
#include "vmm/serial.h"
#include "vmm/virtio.h"
#include <string.h>

static const char magic[8] = "DRVSTATE";

enum { ONE = 1, EACH_VCPU = 0, EACH_SLOT = UINT32_MAX, OPTIONAL = UINT32_MAX - 1 };

/* Every section there is.  Those of which the content is a structure of Linux's KVM interface have its exact size.
 * A new version of a section is read beside the one before it: min_version is at most one lower. */
static const struct kind {
	const char *name;
	/* how many there are, all required; EACH_VCPU: one a vCPU; EACH_SLOT: of PCI slots, which of them is for those to
	 * say who load them; OPTIONAL: one or none */
	uint32_t instances;
	uint32_t version, min_version;
	uint32_t min_len, max_len;
} kinds[STATE_ID_END] = {
    [STATE_MACHINE] = {"machine", ONE, 1, 1, 16, 16},
    [STATE_CPUID] = {"cpuid", ONE, 1, 1, sizeof(struct kvm_cpuid_entry2),
		     CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2)},
    [STATE_CLOCK] = {"clock", ONE, 1, 1, CLOCK_STATE_LEN, CLOCK_STATE_LEN},
    [STATE_PIC] = {"pic", 2, 1, 1, sizeof(struct kvm_pic_state), sizeof(struct kvm_pic_state)},
    [STATE_IOAPIC] = {"ioapic", ONE, 1, 1, sizeof(struct kvm_ioapic_state), sizeof(struct kvm_ioapic_state)},
    [STATE_PIT] = {"pit", ONE, 1, 1, sizeof(struct kvm_pit_state2), sizeof(struct kvm_pit_state2)},
    [STATE_SERIAL] = {"serial", ONE, SERIAL_STATE_VERSION, 1, 9, 9 + SERIAL_FIFO},
    [STATE_RTC] = {"rtc", ONE, RTC_STATE_VERSION, 1, 1 + RTC_CMOS, 1 + RTC_CMOS},
    [STATE_POWER] = {"power", ONE, POWER_STATE_VERSION, 1, POWER_STATE_LEN_1, POWER_STATE_LEN},
    [STATE_PCI] = {"pci", ONE, PCI_STATE_VERSION, 1, 8, 4096},
    [STATE_VIRTIO] = {"virtio", EACH_SLOT, VIRTIO_STATE_VERSION, 1, 16, 1 << 20},
    [STATE_FIRMWARE] = {"firmware", OPTIONAL, FIRMWARE_STATE_VERSION, 1, FIRMWARE_STATE_HEADER,
			FIRMWARE_STATE_HEADER + FIRMWARE_MAX},
    [STATE_FWCFG] = {"fwcfg", OPTIONAL, FWCFG_STATE_VERSION, 1, FWCFG_STATE_LEN, FWCFG_STATE_LEN},
    [STATE_NETROM] = {"netrom", OPTIONAL, NETROM_STATE_VERSION, 1, 512, NETROM_MAX},
    [STATE_EMULATION] = {"emulation", OPTIONAL, 1, 1, 8, 8 * CONFIG_MAX_CPUS},
    [STATE_VCPU_REGS] = {"vcpu-regs", EACH_VCPU, 1, 1, sizeof(struct kvm_regs), sizeof(struct kvm_regs)},
    [STATE_VCPU_SREGS] = {"vcpu-sregs", EACH_VCPU, 1, 1, sizeof(struct kvm_sregs2),
			  sizeof(struct kvm_sregs2)},
    [STATE_VCPU_XSAVE] = {"vcpu-xsave", EACH_VCPU, 1, 1, sizeof(struct kvm_xsave), 64 << 10},
    [STATE_VCPU_XCRS] = {"vcpu-xcrs", EACH_VCPU, 1, 1, sizeof(struct kvm_xcrs), sizeof(struct kvm_xcrs)},
    [STATE_VCPU_DEBUG] = {"vcpu-debug", EACH_VCPU, 1, 1, sizeof(struct kvm_debugregs),
			  sizeof(struct kvm_debugregs)},
    [STATE_VCPU_MSRS] = {"vcpu-msrs", EACH_VCPU, 1, 1, sizeof(struct kvm_msr_entry),
			 MSR_LIST_MAX * sizeof(struct kvm_msr_entry)},
    [STATE_VCPU_LAPIC] = {"vcpu-lapic", EACH_VCPU, 1, 1, sizeof(struct kvm_lapic_state),
			  sizeof(struct kvm_lapic_state)},
    [STATE_VCPU_MP] = {"vcpu-mp", EACH_VCPU, 1, 1, sizeof(struct kvm_mp_state), sizeof(struct kvm_mp_state)},
    [STATE_VCPU_EVENTS] = {"vcpu-events", EACH_VCPU, 1, 1, sizeof(struct kvm_vcpu_events),
			   sizeof(struct kvm_vcpu_events)},
    [STATE_VCPU_TSC] = {"vcpu-tsc", EACH_VCPU, 1, 1, 8, 8},
};

/* ---- reading ------------------------------------------------------------------------------------------- */

static int parse_header(struct reader *r, size_t len, uint32_t *count, struct err *err)
{
	const void *signature = reader_bytes(r, sizeof(magic));
	uint32_t version = reader_u32(r);
	*count = reader_u32(r);
	uint64_t total = reader_u64(r);
	if (r->bad || memcmp(signature, magic, sizeof(magic)))
		return err_set(err, ERR_INPUT, "machine state: these %zu bytes are not a saved machine", len);
	if (version < STATE_VERSION_MIN || version > STATE_VERSION)
		return err_set(
		    err, ERR_INPUT,
		    "machine state: its format has version %u, this drover reads %d to %d; use the same "
		    "version of drover on both hosts",
		    version, STATE_VERSION_MIN, STATE_VERSION);
	if (total != len)
		return err_set(err, ERR_INPUT, "machine state: it has %zu bytes, but says that it has %llu",
			       len, (unsigned long long)total);
	return 0;
}

static int check_section(const struct state *state, uint32_t id, uint32_t instance, uint32_t version,
			 uint32_t len, struct err *err)
{
	if (id >= STATE_ID_END || !kinds[id].name)
		return err_set(
		    err, ERR_INPUT,
		    "machine state: section %u is of a device or kind that this version of drover does not "
		    "know; update drover on this host",
		    id);
	const struct kind *kind = &kinds[id];
	uint32_t instances = kind->instances == EACH_VCPU   ? CONFIG_MAX_CPUS
			     : kind->instances == EACH_SLOT ? PCI_SLOTS
			     : kind->instances == OPTIONAL  ? 1
							    : kind->instances;
	if (version < kind->min_version || version > kind->version)
		return err_set(err, ERR_INPUT,
			       "machine state: section %s has version %u, this drover reads %u to %u",
			       kind->name, version, kind->min_version, kind->version);
	if (instance >= instances)
		return err_set(err, ERR_INPUT, "machine state: section %s: there cannot be an instance %u",
			       kind->name, instance);
	if (state->sections[id][instance].data)
		return err_set(err, ERR_INPUT, "machine state: section %s %u is there twice", kind->name,
			       instance);
	if (len < kind->min_len || len > kind->max_len)
		return err_set(err, ERR_INPUT, "machine state: section %s %u has %u bytes, expected %u to %u",
			       kind->name, instance, len, kind->min_len, kind->max_len);
	return 0;
}

int state_parse(const void *data, size_t len, struct state *state, struct err *err)
{
	struct reader r = reader_of(data, len);
	uint32_t count = 0;
	memset(state, 0, sizeof(*state));
	if (len > STATE_MAX_LEN)
		return err_set(err, ERR_INPUT, "machine state: %zu bytes are more than a machine can have",
			       len);
	if (parse_header(&r, len, &count, err))
		return -1;
	/* Duplicates are refused, so this ends after as many rounds as there are sections. */
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = reader_u32(&r), instance = reader_u32(&r), version = reader_u32(&r);
		uint32_t section_len = reader_u32(&r);
		const uint8_t *content = reader_bytes(&r, section_len);
		if (r.bad)
			return err_set(err, ERR_INPUT,
				       "machine state: it ends in the middle of section %u of %u", i + 1,
				       count);
		if (check_section(state, id, instance, version, section_len, err))
			return -1;
		state->sections[id][instance] = (struct state_section){version, section_len, content};
	}
	if (r.left)
		return err_set(err, ERR_INPUT, "machine state: %zu bytes follow its last section", r.left);
	return 0;
}

int state_complete(const struct state *state, unsigned cpus, struct err *err)
{
	for (unsigned id = 0; id < STATE_ID_END; id++) {
		const struct kind *kind = &kinds[id];
		unsigned want = kind->name ? (kind->instances ? kind->instances : cpus) : 0;
		if (want == EACH_SLOT || want == OPTIONAL)
			continue;
		for (unsigned i = 0; i < CONFIG_MAX_CPUS; i++) {
			bool there = state->sections[id][i].data;
			if (there != (i < want))
				return err_set(
				    err, ERR_INPUT, "machine state: section %s %u is %s", kind->name, i,
				    there ? "of a vCPU that the machine does not have" : "missing");
		}
	}
	return 0;
}

const struct state_section *state_get(const struct state *state, enum state_id id, unsigned instance)
{
	return &state->sections[id][instance];
}

/* ---- writing ------------------------------------------------------------------------------------------- */

void state_begin(struct state_writer *writer, struct buf *out)
{
	*writer = (struct state_writer){.out = out, .header_at = out->len};
	buf_put(out, magic, sizeof(magic));
	buf_put_u32(out, STATE_VERSION);
	buf_put_u32(out, 0);
	buf_put_u64(out, 0);
}

void state_open(struct state_writer *writer, enum state_id id, unsigned instance)
{
	buf_put_u32(writer->out, id);
	buf_put_u32(writer->out, instance);
	buf_put_u32(writer->out, kinds[id].version);
	writer->section_at = writer->out->len;
	buf_put_u32(writer->out, 0);
}

void state_close(struct state_writer *writer)
{
	le32_put(writer->out->data + writer->section_at,
		 (uint32_t)(writer->out->len - writer->section_at - 4));
	writer->count++;
}

void state_end(struct state_writer *writer)
{
	uint8_t *header = writer->out->data + writer->header_at;
	le32_put(header + 12, writer->count);
	le64_put(header + 16, writer->out->len - writer->header_at);
}

void state_put(struct state_writer *writer, enum state_id id, unsigned instance, const void *data, size_t len)
{
	state_open(writer, id, instance);
	buf_put(writer->out, data, len);
	state_close(writer);
}
