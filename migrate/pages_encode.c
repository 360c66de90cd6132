/* pages_encode.c: guest pages into the payload of a frame.
 *
 * The guest writes while we read, so every page is copied once, into the staging area, and only the copy is looked
 * at: what is sent is then one state of the page (torn at worst), never a zero check of one state with the bytes of
 * another.  The copy is a pread of the memfd rather than a read through a mapping: that costs no page faults, fills no
 * holes, and cannot raise SIGBUS.
 *
 * What is copied is packed in blocks of 64 KiB (packer.h), each as pays on the link.
 *
 * Of a page that was sent before only what has changed goes out (delta.h), where keeping track of pages pays: what deltas
 * save, at what a byte costs on the link of late, against the time that digests take.  Where it does not, only a part of the
 * memory is kept track of, to see when it does again. */
#include "migrate/pages.h"

#include "imagefmt/dvol.h"
#include "migrate/delta.h"
#include "migrate/packer.h"
#include "migrate/sentpages.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BLOCK_BYTES = PAGES_BLOCK * PAGES_SIZE,
	SCAN_MAX = 4096,       /* pages read for one payload: bounds the time when all of them are zero */
	LINK_SAMPLE = 4 << 20, /* bytes over which the link's speed is measured */
	EVIDENCE = 1024,       /* pages that were known, over which is told whether that pays */
	KEPT = 16,             /* where it does not: one range of so many is kept track of */
	WORK = 3, /* digests that a delta takes: when the page was sent, now, and the sum of it */
};
_Static_assert((int)DELTA_PAGE == (int)PAGES_SIZE && (int)DELTA_MAX < (int)PAGES_SIZE,
	       "deltas fit where pages do");
_Static_assert((int)BLOCK_BYTES == (int)PACKER_BLOCK, "a block is what the packer packs");

struct run {
	uint64_t first;
	uint32_t count;
	uint32_t kind;
};

struct pages_encoder {
	struct pages_stats stats;
	uint64_t link_ns; /* at the last sample */
	uint64_t link_bytes;
	uint64_t mib_ns; /* what a MiB takes on the link; 0: not known */
	/* Of deltas: */
	unsigned known;  /* pages that could go as one, since it was told last */
	int64_t gain_ns; /* by these */
	bool resting;    /* it does not pay */
	/* The payload: */
	size_t nruns;
	size_t data_pages;
	size_t delta_pages;
	size_t delta_len;
	struct run runs[PAGES_RUNS_MAX];
	struct packer *packer;
	uint8_t *staging; /* PAGES_BATCH pages */
	uint8_t *deltas;  /* room for as many */
};

/* What is asked for. */
struct request {
	const uint64_t *list;
	uint64_t n;
};

struct pages_encoder *pages_encoder_open(enum packer_mode mode, struct err *err)
{
	struct pages_encoder *encoder = calloc(1, sizeof(*encoder));

	if (encoder) {
		encoder->packer = packer_open(mode);
		encoder->staging = aligned_alloc(PAGES_SIZE, (size_t)PAGES_BATCH * PAGES_SIZE);
		encoder->deltas = malloc((size_t)PAGES_BATCH * DELTA_MAX);
	}
	if (!encoder || !encoder->packer || !encoder->staging || !encoder->deltas) {
		err_sys(err, "cannot allocate a page encoder");
		pages_encoder_close(encoder);
		return NULL;
	}
	return encoder;
}

void pages_encoder_close(struct pages_encoder *encoder)
{
	if (!encoder)
		return;
	packer_close(encoder->packer);
	free(encoder->staging);
	free(encoder->deltas);
	free(encoder);
}

const struct pages_stats *pages_encoder_stats(const struct pages_encoder *encoder)
{
	return &encoder->stats;
}

/* How many of the entries from i on are neighbours in memory, all below `end`; at most max. */
static uint64_t neighbours(const struct request *request, uint64_t i, uint64_t end, uint64_t max)
{
	uint64_t page = request->list[i];
	uint64_t count = 1;

	if (max > request->n - i)
		max = request->n - i;
	if (max > end - page)
		max = end - page;
	while (count < max && request->list[i + count] == page + count)
		count++;
	return count;
}

