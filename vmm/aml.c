/* aml.c: see aml.h. */
#include "vmm/aml.h"
#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME = 0x2e,
	OP_EXTENDED = 0x5b,
	OP_DEVICE = 0x82,
	OP_NOTIFY = 0x86,
	TAG_END = 0x79,
	TAG_IRQ = 0x22,
	TAG_PORTS = 0x47,
	TAG_WORD_RANGE = 0x88,
	TAG_DWORD_RANGE = 0x87,
	BOTH_ENDS_FIXED = 0x0c,
	SEGMENT = 4,
};

static void put_path(struct aml *aml, const char *path)
{
	if (*path == '\\')
		buf_put_u8(&aml->out, (uint8_t)*path++);
	const char *dot = strchr(path, '.');
	if (dot)
		buf_put_u8(&aml->out, OP_DUAL_NAME);
	for (;;) {
		size_t len = dot ? (size_t)(dot - path) : strlen(path);
		assert(len <= SEGMENT);
		buf_put(&aml->out, path, len);
		buf_put(&aml->out, "____", SEGMENT - len);
		if (!dot)
			return;
		path = dot + 1;
		dot = NULL;
	}
}

static void begin(struct aml *aml, bool template)
{
	assert(aml->depth < AML_DEPTH);
	aml->open[aml->depth].at = aml->out.len;
	aml->open[aml->depth++].template = template;
}

static void insert(struct aml *aml, size_t at, const uint8_t *data, size_t len)
{
	(void)buf_reserve(&aml->out, len);
	memmove(aml->out.data + at + len, aml->out.data + at, aml->out.len - at);
	memcpy(aml->out.data + at, data, len);
	aml->out.len += len;
}

/* The length of a body counts the bytes of the length itself: one to three here. */
static void insert_length(struct aml *aml, size_t at)
{
	size_t body = aml->out.len - at;
	size_t extra = body + 1 < 0x40 ? 0 : body + 2 < 0x1000 ? 1 : 2;
	size_t len = body + 1 + extra;
	uint8_t bytes[3] = {(uint8_t)len, (uint8_t)(len >> 4), (uint8_t)(len >> 12)};
	assert(len < 1 << 20);
	if (extra)
		bytes[0] = (uint8_t)(extra << 6 | (len & 0xf));
	insert(aml, at, bytes, 1 + extra);
}

void aml_close(struct aml *aml)
{
	assert(aml->depth > 0);
	size_t at = aml->open[--aml->depth].at;
	if (aml->open[aml->depth].template) {
		uint8_t size[3] = {OP_WORD};
		buf_put_u8(&aml->out, TAG_END);
		buf_put_u8(&aml->out, 0); /* a checksum of 0 is not checked */
		le16_put(size + 1, (uint16_t)(aml->out.len - at));
		insert(aml, at, size, sizeof(size));
	}
	insert_length(aml, at);
}

void aml_scope(struct aml *aml, const char *path)
{
	buf_put_u8(&aml->out, OP_SCOPE);
	begin(aml, false);
	put_path(aml, path);
}

void aml_device(struct aml *aml, const char *name)
{
	buf_put_u8(&aml->out, OP_EXTENDED);
	buf_put_u8(&aml->out, OP_DEVICE);
	begin(aml, false);
	put_path(aml, name);
}

void aml_method(struct aml *aml, const char *name)
{
	buf_put_u8(&aml->out, OP_METHOD);
	begin(aml, false);
	put_path(aml, name);
	buf_put_u8(&aml->out, 0); /* no arguments, not serialized */
}

void aml_package(struct aml *aml, uint8_t elements)
{
	buf_put_u8(&aml->out, OP_PACKAGE);
	begin(aml, false);
	buf_put_u8(&aml->out, elements);
}

void aml_template(struct aml *aml)
{
	buf_put_u8(&aml->out, OP_BUFFER);
	begin(aml, true);
}

void aml_name(struct aml *aml, const char *name)
{
	buf_put_u8(&aml->out, OP_NAME);
	put_path(aml, name);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	struct buf *out = &aml->out;
	if (value <= 1) {
		buf_put_u8(out, value ? OP_ONE : OP_ZERO);
	} else if (value <= UINT8_MAX) {
		buf_put_u8(out, OP_BYTE);
		buf_put_u8(out, (uint8_t)value);
	} else if (value <= UINT16_MAX) {
		buf_put_u8(out, OP_WORD);
		buf_put_u16(out, (uint16_t)value);
	} else if (value <= UINT32_MAX) {
		buf_put_u8(out, OP_DWORD);
		buf_put_u32(out, (uint32_t)value);
	} else {
		buf_put_u8(out, OP_QWORD);
		buf_put_u64(out, value);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	buf_put_u8(&aml->out, OP_STRING);
	buf_put(&aml->out, text, strlen(text) + 1);
}

static uint32_t hex_digit(char c)
{
	return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits each and four digits, with the bytes in the order of the wire. */
void aml_eisa_id(struct aml *aml, const char *id)
{
	uint32_t value =
	    (uint32_t)(id[0] & 0x1f) << 26 | (uint32_t)(id[1] & 0x1f) << 21 | (uint32_t)(id[2] & 0x1f) << 16;
	for (unsigned i = 0; i < 4; i++)
		value |= hex_digit(id[3 + i]) << (12 - 4 * i);
	aml_integer(aml, __builtin_bswap32(value));
}

void aml_notify(struct aml *aml, const char *path, uint8_t value)
{
	buf_put_u8(&aml->out, OP_NOTIFY);
	put_path(aml, path);
	aml_integer(aml, value);
}

void aml_word_range(struct aml *aml, enum aml_range type, uint16_t first, uint16_t last)
{
	struct buf *out = &aml->out;
	buf_put_u8(out, TAG_WORD_RANGE);
	buf_put_u16(out, 13);
	buf_put_u8(out, (uint8_t)type);
	buf_put_u8(out, BOTH_ENDS_FIXED);
	buf_put_u8(out, type == AML_IO ? 3 : 0); /* ISA and other addresses alike */
	buf_put_u16(out, 0);
	buf_put_u16(out, first);
	buf_put_u16(out, last);
	buf_put_u16(out, 0);
	buf_put_u16(out, (uint16_t)(last - first + 1));
}

void aml_memory_range(struct aml *aml, uint32_t first, uint32_t last)
{
	struct buf *out = &aml->out;
	buf_put_u8(out, TAG_DWORD_RANGE);
	buf_put_u16(out, 23);
	buf_put_u8(out, 0);
	buf_put_u8(out, BOTH_ENDS_FIXED);
	buf_put_u8(out, 1); /* not cached, writable */
	buf_put_u32(out, 0);
	buf_put_u32(out, first);
	buf_put_u32(out, last);
	buf_put_u32(out, 0);
	buf_put_u32(out, last - first + 1);
}

void aml_ports(struct aml *aml, uint16_t first, uint8_t count)
{
	struct buf *out = &aml->out;
	buf_put_u8(out, TAG_PORTS);
	buf_put_u8(out, 1); /* 16 address lines */
	buf_put_u16(out, first);
	buf_put_u16(out, first);
	buf_put_u8(out, 1);
	buf_put_u8(out, count);
}

void aml_irq(struct aml *aml, unsigned irq)
{
	buf_put_u8(&aml->out, TAG_IRQ);
	buf_put_u16(&aml->out, (uint16_t)(1u << irq));
}
