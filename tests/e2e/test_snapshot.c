/* Snapshots of a running VM: what its memory was at one moment is what comes back; they cost what changed and go in any order;
 * and whatever dies in the middle, the guest runs on, the next one works, and nothing is left. */
#include "common/fault.h"
#include "tests/lib/need.h"
#include "tests/lib/snaphost.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLAT_OUT "fill=24M dirty=max report=20"
/* Writes everywhere, but not so fast that it has written over whatever is wrong before it has checked it. */
#define CHECKING "fill=40M dirty=100 pattern=random report=20"
#define GENTLE   "fill=8M dirty=5 report=20"

static char folder[TEMP_MAX];
static struct host host;

static int setup(void **state)
{
	(void)state;
	return snap_open(&host, folder);
}

static int teardown(void **state)
{
	(void)state;
	return snap_close(&host, folder);
}

/* The guest checks all of its memory all the time: a page of another moment than the rest is an error of its. */
static void there_and_back(const char *parameters)
{
	char id[3][32];
	uint64_t low[3], high[3];
	static const int order[] = {0, 2, 1};

	snap_start(&host, "g", parameters);
	for (int i = 0; i < 3; i++) {
		low[i] = snap_last(&host, "g");
		snap_take(&host, "g", id[i]);
		high[i] = snap_last(&host, "g") + 1;
		host_wait_report(&host, "g", high[i] + 3);
	}
	snap_settled(&host, "g", 3);
	for (int i = 0; i < 3; i++) {
		snap_end(&host, "g");
		json_t *json = snap_json(&host, "restore", "g", "--epoch", id[order[i]], NULL);
		assert_true(json_is_null(json_object_get(json, "before")));
		json_decref(json);
		uint64_t first = snap_reports(&host, "g", 8);
		assert_in_range(first, low[order[i]], high[order[i]] + 1);
	}
	/* Of one that was restored, too: it has not all of its memory at first. */
	snap_take(&host, "g", id[0]);
	snap_settled(&host, "g", 4);
	snap_forget(&host, "g");
}

static void test_writing_flat_out(void **state)
{
	(void)state;
	there_and_back(FLAT_OUT);
}

static void test_checking_all(void **state)
{
	(void)state;
	there_and_back(CHECKING);
}

static uint64_t used(const char *vm)
{
	const struct dvol_open_options options = {.list = true};
	char path[HOST_PATH + 96];
	struct dvol_info info;

	snap_store(&host, vm, "ram.dvol", path);
	struct dvol *vol = dvol_open(path, &options, NULL);
	assert_non_null(vol);
	assert_int_equal(dvol_info(vol, &info, NULL), 0);
	dvol_close(vol, NULL);
	return info.used_bytes;
}

/* A paused guest changes nothing: a second snapshot writes nothing.  Deleted, the newest first, each gives back what it took. */
static void test_costs_what_changed(void **state)
{
	enum { SLACK = 512 << 10 }; /* metadata */
	char id[3][32];

	(void)state;
	snap_start(&host, "g", GENTLE);
	host_must(&host, "pause", "g", NULL);
	snap_take(&host, "g", id[0]);
	uint64_t first = used("g");
	json_t *json = snap_json(&host, "snapshot", "g", NULL);
	assert_int_equal(json_integer_value(json_object_get(json, "written_bytes")), 0);
	snprintf(id[1], sizeof(id[1]), "%s", json_string_value(json_object_get(json, "epoch")));
	json_decref(json);
	char now[16];
	host_state(&host, "g", now);
	assert_string_equal(now, "paused");
	host_must(&host, "resume", "g", NULL);
	host_wait_report(&host, "g", snap_last(&host, "g") + 50); /* a second, in which it writes 5 MB */
	snap_take(&host, "g", id[2]);
	assert_true(used("g") > first + SLACK);
	host_must(&host, "snapshots", "g", "--delete", id[2], NULL);
	assert_true(used("g") < first + SLACK);
	snap_settled(&host, "g", 2);
	host_must(&host, "snapshots", "g", "--delete", id[0], NULL);
	snap_settled(&host, "g", 1);
	/* What is left is whole. */
	snap_end(&host, "g");
	host_must(&host, "restore", "g", NULL);
	host_wait_state(&host, "g", "paused"); /* as it was */
	host_must(&host, "resume", "g", NULL);
	snap_reports(&host, "g", 4);
	host_must(&host, "snapshots", "g", "--delete", id[1], NULL);
	snap_settled(&host, "g", 0);
	snap_refused(&host, "there is no snapshot 1.77 of VM 'g'", "snapshots", "g", "--delete", "1.77",
		     NULL);
	snap_forget(&host, "g");
}

