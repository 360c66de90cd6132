/* dvol.h: copy-on-write volumes with epochs, one per file.  The format and its arguments are in docs/dvol.md.
 *
 * A volume has a head, which is read and written like a disk, and closed epochs, which read for ever as the head
 * did when they were closed.  One process may have a volume open for writing; any number may read closed epochs
 * of it meanwhile, each through a handle of its own (also in the writer's process).
 *
 * Threads: all functions on a handle may be called from any thread, several at once, except dvol_close, which
 * must be the last.  A writable handle whose file operations allow it (file.h) now and then starts a thread of its own,
 * which writes a checkpoint and ends; dvol_close waits for it.
 *
 * Errors: -1 or NULL with *err filled (see common/err.h): ERR_USAGE for arguments that can never be right, ERR_STATE for what the volume's present state forbids, ERR_SYSTEM for what the system refused,
 * ERR_INPUT for a damaged file.  After a failed write or sync of metadata a handle is *failed*: it reads, but
 * every change is refused with ERR_STATE; the file itself opens at its last flush.  Nothing here prints or exits,
 * except that running out of memory for a few bytes of bookkeeping ends the process (common/buf.h). */
#ifndef IMAGEFMT_DVOL_H
#define IMAGEFMT_DVOL_H

#include "common/err.h"
#include "imagefmt/file.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct dvol;

enum { DVOL_BLOCK = 4096, DVOL_SECTOR = 512, DVOL_ROOT = 32, DVOL_NAME_MAX = 255 };
enum { DVOL_COMPRESS_MAX = 19 }; /* zstd level */
#define DVOL_SIZE_MAX (64ULL << 40)

/* The name of an epoch between hosts.  Ordered by term, then number; number 0 means "none". */
struct dvol_id {
	uint64_t term;
	uint64_t number;
};

/* dvol_id_parse("1.5", &id, err): term and number, decimal, from 1 on.  Returns 0, or -1 (ERR_USAGE) for anything else. */
int dvol_id_parse(const char *text, struct dvol_id *id, struct err *err);

enum dvol_file_kind { DVOL_FILE_OTHER, DVOL_FILE_VOLUME, DVOL_FILE_DELTA, DVOL_FILE_TREE };
/* dvol_probe(path, &kind, err): what a file seems to be, by its magic; nothing else is checked. */
int dvol_probe(const char *path, enum dvol_file_kind *kind, struct err *err);

enum dvol_backing_kind { DVOL_BACKING_NONE, DVOL_BACKING_RAW, DVOL_BACKING_DVOL };

struct dvol_create_options {
	uint64_t size_bytes;     /* a multiple of 512, at least one block, at most DVOL_SIZE_MAX */
	uint64_t journal_blocks; /* 0: 1024 (4 MiB); otherwise 16 to 65536 */
	unsigned compress; /* zstd level for what is written to stay (dvol_write_cold, dvol_apply); 0: none */
	const uint8_t *lineage; /* 16 bytes: what replicas of one volume share; NULL: a new one */
	enum dvol_backing_kind backing_kind;
	const char *backing_path;     /* kept as given; a relative one is seen from the volume's folder */
	struct dvol_id backing_epoch; /* DVOL_BACKING_DVOL: which closed epoch */
	const struct file_ops *files; /* NULL: the system's */
	void *files_context;
};

/* dvol_create(path, options, err): make a new volume; path must not exist.  Durable on return; on failure nothing
 * is left behind.  A backing is opened to see that it is there; its size need not be the volume's: past its end there are
 * zeroes, and of a larger one nothing past the size of now is ever seen.  Returns 0 or -1. */
int dvol_create(const char *path, const struct dvol_create_options *options, struct err *err);

