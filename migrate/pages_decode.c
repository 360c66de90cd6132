/* pages_decode.c: a payload of pages, checked, into the memory of a guest that does not run yet.
 *
 * Everything is checked and decompressed before the first byte is written.  The data goes from a scratch area that
 * stays in the cache to the memfd by pwrite: for pages that the memfd does not hold yet that is cheaper than writing
 * through a mapping, which takes a page fault for each. */
#include "imagefmt/dvol.h"
#include "migrate/delta.h"
#include "migrate/packer.h"
#include "migrate/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BLOCK_BYTES = PAGES_BLOCK * PAGES_SIZE,
	/* Punching a hole costs as much as writing about so many pages of zeroes. */
	PUNCH_MIN = 16,
	WORD = 64,
};

struct run {
	uint64_t first;
	uint32_t count;
	uint32_t kind;
};

struct pages_decoder {
	struct pages_stats stats;
	struct run runs[PAGES_RUNS_MAX];
	struct unpacker *unpacker;
	uint8_t *scratch; /* the data; PAGES_BATCH_MAX pages */
	uint8_t *changed; /* pages that deltas were applied to; as many */
};

/* A payload whose head was checked. */
struct payload {
	struct pages_target *target;
	uint16_t encoding;
	uint32_t nruns;
	uint32_t decoded;
	uint64_t pages;
	uint64_t zero_pages;
	uint64_t data_pages;
	uint64_t delta_pages;
	const uint8_t *data;
	size_t data_len;
};

static const uint8_t zeroes[PUNCH_MIN * PAGES_SIZE];

int pages_target_open(struct pages_target *target, uint16_t volume, int fd, uint64_t pages, struct err *err)
{
	struct stat st;
	size_t words = (size_t)((pages + WORD - 1) / WORD);

	*target = (struct pages_target){.volume = volume, .fd = fd, .pages = pages};
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at the memory to be filled");
	if (pages == 0 || (uint64_t)st.st_size / PAGES_SIZE != pages || st.st_size % PAGES_SIZE)
		return err_set(err, ERR_STATE, "the memory to be filled has %lld bytes, not %llu pages",
			       (long long)st.st_size, (unsigned long long)pages);
	target->filled = calloc(words, sizeof(*target->filled));
	if (!target->filled)
		return err_sys(err, "cannot allocate the map of filled pages");
	if (st.st_blocks > 0)
		memset(target->filled, 0xff, words * sizeof(*target->filled));
	return 0;
}

void pages_target_disk(struct pages_target *target, uint16_t volume, struct dvol *disk)
{
	*target = (struct pages_target){.volume = volume,
					.fd = -1,
					.disk = disk,
					.pages = (dvol_size(disk) + PAGES_SIZE - 1) / PAGES_SIZE};
}

void pages_target_close(struct pages_target *target)
{
	free(target->filled);
	*target = (struct pages_target){.fd = -1};
}

struct pages_decoder *pages_decoder_open(struct err *err)
{
	struct pages_decoder *decoder = calloc(1, sizeof(*decoder));

	if (decoder) {
		decoder->scratch = aligned_alloc(PAGES_SIZE, (size_t)PAGES_BATCH_MAX * PAGES_SIZE);
		decoder->changed = aligned_alloc(PAGES_SIZE, (size_t)PAGES_BATCH_MAX * PAGES_SIZE);
		decoder->unpacker = unpacker_open();
	}
	if (!decoder || !decoder->scratch || !decoder->changed || !decoder->unpacker) {
		err_sys(err, "cannot allocate a page decoder");
		pages_decoder_close(decoder);
		return NULL;
	}
	return decoder;
}

void pages_decoder_close(struct pages_decoder *decoder)
{
	if (!decoder)
		return;
	unpacker_close(decoder->unpacker);
	free(decoder->scratch);
	free(decoder->changed);
	free(decoder);
}

const struct pages_stats *pages_decoder_stats(const struct pages_decoder *decoder)
{
	return &decoder->stats;
}

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_INPUT, "pages from the other side are not valid: %s", what);
}

