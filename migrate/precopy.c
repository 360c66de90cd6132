/* precopy.c: send RAM while the guest runs: all that was ever touched first, then what was written meanwhile, until
 * the rest fits the downtime budget. */
#include "common/io.h"
#include "migrate/mover.h"
#include "migrate/plan.h"

static void report_round(struct mover *mover, unsigned throttle)
{
	struct move_report *report = mover->report;
	struct move_round *round = move_report_round(report);

	round->pages = mover->sender.pages;
	round->bytes = mover->taken.bytes;
	round->ns = mover->taken.ns;
	round->throttle = throttle;
	report->lost_ns += round->ns / 100 * throttle;
	mover->taken.ns = mover->taken.bytes = 0;
	mover->progress.bytes_per_s =
	    round->ns ? (uint64_t)((double)round->pages * PAGES_SIZE * 1e9 / (double)round->ns) : 0;
}

int mover_epoch_ack(struct mover *mover, struct err *err)
{
	uint64_t sealed = clock_mono_ns(), took;
	struct frame frame;

	if (sender_await(&mover->sender, MESSAGE_ACK, MOVER_ANSWER_MS, &frame, err) ||
	    mover_epoch_acked(mover, &frame, err))
		return -1;
	took = clock_mono_ns() - sealed;
	if (mover->ack_ns == 0 || took < mover->ack_ns)
		mover->ack_ns = took;
	return 0;
}

/* What a page costs beside what it cost in the first round, where the receiver had no memory for it yet; as measured. */
#define AGAIN 0.75

static struct plan_input policy(const struct mover *mover)
{
	const struct move_options *options = mover->options;

	return (struct plan_input){.budget_ns = options->downtime_ns,
				   .if_busy = options->if_busy,
				   .throttle_max = options->throttle_max,
				   .postcopy = options->if_busy == MOVE_POSTCOPY,
				   .round = mover->report->round};
}

/* The links, the content and the guest have shown their rates.  What the first links took alone is no measure. */
static int make_forecast(struct mover *mover, uint64_t pages, struct err *err)
{
	uint64_t now = clock_mono_ns(), passed = now - mover->started_ns;
	double page_ns = (double)(now - mover->pace.ns) / (double)(pages - mover->pace.pages);
	double sent_ns = page_ns * (double)pages;
	struct plan_model model = {.before_ns = sent_ns < (double)passed ? passed - (uint64_t)sent_ns : 0,
				   .first_pages = mover->touched,
				   .page_ns = page_ns,
				   .again_ns = page_ns * AGAIN,
				   .round_ns = PLAN_ROUND_NS + link_rtt_ns(mover->link),
				   .fixed_ns =
				       plan_fixed_ns(link_rtt_ns(mover->link), link_rtt_ns(mover->link))};
	const struct plan_input chosen = policy(mover);
	struct plan_forecast forecast;

	if (mover_call(mover, json_pack("{s:s}", "cmd", "harvest"), err))
		return -1;
	plan_fit_dirty(&model, 0, 0, now - mover->copy_ns, pageset_count(&mover->dirty));
	mover->progress.dirty_bytes_per_s = (uint64_t)(model.dirty_per_s * PAGES_SIZE);
	plan_forecast(&model, &chosen, &forecast);
	mover->report->forecast_ns = forecast.total_ns;
	mover->report->forecast_downtime_ns = forecast.downtime_ns;
	return 0;
}

int precopy_look(struct mover *mover, uint64_t pages, struct err *err)
{
	enum { ENOUGH = 8 }; /* a part of the round */
	unsigned links = sender_live_links(&mover->sender);

	if (mover->report->forecast_ns)
		return 0;
	if (links != mover->pace.links) {
		mover->pace.links = links;
		mover->pace.ns = clock_mono_ns();
		mover->pace.pages = pages;
	}
	return pages - mover->pace.pages > mover->touched / ENOUGH ? make_forecast(mover, pages, err) : 0;
}

/* What the first round is about: every page of RAM that has memory behind it; the others are zero on both sides. */
int precopy_begin(struct mover *mover, struct err *err)
{
	if (mover_touched(mover, &mover->sender.volume[0].todo, &mover->touched, err))
		return -1;
	sender_keep_todo(&mover->sender, &mover->sender.volume[0], 0, mover->sender.volume[0].source.pages);
	mover->listed = true;
	kept_note(mover);
	mover->copy_ns = clock_mono_ns();
	return 0;
}