struct dvol_open_options {
	bool writable; /* the head, for writing; excludes everybody else from the head */
	struct dvol_id
	    epoch; /* read-only: this closed epoch; number 0: the head (refused while it is written) */
	bool list; /* read-only, also beside a writer and without the backing: for dvol_info, dvol_epochs and
		      dvol_pins, which tell how it was at the open; all else is ERR_USAGE */
	size_t cache_pages; /* bound on clean metadata pages in memory; 0: 4096 (16 MiB) */
	bool compact;       /* take the first free space of the file: keeps it short, costs speed */
	bool
	    digest_in_background; /* writable: a thread of the handle gives epochs their root soon after they are closed */
	bool direct; /* data with O_DIRECT: buffers, offsets and lengths in multiples of 4096 go straight */
	const struct file_ops *files;
	void *files_context;
};

/* dvol_open(path, options, err): options may be NULL (read-only, head).  A writable open completes what a crash
 * cut short.  Returns the handle or NULL. */
struct dvol *dvol_open(const char *path, const struct dvol_open_options *options, struct err *err);
/* dvol_open_raw(path, files, files_context, err): a raw image as a handle for reading, comparing and healing from; its size is the
 * file's at this moment.  files may be NULL: the system's. */
struct dvol *dvol_open_raw(const char *path, const struct file_ops *files, void *files_context,
			   struct err *err);
/* dvol_close(vol, err): for a writable handle flush and checkpoint first.  The handle is gone in any case; -1 says
 * that the last changes may not be durable.  dvol_close(NULL, …) does nothing. */
int dvol_close(struct dvol *vol, struct err *err);

uint64_t dvol_size(const struct dvol *vol); /* bytes */

/* dvol_on_progress(vol, tick, context): from now on the long operations of this handle (digest, verify, compare, export,
 * apply, check, pack) call tick about once a MiB, in the thread that runs the operation, with the bytes done and the
 * bytes in all, as far as that is known (0: not).  When it returns false the operation ends with ERR_CANCELLED, and
 * leaves what a failure of it would.  NULL: no calls any more.  Not while such an operation runs. */
typedef bool dvol_progress(void *context, uint64_t done_bytes, uint64_t total_bytes);
void dvol_on_progress(struct dvol *vol, dvol_progress *tick, void *context);

/* dvol_read(vol, iov, count, offset_bytes, err): fill the buffers with the bytes at offset.  Never short; what was
 * never written reads as zeroes or from the backing.  A range past the end is ERR_USAGE.  On error the buffers'
 * content is undefined. */
int dvol_readv(struct dvol *vol, const struct iovec *iov, int count, uint64_t offset, struct err *err);
int dvol_read(struct dvol *vol, void *data, size_t len, uint64_t offset, struct err *err);
/* dvol_write(vol, …): any offset and length within the volume; whole blocks are fastest.  Seen by every read that
 * starts after it returned; durable after the next dvol_flush that starts after it returned.  On error each
 * sector of the range has its old or its new content. */
int dvol_writev(struct dvol *vol, const struct iovec *iov, int count, uint64_t offset, struct err *err);
int dvol_write(struct dvol *vol, const void *data, size_t len, uint64_t offset, struct err *err);
/* dvol_direct(vol, write, iov, count, offset, direct): the same for a caller that transfers the data itself, in its own
 * time.  Waits for nothing but the volume's metadata.
 *   DVOL_DIRECT_NO    not possible for this range now; dvol_readv or dvol_writev are
 *   DVOL_DIRECT_DONE  it was read already
 *   DVOL_DIRECT_IO    read or write direct->fd at direct->at (aligned, for direct I/O).  Nobody moves these blocks until
 *                     dvol_direct_end, by any thread, once the transfer is over; *direct stays where it is until then.
 * dvol_direct_end(vol, direct, whole): whole: all of it was transferred.  Returns true when the data is read, or written as
 * by dvol_writev; false: it is not, and may be by the functions above.
 * Epochs are not closed meanwhile, so it must not take longer than the disk does. */
