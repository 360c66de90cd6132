/* check.c: the metadata against itself, and figures. */
#include "imagefmt/vol.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPORTS = 100 };

struct check {
	struct dvol *vol;
	struct dvol_info *info;
	void (*report)(void *context, const char *text);
	void *context;
	uint64_t *marks; /* a bit a block */
	uint8_t *packs;  /* a byte a block: how many words name the packed extent that begins there */
	uint64_t data, metadata;
};

static void __attribute__((format(printf, 2, 3))) fault(struct check *check, const char *format, ...)
{
	char text[256];
	va_list args;
	if (check->info->errors++ >= REPORTS || check->report == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	check->report(check->context, text);
}

static void mark(struct check *check, uint64_t pbn, const char *what, uint64_t which)
{
	if (pbn < check->vol->alloc.first || pbn >= check->vol->alloc.end) {
		fault(check, "%s %llu is outside of the file", what, (unsigned long long)which);
		return;
	}
	if (check->marks[pbn / 64] >> (pbn % 64) & 1)
		fault(check, "%s %llu uses file block %llu, which something else uses too", what,
		      (unsigned long long)which, (unsigned long long)pbn);
	check->marks[pbn / 64] |= 1ULL << (pbn % 64);
}

/* mark_word: the block of a map word.  Of a packed one the references are counted here, and the extents marked later. */
static void mark_word(struct check *check, uint64_t word, const char *what, uint64_t block)
{
	uint64_t pbn = word_pbn(word);
	if (pbn == 0)
		return;
	if (!word_packed(word)) {
		check->data++;
		mark(check, pbn, what, block);
		return;
	}
	check->info->packed_blocks++;
	if (pbn < check->vol->alloc.first || pbn >= check->vol->alloc.end)
		fault(check, "%s %llu is outside of the file", what, (unsigned long long)block);
	else if (check->packs[pbn] < UINT8_MAX)
		check->packs[pbn]++;
}

/* check_packs: table PACK against the references that were counted. */
static int check_packs(struct check *check, struct err *err)
{
	struct dvol *vol = check->vol;
	uint64_t counted = 0;
	for (uint64_t pbn = 0;; pbn++) {
		uint64_t word;
		if (table_seek(vol, TABLE_PACK, pbn, &pbn, err) < 0)
			return -1;
		if (pbn == UINT64_MAX)
			break;
		if (table_get(vol, TABLE_PACK, pbn, &word, err) < 0)
			return -1;
		uint64_t blocks = word >> 32, references = word & UINT32_MAX;
		if (pbn >= vol->alloc.end ? word != 0 : check->packs[pbn] != references)
			fault(check, "the packed extent at file block %llu has %llu users, and counts %llu",
			      (unsigned long long)pbn,
			      pbn < vol->alloc.end ? (unsigned long long)check->packs[pbn] : 0ULL,
			      (unsigned long long)references);
		counted += references;
		if (word != 0 && (blocks == 0 || blocks >= PACK_SLOTS)) {
			fault(check, "the packed extent at file block %llu has a length that cannot be",
			      (unsigned long long)pbn);
			continue;
		}
		for (uint64_t i = 0; i < blocks; i++, check->data++)
			mark(check, pbn + i, "packed extent", pbn);
		if (pbn % PAGE_WORDS == 0)
			tables_trim(vol);
	}
	if (counted != check->info->packed_blocks)
		fault(check, "%llu blocks are packed, and the packed extents count %llu",
		      (unsigned long long)check->info->packed_blocks, (unsigned long long)counted);
	return 0;
}

static void mark_page(void *context, uint64_t pbn)
{
	struct check *check = context;
	check->metadata++;
	mark(check, pbn, "table page", pbn);
}

static int check_map(struct check *check, struct err *err)
{
	struct dvol *vol = check->vol;
	uint64_t end = (vol->catalog.size_bytes + BLOCK - 1) / BLOCK;
	for (uint64_t block = 0;; block++) {
		uint64_t word;
		if (table_seek(vol, TABLE_MAP, block, &block, err) < 0)
			return -1;
		if (block == UINT64_MAX)
			return 0;
		if (table_get(vol, TABLE_MAP, block, &word, err) < 0)
			return -1;
		if (word_birth(word) > vol->catalog.open_index ||
		    (word_pbn(word) != 0 && word_birth(word) == 0))
			fault(check, "block %llu was born in an epoch that never was",
			      (unsigned long long)block);
		if (word != 0 && block >= end)
			fault(check, "block %llu is past the end of the volume", (unsigned long long)block);
		mark_word(check, word, "block", block);
		if (block % PAGE_WORDS != 0)
			continue;
		tables_trim(vol);
		if (vol_tick(vol, block * BLOCK, end * BLOCK, err) < 0)
			return -1;
	}
}

static int check_undo(struct check *check, uint32_t owner, const struct undo *undo, struct err *err)
{
	uint64_t now;
	if (table_get(check->vol, TABLE_MAP, undo->block, &now, err) < 0)
		return -1;
	if (word_birth(undo->word) > owner)
		fault(check, "an older block %llu is kept although no epoch sees it",
		      (unsigned long long)undo->block);
	/* While a rollback is under way, what it restored is in the head again. */
	if (word_birth(now) <= owner)
		fault(check, "block %llu was superseded, but its new place is as old",
		      (unsigned long long)undo->block);
	mark_word(check, undo->word, "older block", undo->block);
	return 0;
}

static int check_runs(struct check *check, struct err *err)
{
	struct dvol *vol = check->vol;
	int result = 0;
	for (size_t i = 0; i < vol->catalog.nruns && result == 0; i++) {
		const struct run *run = &vol->catalog.runs[i];
		struct err why = {0};
		struct undo *list = run_load(vol, run, &why);
		check->info->undo_entries += run->count;
		for (uint64_t page = 0; page < run_pages(run->count); page++, check->metadata++)
			mark(check, run->pbn + page, "history page", run->pbn + page);
		if (list == NULL) {
			fault(check, "%s", why.text);
			continue;
		}
		for (uint32_t n = 0; n < run->count && result == 0; n++)
			result = check_undo(check, run->owner, &list[n], err);
		free(list);
	}
	for (size_t i = 0; i < vol->undos.count; i++) {
		const struct memrun *run = &vol->undos.runs[i];
		check->info->undo_entries += run->count;
		for (size_t n = 0; n < run->count && result == 0; n++)
			result = check_undo(check, run->owner, &run->list[n], err);
	}
	return result;
}

static int check_alloc(struct check *check, struct err *err)
{
	struct dvol *vol = check->vol;
	uint64_t used = 0;
	for (uint64_t word = 0; word < (vol->alloc.end + 63) / 64; word++) {
		uint64_t bits;
		if (table_get(vol, TABLE_ALLOC, word, &bits, err) < 0)
			return -1;
		used += (uint64_t)__builtin_popcountll(bits);
		for (uint64_t lost = bits & ~check->marks[word]; lost != 0; lost &= lost - 1)
			fault(check, "file block %llu is lost: in use by nobody",
			      (unsigned long long)word * 64 + (unsigned)__builtin_ctzll(lost));
		for (uint64_t taken = check->marks[word] & ~bits; taken != 0; taken &= taken - 1)
			fault(check, "file block %llu is in use, but counts as free",
			      (unsigned long long)word * 64 + (unsigned)__builtin_ctzll(taken));
	}
	if (used != vol->alloc.used)
		fault(check, "%llu blocks are in use, %llu are counted", (unsigned long long)used,
		      (unsigned long long)vol->alloc.used);
	return 0;
}

static void info_fill(struct dvol *vol, struct dvol_info *info)
{
	uint64_t fixed = vol->alloc.first + vol->catalog_at.count;
	*info = (struct dvol_info){.size_bytes = dvol_size(vol),
				   .used_bytes = (vol->alloc.used + fixed) * BLOCK,
				   .file_bytes = vol->alloc.end * BLOCK,
				   .generation = vol->super.generation,
				   .epochs = vol->catalog.nepochs,
				   .last_epoch = vol->catalog.last,
				   .compress = vol->catalog.compress,
				   .backing_kind = vol->catalog.backing_kind,
				   .backing_epoch = vol->catalog.backing_epoch};
	for (size_t i = 0; i < vol->catalog.nruns; i++)
		info->undo_entries += vol->catalog.runs[i].count;
	for (size_t i = 0; i < vol->undos.count; i++)
		info->undo_entries += vol->undos.runs[i].count;
	memcpy(info->uuid, vol->super.uuid, 16);
	memcpy(info->lineage, vol->super.lineage, 16);
	memcpy(info->backing_path, vol->catalog.backing_path, sizeof(info->backing_path));
}

int dvol_info(struct dvol *vol, struct dvol_info *info, struct err *err)
{
	(void)err;
	pthread_mutex_lock(&vol->meta);
	info_fill(vol, info);
	pthread_mutex_unlock(&vol->meta);
	return 0;
}

static int check_all(struct check *check, struct err *err)
{
	struct dvol *vol = check->vol;
	info_fill(vol, check->info);
	check->info->undo_entries = 0;
	/* Untouched parts cost no memory; how long the file is, its maker says, and it may be one hole. */
	check->marks = calloc(vol->alloc.end / 64 + 1, 8);
	check->packs = calloc(vol->alloc.end + 1, 1);
	int result = 0;
	if (check->marks == NULL || check->packs == NULL)
		result =
		    err_set(err, ERR_SYSTEM, "%s: there is not enough memory to check a file of %llu bytes",
			    vol->path, (unsigned long long)vol->alloc.end * BLOCK);
	for (unsigned table = 0; table < TABLES && result == 0; table++)
		result = table_walk(vol, (enum table)table, mark_page, check, err);
	if (result == 0)
		result = check_map(check, err);
	if (result == 0)
		result = check_runs(check, err);
	if (result == 0)
		result = check_packs(check, err);
	if (result == 0)
		result = check_alloc(check, err);
	free(check->marks);
	free(check->packs);
	check->info->data_bytes = check->data * BLOCK;
	check->info->metadata_bytes = check->info->used_bytes - check->info->data_bytes;
	return result;
}

int dvol_check(struct dvol *vol, struct dvol_info *info, void (*report)(void *context, const char *text),
	       void *context, struct err *err)
{
	struct check check = {.vol = vol, .info = info, .report = report, .context = context};
	if (vol->view != 0)
		return err_set(err, ERR_USAGE, "%s: check works on a handle of the head", vol->path);
	if (vol_has_content(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->commit);
	int result = vol->writable ? commit_run(vol, true, err) : 0;
	if (result == 0) {
		gate_shut(&vol->gate);
		pthread_mutex_lock(&vol->meta);
		result = check_all(&check, err);
		pthread_mutex_unlock(&vol->meta);
		gate_open(&vol->gate);
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}