static struct pages_target *find_target(struct pages_target *targets, size_t n, uint16_t volume)
{
	for (size_t i = 0; i < n; i++)
		if (targets[i].volume == volume)
			return &targets[i];
	return NULL;
}

static int check_runs(struct pages_decoder *decoder, struct reader *reader, struct payload *payload,
		      struct err *err)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < payload->nruns; i++) {
		struct run run;

		run.first = reader_u64(reader);
		run.count = reader_u32(reader);
		run.kind = reader_u32(reader);
		if (reader->bad)
			return bad(err, "they end inside the list of runs");
		if (run.count == 0 || run.kind > PAGES_RUN_DELTA)
			return bad(err, "a run is empty or of unknown kind");
		if (run.first >= payload->target->pages || run.count > payload->target->pages - run.first)
			return bad(err, "a run goes past the end of the memory");
		if (run.first < end)
			return bad(err, "runs overlap or are out of order");
		end = run.first + run.count;
		payload->pages += run.count;
		if (run.kind == PAGES_RUN_ZERO)
			payload->zero_pages += run.count;
		else if (run.kind == PAGES_RUN_DELTA)
			payload->delta_pages += run.count;
		else
			payload->data_pages += run.count;
		decoder->runs[i] = run;
	}
	if (payload->delta_pages > 0 && (payload->target->disk || payload->target->place))
		return bad(err, "changes are to be made to pages that are not there to be changed");
	/* Counts of runs may be as large as the memory has pages: no sum of them overflows. */
	if (payload->data_pages + payload->delta_pages > PAGES_BATCH_MAX ||
	    payload->decoded > PAGES_BATCH_MAX * PAGES_SIZE ||
	    payload->data_pages * PAGES_SIZE > payload->decoded ||
	    (payload->delta_pages == 0 && payload->data_pages * PAGES_SIZE < payload->decoded))
		return bad(err, "the length of the data is not that of the runs");
	return 0;
}

static int check_head(struct pages_decoder *decoder, struct pages_target *targets, size_t ntargets,
		      const void *at, size_t len, struct payload *payload, struct err *err)
{
	struct reader reader = reader_of(at, len);
	uint16_t volume = reader_u16(&reader);

	*payload = (struct payload){.encoding = reader_u16(&reader)};
	payload->nruns = reader_u32(&reader);
	payload->decoded = reader_u32(&reader);
	if (reader.bad)
		return bad(err, "they are too short");
	payload->target = find_target(targets, ntargets, volume);
	if (!payload->target)
		return err_set(err, ERR_INPUT,
			       "pages from the other side are for volume %u, which is not known here",
			       volume);
	if (payload->encoding != PAGES_RAW && payload->encoding != PAGES_PACKED)
		return err_set(err, ERR_INPUT,
			       "pages from the other side have encoding %u, which is not known here",
			       payload->encoding);
	if (payload->nruns == 0 || payload->nruns > PAGES_RUNS_MAX)
		return bad(err, "there are no runs or too many");
	if (check_runs(decoder, &reader, payload, err) < 0)
		return -1;
	payload->data = reader.at;
	payload->data_len = reader.left;
	return 0;
}

static int decompress(struct pages_decoder *decoder, const struct payload *payload, struct err *err)
{
	struct reader reader = reader_of(payload->data, payload->data_len);

	for (size_t at = 0; at < payload->decoded; at += BLOCK_BYTES) {
		size_t block = payload->decoded - at < BLOCK_BYTES ? payload->decoded - at : BLOCK_BYTES;
		const char *wrong = unpacker_take(decoder->unpacker, &reader, decoder->scratch + at, block);

		if (wrong)
			return bad(err, wrong);
	}
	if (reader.left > 0)
		return bad(err, "something follows the data");
	return 0;
}

static int read_pages(const struct pages_target *target, uint8_t *to, uint64_t page, uint64_t count,
		      struct err *err)
{
	size_t len = (size_t)count * PAGES_SIZE;
	off_t at = (off_t)(page * PAGES_SIZE);