struct dvol_direct {
	int fd;
	uint64_t at;
	/* the volume's */
	bool write, placed; /* placed: not in place, but where a new place was taken */
	unsigned slot;
	struct dvol_range {
		uint64_t first, last; /* blocks */
		struct dvol_range *next;
	} range;
};
enum dvol_direct_kind { DVOL_DIRECT_NO, DVOL_DIRECT_DONE, DVOL_DIRECT_IO };
enum dvol_direct_kind dvol_direct(struct dvol *vol, bool write, const struct iovec *iov, int count,
				  uint64_t offset, struct dvol_direct *direct);
bool dvol_direct_end(struct dvol *vol, struct dvol_direct *direct, bool whole);
/* dvol_write_cold(vol, …): as dvol_write, for data that is not likely to be written again soon: whole blocks are compressed
 * where the volume was made so, several at a time (64 KiB are best), while others are held up for a moment. */
int dvol_write_cold(struct dvol *vol, const void *data, size_t len, uint64_t offset, struct err *err);
/* dvol_write_differing(vol, data, len, offset, &written, err): as dvol_write, but blocks that hold these bytes already are left as
 * they are, and blocks of zeroes are as by dvol_write_zeroes; offset is a multiple of DVOL_BLOCK.  written (may be NULL): grows by
 * the bytes that were changed.  Beside others who write the range the result is either's. */
int dvol_write_differing(struct dvol *vol, const void *data, size_t len, uint64_t offset, uint64_t *written,
			 struct err *err);
/* dvol_flush(vol, err): every write, discard and write-zeroes that returned before is durable on return. */
int dvol_flush(struct dvol *vol, struct err *err);
/* dvol_write_zeroes(vol, offset, len, err): the range reads as zeroes afterwards; whole blocks give their space
 * back at the next flush.  dvol_discard does the same for the whole blocks in the range and leaves the rest. */
int dvol_write_zeroes(struct dvol *vol, uint64_t offset, uint64_t len, struct err *err);
int dvol_discard(struct dvol *vol, uint64_t offset, uint64_t len, struct err *err);
/* dvol_resize(vol, size_bytes, err): grow the head; what is added reads as zeroes.  Smaller is ERR_USAGE.  Closed
 * epochs keep their size.  Durable on return. */
int dvol_resize(struct dvol *vol, uint64_t size_bytes, struct err *err);

struct dvol_epoch {
	struct dvol_id id, parent;
	uint64_t time_ns; /* CLOCK_REALTIME at the close */
	uint64_t size_bytes;
	bool has_root;
	uint8_t root[DVOL_ROOT];
};

/* dvol_epoch_close(vol, &id, &made, err): what the head holds now becomes a closed epoch, durable on return; writers
 * are held up only while writes in flight complete.  id NULL, or with number 0: the number after the highest
 * that an epoch of the volume ever had, in its term (1.1 for the first).  Otherwise it must be above the newest epoch's; a
 * name that a deleted epoch had is taken then, so only for the same content.  made may be NULL. */
int dvol_epoch_close(struct dvol *vol, const struct dvol_id *id, struct dvol_id *made, struct err *err);
/* dvol_epoch_close_cut: the same; cut->done(cut->context), if not NULL, is called in this thread as soon as what is written from
 * then on belongs to the next epoch, which is before this one is durable (and not at all when the close fails before).  It
 * must not call functions on the handle. */
struct dvol_cut {
	void (*done)(void *context);
	void *context;
};
int dvol_epoch_close_cut(struct dvol *vol, const struct dvol_id *id, const struct dvol_cut *cut,
			 struct dvol_id *made, struct err *err);
/* dvol_epochs(vol, &list, &count, err): all closed epochs, oldest first, at the time of the call; for a handle on
 * a closed epoch those that it knew.  The caller frees list. */
