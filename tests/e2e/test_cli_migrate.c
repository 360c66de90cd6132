/* test_cli_migrate.c: what `drover migrate` says and returns, moved or given up. */
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUEST "fill=8M dirty=10 report=50"

static struct command command;

static void must_say(const struct command *of, const char *text)
{
	if (!strstr(of->output, text))
		fail_msg("'%s' is not in: %s", text, of->output);
}

static void a_report_in_json_has_every_field(void **state)
{
	static const char *const numbers[] = {
	    "term",   "total_ms",     "downtime_ms",          "downtime_budget_ms", "forecast_ms",
	    "rounds", "pages_sent",   "forecast_downtime_ms", "zero_pages",         "bytes_sent",
	    "mbps",   "max_throttle", "delta_pages"};
	json_t *report;
	char *begin;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "json", "32M", NULL, GUEST);
	command_start(&command, &world.a, NULL, host_migrate_argv(&world.sshd, &world.b, "json", NULL));
	if (command_wait(&command))
		fail_msg("%s", command.output);
	/* The progress lines before it went to stderr; here both are one pipe. */
	must_say(&command, "drover: copying");
	begin = strstr(command.output, "{\"name\"");
	report = begin ? json_loads(begin, 0, NULL) : NULL;
	if (!report)
		fail_msg("no report, but: %s", command.output);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!json_is_number(json_object_get(report, numbers[i])))
			fail_msg("the report lacks %s: %s", numbers[i], begin);
	assert_int_equal(json_integer_value(json_object_get(report, "term")), 2);
	assert_true(json_real_value(json_object_get(report, "total_ms")) >
		    json_real_value(json_object_get(report, "downtime_ms")));
	assert_int_equal(json_array_size(json_object_get(report, "bytes_per_round")),
			 json_integer_value(json_object_get(report, "rounds")));
	assert_int_equal(json_array_size(json_object_get(report, "rounds_detail")),
			 json_integer_value(json_object_get(report, "rounds")));
	json_decref(report);
	/* The command does not return before this host is through with the VM. */
	host_must(&world.a, "forget", "json", NULL);
	host_must(&world.b, "kill", "json", NULL);
	host_must(&world.b, "forget", "json", NULL);
}

/* SIGHUP, of a terminal that is gone, ends the mover only; the next one takes its place. */
static void a_signal_cancels_and_the_guest_runs_on(void **state)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM};

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "signal", "32M", NULL, GUEST);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int status;

		/* The mover stops itself in the middle of the first round, so the signal comes no earlier or later. */
		command_start(&command, &world.a, "mover.round-middle=stop",
			      host_migrate_argv(&world.sshd, &world.b, "signal", NULL));
		assert_int_equal(waitpid(command.pid, &status, WUNTRACED), command.pid);
		assert_true(WIFSTOPPED(status));
		kill(command.pid, signals[i]);
		kill(command.pid, SIGCONT);
		bool cancels = signals[i] != SIGHUP;
		assert_int_equal(command_wait(&command), cancels ? 1 : 128 + SIGHUP);
		assert_true(
		    cancels ==
		    !!strstr(command.output,
			     "drover: the migration of VM 'signal' was cancelled; the guest runs on here\n"));
		host_wait_state(&world.a, "signal", "running");
	}
	host_wait_state(&world.b, "signal", "none");
	host_must(&world.a, "kill", "signal", NULL);
	host_must(&world.a, "forget", "signal", NULL);
	host_must(&world.b, "forget", "signal", NULL);
}

static void cancel_ends_the_migration_of_another_process(void **state)
{
	char output[HOST_OUTPUT];
	int status;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "cancel", "32M", NULL, GUEST);
	assert_int_equal(host_drover(&world.a, output, "cancel", "cancel", NULL), 1);
	command_start(&command, &world.a, "mover.round-middle=stop",
		      host_migrate_argv(&world.sshd, &world.b, "cancel", NULL));
	assert_int_equal(waitpid(command.pid, &status, WUNTRACED), command.pid);
	assert_int_equal(host_drover(&world.a, output, "list", NULL), 0);
	assert_non_null(strstr(output, "migrating"));
	assert_int_equal(host_drover(&world.a, output, "cancel", "cancel", NULL), 0);
	assert_string_equal(output, "the migration of VM 'cancel' is cancelled; the guest runs on here\n");
	kill(command.pid, SIGCONT);
	assert_int_equal(command_wait(&command), 1);
	must_say(&command, "drover: the migration of VM 'cancel' was cancelled by 'drover cancel'; the guest "
			   "runs on here\n");
	host_wait_state(&world.a, "cancel", "running");
	host_must(&world.a, "kill", "cancel", NULL);
}

