/* dvolkit.h: volumes in memory, their roots, and how much of their data is read. */
#ifndef TESTS_LIB_DVOLKIT_H
#define TESTS_LIB_DVOLKIT_H

#include "imagefmt/dvol.h"
#include "tests/lib/memdisk.h"

/* kit_volume: a new volume on disk, open for writing.  kit_open: one that is there; id with number 0: its head, writable.
 * kit_close_epoch: close an epoch.  All of these fail the test when they cannot. */
struct dvol *kit_volume(struct memdisk *disk, const char *path, uint64_t blocks, unsigned compress);
struct dvol *kit_open(struct memdisk *disk, const char *path, struct dvol_id id);
struct dvol_id kit_close_epoch(struct dvol *vol);
/* kit_fill: block := a byte repeated, with the block's number in front of it.  kit_root: dvol_digest. */
void kit_fill(struct dvol *vol, uint64_t block, uint8_t byte);
void kit_root(struct dvol *vol, struct dvol_id id, uint8_t root[DVOL_ROOT]);
/* kit_same_root: fail unless id has the root that a new volume has into which its bytes are written in one go. */
void kit_same_root(struct memdisk *disk, struct dvol *vol, const char *path, struct dvol_id id);

/* Counting reads of data: the blocks at which the data of some epochs is in a file, and how often one of them is read. */
struct kit_reads {
	const char *path;
	uint8_t *data; /* a byte each file block: 1 for data */
	uint64_t blocks, count;
};
/* kit_count: from now on count reads of data that epoch id of the volume sees, besides what reads counts already (zeroed at first).
 * kit_count_end: no longer; returns the count. */
void kit_count(struct memdisk *disk, struct kit_reads *reads, const char *path, struct dvol_id id);
uint64_t kit_count_end(struct memdisk *disk, struct kit_reads *reads);

#endif
