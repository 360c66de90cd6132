/* drover jobs, drover job ...: replication jobs, and cycles by hand. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "common/io.h"
#include "common/names.h"
#include "common/units.h"
#include "replicate/cycle.h"
#include "replicate/job.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *age_text(const struct job_state *state, char text[24])
{
	uint64_t now = clock_real_ns();

	if (!state->boundary_ns)
		return "never";
	return units_format_duration(now > state->boundary_ns ? now - state->boundary_ns : 0, text);
}

static const char *what_now(const struct job *job, const struct job_state *state)
{
	if (job_locked(job->name))
		return "running";
	if (job->paused)
		return "paused";
	return state->in_a_row ? "failing" : "waiting";
}

static void print(const struct job *job, const struct job_state *state)
{
	char age[24], rpo[24];

	output_say("%-16s %-16s %-20s %8s  %12s  %6llu  %-8s%s%s", job->name, job->vm, job->host,
		   units_format_duration(job->rpo_ns, rpo), age_text(state, age),
		   (unsigned long long)state->missed, what_now(job, state), state->why[0] ? "  " : "",
		   state->why);
}

int cmd_jobs(const struct args *args, struct err *err)
{
	json_t *list = json_array();
	size_t count;
	char **names;
	int failed = job_list(&names, &count, err);

	if (!failed && count && !args->json)
		printf("%-16s %-16s %-20s %8s  %12s  %6s  %s\n", "JOB", "VM", "HOST", "RPO", "NEWEST",
		       "MISSED", "NOW");
	for (size_t i = 0; !failed && i < count; i++) {
		struct job_state state;
		struct job job;

		failed = job_load(names[i], &job, err) || job_load_state(names[i], &state, err);
		if (!failed && args->json)
			json_array_append_new(list, job_json(&job, &state));
		else if (!failed)
			print(&job, &state);
	}
	if (!failed && args->json)
		output_json(json_pack("{s:O}", "jobs", list));
	else if (!failed && count == 0)
		output_say("no jobs; 'drover protect VM HOST --rpo TIME' makes one");
	if (!failed)
		names_free(names, count);
	json_decref(list);
	return failed ? -1 : 0;
}

int cmd_job_show(const struct args *args, struct err *err)
{
	char text[24], rpo[24], keep[RETENTION_TEXT], id[IMAGE_ID];
	struct job_state state;
	struct job job;

	if (job_load(args->operand[0], &job, err) || job_load_state(job.name, &state, err))
		return -1;
	if (args->json) {
		output_json(job_json(&job, &state));
		return 0;
	}
	output_say("job '%s': VM '%s' to %s, %s", job.name, job.vm, job.host, what_now(&job, &state));
	output_say("  a point at most %s old; kept there: %s", units_format_duration(job.rpo_ns, rpo),
		   retention_format(&job.keep, keep));
	if (state.cycles)
		output_say("  newest point: %s, taken %s ago, sent in %s", image_id(state.acked, id),
			   age_text(&state, text),
			   units_format_duration(state.took_ns[SCHEDULE_HISTORY - 1], rpo));
	output_say("  cycles: %llu, failed: %llu, objectives missed: %llu", (unsigned long long)state.cycles,
		   (unsigned long long)state.failures, (unsigned long long)state.missed);
	if (state.why[0])
		output_say("  the last one failed: %s", state.why);
	return 0;
}

static int set_paused(const struct args *args, bool paused, struct err *err)
{
	struct job job;

	if (job_load(args->operand[0], &job, err))
		return -1;
	job.paused = paused;
	if (job_save(&job, err))
		return -1;
	job_event(job.name, paused ? "paused" : "resumed", "");
	if (args->json)
		output_json(json_pack("{s:s, s:b}", "job", job.name, "paused", paused));
	else
		output_say("job '%s' %s", job.name, paused ? "is paused" : "goes on");
	return 0;
}

int cmd_job_pause(const struct args *args, struct err *err)
{
	return set_paused(args, true, err);
}

int cmd_job_resume(const struct args *args, struct err *err)
{
	return set_paused(args, false, err);
}

/* ---- a cycle ----------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t cancelled;

static void on_signal(int number)
{
	if (cancelled) {
		signal(number, SIG_DFL);
		raise(number);
	}
	cancelled = 1;
}

static void catch_signals(void)
{
	const struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static void say(const struct job *job, const struct replica_report *report, bool json)
{
	char id[IMAGE_ID], took[24], size[16];

	if (json) {
		output_json(json_pack("{s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:I}", "job", job->name, "point",
				      image_id_json(report->point), "bytes", (json_int_t)report->bytes,
				      "pages", (json_int_t)report->pages, "connect_ms",
				      output_ms(report->connect_ns), "cut_ms", output_ms(report->cut_ns),
				      "total_ms", output_ms(report->total_ns), "reconnects",
				      (json_int_t)report->reconnects));
		return;
	}
	output_say("point %s of VM '%s' is on %s: %s in %s", image_id(report->point, id), job->vm, job->host,
		   units_format_size(report->bytes, size), units_format_duration(report->total_ns, took));
}

int cmd_job_run_now(const struct args *args, struct err *err)
{
	struct progress progress = {.began = false};
	struct move_observer observer = progress_observer(&progress);
	struct replica_report report;
	struct job job;
	int lock, status;

	if (job_load(args->operand[0], &job, err))
		return -1;
	lock = job_lock(job.name, err);
	if (lock < 0)
		return -1;
	catch_signals();
	status = cycle_run(&job, &cancelled, &observer, &report, err);
	progress_end(&progress);
	io_close(&lock);
	if (status)
		return err_context(err, "job '%s'", job.name);
	say(&job, &report, args->json);
	return 0;
}
