/* serve_compare.c: a copy of a disk that has no epoch in common with the sender's, but something of its content: it is told by digests
 * what is there, so that only what differs comes (docs/stream.md).  That is a copy whose first epoch never became whole, or a new one that is made of
 * a file that somebody put beside it: its seed. */
#include "common/paths.h"
#include "migrate/compare.h"
#include "migrate/serve_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

/* ---- the seed ---------------------------------------------------------------------------------------------------- */

/* DIR/slot-N.dvol: DIR/slot-N.seed; false: such a place has none. */
static bool seed_path(const struct serve_disk *disk, char path[PATHS_MAX])
{
	static const char suffix[] = ".dvol";
	size_t len = strlen(disk->path), end = sizeof(suffix) - 1;

	if (len < end || strcmp(disk->path + len - end, suffix) != 0)
		return false;
	return snprintf(path, PATHS_MAX, "%.*s.seed", (int)(len - end), disk->path) < PATHS_MAX;
}

int serve_compare_open_seed(struct serve_disk *disk, struct err *err)
{
	char path[PATHS_MAX];
	enum dvol_file_kind kind;

	if (!seed_path(disk, path) || (access(path, F_OK) && errno == ENOENT))
		return 0;
	if (dvol_probe(path, &kind, err))
		return err_context(err, "the seed for the disk in slot %u on that host", disk->slot);
	if (kind != DVOL_FILE_VOLUME && kind != DVOL_FILE_OTHER)
		return err_set(err, ERR_REFUSED,
			       "%.200s on that host is neither a volume nor a raw image; move it away there",
			       path);
	disk->seed =
	    kind == DVOL_FILE_VOLUME ? dvol_open(path, NULL, err) : dvol_open_raw(path, NULL, NULL, err);
	if (!disk->seed)
		return err_context(err, "the seed for the disk in slot %u on that host", disk->slot);
	disk->compare = true;
	return 0;
}

static int copy_extent(struct serve_disk *disk, uint8_t *data, uint64_t at, uint64_t len, uint64_t *written,
		       struct err *err)
{
	uint64_t size = dvol_size(disk->seed), end = at + len < size ? at + len : size;

	for (; at < end; at += PIECE) {
		size_t piece = end - at < PIECE ? (size_t)(end - at) : PIECE;

		if (dvol_read(disk->seed, data, piece, at, err) ||
		    dvol_write_differing(disk->vol, data, piece, at, written, err))
			return -1;
	}
	return 0;
}

/* What the copy has nothing of becomes the seed's: what came from the sender, of a session before, stays. */
static int fill(struct serve_disk *disk, uint64_t offset, uint64_t len, uint64_t *written, struct err *err)
{
	uint8_t *data = malloc(PIECE);
	int status = data ? 0 : err_set(err, ERR_SYSTEM, "out of memory for a seed");
	uint64_t end = offset + len;

	while (!status && offset < end) {
		struct dvol_map_extent *list;
		size_t count;

		status = dvol_map(disk->vol, offset, end - offset, COMPARE_BLOCKS, &list, &count, err);
		if (status)
			break;
		for (size_t i = 0; i < count && !status; i++) {
			if (list[i].kind == DVOL_MAP_HOLE)
				status = copy_extent(disk, data, list[i].offset, list[i].len, written, err);
			offset = list[i].offset + list[i].len;
		}
		free(list);
	}
	free(data);
	return status;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static int check(const struct serve *serve, const struct compare_range *range, struct err *err)
{
	const struct serve_disk *disk;
	uint64_t blocks;

	if (range->volume == 0 || range->volume > serve->disks.count)
		return err_set(err, ERR_INPUT, "COMPARE is of no disk");
	disk = &serve->disks.disk[range->volume - 1];
	blocks = (disk->size_bytes + DVOL_BLOCK - 1) / DVOL_BLOCK;
	if (!disk->compare)
		return err_set(err, ERR_INPUT, "COMPARE is of a disk that is not to be compared");
	if (range->first >= blocks || range->blocks > blocks - range->first)
		return err_set(err, ERR_INPUT, "COMPARE goes past the end of the disk");
	return 0;
}

int serve_compare(struct serve *serve, const struct frame *frame, struct err *err)
{
	uint8_t(*digests)[DVOL_BLOCK_DIGEST];
	struct compare_range range;
	struct serve_disk *disk;
	uint64_t offset, len, written = 0;
	int status = 0;

	/* Between epochs nobody writes. */
	if (serve->state != SERVE_IDLE)
		return message_unexpected(serve->control.link, frame, err);
	if (compare_read(frame, &range, err) || check(serve, &range, err))
		return -1;
	disk = &serve->disks.disk[range.volume - 1];
	offset = range.first * DVOL_BLOCK;
	len = (uint64_t)range.blocks * DVOL_BLOCK;
	if (len > disk->size_bytes - offset)
		len = disk->size_bytes - offset;
	digests = calloc(range.blocks, DVOL_BLOCK_DIGEST);
	if (!digests)
		return err_set(err, ERR_SYSTEM, "out of memory for digests");
	if (disk->seed)
		status = fill(disk, offset, len, &written, err) ||
			 serve_disks_written(serve, range.volume, written, err);
	status = status || dvol_block_digests(disk->vol, offset, range.blocks, NULL, digests, err);
	if (status)
		err_context(err, "disk in slot %u", disk->slot);
	else
		status = compare_send_digests(serve->control.link, &range,
					      (const uint8_t(*)[DVOL_BLOCK_DIGEST])digests, err);
	free(digests);
	return status ? -1 : 0;
}