	while (len > 0) {
		ssize_t got = pread(target->fd, to, len, at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(err, "cannot read the guest's memory at page %llu",
				       (unsigned long long)page);
		to += got;
		at += got;
		len -= (size_t)got;
	}
	return 0;
}

/* The deltas behind the data pages, applied to what is there: to decoder->changed. */
static int change(struct pages_decoder *decoder, const struct payload *payload, const uint8_t *data,
		  struct err *err)
{
	size_t skip = (size_t)payload->data_pages * PAGES_SIZE;
	struct reader reader = reader_of(data + skip, payload->decoded - skip);
	uint8_t *to = decoder->changed;

	for (uint32_t i = 0; i < payload->nruns; i++) {
		const struct run *run = &decoder->runs[i];

		if (run->kind != PAGES_RUN_DELTA)
			continue;
		if (read_pages(payload->target, to, run->first, run->count, err))
			return -1;
		for (uint32_t k = 0; k < run->count; k++, to += PAGES_SIZE) {
			enum delta_result result = delta_take(&reader, to);

			if (result == DELTA_BAD)
				return bad(err, "they end inside what has changed of a page");
			if (result == DELTA_OTHER)
				return err_set(err, ERR_LINK,
					       "page %llu is not what the sender takes it for, and must "
					       "come whole",
					       (unsigned long long)(run->first + k));
		}
	}
	return reader.left > 0 ? bad(err, "something follows the changes") : 0;
}

static int write_pages(const struct pages_target *target, const uint8_t *from, uint64_t page, uint64_t count,
		       struct err *err)
{
	size_t len = (size_t)count * PAGES_SIZE;
	off_t at = (off_t)(page * PAGES_SIZE);

