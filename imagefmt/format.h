/* format.h: the constants of docs/dvol.md, and map words. */
#ifndef IMAGEFMT_FORMAT_H
#define IMAGEFMT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "table words are used as they are in the file");

enum {
	BLOCK = 4096,
	SECTOR = 512,
	SUPER_SLOTS = 2,
	SUPER_JOURNAL = 488, /* byte in a superblock */
	JOURNAL_START = 8,   /* block */
	JOURNAL_MIN = 16,
	JOURNAL_DEFAULT = 1024,
	JOURNAL_MAX = 65536,

	SECTOR_WORDS = 63,
	PAGE_SECTORS = 8,
	PAGE_WORDS = SECTOR_WORDS * PAGE_SECTORS,
	LEVELS = 4,

	RUN_PAGE_ENTRIES = 255,
	RUN_MAX = 16384,

	RECORD_HEADER = 64,
	ITEM = 16,

	PACK_SLOTS = 16, /* blocks of a packed extent, at most */
	PACK_HEADER = 16,
	PACK_SLOT = 24,

	TREE_FANOUT = 256,
	TREE_LEVELS = 5,
	DIGEST = 16,
};

enum table {
	TABLE_MAP,
	TABLE_ALLOC,
	TABLE_PACK,
	TABLE_PDIG,
	TABLE_HASH1,
	TABLES = TABLE_HASH1 + TREE_LEVELS
};

#define SUPER_MAGIC   "DVOL\r\n\x1a\x01"
#define RECORD_MAGIC  "DVOLJRNL"
#define SUPER_VERSION 1U

#define PBN_LIMIT     (1ULL << 35)
#define WORD_PACKED   (1ULL << 35)
#define BIRTH_LIMIT   (1U << 28)
#define CATALOG_MAX   (64U << 20)

/* Bytes of OFD locks. */
#define LOCK_WRITER (1ULL << 61)
#define LOCK_EPOCH  (1ULL << 62)

enum item_kind { ITEM_SET = 1, ITEM_PAGE, ITEM_UNDO };

enum op {
	OP_CLOSE = 1,
	OP_CONDEMN,
	OP_DROP,
	OP_RUN_ADD,
	OP_RUN_DROP,
	OP_SPILL,
	OP_ROLL_BEGIN,
	OP_ROLL_END,
	OP_RESIZE,
	OP_PIN,
	OP_UNPIN,
	OP_DIGESTED,
	OP_REOWN,
};

enum { EPOCH_CONDEMNED = 1, EPOCH_HAS_ROOT = 2 };

/* A map word: where a block is, and since which epoch index. */
static inline uint64_t word_make(uint64_t pbn, uint32_t birth)
{
	return pbn | (uint64_t)birth << 36;
}

static inline uint64_t word_pbn(uint64_t word)
{
	return word & (PBN_LIMIT - 1);
}

static inline uint32_t word_birth(uint64_t word)
{
	return (uint32_t)(word >> 36);
}

static inline bool word_packed(uint64_t word)
{
	return (word & WORD_PACKED) != 0;
}

static inline uint64_t item_key(enum item_kind kind, unsigned table, unsigned level, uint64_t number)
{
	return (uint64_t)kind << 56 | (uint64_t)level << 52 | (uint64_t)table << 48 | number;
}

#endif