/* The list must ascend and stay inside, so that runs do and the decoder accepts them. */
static int check_request(const struct pages_source *source, const struct request *request, uint64_t i,
			 uint64_t count, struct err *err)
{
	uint64_t page = request->list[i];

	if (page >= source->pages || count > source->pages - page)
		return err_set(err, ERR_STATE,
			       "page %llu to be sent is past the end of the memory (%llu pages)",
			       (unsigned long long)(page + count - 1), (unsigned long long)source->pages);
	if (i > 0 && page <= request->list[i - 1])
		return err_set(err, ERR_STATE, "the pages to be sent are not in ascending order at page %llu",
			       (unsigned long long)page);
	return 0;
}

static void add_run(struct pages_encoder *encoder, uint64_t first, uint64_t count, uint32_t kind)
{
	struct run *last = encoder->nruns ? &encoder->runs[encoder->nruns - 1] : NULL;

	if (last && last->kind == kind && last->first + last->count == first &&
	    last->count + count <= UINT32_MAX)
		last->count += (uint32_t)count;
	else
		encoder->runs[encoder->nruns++] = (struct run){first, (uint32_t)count, kind};
	encoder->stats.pages += count;
	encoder->stats.raw_bytes += count * PAGES_SIZE;
	if (kind == PAGES_RUN_ZERO)
		encoder->stats.zero_pages += count;
	if (kind == PAGES_RUN_DELTA)
		encoder->stats.delta_pages += count;
}

static void add_zeroes(struct pages_encoder *encoder, const struct pages_source *source, uint64_t first,
		       uint64_t count)
{
	if (source->sent)
		sentpages_drop(source->sent, first, count);
	add_run(encoder, first, count, PAGES_RUN_ZERO);
}

static int read_disk(const struct pages_source *source, uint64_t page, uint64_t count, uint8_t *to,
		     struct err *err)
{
	uint64_t at = page * PAGES_SIZE, size = dvol_size(source->disk);
	size_t len = (size_t)count * PAGES_SIZE, inside = len;

	if (at >= size)
		return err_set(err, ERR_STATE, "the disk ends before page %llu", (unsigned long long)page);
	if (size - at < len)
		inside = (size_t)(size - at);
	memset(to + inside, 0, len - inside);
	return dvol_read(source->disk, to, inside, at, err);
}

static int read_pages(const struct pages_source *source, uint64_t page, uint64_t count, uint8_t *to,
		      struct err *err)
{
	size_t len = (size_t)count * PAGES_SIZE;
	off_t at = (off_t)(page * PAGES_SIZE);

	if (source->disk)
		return read_disk(source, page, count, to, err);
	while (len > 0) {
		ssize_t got = pread(source->fd, to, len, at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(err, "cannot read the guest's memory at page %llu",
				       (unsigned long long)page);
		if (got == 0)
			return err_set(err, ERR_SYSTEM, "the guest's memory ends before page %llu",
				       (unsigned long long)(page + count));
		to += got;
		at += got;
		len -= (size_t)got;
	}
	return 0;
}

static bool is_zero(const uint8_t *page)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return first == 0 && memcmp(page, page + sizeof(first), PAGES_SIZE - sizeof(first)) == 0;
}

/* A known page was sent with so many bytes less. */
static void weigh(struct pages_encoder *encoder, uint64_t saved, uint64_t digest_ns)
{
	uint64_t block_ns = packer_block_ns(encoder->packer);

	if (!block_ns)
		return;
	encoder->gain_ns += (int64_t)(saved * block_ns / PACKER_BLOCK) - (int64_t)(WORK * digest_ns);
	if (++encoder->known < EVIDENCE)
		return;
	encoder->resting = encoder->gain_ns < 0;
	encoder->known = 0;
	encoder->gain_ns = 0;
}