int dvol_epochs(struct dvol *vol, struct dvol_epoch **list, size_t *count, struct err *err);
/* dvol_epoch_delete(vol, id, err): gone, and exactly the space that only it used is free, durably, on return.
 * ERR_STATE while anybody reads it or a pin holds it. */
int dvol_epoch_delete(struct dvol *vol, struct dvol_id id, struct err *err);
/* dvol_rollback(vol, id, err): the head reads as the closed epoch id again.  ERR_STATE unless it is the newest (delete
 * the later ones first, or export them).  O(changed since). */
int dvol_rollback(struct dvol *vol, struct dvol_id id, struct err *err);
/* dvol_revert(vol, id, err): the head reads as the closed epoch id again, which need not be the newest; the later epochs stay.
 * O(changed since).  Nobody else may change the head meanwhile.  From its beginning to its end the pin DVOL_PIN_REVERT is on the
 * epoch: what is cut short (a crash; a failure; ERR_CANCELLED by dvol_on_progress) is finished by the next writable
 * open, before which the head cannot be read, closed or rolled back.  Where the head is larger than the epoch was, it stays
 * so, with zeroes behind the epoch's end. */
#define DVOL_PIN_REVERT "drover: the head becomes this epoch"
int dvol_revert(struct dvol *vol, struct dvol_id id, struct err *err);
/* dvol_pin(vol, id, name, err): the epoch cannot be deleted until dvol_unpin with the same name.  Pins are durable.
 * A pin that is there already is ERR_STATE, and so is an unpin of one that is not. */
int dvol_pin(struct dvol *vol, struct dvol_id id, const char *name, struct err *err);
int dvol_unpin(struct dvol *vol, struct dvol_id id, const char *name, struct err *err);
struct dvol_pinned {
	struct dvol_id id;
	char name[DVOL_NAME_MAX + 1]; /* any bytes but NUL */
};
/* dvol_pins(vol, &list, &count, err): all pins, by rising epoch, as dvol_epochs.  The caller frees list. */
int dvol_pins(struct dvol *vol, struct dvol_pinned **list, size_t *count, struct err *err);

enum dvol_map_kind {
	DVOL_MAP_HOLE,    /* never written, reads as zeroes */
	DVOL_MAP_ZERO,    /* zeroes that were written or discarded */
	DVOL_MAP_DATA,    /* in the file */
	DVOL_MAP_PACKED,  /* in the file, compressed */
	DVOL_MAP_BACKING, /* never written here: what the backing has */
};

struct dvol_map_extent {
	uint64_t offset, len; /* bytes, whole blocks, except at the end of the volume */
	enum dvol_map_kind kind;
	uint64_t
	    file_offset; /* of DATA: bytes, rising with the extent's; of PACKED: of the first block's packed extent */
};

/* dvol_map(vol, offset, len, most, &list, &count, err): the extents of [offset, offset + len) as this handle sees them, rising,
 * without gaps, neighbours of one kind joined, at most `most` of them: they may end before len does, then ask again
 * from there.  offset is a multiple of DVOL_BLOCK.  Beside a writer each block is as it was at some moment of the call.
 * The caller frees list. */
int dvol_map(struct dvol *vol, uint64_t offset, uint64_t len, size_t most, struct dvol_map_extent **list,
	     size_t *count, struct err *err);

struct dvol_extent {
	uint64_t offset, len; /* bytes, whole blocks, except at the end of the volume */
};

/* dvol_changed(vol, from, to, &list, &count, err): the blocks that may differ between the closed epochs from and to (to
 * with number 0: the head of this handle), rising, neighbours joined.  from with number 0: from nothing: all that is
 * mapped.  Every block that differs is in it; one that was written with the bytes it had is in it too. */
int dvol_changed(struct dvol *vol, struct dvol_id from, struct dvol_id to, struct dvol_extent **list,
		 size_t *count, struct err *err);