static int one_round(struct mover *mover, unsigned throttle, struct err *err)
{
	uint64_t started = clock_mono_ns(), bytes = sender_bytes(&mover->sender);
	bool first = mover->report->rounds == 0, failed;

	mover->progress.round = mover->report->rounds + 1;
	mover->progress.throttle = throttle;
	failed = mover_epoch_pages(mover, 0, err) || mover_epoch_seal(mover, 0, err) ||
		 mover_epoch_ack(mover, err);
	mover->taken.ns += clock_mono_ns() - started;
	mover->taken.bytes += sender_bytes(&mover->sender) - bytes;
	if (failed)
		return -1;
	report_round(mover, throttle);
	return first ? link_fault(mover->link, FAULT_MOVER_ROUND_ACKED, err) : 0;
}

/* It does not fit, and what may be done about it is done. */
static int give_up(const struct mover *mover, const struct plan_input *input,
		   const struct plan_decision *next, struct err *err)
{
	static const char *const remedies[] = {
	    [MOVE_THROTTLE] = "allow more with --downtime, a higher --throttle-max or --if-busy postcopy",
	    [MOVE_POSTCOPY] = "allow more with --downtime",
	    [MOVE_WAIT] = "allow more with --downtime",
	    [MOVE_CANCEL] = ("--if-busy throttle slows the guest down, postcopy moves it first, wait waits "
			     "until it is quieter, --downtime allows a longer pause"),
	};
	double page_ns = plan_page_ns(input->round, input->rounds);

	return err_set(
	    err, ERR_STATE,
	    "after %u rounds the pause would still take %llu ms, and %llu ms are allowed: the guest writes "
	    "%.0f MB/s (running at %u %%) and %s takes %.0f MB/s of it; %s",
	    mover->report->rounds, (unsigned long long)(next->downtime_ns / 1000000),
	    (unsigned long long)(input->budget_ns / 1000000), (double)mover->progress.dirty_bytes_per_s / 1e6,
	    100 - input->throttle, link_peer(mover->link), page_ns > 0 ? PAGES_SIZE * 1e3 / page_ns : 0,
	    remedies[input->if_busy]);
}

static int set_throttle(struct mover *mover, unsigned percent, struct err *err)
{
	if (percent > mover->report->max_throttle)
		mover->report->max_throttle = percent;
	return mover_call(mover, json_pack("{s:s, s:i}", "cmd", "throttle", "percent", (int)percent), err);
}

int precopy_run(struct mover *mover, struct err *err)
{
	/* A pause that was taken back has ended the throttle, too. */
	struct plan_input input = policy(mover);

	for (;;) {
		struct plan_decision next;
		const struct move_round *last;
		struct err why;

		if (one_round(mover, input.throttle, &why)) {
			/* The epoch goes on over the new link with what it had not sent yet. */
			if (!link_broken(mover->link))
				return err_set(err, why.kind, "%s", why.text);
			if (mover_rejoin(mover, &why, err))
				return -1;
			continue;
		}
		if (mover_call(mover, json_pack("{s:s}", "cmd", "harvest"), err))
			return -1;
		input.rounds = mover->report->listed;
		input.fixed_ns = plan_fixed_ns(mover->ack_ns, link_rtt_ns(mover->link));
		input.remaining =
		    pageset_count(&mover->dirty) + sender_again(&mover->sender) + mover_disks_expected(mover);
		last = &mover->report->round[input.rounds - 1];
		if (last->ns > 0)
			mover->progress.dirty_bytes_per_s =
			    (uint64_t)((double)input.remaining * PAGES_SIZE * 1e9 / (double)last->ns);
		next = plan_next(&input);
		/* The rest shall come after the guest. */
		mover->postcopy.on = mover->options->postcopy || next.action == PLAN_POSTCOPY;
		if (mover->postcopy.on || next.action == PLAN_SWITCH)
			return 0;
		if (next.action == PLAN_FAIL)
			return give_up(mover, &input, &next, err);
		if (next.throttle != input.throttle && set_throttle(mover, next.throttle, err))
			return -1;
		input.throttle = next.throttle;
	}
}
