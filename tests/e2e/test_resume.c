/* test_resume.c: `drover migrate` is killed while the guest is its host's, and another one goes on with the move.  Nothing is lost, and what is
 * sent twice is no more than what was on its way. */
#include "tests/lib/diskhost.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	KILLS = 4,
	FILL = 160 << 20,
	/* Between the sender's window and the receiver's decoder when a mover dies: SSH's channel windows, sockets and pipes, on three links;
	 * and what SSH itself takes. */
	IN_FLIGHT = 20 << 20,
};

static struct pair world;
static struct command command;
static char disk[TEMP_MAX + 16];

static const char *const *argv_packed(const char *vm, struct relay *relay, const char *packing,
				      const char *flag)
{
	const char *const more[] = {"--streams",  "3",     "--reconnect", "30s",
				    "--compress", packing, flag,          NULL};

	return host_migrate_argv_with(&world.sshd, &world.b, vm, NULL, relay_port(relay), more);
}

/* Sent as it is: bytes on the wire are bytes of the guest. */
static const char *const *argv(const char *vm, struct relay *relay, const char *flag)
{
	return argv_packed(vm, relay, "none", flag);
}

static void kill_mover(int signal)
{
	assert_int_equal(kill(command.pid, signal), 0);
	assert_int_equal(command_wait(&command), 128 + signal);
}

static void must_succeed(void)
{
	size_t len;

	if (!command_wait(&command))
		return;
	len = strlen(command.output);
	fail_msg("%s", command.output + (len > 900 ? len - 900 : 0));
}

static bool went_on(void)
{
	json_t *report = command_report(&command);
	bool resumed = json_is_true(json_object_get(report, "resumed"));

	json_decref(report);
	return resumed;
}

/* Several movers, each killed after a part of what there is to send; the last one ends the move.  Bytes that all of them sent. */
static uint64_t move_in_pieces(const char *vm, struct relay *relay, uint64_t bytes)
{
	uint64_t random = random_begin();

	command_start(&command, &world.a, NULL, argv(vm, relay, NULL));
	for (int kills = 0; kills < KILLS; kills++) {
		uint64_t piece = bytes / (KILLS + 1);

		pair_wait_for_bytes(
		    relay, relay_bytes_up(relay) + piece / 2 + random_below(&random, piece / 2), &command);
		kill_mover(SIGKILL);
		host_wait_state(&world.a, vm, "running");
		command_start(&command, &world.a, NULL, argv(vm, relay, "--resume"));
	}
	must_succeed();
	assert_true(went_on());
	return relay_bytes_up(relay);
}

static void a_guest_whose_movers_are_killed(void **state)
{
	struct relay *relay;
	uint64_t sent;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	host_run_guest(&world.a, "ram", "256M", NULL, "fill=160M dirty=1 report=50");
	sent = move_in_pieces("ram", relay, FILL);
	print_message("  %d kills: %llu MiB over the wire for %d MiB\n", KILLS,
		      (unsigned long long)sent >> 20, FILL >> 20);
	assert_true(sent < FILL + (uint64_t)KILLS * IN_FLIGHT + (32 << 20));
	relay_stop(relay);
	host_wait_report(&world.b, "ram", pair_last_seq(&world, "ram") + 20);
	host_must(&world.b, "kill", "ram", NULL);
}

/* What a mover dies in may be the pause; the one that goes on sends deltas as the first one did. */
static void a_mover_that_dies_in_the_pause(void **state)
{
	static const char *const points[] = {"mover.paused=kill", "mover.final-pages=kill",
					     "mover.round-acked=kill", "mover.attached=kill"};
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		host_run_guest(&world.a, "p", "64M", NULL, "fill=32M dirty=20 report=50");
		command_start(&command, &world.a, points[i], argv_packed("p", relay, "auto", NULL));
		assert_int_equal(command_wait(&command), 128 + SIGKILL);
		host_wait_state(&world.a, "p", "running");
		command_start(&command, &world.a, NULL, argv_packed("p", relay, "auto", "--resume"));
		must_succeed();
		assert_true(went_on());
		host_wait_report(&world.b, "p", pair_last_seq(&world, "p") + 20);
		host_must(&world.b, "kill", "p", NULL);
		host_must(&world.a, "forget", "p", NULL);
		host_must(&world.b, "forget", "p", NULL);
	}
	relay_stop(relay);
}

/* Its mover has died behind the first round. */
static void a_broken_move(struct relay *relay)
{
	host_run_guest(&world.a, "n", "64M", NULL, "fill=32M dirty=1 report=50");
	command_start(&command, &world.a, "mover.round-acked=kill", argv("n", relay, NULL));
	assert_int_equal(command_wait(&command), 128 + SIGKILL);
	host_wait_state(&world.a, "n", "running");
}

/* --resume does the whole move, and says so. */
static void moves_anew(struct relay *relay, const char *why)
{
	command_start(&command, &world.a, NULL, argv("n", relay, "--resume"));
	must_succeed();
	assert_false(went_on());
	if (!strstr(command.output, "begins anew") || !strstr(command.output, why))
		fail_msg("%s", command.output);
	host_wait_report(&world.b, "n", pair_last_seq(&world, "n") + 20);
	host_must(&world.b, "kill", "n", NULL);
	host_must(&world.a, "forget", "n", NULL);
	host_must(&world.b, "forget", "n", NULL);
}

