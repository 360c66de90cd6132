/* test_reconnect.c: links that break while a VM is copied, or stands still for the last epoch.  The move goes on, nothing is lost, and what is sent twice is no
 * more than what was on its way. */
#include "common/io.h"
#include "common/unixsock.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* Half of the content compresses: enough for all cuts. */
#define GUEST "fill=192M dirty=1 report=50"

enum {
	CUTS = 20,
	/* What can be between the sender's window and the receiver's decoder when a link breaks: SSH's channel window, the
	 * queues of sockets and pipes on the way, the frames that are gathered; of pages before compression. */
	IN_FLIGHT_PAGES = 4096,
};

static struct command command;

static void cut_many_times(const char *vm, const char *streams)
{
	const char *const more[] = {"--streams", streams, "--reconnect", "20s", NULL};
	uint64_t random = random_begin();
	struct relay *relay;
	json_t *report;

	need_kvm();
	relay = pair_relay();
	host_run_guest(&world.a, vm, "256M", NULL, GUEST);
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, vm, NULL, relay_port(relay), more));
	/* The first one breaks the copying, not the greeting. */
	pair_wait_for_bytes(relay, 1 << 20, &command);
	for (int cuts = 0; cuts < CUTS; cuts++) {
		uint64_t at = relay_bytes_up(relay) + 65536 + random_below(&random, 1 << 20);

		pair_wait_for_bytes(relay, at, &command);
		relay_cut(relay);
	}
	command_must_succeed(&command);
	report = command_report(&command);
	print_message("  %s links, %d cuts: %lld times connected again, %lld pages again, %lld in all, %llu "
		      "KiB over the wire\n",
		      streams, CUTS, json_integer_value(json_object_get(report, "reconnects")),
		      json_integer_value(json_object_get(report, "pages_again")),
		      json_integer_value(json_object_get(report, "pages_sent")),
		      (unsigned long long)(relay_bytes_up(relay) >> 10));
	assert_true(json_integer_value(json_object_get(report, "reconnects")) > 0);
	assert_true(json_integer_value(json_object_get(report, "pages_again")) <= CUTS * IN_FLIGHT_PAGES);
	json_decref(report);
	relay_stop(relay);
	pair_goes_on(vm);
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

/* A server that is overrun, or a firewall that has had enough: the further ones come to nothing, and are not waited for. */
static void links_that_are_never_made_hold_up_nothing(void **state)
{
	const char *const more[] = {"--streams", "4", NULL};
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = pair_relay();
	relay_answer(relay, 1);
	host_run_guest(&world.a, "alone", "32M", NULL, "fill=8M dirty=1 report=50");
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "alone", NULL, relay_port(relay), more));
	if (command_wait(&command))
		fail_msg("%s", command.output);
	assert_int_equal(command_number(&command, "links"), 1);
	assert_true(relay_connections(relay) > 1);
	relay_stop(relay);
	pair_goes_on("alone");
}

/* What a session asks of an older one that holds its VM; nobody waits for the answer. */
static void ask_for_the_vm(const char *vm)
{
	char path[HOST_PATH + 64], question[128];
	int fd;

	snprintf(question, sizeof(question), "{\"purpose\":\"supersede\",\"uuid\":\"%s\"}",
		 host_ledger(&world.a, vm).uuid);
	snprintf(path, sizeof(path), "%s/run/incoming/%s.sock", world.b.root, vm);
	fd = unixsock_connect(path, SOCK_SEQPACKET, 1000);
	assert_true(fd >= 0);
	assert_int_equal(io_send(fd, question, strlen(question), NULL, 0), 0);
	io_close(&fd);
}

static void who_asked_for_the_vm_and_left_takes_it_from_nobody(void **state)
{
	const char *const more[] = {"--streams", "1", "--reconnect", "20s", NULL};
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = pair_relay();
	host_run_guest(&world.a, "asked", "256M", NULL, GUEST);
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "asked", NULL, relay_port(relay), more));
	pair_wait_for_bytes(relay, 1 << 20, &command);
	ask_for_the_vm("asked");
	pair_wait_for_bytes(relay, relay_bytes_up(relay) + (1 << 20), &command);
	relay_cut(relay);
	command_must_succeed(&command);
	assert_int_equal(command_number(&command, "reconnects"), 1);
	relay_stop(relay);
	pair_goes_on("asked");
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
	const char *const options[] = {"--streams", streams, "--reconnect", "20s", more, NULL};
	struct relay *relay;

	need_kvm();
	relay = pair_relay();
	host_run_guest(&world.a, vm, "64M", NULL, "fill=32M dirty=20 report=50");
	break_all_links_at(
	    point, host_migrate_argv_with(&world.sshd, &world.b, vm, NULL, relay_port(relay), options),
	    relay);
	if (command_wait(&command))
		fail_msg("%s: %s", point, command.output);
	assert_non_null(strstr(command.output, "a link broke in the switch-over"));
	/* Links that break at one moment may be found out one after the other. */
	assert_true(command_number(&command, "resumes") > 0);
	assert_true(command_number(&command, "reconnects") > 0);
	relay_stop(relay);
	pair_goes_on(vm);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_link_that_is_cut_twenty_times),
	    cmocka_unit_test(three_links_that_are_cut_twenty_times),
	    cmocka_unit_test(links_that_are_never_made_hold_up_nothing),
	    cmocka_unit_test(who_asked_for_the_vm_and_left_takes_it_from_nobody),
	    cmocka_unit_test(links_that_break_while_the_guest_is_paused),
	    cmocka_unit_test(links_that_break_in_the_pause_before_post_copy),
	};

	return cmocka_run_group_tests(tests, pair_open, pair_close);
}
