/* test_cli_records.c: what a host says of VMs that do not run on it, and what it lets one do about them. */
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/ledger.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct cli cli;

#define UUID "01234567-89ab-4cde-8f01-23456789abcd"

static void record(const char *name, enum ledger_state state, const char *peer)
{
	struct ledger_record record = {.state = state, .uuid = UUID, .term = 3};
	struct ledger ledger;
	struct err err;

	strcpy(record.peer, peer);
	if (state == LEDGER_INTENT)
		record.next_term = 4;
	if (ledger_open(&ledger, name, &err) || ledger_write(&ledger, &record, &err))
		fail_msg("%s", err.text);
	ledger_close(&ledger);
}

static void damage(const char *name)
{
	char path[4200];
	int fd;

	record(name, LEDGER_RUNNING, "");
	snprintf(path, sizeof(path), "%s/vms/%s/handover", getenv("DROVER_STATE"), name);
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	for (int i = 0; i < 1024; i++)
		assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static bool folder_exists(const char *name)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/vms/%s", getenv("DROVER_STATE"), name);
	return access(path, F_OK) == 0;
}

static const struct {
	const char *name;
	enum ledger_state state;
	const char *peer, *json, *text;
} known[] = {
    {"a", LEDGER_HANDED_OVER, "ssh://b", "handed-over", "handed over to ssh://b"},
    {"bb", LEDGER_INTENT, "ssh://b", "pending", "pending, only the peer knows: ssh://b"},
    {"c", LEDGER_RUNNING, "", "down", "down"},
    {"d", LEDGER_STOPPED, "", "stopped", "stopped"},
    {"e", LEDGER_REFUSED, "", "refused", "refused"},
    {"f", LEDGER_INCOMING, "", "dropped", "dropped"},
};
enum { KNOWN = sizeof(known) / sizeof(known[0]) };

static void list_shows_each_with_its_state(void **state)
{
	json_t *list, *vms;

	(void)state;
	for (size_t i = 0; i < KNOWN; i++)
		record(known[i].name, known[i].state, known[i].peer);
	damage("g");
	cli_run_words(&cli, "list");
	assert_int_equal(cli.status, 0);
	assert_string_equal(cli.err, "");
	assert_string_equal(cli.out, "NAME  STATE                                  MEMORY  CPUS  PID  TERM\n"
				     "a     handed over to ssh://b                 -       -     -    3\n"
				     "bb    pending, only the peer knows: ssh://b  -       -     -    3\n"
				     "c     down                                   -       -     -    3\n"
				     "d     stopped                                -       -     -    3\n"
				     "e     refused                                -       -     -    3\n"
				     "f     dropped                                -       -     -    3\n"
				     "g     damaged                                -       -     -    -\n");
	cli_run_words(&cli, "list --json");
	list = json_loads(cli.out, 0, NULL);
	vms = json_object_get(list, "vms");
	assert_int_equal(json_array_size(vms), KNOWN + 1);
	for (size_t i = 0; i < KNOWN; i++) {
		json_t *vm = json_array_get(vms, i);

		assert_string_equal(json_string_value(json_object_get(vm, "name")), known[i].name);
		assert_string_equal(json_string_value(json_object_get(vm, "state")), known[i].json);
		assert_string_equal(json_string_value(json_object_get(vm, "uuid")), UUID);
		assert_true(json_is_null(json_object_get(vm, "pid")));
	}
	json_decref(list);
}

static void status_says_what_is_recorded(void **state)
{
	(void)state;
	record("bb", LEDGER_INTENT, "ssh://b");
	cli_run_words(&cli, "status bb");
	assert_int_equal(cli.status, 0);
	assert_string_equal(cli.out, "name       bb\n"
				     "state      pending, only the peer knows: ssh://b\n"
				     "uuid       " UUID "\n"
				     "term       3\n"
				     "next term  4\n"
				     "peer       ssh://b\n");
}