static void what_cannot_be_gone_on_with(void **state)
{
	static char text[HOST_OUTPUT];
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	host_run_guest(&world.a, "n", "64M", NULL, "fill=32M dirty=1 report=50");
	moves_anew(relay, "no move of VM 'n' was broken off");
	/* To another host: the same one by another port is none the less another to whoever asked. */
	a_broken_move(relay);
	host_drover(&world.a, text, "status", "n", NULL);
	assert_non_null(strstr(text, "broken off"));
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "n", NULL, 0,
					     (const char *const[]){"--resume", NULL}));
	assert_int_equal(command_wait(&command), 1);
	assert_non_null(strstr(command.output, "that was broken off went to ssh://"));
	/* The receiver is gone. */
	host_must(&world.b, "kill", "--force", "n", NULL);
	host_wait_state(&world.b, "n", "none");
	moves_anew(relay, "refused");
	/* The user has given it up. */
	a_broken_move(relay);
	host_must(&world.a, "cancel", "n", NULL);
	host_drover(&world.a, text, "status", "n", NULL);
	assert_null(strstr(text, "broken off"));
	moves_anew(relay, "no move of VM 'n' was broken off");
	/* What else needs to know what the guest writes. */
	a_broken_move(relay);
	host_must(&world.a, "dirty-rate", "n", "--interval", "50ms", NULL);
	moves_anew(relay, "no move of VM 'n' was broken off");
	relay_stop(relay);
}

static void fill_disk(uint64_t filled)
{
	const struct dvol_open_options options = {.writable = true};
	static uint8_t data[1 << 20];
	uint64_t random = random_begin();
	struct dvol *vol;
	struct err err = {0};

	host_must(&world.a, "image", "create", disk, "256M", NULL);
	vol = dvol_open(disk, &options, &err);
	for (uint64_t at = 0; vol && at < filled; at += sizeof(data)) {
		random_fill(&random, data, sizeof(data));
		if (dvol_write(vol, data, sizeof(data), (8 << 20) + at, &err))
			break;
	}
	if (!vol || err.kind != ERR_NONE || dvol_close(vol, &err))
		fail_msg("%s", err.text);
}

static void the_disk_is_whole(const char *vm)
{
	char copy[DISKHOST_PATH];

	diskhost_wait(&world.b, vm, diskhost_flushed(&world.a, vm) + 100);
	host_must(&world.b, "kill", vm, NULL);
	host_wait_state(&world.b, vm, "none");
	diskhost_copy(&world.b, vm, copy);
	diskhost_same(disk, copy);
	diskhost_verify(&world.b, copy, diskhost_flushed(&world.b, vm));
	host_must(&world.a, "forget", vm, NULL);
	host_must(&world.b, "forget", vm, NULL);
	assert_int_equal(unlink(disk), 0);
	(void)unlink(copy);
}

static void a_seed_whose_movers_are_killed(void **state)
{
	struct relay *relay;
	uint64_t sent;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	fill_disk(FILL);
	diskhost_start(&world.a, "seed", NULL, disk, "");
	sent = move_in_pieces("seed", relay, FILL);
	print_message("  %d kills: %llu MiB over the wire for %d MiB\n", KILLS,
		      (unsigned long long)sent >> 20, FILL >> 20);
	assert_true(sent < FILL + (uint64_t)KILLS * IN_FLIGHT + (64 << 20));
	relay_stop(relay);
	the_disk_is_whole("seed");
}

/* A link breaks in the seed, whose epoch lacks what was on its way: it is none that a later move may build on. */
static void a_seed_with_a_break_is_no_epoch(void **state)
{
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	fill_disk(64 << 20);
	diskhost_start(&world.a, "cut", NULL, disk, "");
	command_start(&command, &world.a, "disks.seeded=kill", argv("cut", relay, NULL));
	for (int cuts = 1; cuts <= 3; cuts++) {
		pair_wait_for_bytes(relay, (uint64_t)cuts * 16 << 20, &command);
		relay_cut(relay);
	}
	assert_int_equal(command_wait(&command), 128 + SIGKILL);
	host_wait_state(&world.a, "cut", "running");
	command_start(&command, &world.a, NULL, argv("cut", relay, NULL));
	must_succeed();
	relay_stop(relay);
	the_disk_is_whole("cut");
}

static int open_world(void **state)
{
	(void)state;
	if (pair_open(&world))
		return -1;
	snprintf(disk, sizeof(disk), "%s/disk.dvol", world.folder);
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	return pair_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_guest_whose_movers_are_killed),
	    cmocka_unit_test(a_mover_that_dies_in_the_pause),
	    cmocka_unit_test(what_cannot_be_gone_on_with),
	    cmocka_unit_test(a_seed_whose_movers_are_killed),
	    cmocka_unit_test(a_seed_with_a_break_is_no_epoch),
	};

	return cmocka_run_group_tests(tests, open_world, close_world);
}
