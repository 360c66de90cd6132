/* virtqueue.c: see virtqueue.h.  Names of fields are those of the specification. */
#include "vmm/virtqueue.h"
#include <string.h>

enum {
	DESC_BYTES = 16,
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
	RING_HEADER = 4, /* flags, idx */
	USED_ENTRY = 8,
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* ---- ring accesses: 16-bit fields that the guest changes at the same time ------------------------------------- */

static uint64_t avail_bytes(const struct virtqueue *vq)
{
	return RING_HEADER + 2u * vq->size + 2;
}

static uint64_t used_bytes(const struct virtqueue *vq)
{
	return RING_HEADER + (uint64_t)USED_ENTRY * vq->size + 2;
}

static uint16_t *field(const struct virtqueue *vq, uint64_t ring, uint64_t offset)
{
	return memory_at(vq->ram, ring + offset, 2);
}

static uint16_t get16(const struct virtqueue *vq, uint64_t ring, uint64_t offset)
{
	const uint16_t *at = field(vq, ring, offset);
	return at ? __atomic_load_n(at, __ATOMIC_ACQUIRE) : 0;
}

static void put16(struct virtqueue *vq, uint64_t ring, uint64_t offset, uint16_t value)
{
	uint16_t *at = field(vq, ring, offset);
	if (!at)
		return;
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	vq->wrote(vq->wrote_arg, memory_offset(vq->ram, ring + offset), 2);
}

static uint16_t avail_idx(const struct virtqueue *vq)
{
	return get16(vq, vq->avail, 2);
}

static uint64_t used_event_at(const struct virtqueue *vq)
{
	return RING_HEADER + 2u * vq->size;
}

static uint64_t avail_event_at(const struct virtqueue *vq)
{
	return RING_HEADER + (uint64_t)USED_ENTRY * vq->size;
}

/* ---- setting up ------------------------------------------------------------------------------------------------- */

void virtqueue_init(struct virtqueue *vq, const struct memory *ram, uint16_t max_size, virtqueue_wrote *wrote,
		    void *wrote_arg)
{
	*vq = (struct virtqueue){.ram = ram, .wrote = wrote, .wrote_arg = wrote_arg, .max_size = max_size};
	virtqueue_reset(vq);
}

void virtqueue_reset(struct virtqueue *vq)
{
	*vq = (struct virtqueue){.ram = vq->ram,
				 .wrote = vq->wrote,
				 .wrote_arg = vq->wrote_arg,
				 .max_size = vq->max_size,
				 .size = vq->max_size};
}

bool virtqueue_usable(const struct virtqueue *vq)
{
	bool size = vq->size && vq->size <= vq->max_size && !(vq->size & (vq->size - 1));
	return size && !(vq->desc % 16) && !(vq->avail % 2) && !(vq->used % 4) &&
	       memory_at(vq->ram, vq->desc, (uint64_t)DESC_BYTES * vq->size) &&
	       memory_at(vq->ram, vq->avail, avail_bytes(vq)) && memory_at(vq->ram, vq->used, used_bytes(vq));
}

/* ---- taking chains -------------------------------------------------------------------------------------------------- */

/* A copy, so that what is checked is what is used. */
static bool read_desc(const struct virtqueue *vq, uint64_t table, uint32_t number, struct desc *desc)
{
	const void *at = memory_at(vq->ram, table + (uint64_t)DESC_BYTES * number, DESC_BYTES);
	uint8_t copy[DESC_BYTES];
	if (!at)
		return false;
	memcpy(copy, at, sizeof(copy));
	/* The compiler must not read guest memory a second time. */
	__asm__ volatile("" ::: "memory");
	*desc = (struct desc){.addr = le64_get(copy),
			      .len = le32_get(copy + 8),
			      .flags = le16_get(copy + 12),
			      .next = le16_get(copy + 14)};
	return true;
}

static bool add(const struct virtqueue *vq, struct virtqueue_chain *chain, const struct desc *desc)
{
	bool write = desc->flags & DESC_WRITE;
	unsigned count = chain->out + chain->in;
	void *at = memory_at(vq->ram, desc->addr, desc->len);
	/* Buffers to read come before those to write. */
	if (!at || count == VIRTQUEUE_CHAIN_MAX || (!write && chain->in))
		return false;
	chain->iov[count] = (struct iovec){.iov_base = at, .iov_len = desc->len};
	*(write ? &chain->in : &chain->out) += 1;
	*(write ? &chain->in_bytes : &chain->out_bytes) += desc->len;
	return true;
}

/* The descriptors from `number` on in a table of `size`.  A chain longer than its table has a loop. */
static bool walk(const struct virtqueue *vq, struct virtqueue_chain *chain, uint64_t table, uint32_t size,
		 uint32_t number, bool in_indirect)
{
	struct desc desc;
	for (uint32_t steps = 0; steps < size; steps++) {
		if (number >= size || !read_desc(vq, table, number, &desc))
			return false;
		if (desc.flags & DESC_INDIRECT) {
			/* Only where it was agreed, not within another, not with a chain behind it. */
			if (in_indirect || !vq->indirect || desc.flags & DESC_NEXT || desc.len == 0 ||
			    desc.len % DESC_BYTES || desc.len / DESC_BYTES > VIRTQUEUE_CHAIN_MAX)
				return false;
			return walk(vq, chain, desc.addr, desc.len / DESC_BYTES, 0, true);
		}
		if (!add(vq, chain, &desc))
			return false;
		if (!(desc.flags & DESC_NEXT))
			return true;
		number = desc.next;
	}
	return false;
}

bool virtqueue_empty(const struct virtqueue *vq)
{
	return !vq->enabled || avail_idx(vq) == vq->last_avail;
}

enum virtqueue_result virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain)
{
	if (!vq->enabled)
		return VIRTQUEUE_EMPTY;
	if (!virtqueue_usable(vq))
		return VIRTQUEUE_BROKEN;
	uint16_t waiting = (uint16_t)(avail_idx(vq) - vq->last_avail);
	if (waiting == 0)
		return VIRTQUEUE_EMPTY;
	if (waiting > vq->size)
		return VIRTQUEUE_BROKEN;
	chain->head = get16(vq, vq->avail, RING_HEADER + 2u * (vq->last_avail % vq->size));
	chain->out = chain->in = 0;
	chain->out_bytes = chain->in_bytes = 0;
	if (!walk(vq, chain, vq->desc, vq->size, chain->head, false))
		return VIRTQUEUE_BROKEN;
	vq->last_avail++;
	return VIRTQUEUE_CHAIN;
}

