#include "migrate/survey_sample.h"

#include "common/buf.h"
#include "common/io.h"
#include "migrate/sentpages.h"

#include <stdlib.h>
#include <sys/random.h>

enum {
	RUN = PAGES_BLOCK, /* pages of a run */
	FEW = 16,          /* pages that were written to again, which tell too little */
};

int survey_sample_open(struct survey_sample *sample, int ram_fd, uint64_t pages, enum packer_mode packing,
		       struct err *err)
{
	*sample = (struct survey_sample){.source = {.fd = ram_fd, .pages = pages}};
	sample->encoder = pages_encoder_open(packing, err);
	sample->source.sent = sample->encoder ? sentpages_open(pages, SENTPAGES_BYTES, err) : NULL;
	return sample->source.sent ? 0 : -1;
}

void survey_sample_close(struct survey_sample *sample)
{
	pages_encoder_close(sample->encoder);
	sentpages_close(sample->source.sent);
	*sample = (struct survey_sample){.encoder = NULL};
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Where the runs begin: anywhere among the members of the set. */
static void choose(struct survey_sample *sample, struct pageset *set, uint64_t count)
{
	uint64_t nth[SURVEY_RUNS], cursor = 0, seen = 0, last = 0, pages[1024];
	size_t n, at = 0;

	sample->runs = 0;
	if (count == 0 || getrandom(nth, sizeof(nth), 0) != sizeof(nth))
		return;
	for (size_t i = 0; i < SURVEY_RUNS; i++)
		nth[i] %= count;
	qsort(nth, SURVEY_RUNS, sizeof(nth[0]), compare);
	while (at < SURVEY_RUNS &&
	       (n = pageset_take(set, &cursor, pages, sizeof(pages) / sizeof(pages[0]))) > 0) {
		for (; at < SURVEY_RUNS && nth[at] < seen + n; at++) {
			uint64_t start = pages[nth[at] - seen] / RUN * RUN;

			if (sample->runs == 0 || start != last) /* or it was chosen twice */
				sample->start[sample->runs++] = last = start;
		}
		seen += n;
	}
}

double survey_median(uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(ns[0]), compare);
	return n ? (double)ns[n / 2] : 0;
}

/* The pages of one run: all, or those in a set. */
static size_t list_run(const struct survey_sample *sample, size_t run, const struct pageset *only,
		       uint64_t pages[RUN])
{
	size_t n = 0;

	for (uint64_t page = sample->start[run]; page < sample->start[run] + RUN; page++)
		if (page < sample->source.pages && (!only || pageset_has(only, page)))
			pages[n++] = page;
	return n;
}

/* As the stream would have them.  A page before the first that was touched is a hole, as small as it is there. */
static int pack(struct survey_sample *sample, const uint64_t *pages, size_t n, struct buf *out,
		struct err *err)
{
	out->len = 0;
	for (size_t done = 0; done < n;) {
		int64_t taken =
		    pages_encode(sample->encoder, &sample->source, pages + done, n - done, out, err);

		if (taken < 0)
			return -1;
		done += (size_t)taken;
	}
	return 0;
}

static int pack_runs(struct survey_sample *sample, const struct pageset *only, struct survey_cost *cost,
		     struct err *err)
{
	const struct pages_stats *stats = pages_encoder_stats(sample->encoder), before = *stats;
	uint64_t took[SURVEY_RUNS], pages[RUN], packed;
	struct buf out = {0};
	size_t timed = 0;
	int status = 0;

	for (size_t i = 0; i < sample->runs && !status; i++) {
		size_t n = list_run(sample, i, only, pages);
		uint64_t began = clock_mono_ns();

		if (n == 0)
			continue;
		status = pack(sample, pages, n, &out, err);
		took[timed++] = (clock_mono_ns() - began) / n;
	}
	buf_free(&out);
	packed = stats->pages - before.pages;
	if (status || packed == 0 || (only && packed < FEW))
		return status;
	cost->ns = survey_median(took, timed);
	cost->bytes = (double)(stats->encoded_bytes - before.encoded_bytes) / (double)packed;
	return 0;
}

int survey_sample_first(struct survey_sample *sample, struct pageset *touched, uint64_t count, double link_ns,
			struct survey_cost *cost, struct err *err)
{
	enum { MIB = 1 << 20, LINK_MIB = 64 };
	struct sentpages *sent = sample->source.sent;
	int status;

	sentpages_round(sent, touched);
	choose(sample, touched, count);
	/* Twice: what the packer knows of a codec from a few blocks, one of them interrupted, is too little to choose by. */
	sample->source.sent = NULL;
	status = pack_runs(sample, NULL, cost, err);
	sample->source.sent = sent;
	if (status)
		return -1;
	pages_encoder_link(sample->encoder, (uint64_t)(link_ns * MIB * LINK_MIB), (uint64_t)LINK_MIB * MIB);
	return pack_runs(sample, NULL, cost, err);
}

int survey_sample_again(struct survey_sample *sample, const struct pageset *dirty, struct survey_cost *cost,
			struct err *err)
{
	return pack_runs(sample, dirty, cost, err);
}
