/* test_state.c: the container of a saved machine: what is read is what was written, and nothing else is taken. */
#include "common/buf.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"
#include "vmm/clock.h"
#include "vmm/kvm.h"
#include "vmm/rtc.h"
#include "vmm/state.h"

#include <stdlib.h>
#include <string.h>

/* The length that each section has at least. */
static const struct {
	enum state_id id;
	unsigned instances; /* 0: one a vCPU */
	size_t len;
} all[] = {
    {STATE_MACHINE, 1, 16},
    {STATE_CPUID, 1, sizeof(struct kvm_cpuid_entry2)},
    {STATE_CLOCK, 1, CLOCK_STATE_LEN},
    {STATE_PIC, 2, sizeof(struct kvm_pic_state)},
    {STATE_IOAPIC, 1, sizeof(struct kvm_ioapic_state)},
    {STATE_PIT, 1, sizeof(struct kvm_pit_state2)},
    {STATE_SERIAL, 1, 9},
    {STATE_RTC, 1, 1 + RTC_CMOS},
    {STATE_POWER, 1, 8},
    {STATE_PCI, 1, 8},
    {STATE_VCPU_REGS, 0, sizeof(struct kvm_regs)},
    {STATE_VCPU_SREGS, 0, sizeof(struct kvm_sregs2)},
    {STATE_VCPU_XSAVE, 0, 4096},
    {STATE_VCPU_XCRS, 0, sizeof(struct kvm_xcrs)},
    {STATE_VCPU_DEBUG, 0, sizeof(struct kvm_debugregs)},
    {STATE_VCPU_MSRS, 0, sizeof(struct kvm_msr_entry)},
    {STATE_VCPU_LAPIC, 0, sizeof(struct kvm_lapic_state)},
    {STATE_VCPU_MP, 0, sizeof(struct kvm_mp_state)},
    {STATE_VCPU_EVENTS, 0, sizeof(struct kvm_vcpu_events)},
    {STATE_VCPU_TSC, 0, 8},
};
enum { ALL = sizeof(all) / sizeof(all[0]) };

static struct state parsed;

/* A whole container, each content full of its id, but for what `skip` (an index in all[]) says is to be left out. */
static void write_all(struct buf *out, unsigned cpus, unsigned skip)
{
	struct state_writer writer;
	uint8_t content[4096];

	state_begin(&writer, out);
	for (unsigned i = 0; i < ALL; i++) {
		memset(content, (int)all[i].id, sizeof(content));
		for (unsigned n = 0; i != skip && n < (all[i].instances ? all[i].instances : cpus); n++)
			state_put(&writer, all[i].id, n, content, all[i].len);
	}
	state_end(&writer);
}