static void runs_on(void)
{
	uint64_t last = snap_last(&host, "g");
	assert_int_equal(host_wait_report(&host, "g", last + 3).errors, 0);
}

/* snapshot_with(fault): the command's exit status. */
static int with_fault(const char *point, const char *action, const char *const argv[])
{
	struct command *command = calloc(1, sizeof(*command));
	char fault[64];

	snprintf(fault, sizeof(fault), "%s=%s", point, action);
	command_start(command, &host, fault, argv);
	int status = command_wait(command);
	if (!host_fault_fired(&host, point))
		fail_msg("%s: nothing passed that point: %s", fault, command->output);
	free(command);
	return status;
}

#define FAULT_NAME(id, name) name,
static const char *const points[] = {FAULT_POINTS(FAULT_NAME)};
enum { POINTS = sizeof(points) / sizeof(points[0]) };

static void test_every_step_fails(void **state)
{
	static const char *const take[] = {"drover", "snapshot", "g", NULL};
	static const char *const actions[] = {"kill", "error"};
	size_t kept = 0;
	char id[32];

	(void)state;
	snap_start(&host, "g", FLAT_OUT);
	for (size_t i = 0; i < POINTS; i++) {
		bool deleting = strstr(points[i], "delet") != NULL,
		     recorded = strstr(points[i], "recorded") != NULL;
		if (strncmp(points[i], "snapshot.", 9) != 0 || deleting)
			continue;
		for (size_t a = 0; a < 2; a++) {
			if (a == 1 && recorded)
				continue; /* nothing can fail there any more */
			int status = with_fault(points[i], actions[a], take);
			print_message("  %s=%s: %d\n", points[i], actions[a], status);
			assert_int_equal(status, a == 0 ? 128 + SIGKILL : 1);
			runs_on();
			/* One that failed by itself leaves nothing; one that was killed leaves it to the next. */
			kept += recorded;
			if (a == 1)
				snap_settled(&host, "g", kept);
		}
	}
	snap_take(&host, "g", id);
	kept++;
	snap_settled(&host, "g", kept);
	snap_end(&host, "g");
	host_must(&host, "restore", "g", NULL);
	snap_reports(&host, "g", 4);
	snap_forget(&host, "g");
}

static void test_delete_is_killed(void **state)
{
	char id[2][32], left[32];

	(void)state;
	snap_start(&host, "g", GENTLE);
	for (int i = 0; i < 2; i++) {
		snap_take(&host, "g", id[i]);
		const char *const argv[] = {"drover", "snapshots", "g", "--delete", id[i], NULL};
		assert_int_equal(with_fault(i ? "snapshot.half-deleted" : "snapshot.deleting", "kill", argv),
				 128 + SIGKILL);
		/* There is no such snapshot any more, and the next one takes its rest away. */
		snap_refused(&host, "there is no snapshot", "restore", "g", "--epoch", id[i], "--as", "x",
			     NULL);
		snap_take(&host, "g", left);
		snap_settled(&host, "g", (size_t)i + 1);
	}
	runs_on();
	snap_forget(&host, "g");
}

/* stopped_at: a snapshot that stands still at that point. */
static void stopped_at(struct command *command, const char *point)
{
	static const char *const take[] = {"drover", "snapshot", "g", NULL};
	char fault[64];
	int status;

	snprintf(fault, sizeof(fault), "%s=stop", point);
	command_start(command, &host, fault, take);
	assert_int_equal(waitpid(command->pid, &status, WUNTRACED), command->pid);
	assert_true(WIFSTOPPED(status));
}

