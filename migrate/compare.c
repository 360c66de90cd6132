/* compare.c: see compare.h. */
#include "migrate/compare.h"

#include "migrate/message.h"

static void put_range(struct buf *out, const struct compare_range *range)
{
	buf_put_u16(out, range->volume);
	buf_put_u16(out, 0);
	buf_put_u32(out, range->blocks);
	buf_put_u64(out, range->first);
}

static int bad(const struct frame *frame, struct err *err)
{
	return err_set(err, ERR_INPUT, "a %s message is not valid", message_name(frame->type));
}

static int take_range(struct reader *reader, struct compare_range *range)
{
	uint16_t reserved;

	range->volume = reader_u16(reader);
	reserved = reader_u16(reader);
	range->blocks = reader_u32(reader);
	range->first = reader_u64(reader);
	return reader->bad || reserved || range->blocks == 0 || range->blocks > COMPARE_BLOCKS ? -1 : 0;
}

int compare_send(struct link *link, const struct compare_range *range, struct err *err)
{
	put_range(link_begin(link), range);
	return link_send(link, MESSAGE_COMPARE, 0, err) || link_flush(link, err) ? -1 : 0;
}

static bool is_zero(const uint8_t digest[DVOL_BLOCK_DIGEST])
{
	return le64_get(digest) == 0 && le64_get(digest + 8) == 0;
}

int compare_send_digests(struct link *link, const struct compare_range *range,
			 const uint8_t (*digests)[DVOL_BLOCK_DIGEST], struct err *err)
{
	struct buf *out = link_begin(link);
	uint8_t bits = 0;

	put_range(out, range);
	for (uint32_t i = 0; i < range->blocks; i++) {
		if (!is_zero(digests[i]))
			bits |= (uint8_t)(1 << i % 8);
		if (i % 8 == 7 || i == range->blocks - 1) {
			buf_put(out, &bits, 1);
			bits = 0;
		}
	}
	for (uint32_t i = 0; i < range->blocks; i++)
		if (!is_zero(digests[i]))
			buf_put(out, digests[i], DVOL_BLOCK_DIGEST);
	return link_send(link, MESSAGE_DIGESTS, 0, err) || link_flush(link, err) ? -1 : 0;
}

int compare_read(const struct frame *frame, struct compare_range *range, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);

	return take_range(&reader, range) || reader.left ? bad(frame, err) : 0;
}

int compare_read_digests(const struct frame *frame, struct compare_digests *digests, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);
	size_t count = 0;

	if (take_range(&reader, &digests->range))
		return bad(frame, err);
	digests->present = reader_bytes(&reader, (digests->range.blocks + 7) / 8);
	if (!digests->present)
		return bad(frame, err);
	for (uint32_t i = 0; i < digests->range.blocks; i++)
		count += digests->present[i / 8] >> i % 8 & 1;
	digests->digest = (const uint8_t(*)[DVOL_BLOCK_DIGEST])reader.at;
	return reader.left == count * DVOL_BLOCK_DIGEST ? 0 : bad(frame, err);
}
