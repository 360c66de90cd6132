/* survey.c: a mover that attaches, looks, and lets go again. */
#include "migrate/survey.h"

#include "common/io.h"
#include "migrate/mover.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define BRIEF_NS 100000000ull
#define WHOLE_NS 1000000000ull

/* What a move takes besides connecting, as measured on the build machines: an empty machine there, the further links; and to check
 * and unpack a page. */
#define PREPARE_NS 60000000ull
#define UNPACK_NS  1500

enum {
	RUN = PAGES_BLOCK, /* pages of a sample that are neighbours: what is packed together */
	RUNS = 64,
};

/* ---- what the guest writes ---- */

static int until(struct mover *mover, uint64_t began, uint64_t ns, struct survey_interval *interval,
		 struct err *err)
{
	uint64_t passed = clock_mono_ns() - began;

	if ((passed < ns && mover_wait(mover, ns - passed, err)) ||
	    mover_call(mover, json_pack("{s:s}", "cmd", "harvest"), err))
		return -1;
	interval->ns = clock_mono_ns() - began;
	interval->pages = pageset_count(&mover->dirty);
	return 0;
}

static int watch_dirtying(struct mover *mover, struct survey *survey, struct err *err)
{
	uint64_t began;

	if (mover_call(mover, json_pack("{s:s}", "cmd", "track"), err))
		return -1;
	began = clock_mono_ns();
	return until(mover, began, BRIEF_NS, &survey->brief, err) ||
		       until(mover, began, WHOLE_NS, &survey->whole, err)
		   ? -1
		   : 0;
}

/* ---- what its memory is like ---- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Where runs of a sample begin, rising: anywhere among the members of the set, of which there are `count`.  Returns how many. */
static size_t choose(struct pageset *set, uint64_t count, uint64_t start[RUNS])
{
	uint64_t nth[RUNS], random[RUNS], cursor = 0, seen = 0, pages[1024];
	size_t n, found = 0;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return 0;
	for (size_t i = 0; i < RUNS; i++)
		nth[i] = random[i] % count;
	qsort(nth, RUNS, sizeof(nth[0]), compare);
	while (found < RUNS &&
	       (n = pageset_take(set, &cursor, pages, sizeof(pages) / sizeof(pages[0]))) > 0) {
		for (; found < RUNS && nth[found] < seen + n; found++)
			start[found] = pages[nth[found] - seen] / RUN * RUN;
		seen += n;
	}
	return found;
}

/* What happens to be interrupted is no measure. */
static uint64_t median(uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(ns[0]), compare);
	return n ? ns[n / 2] : 0;
}

/* One run, as the stream would have it.  A page before the first that was touched is a hole, as small as it is there. */
static int pack_run(const struct pages_source *source, struct pages_encoder *encoder, uint64_t start,
		    struct buf *out, struct err *err)
{
	uint64_t pages[RUN];
	size_t n;

	for (n = 0; n < RUN && start + n < source->pages; n++)
		pages[n] = start + n;
	out->len = 0;
	for (size_t done = 0; done < n;) {
		int64_t taken = pages_encode(encoder, source, pages + done, n - done, out, err);

		if (taken < 0)
			return -1;
		done += (size_t)taken;
	}
	return 0;
}

static int pack_runs(struct mover *mover, struct pages_encoder *encoder, const uint64_t *start, size_t runs,
		     struct survey *survey, struct err *err)
{
	const struct pages_source source = {.fd = mover->ram_fd,
					    .pages = mover->config.memory_bytes / PAGES_SIZE};
	const struct pages_stats *stats = pages_encoder_stats(encoder), before = *stats;
	struct buf out = {0};
	uint64_t took[RUNS];
	int status = 0;

	for (size_t i = 0; i < runs && !status; i++) {
		uint64_t began = clock_mono_ns();

		status = pack_run(&source, encoder, start[i], &out, err);
		took[i] = clock_mono_ns() - began;
	}
	buf_free(&out);
	if (status || stats->pages == before.pages)
		return status;
	survey->pack_ns = (double)median(took, runs) / RUN;
	survey->page_bytes =
	    (double)(stats->encoded_bytes - before.encoded_bytes) / (double)(stats->pages - before.pages);
	return 0;
}

/* link_ns: what a byte takes on one link, so that the packer chooses as it would in the move. */
static int sample(struct mover *mover, double link_ns, struct survey *survey, struct err *err)
{
	enum { MIB = 1 << 20, LINK_MIB = 64 };
	struct pages_encoder *encoder = pages_encoder_open(mover->options->packing, err);
	struct pageset touched = {.fd = -1};
	uint64_t start[RUNS], count;
	size_t runs;
	int status = -1;

	if (!encoder || pageset_create(&touched, mover->config.memory_bytes / PAGES_SIZE, err) ||
	    mover_touched(mover, &touched, &count, err))
		goto out;
	survey->touched_bytes = count * PAGES_SIZE;
	survey->model.first_pages = count;
	runs = count ? choose(&touched, count, start) : 0;
	/* Twice: what the packer knows of a codec from a few blocks, one of them interrupted, is too little to choose by. */
	if (pack_runs(mover, encoder, start, runs, survey, err))
		goto out;
	pages_encoder_link(encoder, (uint64_t)(link_ns * MIB * LINK_MIB), (uint64_t)LINK_MIB * MIB);
	if (pack_runs(mover, encoder, start, runs, survey, err))
		goto out;
	status = 0;
out:
	pageset_close(&touched);
	pages_encoder_close(encoder);
	return status;
}