static void test_one_thing_at_a_time(void **state)
{
	struct command *command = calloc(1, sizeof(*command));

	(void)state;
	snap_start(&host, "g", GENTLE);
	stopped_at(command, "snapshot.boundary");
	snap_refused(&host, "another command is working on the snapshots of VM 'g'", "snapshot", "g", NULL);
	snap_refused(&host, "a snapshot of this VM is being made", "dirty-rate", "g", NULL);
	assert_int_equal(kill(command->pid, SIGINT), 0);
	assert_int_equal(kill(command->pid, SIGCONT), 0);
	assert_int_equal(command_wait(command), 1);
	assert_non_null(strstr(command->output, "cancelled; nothing was kept"));
	runs_on();
	snap_settled(&host, "g", 0);
	snap_forget(&host, "g");
	free(command);
}

/* The guest has no part any more in what is copied of it; but nobody tells that its disks' epochs are durable. */
static void test_the_vm_process_is_killed(void **state)
{
	struct command *command = calloc(1, sizeof(*command));

	(void)state;
	snap_start(&host, "g", FLAT_OUT);
	stopped_at(command, "snapshot.middle");
	json_t *status = snap_json(&host, "status", "g", NULL);
	pid_t pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
	json_decref(status);
	assert_true(pid > 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	host_wait_state(&host, "g", "none");
	assert_int_equal(kill(command->pid, SIGCONT), 0);
	assert_int_equal(command_wait(command), 1);
	assert_non_null(strstr(command->output, "the VM process ended"));
	snap_settled(&host, "g", 0);
	snap_forget(&host, "g");
	free(command);
}

/* with_note: a command under a fault must say that it did it the other way. */
static void with_note(const char *note, const char *const argv[])
{
	struct command *command = calloc(1, sizeof(*command));

	command_start(command, &host, "vm.userfaultfd=error", argv);
	if (command_wait(command) || !strstr(command->output, note))
		fail_msg("%s: %s; not: %s", argv[1], command->output, note);
	free(command);
}

/* A host that does not permit it: the guest stands still, or comes later, and all else is the same. */
static void test_without_userfaultfd(void **state)
{
	static const char *const start[] = {"drover", "start", "g", NULL};
	static const char *const restore[] = {"drover", "restore", "g", NULL};
	char output[HOST_OUTPUT];

	(void)state;
	snap_define(&host, "g", CHECKING);
	with_note("runs", start);
	host_wait_report(&host, "g", 0);
	assert_int_equal(host_drover(&host, output, "snapshot", "g", NULL), 0);
	if (!strstr(output,
		    "the guest stands still while its memory is copied: userfaultfd is not permitted"))
		fail_msg("%s", output);
	runs_on();
	snap_settled(&host, "g", 1);
	snap_end(&host, "g");
	with_note("all of the guest's memory was read before it could run: userfaultfd is not permitted",
		  restore);
	snap_reports(&host, "g", 5);
	snap_forget(&host, "g");
}

static void test_disks_only(void **state)
{
	char disk[HOST_PATH + 32];

	(void)state;
	snap_start(&host, "g", GENTLE);
	json_t *json = snap_json(&host, "snapshot", "g", "--disks-only", NULL);
	assert_string_equal(json_string_value(json_object_get(json, "kind")), "disks");
	json_decref(json);
	runs_on();
	host_must(&host, "kill", "g", NULL);
	json = snap_json(&host, "snapshot", "g", NULL);
	assert_string_equal(json_string_value(json_object_get(json, "kind")), "disks");
	json_decref(json);
	snap_settled(&host, "g", 2);
	/* Others leave its epochs alone. */
	snap_disk(&host, disk);
	snap_refused(&host, "is pinned by \"snapshot of VM g\"", "image", "delete", disk, "1.1", NULL);
	snap_forget(&host, "g");
	snap_refused(&host, "this host has no VM named 'g'", "snapshot", "g", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_writing_flat_out, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_checking_all, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_costs_what_changed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_every_step_fails, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_delete_is_killed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_one_thing_at_a_time, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_the_vm_process_is_killed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_without_userfaultfd, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_disks_only, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
