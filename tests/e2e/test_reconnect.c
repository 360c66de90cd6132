/* test_reconnect.c: links that break while a VM is copied, or stands still for the last epoch.  The move goes on, nothing is lost, and what is sent twice is no
 * more than what was on its way. */
#include "tests/lib/host.h"
#include "tests/lib/need.h"
#include "tests/lib/random.h"
#include "tests/lib/relay.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Half of the content compresses: enough for all cuts. */
#define GUEST "fill=192M dirty=1 report=50"

enum {
	CUTS = 20,
	/* What can be between the sender's window and the receiver's decoder when a link breaks: SSH's channel window, the
	 * queues of sockets and pipes on the way, the frames that are gathered; of pages before compression. */
	IN_FLIGHT_PAGES = 4096,
	MS = 1000000,
};

static struct {
	char folder[TEMP_MAX];
	struct sshd sshd;
	struct host a, b;
} world;

static struct command command;

/* The command of host_migrate_argv through a relay, with more options. */
static const char *const *argv_through(const struct relay *relay, const char *vm, const char *streams)
{
	static const char *argv[32];
	static char url[SSH_USER_MAX + 64];
	const char *const *plain = host_migrate_argv(&world.sshd, &world.b, vm, NULL);
	size_t n = 0;

	for (; plain[n]; n++)
		argv[n] = n > 0 && !strcmp(plain[n - 1], "--reconnect") ? "20s" : plain[n];
	snprintf(url, sizeof(url), "ssh://%s@127.0.0.1:%u", world.sshd.user, relay_port(relay));
	argv[3] = url;
	argv[n++] = "--streams";
	argv[n++] = streams;
	argv[n] = NULL;
	return argv;
}

static void wait_for_bytes(struct relay *relay, uint64_t bytes)
{
	siginfo_t ended = {.si_pid = 0};

	while (relay_bytes_up(relay) < bytes && ended.si_pid == 0) {
		waitid(P_PID, (id_t)command.pid, &ended, WEXITED | WNOHANG | WNOWAIT);
		usleep(1000);
	}
}

static json_t *report_of(const char *output)
{
	const char *begin = strstr(output, "{\"name\"");
	json_t *report = begin ? json_loads(begin, 0, NULL) : NULL;

	if (!report)
		fail_msg("no report, but: %s", output);
	return report;
}

static json_int_t number(const json_t *report, const char *key)
{
	return json_integer_value(json_object_get(report, key));
}

static void the_guest_is_whole(const char *vm)
{
	struct guest_report reports[4096];
	size_t n = host_reports(&world.a, vm, reports, 4096);
	uint64_t before = n > 0 ? reports[n - 1].seq : 0;

	host_wait_report(&world.b, vm, before + 20);
	host_must(&world.b, "kill", vm, NULL);
	host_must(&world.a, "forget", vm, NULL);
	host_must(&world.b, "forget", vm, NULL);
}

static void cut_many_times(const char *vm, const char *streams)
{
	uint64_t random = random_begin(), cuts = 0;
	struct relay *relay = relay_start(world.sshd.port);
	json_t *report;

	need_kvm();
	assert_non_null(relay);
	assert_int_equal(sshd_add_known(&world.sshd, relay_port(relay)), 0);
	host_run_guest(&world.a, vm, "256M", NULL, GUEST);
	command_start(&command, &world.a, NULL, argv_through(relay, vm, streams));
	/* The first one breaks the copying, not the greeting. */
	wait_for_bytes(relay, 1 << 20);
	for (; cuts < CUTS; cuts++) {
		uint64_t at = relay_bytes_up(relay) + 65536 + random_below(&random, 1 << 20);

		wait_for_bytes(relay, at);
		relay_cut(relay);
	}
	if (command_wait(&command)) {
		size_t len = strlen(command.output);

		fail_msg("%s", command.output + (len > 900 ? len - 900 : 0));
	}
	report = report_of(command.output);
	print_message("  %s links, %d cuts: %lld times connected again, %lld pages again, %lld in all, %llu "
		      "KiB over the wire\n",
		      streams, CUTS, number(report, "reconnects"), number(report, "pages_again"),
		      number(report, "pages_sent"), (unsigned long long)(relay_bytes_up(relay) >> 10));
	assert_true(number(report, "reconnects") > 0);
	assert_true(number(report, "pages_again") <= CUTS * IN_FLIGHT_PAGES);
	json_decref(report);
	relay_stop(relay);
	the_guest_is_whole(vm);
}

static void one_link_that_is_cut_twenty_times(void **state)
{
	(void)state;
	cut_many_times("one", "1");
}

static void three_links_that_are_cut_twenty_times(void **state)
{
	(void)state;
	cut_many_times("three", "3");
}

/* The mover stops itself where the fault says, all links are reset, and it goes on. */
static void break_all_links_at(const char *point, const char *const *argv, struct relay *relay)
{
	int status;

	command_start(&command, &world.a, point, argv);
	assert_int_equal(waitpid(command.pid, &status, WUNTRACED), command.pid);
	assert_true(WIFSTOPPED(status));
	relay_cut(relay);
	kill(command.pid, SIGCONT);
}

static void a_break_in_the_pause(const char *vm, const char *point, const char *streams, const char *more)
{
	const char *argv[40];
	size_t n = 0;
	struct relay *relay = relay_start(world.sshd.port);
	json_t *report;

	need_kvm();
	assert_non_null(relay);
	assert_int_equal(sshd_add_known(&world.sshd, relay_port(relay)), 0);
	host_run_guest(&world.a, vm, "64M", NULL, "fill=32M dirty=20 report=50");
	for (const char *const *plain = argv_through(relay, vm, streams); plain[n]; n++)
		argv[n] = plain[n];
	argv[n++] = more;
	argv[n] = NULL;
	break_all_links_at(point, argv, relay);
	if (command_wait(&command))
		fail_msg("%s: %s", point, command.output);
	assert_non_null(strstr(command.output, "a link broke in the switch-over"));
	report = report_of(command.output);
	assert_int_equal(number(report, "resumes"), 1);
	assert_true(number(report, "reconnects") > 0);
	json_decref(report);
	relay_stop(relay);
	the_guest_is_whole(vm);
}

static void links_that_break_while_the_guest_is_paused(void **state)
{
	(void)state;
	a_break_in_the_pause("paused", "mover.paused=stop", "1", NULL);
	a_break_in_the_pause("last", "mover.final-pages=stop", "3", NULL);
}

static void links_that_break_in_the_pause_before_post_copy(void **state)
{
	(void)state;
	a_break_in_the_pause("owed", "mover.paused=stop", "2", "--postcopy");
	a_break_in_the_pause("told", "mover.final-pages=stop", "2", "--postcopy");
}

static int open_world(void **state)
{
	(void)state;
	temp_make(world.folder);
	host_open(&world.a, world.folder, "a");
	host_open(&world.b, world.folder, "b");
	return sshd_start(world.folder, "", &world.sshd);
}

static int close_world(void **state)
{
	(void)state;
	sshd_stop(&world.sshd);
	host_close(&world.a);
	host_close(&world.b);
	temp_remove(world.folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_link_that_is_cut_twenty_times),
	    cmocka_unit_test(three_links_that_are_cut_twenty_times),
	    cmocka_unit_test(links_that_break_while_the_guest_is_paused),
	    cmocka_unit_test(links_that_break_in_the_pause_before_post_copy),
	};

	return cmocka_run_group_tests(tests, open_world, close_world);
}