/* dvol_digest(vol, id, root, err): the root digest of a closed epoch; vol writable.  Computed for it and every epoch before
 * it that has none, in O(changed), and kept; others read, write, flush and close meanwhile.  A pass that is cut short, by a
 * cancel, a crash or dvol_close, is done again later for what changed between two epochs only; a first one goes on where it
 * was.  What stopped the thread of digest_in_background is reported here once, when the epoch has no root. */
int dvol_digest(struct dvol *vol, struct dvol_id id, uint8_t root[DVOL_ROOT], struct err *err);

/* dvol_read_proven(vol, data, len, offset, err): as dvol_read, of whole blocks, vol on a closed epoch that has been digested: each block is
 * compared with its digest.  ERR_INPUT for one that is damaged, or has no digest. */
int dvol_read_proven(struct dvol *vol, void *data, size_t len, uint64_t offset, struct err *err);

/* dvol_block_digests(vol, offset, count, wanted, digests, err): of `count` blocks from offset on, as this handle reads them, each block's digest as
 * in the tree: the first 16 bytes of SHA-256, zeroes for zeroes.  wanted (NULL: all): bit i % 8 of byte i / 8 says whether block i is to be
 * read; of others the digest is zeroes.  Reads the data; of a raw image, too.  Beside writers each block is as it was at some moment. */
enum { DVOL_BLOCK_DIGEST = 16 };
int dvol_block_digests(struct dvol *vol, uint64_t offset, size_t count, const uint8_t *wanted,
		       uint8_t (*digests)[DVOL_BLOCK_DIGEST], struct err *err);

struct dvol_bad_block {
	uint64_t offset; /* bytes in the volume */
	struct dvol_id epoch;
};
/* dvol_verify(vol, heal, &bad, &nbad, &healed, err): vol on a closed epoch with a root: every block is read and compared with
 * its digest, and all of them together with the root.  Success with no bad ones proves that the bytes on the disk are
 * what the root says.  heal (NULL: none) is another handle whose content should be the same (a replica's epoch, dvol_open_raw);
 * a bad block, also one that cannot be read, is replaced by its block if that one has the right digest (vol's file is opened for
 * writing for that; somebody else may be writing the volume).  bad: those still bad, rising, the caller frees.  Returns 0
 * also when there are bad ones; ERR_STATE when the epoch has no root; ERR_INPUT when no block is bad by itself, and yet the
 * root does not come out. */
int dvol_verify(struct dvol *vol, struct dvol *heal, struct dvol_bad_block **bad, size_t *nbad,
		uint64_t *healed, struct err *err);

enum dvol_compared { DVOL_COMPARED_DATA, DVOL_COMPARED_DIGESTS };
/* dvol_compare(a, b, &list, &count, &way, err): the blocks in which two handles' contents differ; where the sizes differ, the
 * shorter one counts as continued with zeroes.  When both are on closed epochs of volumes whose digests are there, the trees are
 * walked, at the cost of what differs and of what changed since the epochs, and no data is read (but for blocks of a backing and
 * of epochs that have no digest yet, near what differs).  Otherwise both are read whole.  way (may be NULL) tells which. */
int dvol_compare(struct dvol *a, struct dvol *b, struct dvol_extent **list, size_t *count,
		 enum dvol_compared *way, struct err *err);

/* dvol_tree_export(vol, id, granularity, path, err): write the digest tree of a closed epoch as a new file, with digests of
 * every 4096 bytes (DVOL_TREE_FINE) or every MiB (DVOL_TREE_COARSE): 4 MiB or 16 KiB for each GiB that is not zeroes.  ERR_STATE
 * unless the epoch has a root and the volume's digests are there.  Durable on return; nothing is left behind on failure.
 * dvol_tree_compare(vol, path, &list, &count, err): vol on a closed epoch: where its content differs from what the file
 * describes, to the file's granularity.  No data is read (as with dvol_compare).  The shorter one counts as continued with zeroes.
 * A file that is damaged, cut off or made up is ERR_INPUT. */
