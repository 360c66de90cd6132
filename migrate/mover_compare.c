/* mover_compare.c: what is to be sent of a disk of which the other host has something, but no epoch: the blocks whose digests differ
 * (docs/stream.md). */
#include "migrate/compare.h"
#include "migrate/mover.h"

#include <stdlib.h>
#include <string.h>

enum {
	AHEAD = 2,          /* ranges that the receiver is at work on, while this side compares */
	ANSWER_MS = 110000, /* for one, where its disk is slow; below SERVE_QUIET_MS */
};

static struct compare_range range_at(const struct mover *mover, unsigned i, uint64_t first)
{
	uint64_t left = mover->sender.volume[1 + i].source.pages - first;

	return (struct compare_range){.volume = (uint16_t)(1 + i),
				      .blocks = left < COMPARE_BLOCKS ? (uint32_t)left : COMPARE_BLOCKS,
				      .first = first};
}

static bool is_present(const struct compare_digests *there, uint64_t block)
{
	return there->present[block / 8] >> block % 8 & 1;
}

/* Blocks of the range that hold something here and are zeroes there. */
static int add_missing(struct sender_volume *volume, const struct compare_digests *there, struct err *err)
{
	uint64_t at = there->range.first, end = at + there->range.blocks;
	uint64_t size = dvol_size(volume->source.disk);

	while (at < end && at * PAGES_SIZE < size) {
		uint64_t offset = at * PAGES_SIZE, most = (end - at) * PAGES_SIZE;
		struct dvol_map_extent *list;
		size_t count;

		if (dvol_map(volume->source.disk, offset, most < size - offset ? most : size - offset,
			     COMPARE_BLOCKS, &list, &count, err))
			return -1;
		for (size_t i = 0; i < count; i++) {
			uint64_t last = (list[i].offset + list[i].len + PAGES_SIZE - 1) / PAGES_SIZE;
			bool data = list[i].kind != DVOL_MAP_HOLE && list[i].kind != DVOL_MAP_ZERO;

			for (; at < last; at++)
				if (data && !is_present(there, at - there->range.first))
					pageset_add(&volume->todo, at);
		}
		free(list);
	}
	return 0;
}

static int add_differing(struct sender_volume *volume, const struct compare_digests *there, struct err *err)
{
	const struct compare_range *range = &there->range;
	uint8_t(*here)[DVOL_BLOCK_DIGEST] = calloc(range->blocks, DVOL_BLOCK_DIGEST);
	int status;

	if (!here)
		return err_set(err, ERR_SYSTEM, "out of memory for digests");
	status = dvol_block_digests(volume->source.disk, range->first * PAGES_SIZE, range->blocks,
				    there->present, here, err);
	for (size_t i = 0, n = 0; !status && i < range->blocks; i++)
		if (is_present(there, i) && memcmp(here[i], there->digest[n++], DVOL_BLOCK_DIGEST) != 0)
			pageset_add(&volume->todo, range->first + i);
	free(here);
	return status;
}

static int take_answer(struct mover *mover, unsigned i, struct err *err)
{
	struct mover_disk *disk = &mover->disks.disk[i];
	struct sender_volume *volume = &mover->sender.volume[1 + i];
	struct compare_range range = range_at(mover, i, disk->compared);
	struct compare_digests there;
	struct frame frame;

	if (sender_await(&mover->sender, MESSAGE_DIGESTS, ANSWER_MS, &frame, err) ||
	    compare_read_digests(&frame, &there, err))
		return -1;
	if (there.range.volume != range.volume || there.range.first != range.first ||
	    there.range.blocks != range.blocks)
		return err_set(err, ERR_INPUT, "%s sent digests of other blocks than were asked for",
			       mover->peer);
	if (add_differing(volume, &there, err) || add_missing(volume, &there, err))
		return -1;
	sender_keep_todo(&mover->sender, volume, range.first, range.blocks);
	disk->compared += range.blocks;
	kept_note(mover);
	mover->progress.pages_left = volume->source.pages - disk->compared;
	mover_tell(mover, MOVE_COPY);
	return link_fault(mover->link, FAULT_COMPARE_MIDDLE, err);
}

int mover_compare(struct mover *mover, unsigned i, struct err *err)
{
	struct mover_disk *disk = &mover->disks.disk[i];
	uint64_t pages = mover->sender.volume[1 + i].source.pages, asked = disk->compared;

	mover->progress.pages_total = pages;
	while (disk->compared < pages) {
		for (; asked < pages && asked - disk->compared < AHEAD * COMPARE_BLOCKS;
		     asked += COMPARE_BLOCKS) {
			struct compare_range range = range_at(mover, i, asked);

			if (compare_send(mover->link, &range, err))
				return -1;
		}
		if (take_answer(mover, i, err))
			return -1;
	}
	return 0;
}
