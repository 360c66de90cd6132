/* survey.c: a mover that attaches, looks, and lets go again. */
#include "migrate/survey.h"

#include "common/io.h"
#include "migrate/mover.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BRIEF_NS 100000000ull
#define WHOLE_NS 1000000000ull

/* What a move takes besides connecting, as measured on the build machines: an empty machine there, the further links; and to check
 * and unpack a page. */
#define PREPARE_NS 60000000ull
#define UNPACK_NS  1500

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

static int sample_touched(struct mover *mover, struct survey_sample *sample, double link_ns,
			  struct survey *survey, struct err *err)
{
	struct pageset touched = {.fd = -1};
	uint64_t count;
	int status = -1;

	if (!pageset_create(&touched, mover->config.memory_bytes / PAGES_SIZE, err) &&
	    !mover_touched(mover, &touched, &count, err)) {
		survey->touched_bytes = count * PAGES_SIZE;
		survey->model.first_pages = count;
		status = survey_sample_first(sample, &touched, count, link_ns, &survey->first, err);
	}
	pageset_close(&touched);
	return status;
}

/* What its pages cost the first time, how fast it writes to them, and what they cost again. */
static int watch_memory(struct mover *mover, double link_ns, struct survey *survey, struct err *err)
{
	struct survey_sample sample;
	int status = -1;

	if (!survey_sample_open(&sample, mover->ram_fd, mover->config.memory_bytes / PAGES_SIZE,
				mover->options->packing, err) &&
	    !sample_touched(mover, &sample, link_ns, survey, err)) {
		survey->again = survey->first;
		status = watch_dirtying(mover, survey, err) ||
				 survey_sample_again(&sample, &mover->dirty, &survey->again, err)
			     ? -1
			     : 0;
	}
	survey_sample_close(&sample);
	return status;
}

/* ---- what follows ---- */

/* What a page costs where it is written for the first time, unpacked and checked: what it costs here stands for it, as both hosts
 * are likely to be of one kind. */
static int try_new_pages(struct survey *survey, struct err *err)
{
	enum { TIMES = 63, SOME = 16 };
	int fd = memfd_create("drover-survey", MFD_CLOEXEC), status = 0;
	uint8_t pages[SOME * PAGES_SIZE];
	uint64_t took[TIMES];

	memset(pages, 1, sizeof(pages));
	for (size_t i = 0; i < TIMES && !status; i++) {
		uint64_t began = clock_mono_ns();

		if (fd < 0 || io_write_full(fd, pages, sizeof(pages)))
			status = err_sys(err, "cannot get some MiB of memory");
		took[i] = clock_mono_ns() - began;
	}
	survey->new_page_ns = survey_median(took, TIMES) / SOME;
	io_close(&fd);
	return status;
}

/* How many links pack and unpack at the same time: they and the guest's vCPUs, which may want theirs all the time, share the CPUs of
 * the host that has fewer evenly. */
static double at_once(const struct mover *mover, const struct survey *survey)
{
	json_int_t there = json_integer_value(json_object_get(survey->preflight.facts, "cpus"));
	double here = (double)sysconf(_SC_NPROCESSORS_ONLN), links = survey->preflight.links;
	double cpus = there > 0 && (double)there < here ? (double)there : here;
	double share = cpus * links / (links + (double)mover->config.cpus);

	return share < links ? share : links;
}

/* A link packs and sends by turns; all together carry what they were measured to carry together. */
static void make_model(const struct mover *mover, struct survey *survey)
{
	const struct move_options *options = mover->options;
	const struct preflight *way = &survey->preflight;
	double rate = (double)way->bytes_per_s, byte_ns, workers = at_once(mover, survey);

	if (options->bytes_per_s && (double)options->bytes_per_s < rate)
		rate = (double)options->bytes_per_s;
	byte_ns = rate > 0 ? 1e9 / rate : 0;
	survey->model.before_ns = way->connect_ns + PREPARE_NS;
	if (rate > 0)
		survey->model.before_ns += (uint64_t)((double)survey->disk_bytes * byte_ns);
	survey->model.page_bytes = survey->first.bytes;
	survey->model.again_bytes = survey->again.bytes;
	survey->model.page_ns =
	    survey->first.bytes * byte_ns + (survey->first.ns + UNPACK_NS + survey->new_page_ns) / workers;
	survey->model.again_ns = survey->again.bytes * byte_ns + (survey->again.ns + UNPACK_NS) / workers;
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
	if (learn_disks(mover, survey, err) || try_new_pages(survey, err) ||
	    watch_memory(mover, link_ns, survey, err))
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