enum { DVOL_TREE_FINE = 4096, DVOL_TREE_COARSE = 1 << 20 };
int dvol_tree_export(struct dvol *vol, struct dvol_id id, uint32_t granularity, const char *path,
		     struct err *err);
int dvol_tree_compare(struct dvol *vol, const char *path, struct dvol_extent **list, size_t *count,
		      struct err *err);

struct dvol_info {
	uint64_t size_bytes;
	uint64_t used_bytes;     /* in the file, all kinds */
	uint64_t data_bytes;     /* blocks of the head and of closed epochs; only from dvol_check */
	uint64_t metadata_bytes; /* the rest of used_bytes; only from dvol_check */
	uint64_t file_bytes;     /* the file's length; holes count */
	uint64_t generation;
	uint64_t epochs;
	struct dvol_id
	    last_epoch; /* the highest name that an epoch ever had, also one that was deleted; number 0: none */
	uint64_t undo_entries;
	uint64_t packed_blocks; /* blocks that are compressed; only from dvol_check */
	unsigned compress;      /* the volume's zstd level for cold data */
	uint64_t errors;        /* of dvol_check */
	uint8_t uuid[16], lineage[16];
	enum dvol_backing_kind backing_kind;
	char backing_path[1024];
	struct dvol_id backing_epoch;
};
int dvol_info(struct dvol *vol, struct dvol_info *info, struct err *err);
/* dvol_check(vol, info, report, context, err): the whole metadata against itself.  report (may be NULL) gets a sentence for
 * each of the first 100 errors; info->errors is their number.  A writable handle is checkpointed first and holds up
 * writers; a read-only one must be on the head.  Returns 0 when the check could be made, whatever it found. */
int dvol_check(struct dvol *vol, struct dvol_info *info, void (*report)(void *context, const char *text),
	       void *context, struct err *err);

struct dvol_pack_result {
	uint64_t packed_blocks; /* are compressed now, and were not */
	uint64_t freed_blocks;  /* of the file, by that */
};
/* dvol_pack(vol, level, result, err): compress what is at rest: all that closed epochs see; without closed epochs the head.
 * level: zstd's, 1 to 19; 0: the volume's own, else 3.  The content and the digests stay what they are.  In steps of
 * some megabytes, each durable; one that failed or was cancelled keeps what it has done.  ERR_STATE while anybody
 * reads a closed epoch.  Writers are held up during a step.  result may be NULL. */
int dvol_pack(struct dvol *vol, unsigned level, struct dvol_pack_result *result, struct err *err);

/* dvol_export(vol, from, path, err): write a new file with what turns the closed epoch from (number 0: an empty volume)
 * into the closed epoch on which vol is open.  dvol_apply(vol, path, err): vol writable, its newest epoch being the
 * delta's from and of the same lineage; makes the delta's epoch of it.  Where the sender has digests the base is proven first
 * and the new epoch afterwards (O(changed), but all that is mapped where this volume has no digests yet; progress is told anew
 * for that).  All or nothing: on failure, also of a proof, on a cancel, or after a crash, the head reads as the epoch from;
 * after a crash in the last proof the new epoch is there, without a root, and is proven before the next delta.  Changes
 * made to the head since that epoch are refused with ERR_STATE; a seed (from 0) wants a volume without epochs and
 * replaces its head. */
int dvol_export(struct dvol *vol, struct dvol_id from, const char *path, struct err *err);
int dvol_apply(struct dvol *vol, const char *path, struct err *err);

struct dvol_delta_info {
	uint8_t lineage[16];
	struct dvol_id from, to; /* from with number 0: a seed */
	uint64_t size_bytes;     /* of the volume at `to` */
};
/* dvol_delta_info(path, &info, err): what a delta file's header says; the rest of the file is not looked at. */
int dvol_delta_info(const char *path, struct dvol_delta_info *info, struct err *err);

#endif