/* The page as a delta, if there is one that pays. */
static bool add_delta(struct pages_encoder *encoder, const struct pages_source *source, uint64_t page,
		      const uint8_t *content)
{
	uint64_t changed, saved = 0;
	size_t len;

	if (encoder->resting && page / SENTPAGES_RANGE % KEPT) {
		sentpages_drop(source->sent, page, 1);
		return false;
	}
	if (!sentpages_note(source->sent, page, content, &changed))
		return false;
	if (__builtin_popcountll(changed) <= DELTA_BLOCKS_MAX) {
		len = delta_put(content, changed, encoder->deltas + encoder->delta_len);
		saved = PAGES_SIZE - len;
		encoder->delta_len += len;
		encoder->delta_pages++;
		add_run(encoder, page, 1, PAGES_RUN_DELTA);
	}
	weigh(encoder, saved, sentpages_cost_ns(source->sent));
	return saved > 0;
}

/* Read `count` neighbours and keep those that are not zero.  Returns 1 when the last one was zero. */
static int take_pages(struct pages_encoder *encoder, const struct pages_source *source, uint64_t page,
		      uint64_t count, struct err *err)
{
	uint8_t *from = encoder->staging + encoder->data_pages * PAGES_SIZE;
	bool zero = false;

	if (read_pages(source, page, count, from, err) < 0)
		return -1;
	for (uint64_t i = 0; i < count; i++, from += PAGES_SIZE) {
		uint8_t *to = encoder->staging + encoder->data_pages * PAGES_SIZE;

		zero = is_zero(from);
		if (zero) {
			add_zeroes(encoder, source, page + i, 1);
			continue;
		}
		if (source->sent && add_delta(encoder, source, page + i, from))
			continue;
		add_run(encoder, page + i, 1, PAGES_RUN_DATA);
		if (to != from)
			memcpy(to, from, PAGES_SIZE);
		encoder->data_pages++;
	}
	return zero;
}

/* The first page at or after `page` that the memfd holds; `page` itself when that cannot be told.  May be asked only
 * about pages that left the dirty set before: a write that fills the hole later marks its page again. */
static uint64_t hole_end(const struct pages_source *source, uint64_t page)
{
	off_t data;

	if (source->disk)
		return page; /* who lists its pages has left holes out */
	data = lseek(source->fd, (off_t)(page * PAGES_SIZE), SEEK_DATA);
	if (data >= 0)
		return (uint64_t)data / PAGES_SIZE;
	return errno == ENXIO ? source->pages : page;
}

/* Fill runs and staging area.  Returns how many entries of the request went in. */
static int64_t gather(struct pages_encoder *encoder, const struct pages_source *source,
		      const struct request *request, struct err *err)
{
	uint64_t i = 0;
	uint64_t hole = 0; /* known to be a hole up to here */
	uint64_t scanned = 0;

	encoder->nruns = 0;
	encoder->data_pages = encoder->delta_pages = encoder->delta_len = 0;
	while (i < request->n && encoder->nruns < PAGES_RUNS_MAX &&
	       encoder->data_pages + encoder->delta_pages < PAGES_BATCH && scanned < SCAN_MAX) {
		uint64_t page = request->list[i];
		uint64_t room = PAGES_BATCH - encoder->data_pages - encoder->delta_pages;
		uint64_t count;
		int zero;

		if (page < hole) {
			count = neighbours(request, i, hole, UINT32_MAX);
			if (check_request(source, request, i, count, err) < 0)
				return -1;
			add_zeroes(encoder, source, page, count);
			i += count;
			continue;
		}
		if (room > PAGES_RUNS_MAX - encoder->nruns)
			room = PAGES_RUNS_MAX - encoder->nruns;
		count = neighbours(request, i, UINT64_MAX, room);
		if (check_request(source, request, i, count, err) < 0)
			return -1;
		zero = take_pages(encoder, source, page, count, err);
		if (zero < 0)
			return -1;
		i += count;
		scanned += count;
		if (zero && i < request->n)
			hole = hole_end(source, page + count);
	}
	return (int64_t)i;
}