static void refuse(const struct buf *buf, const char *words)
{
	struct err err = {0};

	assert_int_equal(state_parse(buf->data, buf->len, &parsed, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void test_round_trip(void **state)
{
	struct buf buf = {0};
	struct err err = {0};

	(void)state;
	buf_put_u8(&buf, 0xee); /* what the buffer held before stays */
	write_all(&buf, 3, ALL);
	assert_int_equal(buf.data[0], 0xee);
	assert_int_equal(state_parse(buf.data + 1, buf.len - 1, &parsed, &err), 0);
	assert_int_equal(state_complete(&parsed, 3, &err), 0);
	for (unsigned i = 0; i < ALL; i++) {
		const struct state_section *section = state_get(&parsed, all[i].id, all[i].instances ? 0 : 2);
		assert_int_equal(section->len, all[i].len);
		assert_int_equal(section->data[0], all[i].id);
		assert_int_equal(section->data[section->len - 1], all[i].id);
	}
	buf_free(&buf);
}

static void test_complete(void **state)
{
	struct buf buf = {0};
	struct err err = {0};

	(void)state;
	for (unsigned skip = 0; skip < ALL; skip++) {
		buf_clear(&buf);
		write_all(&buf, 2, skip);
		assert_int_equal(state_parse(buf.data, buf.len, &parsed, &err), 0);
		assert_int_equal(state_complete(&parsed, 2, &err), -1);
		assert_non_null(strstr(err.text, "missing"));
	}
	buf_clear(&buf);
	write_all(&buf, 2, ALL);
	assert_int_equal(state_parse(buf.data, buf.len, &parsed, &err), 0);
	assert_int_equal(state_complete(&parsed, 1, &err), -1);
	assert_non_null(strstr(err.text, "does not have"));
	assert_int_equal(state_complete(&parsed, 3, &err), -1);
	buf_free(&buf);
}

static void test_header(void **state)
{
	struct buf buf = {0};

	(void)state;
	write_all(&buf, 1, ALL);
	buf.data[0] ^= 1;
	refuse(&buf, "not a saved machine");
	buf.data[0] ^= 1;
	le32_put(buf.data + 8, STATE_VERSION + 1);
	refuse(&buf, "version 2");
	le32_put(buf.data + 8, 0);
	refuse(&buf, "version 0");
	le32_put(buf.data + 8, STATE_VERSION);
	le64_put(buf.data + 16, buf.len + 1);
	refuse(&buf, "says that it has");
	le64_put(buf.data + 16, buf.len);
	le32_put(buf.data + 12, 1000);
	refuse(&buf, "in the middle of section");
	le32_put(buf.data + 12, 2);
	refuse(&buf, "follow its last section");
	buf_free(&buf);
}

/* One section of the given kind in a container of its own. */
static void one_section(struct buf *buf, uint32_t id, uint32_t instance, uint32_t version, uint32_t len)
{
	struct state_writer writer;

	buf_clear(buf);
	state_begin(&writer, buf);
	buf_put_u32(buf, id);
	buf_put_u32(buf, instance);
	buf_put_u32(buf, version);
	buf_put_u32(buf, len);
	memset(buf_reserve(buf, len), 0, len);
	buf->len += len;
	writer.count = 1;
	state_end(&writer);
}

static void test_sections(void **state)
{
	struct buf buf = {0};
	struct err err = {0};

	(void)state;
	one_section(&buf, 0, 0, 1, 8);
	refuse(&buf, "section 0 is of a device");
	one_section(&buf, STATE_ID_END, 0, 1, 8);
	refuse(&buf, "does not know");
	one_section(&buf, UINT32_MAX, 0, 1, 8);
	refuse(&buf, "does not know");
	one_section(&buf, STATE_PIC, 1, 1, sizeof(struct kvm_pic_state));
	assert_int_equal(state_parse(buf.data, buf.len, &parsed, &err), 0);
	one_section(&buf, STATE_PIC, 2, 1, sizeof(struct kvm_pic_state));
	refuse(&buf, "cannot be an instance 2");
	one_section(&buf, STATE_VIRTIO, 31, 1, 16);
	assert_int_equal(state_parse(buf.data, buf.len, &parsed, &err), 0);
	one_section(&buf, STATE_VIRTIO, 32, 1, 16);
	refuse(&buf, "cannot be an instance 32");
	one_section(&buf, STATE_FIRMWARE, 0, 1, 8);
	assert_int_equal(state_parse(buf.data, buf.len, &parsed, &err), 0);
	one_section(&buf, STATE_FIRMWARE, 1, 1, 8);
	refuse(&buf, "cannot be an instance 1");
	one_section(&buf, STATE_EMULATION, 0, 1, 8 * CONFIG_MAX_CPUS);
	assert_int_equal(state_parse(buf.data, buf.len, &parsed, &err), 0);
	one_section(&buf, STATE_EMULATION, 0, 1, 8 * CONFIG_MAX_CPUS + 8);
	refuse(&buf, "expected");
	one_section(&buf, STATE_VCPU_REGS, CONFIG_MAX_CPUS, 1, sizeof(struct kvm_regs));
	refuse(&buf, "cannot be an instance 64");
	one_section(&buf, STATE_SERIAL, 0, 2, 9);
	refuse(&buf, "serial has version 2");
	one_section(&buf, STATE_SERIAL, 0, 0, 9);
	refuse(&buf, "serial has version 0");
	for (unsigned i = 0; i < ALL; i++) {
		one_section(&buf, all[i].id, 0, 1, (uint32_t)all[i].len - 1);
		refuse(&buf, "expected");
	}
	one_section(&buf, STATE_VCPU_XSAVE, 0, 1, (64 << 10) + 1);
	refuse(&buf, "expected");
	buf_free(&buf);
}

static void test_duplicate(void **state)
{
	struct buf buf = {0};
	struct state_writer writer;
	uint8_t content[16] = {0};

	(void)state;
	state_begin(&writer, &buf);
	state_put(&writer, STATE_MACHINE, 0, content, 16);
	state_put(&writer, STATE_MACHINE, 0, content, 16);
	state_end(&writer);
	refuse(&buf, "twice");
	buf_free(&buf);
}

/* Cut at every byte it is refused; with bytes changed there is an answer. */
static void test_cut_and_mutated(void **state)
{
	uint64_t random = random_begin();
	struct buf buf = {0};
	struct err err = {0};
	uint8_t *copy;

	(void)state;
	write_all(&buf, 1, ALL);
	copy = malloc(buf.len);
	for (size_t len = 0; len < buf.len; len++) {
		/* in memory of that size, so that a read past its end is seen */
		uint8_t *cut = malloc(len + !len);
		memcpy(cut, buf.data, len);
		assert_int_equal(state_parse(cut, len, &parsed, &err), -1);
		free(cut);
	}
	for (unsigned round = 0; round < 20000; round++) {
		memcpy(copy, buf.data, buf.len);
		for (unsigned i = random_next(&random) % 4 + 1; i; i--) {
			uint64_t r = random_next(&random);
			copy[(r >> 8) % (r & 0x40 ? 200 : buf.len)] = r & 0x80 ? (uint8_t)r : 0xff;
		}
		if (!state_parse(copy, buf.len, &parsed, &err))
			state_complete(&parsed, 1, &err);
	}
	free(copy);
	buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip), cmocka_unit_test(test_complete),
	    cmocka_unit_test(test_header),     cmocka_unit_test(test_sections),
	    cmocka_unit_test(test_duplicate),  cmocka_unit_test(test_cut_and_mutated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
