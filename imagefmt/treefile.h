/* treefile.h: the file that describes a closed epoch by its digest tree (docs/dvol.md, "Tree files"); for this library only. */
#ifndef IMAGEFMT_TREEFILE_H
#define IMAGEFMT_TREEFILE_H

#include "imagefmt/tree.h"

#define TREEFILE_MAGIC "DVOLTRE\x01"
enum { TREEFILE_HEADER = 128, TREEFILE_BITMAP = TREE_FANOUT / 8, TREEFILE_BUFFER = 1 << 16 };

struct treefile_header {
	uint8_t lineage[16];
	struct dvol_id id;
	uint64_t size_bytes;
	unsigned leaf; /* the level of the digests that are not divided further: 0 (blocks) or 1 (MiB) */
	uint8_t root[DVOL_ROOT];
	uint64_t top[2];
};

void treefile_encode(const struct treefile_header *header, uint8_t out[TREEFILE_HEADER]);
/* treefile_decode: checked, but for the root, which top must give.  path is for messages. */
int treefile_decode(struct treefile_header *header, const uint8_t in[TREEFILE_HEADER], const char *path,
		    struct err *err);

#endif
