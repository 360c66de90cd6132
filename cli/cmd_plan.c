/* drover plan: could this VM go to that host, and how would it go? */
#include "cli/commands.h"
#include "cli/move_options.h"
#include "cli/output.h"
#include "common/units.h"
#include "migrate/survey.h"

#include <inttypes.h>
#include <stdio.h>

static volatile sig_atomic_t cancelled;

static void on_signal(int number)
{
	(void)number;
	cancelled = 1;
}

/* The VM is let go of by the process's end, too; but a command that is given up should say so. */
static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

static const char *strategy(const struct survey *survey)
{
	switch (survey->forecast.action) {
	case PLAN_SWITCH:
		return survey->forecast.max_throttle ? "throttled" : "plain";
	case PLAN_POSTCOPY:
		return "postcopy";
	default:
		return "none";
	}
}

static double dirty_bytes_per_s(const struct survey_interval *interval)
{
	return interval->ns ? (double)interval->pages * 4096 * 1e9 / (double)interval->ns : 0;
}

static void print_forecast(const struct args *args, const struct survey *survey)
{
	const struct plan_forecast *forecast = &survey->forecast;
	char total[24], pause[24], budget[24], bytes[24];

	units_format_duration(forecast->total_ns, total);
	units_format_duration(forecast->downtime_ns, pause);
	units_format_duration(args->downtime_ns, budget);
	units_format_size(forecast->bytes, bytes);
	if (forecast->action == PLAN_FAIL) {
		output_say(
		    "  forecast   with these options it would not get there: it writes faster than that is "
		    "carried away; a longer --downtime, another --if-busy or a higher --throttle-max may "
		    "help");
		return;
	}
	output_say("  forecast   %s in all, %s of them paused (%s are allowed), %s to send in %u rounds",
		   total, pause, budget, bytes, forecast->rounds + 1);
	if (forecast->action == PLAN_POSTCOPY)
		output_say("  strategy   post-copy: it goes on there before its memory has come");
	else if (forecast->max_throttle)
		output_say("  strategy   slowed down by up to %u %%", forecast->max_throttle);
	else
		output_say("  strategy   as it is: nothing needs to be slowed down");
}

static void print(const struct args *args, const struct survey *survey)
{
	const struct preflight *way = &survey->preflight;
	char rate[24], rtt[24], connect[24], touched[24], memory[24];

	units_format_size(way->bytes_per_s, rate);
	units_format_duration(way->rtt_ns, rtt);
	units_format_duration(way->connect_ns, connect);
	units_format_size(survey->touched_bytes, touched);
	units_format_size(survey->memory_bytes, memory);
	output_say("VM '%s' to %s:", args->operand[0], args->operand[1]);
	for (size_t i = 0; i < survey->fitness.count; i++) {
		const struct fitness_check *check = &survey->fitness.check[i];

		output_say("  %-10s %s%s", check->what, check->fit ? "" : "NOT FIT: ", check->text);
	}
	output_say("  way        %s/s over %u connections, round trip %s, connected in %s", rate, way->links,
		   rtt, connect);
	output_say("  guest      uses %s of %s, of which %.0f %% are left when packed; writes %.1f MB/s%s",
		   touched, memory, survey->first.bytes * 100 / 4096, dirty_bytes_per_s(&survey->whole) / 1e6,
		   survey->paused ? ", being paused" : "");
	if (survey->fitness.fit)
		print_forecast(args, survey);
}

static json_t *checks_json(const struct fitness *fitness)
{
	json_t *list = json_array();

	for (size_t i = 0; i < fitness->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:b, s:o}", "check", fitness->check[i].what,
						      "fit", fitness->check[i].fit, "text",
						      output_string(fitness->check[i].text)));
	return list;
}

static json_t *forecast_json(const struct survey *survey)
{
	const struct plan_forecast *forecast = &survey->forecast;

	if (!survey->fitness.fit)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:I, s:i, s:i}", "strategy", strategy(survey), "total_ms",
			 output_ms(forecast->total_ns), "downtime_ms", output_ms(forecast->downtime_ns),
			 "bytes_sent", (json_int_t)forecast->bytes, "rounds", (int)forecast->rounds + 1,
			 "max_throttle", (int)forecast->max_throttle);
}

static json_t *plan_json(const struct args *args, const struct survey *survey)
{
	const struct preflight *way = &survey->preflight;

	return json_pack(
	    "{s:s, s:o, s:b, s:o, s:o, s:o, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "name",
	    args->operand[0], "destination", output_string(args->operand[1]), "fit", survey->fitness.fit,
	    "checks", checks_json(&survey->fitness), "connect_ms", output_ms(way->connect_ns), "rtt_ms",
	    output_ms(way->rtt_ns), "links", (int)way->links, "bytes_per_s", (json_int_t)way->bytes_per_s,
	    "touched_bytes", (json_int_t)survey->touched_bytes, "disk_bytes", (json_int_t)survey->disk_bytes,
	    "page_bytes", (json_int_t)survey->first.bytes, "again_bytes", (json_int_t)survey->again.bytes,
	    "dirty_bytes_per_s", (json_int_t)dirty_bytes_per_s(&survey->whole), "brief_dirty_bytes_per_s",
	    (json_int_t)dirty_bytes_per_s(&survey->brief), "forecast", forecast_json(survey));
}

int cmd_plan(const struct args *args, struct err *err)
{
	const struct move_options options = move_options(args, &cancelled);
	struct survey survey;
	int status;

	catch_signals();
	status = survey_run(&options, NULL, &survey, err);
	if (!status && args->json)
		output_json(plan_json(args, &survey));
	else if (!status)
		print(args, &survey);
	if (!status && !survey.fitness.fit)
		status = 1; /* what is wrong was said */
	survey_free(&survey);
	return status;
}
