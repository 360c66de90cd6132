/* delta.h: the delta file (docs/dvol.md, "Deltas"), for this library only. */
#ifndef IMAGEFMT_DELTA_H
#define IMAGEFMT_DELTA_H

#include "imagefmt/sha.h"
#include "imagefmt/vol.h"

#define DELTA_MAGIC "DVOLDLT\x01"
enum { DELTA_HEADER = 256, DELTA_RECORD = 32, DELTA_BLOCKS = 256 };
enum delta_kind { DELTA_DATA = 1, DELTA_ZERO, DELTA_END };

struct delta_header {
	uint8_t lineage[16];
	struct dvol_id from, to;
	uint64_t size_bytes;
	bool has_from_root, has_to_root;
	uint8_t from_root[DVOL_ROOT], to_root[DVOL_ROOT];
};

struct delta_record {
	uint64_t block;
	uint32_t count;
	enum delta_kind kind;
	uint8_t *data; /* of DELTA_DATA: count blocks; the reader's */
};

/* A delta file being read: each record is checked before it is handed out. */
struct delta_reader {
	struct file file;
	const char *path;
	uint64_t at, size;
	struct delta_header header;
	struct sha *sha;
	uint8_t *data;
	uint64_t next; /* blocks come in order */
};

void delta_header_encode(const struct delta_header *header, uint8_t out[DELTA_HEADER]);
void delta_record_encode(const struct delta_record *record, uint8_t out[DELTA_RECORD]);
/* delta_open: the header is read and checked.  delta_next: 1 for a record, 0 after the last one, whose digest of the
 * whole file was right then, -1 with err.  delta_close may follow a failed delta_open. */
int delta_open(struct delta_reader *reader, const struct file_ops *files, void *files_context,
	       const char *path, struct err *err);
int delta_next(struct delta_reader *reader, struct delta_record *record, struct err *err);
void delta_close(struct delta_reader *reader);

#endif