void virtqueue_unpop(struct virtqueue *vq)
{
	vq->last_avail--;
}

void virtqueue_notify_off(struct virtqueue *vq)
{
	/* With event indexes avail_event simply stays behind; nothing need be written. */
	if (vq->enabled && !vq->event_idx)
		put16(vq, vq->used, 0, USED_NO_NOTIFY);
}

bool virtqueue_notify_on(struct virtqueue *vq)
{
	if (!vq->enabled)
		return false;
	if (vq->event_idx)
		put16(vq, vq->used, avail_event_at(vq), vq->last_avail);
	else
		put16(vq, vq->used, 0, 0);
	/* The guest writes idx, then reads what was written here; so the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !virtqueue_empty(vq);
}

/* ---- giving them back --------------------------------------------------------------------------------------------- */

void virtqueue_wrote_iov(const struct virtqueue *vq, const struct iovec *iov, unsigned count, uint64_t bytes)
{
	for (unsigned i = 0; i < count && bytes; i++) {
		uint64_t part = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;
		if (part)
			vq->wrote(vq->wrote_arg, (uint64_t)((uint8_t *)iov[i].iov_base - vq->ram->base),
				  part);
		bytes -= part;
	}
}

void virtqueue_push_heads(struct virtqueue *vq, const struct virtqueue_used *used, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint16_t number = (uint16_t)(vq->next_used + i) % vq->size;
		uint64_t at = RING_HEADER + (uint64_t)USED_ENTRY * number;
		uint8_t *entry = memory_at(vq->ram, vq->used + at, USED_ENTRY);
		if (!entry)
			return; /* the guest moved the ring; pop will find it broken */
		le32_put(entry, used[i].head);
		le32_put(entry + 4, used[i].written);
		vq->wrote(vq->wrote_arg, memory_offset(vq->ram, vq->used + at), USED_ENTRY);
	}
	vq->next_used = (uint16_t)(vq->next_used + count);
	put16(vq, vq->used, 2, vq->next_used);
}

void virtqueue_push_head(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	const struct virtqueue_used used = {.head = head, .written = written};
	virtqueue_push_heads(vq, &used, 1);
}

void virtqueue_push(struct virtqueue *vq, const struct virtqueue_chain *chain, uint32_t written)
{
	virtqueue_wrote_iov(vq, chain->iov + chain->out, chain->in, written);
	virtqueue_push_head(vq, chain->head, written);
}

bool virtqueue_should_signal(struct virtqueue *vq)
{
	uint16_t before = vq->signalled_used, now = vq->next_used;
	bool first = !vq->signalled;
	if (before == now)
		return false;
	vq->signalled_used = now;
	vq->signalled = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vq->event_idx)
		return !(get16(vq, vq->avail, 0) & AVAIL_NO_INTERRUPT);
	uint16_t event = get16(vq, vq->avail, used_event_at(vq));
	return first || (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/* ---- state ----------------------------------------------------------------------------------------------------------- */

void virtqueue_save(const struct virtqueue *vq, struct buf *out)
{
	buf_put_u16(out, vq->size);
	buf_put_u8(out, vq->enabled);
	buf_put_u64(out, vq->desc);
	buf_put_u64(out, vq->avail);
	buf_put_u64(out, vq->used);
	buf_put_u16(out, vq->last_avail);
	buf_put_u16(out, vq->next_used);
	buf_put_u16(out, vq->signalled_used);
	buf_put_u8(out, vq->signalled);
}

int virtqueue_load(struct virtqueue *vq, struct reader *reader, struct err *err)
{
	virtqueue_reset(vq);
	vq->size = reader_u16(reader);
	vq->enabled = reader_u8(reader) != 0;
	vq->desc = reader_u64(reader);
	vq->avail = reader_u64(reader);
	vq->used = reader_u64(reader);
	vq->last_avail = reader_u16(reader);
	vq->next_used = reader_u16(reader);
	vq->signalled_used = reader_u16(reader);
	vq->signalled = reader_u8(reader) != 0;
	if (reader->bad || vq->size > vq->max_size)
		return err_set(err, ERR_INPUT, "machine state: a virtqueue makes no sense");
	return 0;
}