void pages_encoder_link(struct pages_encoder *encoder, uint64_t ns, uint64_t bytes)
{
	uint64_t sample, mib_ns;

	if (bytes < encoder->link_bytes)
		encoder->link_ns = encoder->link_bytes = 0; /* another link */
	sample = bytes - encoder->link_bytes;
	if (sample < LINK_SAMPLE)
		return;
	mib_ns = ((ns - encoder->link_ns) / (sample >> 10) << 10) + 1;
	encoder->mib_ns = encoder->mib_ns ? (3 * encoder->mib_ns + mib_ns) / 4 : mib_ns;
	encoder->link_ns = ns;
	encoder->link_bytes = bytes;
	packer_link(encoder->packer, encoder->mib_ns);
}

/* All data, which is in the staging area, to `to`, which has room for it and a length for each block.  Sets *encoding.  Until a block
 * shrinks only the place of those before it is kept, so that raw data is copied once. */
static size_t encode_data(struct pages_encoder *encoder, size_t len, uint8_t *to, uint16_t *encoding)
{
	const uint8_t *from = encoder->staging;
	size_t used = 0;

	*encoding = PAGES_RAW;
	for (size_t at = 0; at < len; at += BLOCK_BYTES) {
		size_t block = len - at < BLOCK_BYTES ? len - at : BLOCK_BYTES;
		size_t got = packer_pack(encoder->packer, from + at, block, to + used);

		if (got > 0 && *encoding == PAGES_RAW) {
			for (size_t i = 0; i < at / BLOCK_BYTES; i++)
				packer_store(from + i * BLOCK_BYTES, BLOCK_BYTES,
					     to + i * (PACKER_HEAD + BLOCK_BYTES));
			*encoding = PAGES_PACKED;
		}
		if (got == 0 && *encoding == PAGES_PACKED)
			got = packer_store(from + at, block, to + used);
		used += got > 0 ? got : PACKER_HEAD + block;
	}
	if (*encoding == PAGES_PACKED)
		return used;
	memcpy(to, from, len);
	return len;
}

static void put_payload(struct pages_encoder *encoder, uint16_t volume, struct buf *out)
{
	size_t pages_len = encoder->data_pages * PAGES_SIZE, len = pages_len + encoder->delta_len;
	size_t head = PAGES_HEADER + encoder->nruns * PAGES_RUN;
	uint8_t *at = buf_reserve(out, head + len + (PAGES_BATCH / PAGES_BLOCK + 1) * PACKER_HEAD);
	uint8_t *run = at + PAGES_HEADER;
	uint16_t encoding;
	size_t used;

	for (size_t i = 0; i < encoder->nruns; i++, run += PAGES_RUN) {
		le64_put(run, encoder->runs[i].first);
		le32_put(run + 8, encoder->runs[i].count);
		le32_put(run + 12, encoder->runs[i].kind);
	}
	memcpy(encoder->staging + pages_len, encoder->deltas, encoder->delta_len);
	used = encode_data(encoder, len, run, &encoding);
	le16_put(at, volume);
	le16_put(at + 2, encoding);
	le32_put(at + 4, (uint32_t)encoder->nruns);
	le32_put(at + 8, (uint32_t)len);
	out->len += head + used;
	encoder->stats.encoded_bytes += head + used;
	encoder->stats.frames++;
	if (encoding == PAGES_RAW && len > 0)
		encoder->stats.frames_raw++;
}

static int64_t encode(struct pages_encoder *encoder, const struct pages_source *source,
		      const struct request *request, struct buf *out, struct err *err)
{
	struct pages_stats before = encoder->stats;
	int64_t taken;

	if (request->n == 0)
		return err_set(err, ERR_STATE, "there are no pages to be sent");
	taken = gather(encoder, source, request, err);
	if (taken < 0) {
		encoder->stats = before;
		return -1;
	}
	put_payload(encoder, source->volume, out);
	return taken;
}

int64_t pages_encode(struct pages_encoder *encoder, const struct pages_source *source, const uint64_t *pages,
		     size_t n, struct buf *out, struct err *err)
{
	return encode(encoder, source, &(struct request){.list = pages, .n = n}, out, err);
}