static void orders_to_a_vm_elsewhere_say_where_it_is(void **state)
{
	(void)state;
	record("a", LEDGER_HANDED_OVER, "ssh://b");
	cli_run_words(&cli, "kill a");
	cli_expect(&cli, 1, "VM 'a' was handed over to ssh://b");
	cli_run_words(&cli, "migrate a ssh://c");
	cli_expect(&cli, 1, "'a'");
	record("bb", LEDGER_INTENT, "ssh://b");
	cli_run_words(&cli, "resolve bb");
	cli_expect(&cli, 1, "ssh://b, which alone knows whether the VM runs there");
	record("c", LEDGER_RUNNING, "");
	cli_run_words(&cli, "console c");
	cli_expect(&cli, 1, "VM 'c' does not run here (down)");
}

static void run_does_not_take_the_name_of_a_vm_that_may_run_elsewhere(void **state)
{
	(void)state;
	need_kvm();
	record("a", LEDGER_HANDED_OVER, "ssh://b");
	cli_run_words(&cli, "run --name a --memory 64M --kernel /proc/self/exe --detach");
	cli_expect(&cli, 1, "VM 'a' was handed over to ssh://b; take another name, or 'drover forget a'");
	record("bb", LEDGER_INTENT, "ssh://b");
	cli_run_words(&cli, "run --name bb --memory 64M --kernel /proc/self/exe --detach");
	cli_expect(&cli, 1, "ssh://b");
	damage("g");
	cli_run_words(&cli, "run --name g --memory 64M --kernel /proc/self/exe --detach");
	cli_expect(&cli, 1, "'drover forget --force g'");
}

static void forget_removes_the_folder_and_says_so(void **state)
{
	char path[4200];
	int fd;

	(void)state;
	for (size_t i = 0; i < KNOWN; i++) {
		record(known[i].name, known[i].state, known[i].peer);
		if (known[i].state == LEDGER_INTENT)
			continue;
		snprintf(path, sizeof(path), "%s/vms/%s/console.log", getenv("DROVER_STATE"), known[i].name);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		assert_true(fd >= 0);
		close(fd);
		cli_run(&cli, "forget", known[i].name, NULL);
		assert_int_equal(cli.status, 0);
		assert_non_null(strstr(cli.out, "is forgotten: removed "));
		assert_non_null(strstr(cli.out, "(handover, console.log, lock)\n"));
		assert_false(folder_exists(known[i].name));
	}
}

static void forget_keeps_what_only_the_peer_knows(void **state)
{
	(void)state;
	record("bb", LEDGER_INTENT, "ssh://b");
	cli_run_words(&cli, "forget bb");
	cli_expect(&cli, 1, "VM 'bb' may run on ssh://b");
	assert_true(folder_exists("bb"));
	damage("g");
	cli_run_words(&cli, "forget g");
	cli_expect(&cli, 1, "is damaged");
	assert_true(folder_exists("g"));
	cli_run_words(&cli, "forget bb --force");
	assert_int_equal(cli.status, 0);
	cli_run_words(&cli, "forget g --force --json");
	assert_int_equal(cli.status, 0);
	assert_non_null(strstr(cli.out, "\"removed\": [\"handover\", \"lock\"]"));
	assert_false(folder_exists("bb") || folder_exists("g"));
}

static void forget_refuses_while_the_lock_is_held(void **state)
{
	struct ledger ledger;
	struct err err;

	(void)state;
	record("d", LEDGER_RUNNING, "");
	assert_int_equal(ledger_open(&ledger, "d", &err), 0);
	cli_run_words(&cli, "forget d --force");
	cli_expect(&cli, 1, "VM 'd' lives on this host");
	assert_true(folder_exists("d"));
	/* A lock that is held by something that does not answer. */
	cli_run_words(&cli, "list");
	assert_non_null(strstr(cli.out, "d     not answering  -       -     -    3\n"));
	ledger_close(&ledger);
}

static int open_host(void **state)
{
	if (temp_setup(state))
		return -1;
	cli_open(*state);
	return 0;
}

#define HOST_TEST(f) cmocka_unit_test_setup_teardown(f, open_host, temp_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    HOST_TEST(list_shows_each_with_its_state),
	    HOST_TEST(status_says_what_is_recorded),
	    HOST_TEST(orders_to_a_vm_elsewhere_say_where_it_is),
	    HOST_TEST(run_does_not_take_the_name_of_a_vm_that_may_run_elsewhere),
	    HOST_TEST(forget_removes_the_folder_and_says_so),
	    HOST_TEST(forget_keeps_what_only_the_peer_knows),
	    HOST_TEST(forget_refuses_while_the_lock_is_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