static void an_attached_console_is_told_where_the_guest_went(void **state)
{
	static struct command console;
	const char *const argv[] = {"drover", "console", "moved", NULL};

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "moved", "32M", NULL, GUEST);
	command_start(&console, &world.a, NULL, argv);
	command_start(&command, &world.a, NULL, host_migrate_argv(&world.sshd, &world.b, "moved", NULL));
	if (command_wait(&command))
		fail_msg("%s", command.output);
	must_say(&command, "\"destination\": \"ssh://");
	assert_int_equal(command_wait(&console), 0);
	must_say(&console, "drover: VM 'moved' was moved to ssh://");
	host_must(&world.b, "kill", "moved", NULL);
}

/* The link takes a small part of what the guest writes, and all of that has to go over it: it cannot fit a pause of 100 ms. */
static void move_a_busy_guest(const char *if_busy, const char *throttle_max)
{
	const char *const *plain = host_migrate_argv(&world.sshd, &world.b, "busy", NULL);
	const char *argv[40];
	size_t n = 0;

	for (; plain[n]; n++)
		argv[n] = n > 0 && !strcmp(plain[n - 1], "--downtime") ? "100ms" : plain[n];
	argv[n++] = "--bandwidth";
	argv[n++] = "4M";
	argv[n++] = "--compress";
	argv[n++] = "none";
	argv[n++] = "--if-busy";
	argv[n++] = if_busy;
	argv[n++] = "--throttle-max";
	argv[n++] = throttle_max;
	argv[n] = NULL;
	command_start(&command, &world.a, NULL, argv);
	assert_int_equal(command_wait(&command), 1);
	host_wait_state(&world.a, "busy", "running");
	host_wait_state(&world.b, "busy", "none");
}

static void a_guest_that_is_too_busy_stays_with_a_sentence(void **state)
{
	(void)state;
	need_kvm();
	host_run_guest(&world.a, "busy", "32M", NULL, "fill=4M dirty=200 report=50");
	move_a_busy_guest("cancel", "99");
	must_say(&command, "after 1 rounds the pause would still take");
	must_say(&command, "--if-busy throttle slows the guest down");
	move_a_busy_guest("throttle", "10");
	must_say(&command, "running at 90 %");
	must_say(&command, "a higher --throttle-max");
	host_must(&world.a, "kill", "busy", NULL);
	host_must(&world.a, "forget", "busy", NULL);
	host_must(&world.b, "forget", "busy", NULL);
}

/* Two round trips of 100 ms do not fit 30 ms: that is said before the other host hears of the VM's memory. */
static void a_way_that_is_too_long_is_refused_at_once(void **state)
{
	const char *const more[] = {"--downtime", "30ms", NULL};
	struct relay *relay = pair_relay();

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "far", "32M", NULL, GUEST);
	relay_delay(relay, 50000);
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "far", NULL, relay_port(relay), more));
	assert_int_equal(command_wait(&command), 1);
	must_say(&command, "a switch-over waits for two");
	must_say(&command, "ms or more");
	assert_int_equal(relay_connections(relay), 1);
	relay_stop(relay);
	host_wait_state(&world.a, "far", "running");
	assert_int_equal(host_ledger(&world.b, "far").term, 0);
	host_must(&world.a, "kill", "far", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_report_in_json_has_every_field),
	    cmocka_unit_test(a_signal_cancels_and_the_guest_runs_on),
	    cmocka_unit_test(cancel_ends_the_migration_of_another_process),
	    cmocka_unit_test(a_guest_that_is_too_busy_stays_with_a_sentence),
	    cmocka_unit_test(a_way_that_is_too_long_is_refused_at_once),
	    cmocka_unit_test(an_attached_console_is_told_where_the_guest_went),
	};

	return cmocka_run_group_tests(tests, pair_open, pair_close);
}