/* ---- what follows ---- */

/* What a page costs where it is written for the first time, unpacked and checked: what it costs here stands for it, as both hosts
 * are likely to be of one kind. */
static int try_new_pages(struct survey *survey, struct err *err)
{
	int fd = memfd_create("drover-survey", MFD_CLOEXEC), status = 0;
	uint8_t pages[RUN * PAGES_SIZE];
	uint64_t took[RUNS];

	memset(pages, 1, sizeof(pages));
	for (size_t i = 0; i < RUNS && !status; i++) {
		uint64_t began = clock_mono_ns();

		if (fd < 0 || io_write_full(fd, pages, sizeof(pages)))
			status = err_sys(err, "cannot get some MiB of memory");
		took[i] = clock_mono_ns() - began;
	}
	survey->new_page_ns = (double)median(took, RUNS) / RUN;
	io_close(&fd);
	return status;
}

/* How many links pack and unpack at the same time, where the guest's own vCPUs want their CPUs, too. */
static double at_once(const struct mover *mover, const struct survey *survey)
{
	json_int_t there = json_integer_value(json_object_get(survey->preflight.facts, "cpus"));
	long here = sysconf(_SC_NPROCESSORS_ONLN), free_cpus;

	free_cpus = (there > 0 && there < here ? (long)there : here) - (long)mover->config.cpus;
	if (free_cpus < 1)
		free_cpus = 1;
	return free_cpus < (long)survey->preflight.links ? (double)free_cpus : survey->preflight.links;
}

/* A link packs and sends by turns; all together carry what they were measured to carry together. */
static void make_model(const struct mover *mover, struct survey *survey)
{
	const struct move_options *options = mover->options;
	const struct preflight *way = &survey->preflight;
	double rate = (double)way->bytes_per_s, wire_ns, workers = at_once(mover, survey);

	if (options->bytes_per_s && (double)options->bytes_per_s < rate)
		rate = (double)options->bytes_per_s;
	wire_ns = rate > 0 ? survey->page_bytes * 1e9 / rate : 0;
	survey->model.before_ns = way->connect_ns + PREPARE_NS;
	if (rate > 0)
		survey->model.before_ns += (uint64_t)((double)survey->disk_bytes * 1e9 / rate);
	survey->model.again_ns = wire_ns + (survey->pack_ns + UNPACK_NS) / workers;
	survey->model.page_ns = survey->model.again_ns + survey->new_page_ns / workers;
	survey->model.page_bytes = survey->page_bytes;
	survey->model.round_ns = PLAN_ROUND_NS + way->rtt_ns;
	survey->model.fixed_ns = plan_fixed_ns(way->rtt_ns, way->rtt_ns);
	plan_fit_dirty(&survey->model, survey->brief.ns, survey->brief.pages, survey->whole.ns,
		       survey->whole.pages);
}

/* What the disks that move take where there is no copy of them; whether there is one only a move finds out. */
static int learn_disks(struct mover *mover, struct survey *survey, struct err *err)
{
	json_t *disks = mover_disks_learn(mover, err);

	if (!disks)
		return -1;
	json_decref(disks);
	for (unsigned i = 0; i < mover->disks.count; i++)
		survey->disk_bytes += mover->disks.disk[i].seed_bytes;
	return 0;
}

static int look(struct mover *mover, struct survey *survey, struct err *err)
{
	const struct move_options *options = mover->options;
	struct preflight_ask ask = {.links = options->links};
	struct plan_input policy = {.budget_ns = options->downtime_ns,
				    .if_busy = options->if_busy,
				    .throttle_max = options->throttle_max,
				    .postcopy = options->if_busy == MOVE_POSTCOPY};
	struct fitness_vm vm = {.config = &mover->config};
	double link_ns;

	if (mover_find_vm(mover, err))
		return -1;
	ask.vm = mover->config.name;
	ask.uuid = mover->config.uuid;
	mover_tell(mover, MOVE_CONNECT);
	if (preflight_run(&mover->host, &ask, &survey->preflight, err) || mover_attach(mover, err))
		return -1;
	survey->memory_bytes = mover->config.memory_bytes;
	survey->paused = mover->paused;
	link_ns = (double)survey->preflight.links * 1e9 / (double)(survey->preflight.bytes_per_s | 1);
	if (learn_disks(mover, survey, err) || sample(mover, link_ns, survey, err) ||
	    try_new_pages(survey, err) || watch_dirtying(mover, survey, err))
		return -1;
	vm.cpu = mover->cpu;
	vm.touched_bytes = survey->touched_bytes;
	vm.disk_bytes = survey->disk_bytes;
	vm.rtt_ns = survey->preflight.rtt_ns;
	vm.downtime_ns = mover_pause_limit(options);
	fitness_check(&vm, survey->preflight.facts, survey->preflight.there, &survey->fitness);
	make_model(mover, survey);
	if (survey->fitness.fit)
		plan_forecast(&survey->model, &policy, &survey->forecast);
	survey->forecast.bytes += survey->disk_bytes;
	return 0;
}

int survey_run(const struct move_options *options, const struct move_observer *observer,
	       struct survey *survey, struct err *err)
{
	struct move_report report;
	struct mover mover;
	int status;

	*survey = (struct survey){.touched_bytes = 0};
	status = mover_open(&mover, options, observer, &report, err);
	if (!status)
		status = look(&mover, survey, err);
	mover_close(&mover);
	return status;
}

void survey_free(struct survey *survey)
{
	preflight_free(&survey->preflight);
}