	if (target->place)
		return target->place(target->place_arg, page, count, from, err);
	while (len > 0) {
		ssize_t put = pwrite(target->fd, from, len, at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return err_sys(
			    err, "cannot write the guest's memory at page %llu (is the host out of memory?)",
			    (unsigned long long)page);
		from += put;
		at += put;
		len -= (size_t)put;
	}
	return 0;
}

/* The bits of a word that stand for pages of [page, end); page lies in the word. */
static uint64_t word_mask(uint64_t page, uint64_t end)
{
	uint64_t mask = ~0ull << page % WORD;

	if (end - (page - page % WORD) < WORD)
		mask &= (1ull << end % WORD) - 1;
	return mask;
}

/* Several threads may mark pages of one word at a time. */
static void mark(struct pages_target *target, uint64_t page, uint64_t end, bool filled)
{
	for (; page < end; page = (page / WORD + 1) * WORD) {
		uint64_t *word = &target->filled[page / WORD];
		uint64_t mask = word_mask(page, end);

		if (filled)
			__atomic_fetch_or(word, mask, __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(word, ~mask, __ATOMIC_RELAXED);
	}
}

/* The first page of [page, end) whose bit is `filled`; end when there is none. */
static uint64_t find(const struct pages_target *target, uint64_t page, uint64_t end, bool filled)
{
	for (; page < end; page = (page / WORD + 1) * WORD) {
		uint64_t word = __atomic_load_n(&target->filled[page / WORD], __ATOMIC_RELAXED);
		uint64_t hits = (filled ? word : ~word) & word_mask(page, end);

		if (hits)
			return page - page % WORD + (uint64_t)__builtin_ctzll(hits);
	}
	return end;
}

int pages_target_punch(struct pages_target *target, uint64_t first, uint64_t count, struct err *err)
{
	if (fallocate(target->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first * PAGES_SIZE),
		      (off_t)(count * PAGES_SIZE)) < 0)
		return err_sys(err, "cannot clear the guest's memory at page %llu",
			       (unsigned long long)first);
	mark(target, first, first + count, false);
	return 0;
}

static int place_zero(const struct pages_target *target, uint64_t page, uint64_t end, struct err *err)
{
	for (uint64_t some; page < end; page += some) {
		some = end - page < PUNCH_MIN ? end - page : PUNCH_MIN;
		if (target->place(target->place_arg, page, some, zeroes, err))
			return -1;
	}
	return 0;
}

/* Only what was ever filled needs work; long stretches are given back to the system. */
static int apply_zero(struct pages_target *target, uint64_t page, uint64_t end, struct err *err)
{
	if (target->place)
		return place_zero(target, page, end, err);
	for (page = find(target, page, end, true); page < end; page = find(target, page, end, true)) {
		uint64_t stop = find(target, page, end, false);

		if (stop - page < PUNCH_MIN ? write_pages(target, zeroes, page, stop - page, err)
					    : pages_target_punch(target, page, stop - page, err))
			return -1;
		page = stop;
	}
	return 0;
}

static int apply_disk(const struct pages_decoder *decoder, const struct payload *payload, struct err *err)
{
	const uint8_t *from = payload->encoding == PAGES_RAW ? payload->data : decoder->scratch;
	struct dvol *disk = payload->target->disk;
	uint64_t size = dvol_size(disk);

	for (uint32_t i = 0; i < payload->nruns; i++) {
		const struct run *run = &decoder->runs[i];
		uint64_t at = run->first * PAGES_SIZE, len = (uint64_t)run->count * PAGES_SIZE;

		/* The first page is within the disk: check_runs. */
		if (size - at < len)
			len = size - at;
		if (run->kind == PAGES_RUN_ZERO) {
			if (dvol_write_zeroes(disk, at, len, err))
				return -1;
			continue;
		}
		if (dvol_write(disk, from, (size_t)len, at, err))
			return -1;
		from += (size_t)run->count * PAGES_SIZE;
	}
	return 0;
}

static int apply(const struct pages_decoder *decoder, const struct payload *payload, struct err *err)
{
	const uint8_t *from = payload->encoding == PAGES_RAW ? payload->data : decoder->scratch;
	const uint8_t *changed = decoder->changed;
	struct pages_target *target = payload->target;

	for (uint32_t i = 0; i < payload->nruns; i++) {
		const struct run *run = &decoder->runs[i];
		const uint8_t **next = run->kind == PAGES_RUN_DELTA ? &changed : &from;

		if (run->kind == PAGES_RUN_ZERO) {
			if (apply_zero(target, run->first, run->first + run->count, err) < 0)
				return -1;
			continue;
		}
		mark(target, run->first, run->first + run->count, true);
		if (write_pages(target, *next, run->first, run->count, err) < 0)
			return -1;
		*next += (size_t)run->count * PAGES_SIZE;
	}
	return 0;
}

int64_t pages_decode(struct pages_decoder *decoder, struct pages_target *targets, size_t ntargets,
		     const void *at, size_t len, struct err *err)
{
	struct payload payload;

	if (check_head(decoder, targets, ntargets, at, len, &payload, err) < 0)
		return -1;
	if (payload.encoding == PAGES_RAW) {
		if (payload.data_len != payload.decoded)
			return bad(err, "the data is shorter or longer than the runs");
	} else if (decompress(decoder, &payload, err) < 0) {
		return -1;
	}
	if (payload.delta_pages > 0 &&
	    change(decoder, &payload, payload.encoding == PAGES_RAW ? payload.data : decoder->scratch, err))
		return -1;
	if (payload.target->disk ? apply_disk(decoder, &payload, err) : apply(decoder, &payload, err))
		return -1;
	decoder->stats.pages += payload.pages;
	decoder->stats.zero_pages += payload.zero_pages;
	decoder->stats.delta_pages += payload.delta_pages;
	decoder->stats.raw_bytes += payload.pages * PAGES_SIZE;
	decoder->stats.encoded_bytes += len;
	decoder->stats.frames++;
	if (payload.encoding == PAGES_RAW && payload.decoded > 0)
		decoder->stats.frames_raw++;
	return (int64_t)payload.pages;
}
