/* test_peer.c: other hosts under names: kept, tried, used by a move; and what a forced command lets through. */
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUEST "fill=4M dirty=5 report=50"

static struct pair world;
static char url[SSH_USER_MAX + 64];
static char serve[HOST_PATH * 4]; /* drover serve, as host b has it */

static char output[HOST_OUTPUT];

static void must_say(const char *text)
{
	if (!strstr(output, text))
		fail_msg("'%s' is not in: %s", text, output);
}

static void add(const char *name)
{
	host_must(&world.a, "peer", "add", name, url, "--identity", world.sshd.identity, "--known-hosts",
		  world.sshd.known_hosts, "--remote-command", serve, NULL);
}

static void a_peer_is_kept_listed_and_forgotten(void **state)
{
	(void)state;
	assert_int_equal(host_drover(&world.a, output, "peer", "list", NULL), 0);
	must_say("no peers");
	add("b");
	add("another");
	assert_int_equal(host_drover(&world.a, output, "peer", "list", NULL), 0);
	assert_true(strstr(output, "another") < strstr(output, "b  "));
	must_say(url);
	assert_int_equal(host_drover(&world.a, output, "peer", "list", "--json", NULL), 0);
	must_say("\"known_hosts\": \"/");
	host_must(&world.a, "peer", "remove", "another", NULL);
	host_must(&world.a, "peer", "remove", "b", NULL);
	assert_int_equal(host_drover(&world.a, output, "peer", "remove", "b", NULL), 1);
	must_say("there is no peer 'b'");
}

static void what_is_wrong_is_said(void **state)
{
	(void)state;
	assert_int_equal(host_drover(&world.a, output, "peer", "add", "../x", url, NULL), 2);
	must_say("is no name for a peer");
	assert_int_equal(host_drover(&world.a, output, "peer", "add", "x", "http://b", NULL), 2);
	must_say("http://b");
	assert_int_equal(
	    host_drover(&world.a, output, "peer", "add", "x", url, "--identity", "/nowhere/key", NULL), 1);
	must_say("/nowhere/key");
	assert_int_equal(host_drover(&world.a, output, "peer", "check", "nobody", NULL), 1);
	must_say("there is no peer 'nobody'");
	assert_int_equal(host_drover(&world.a, output, "migrate", "vm", "nobody", NULL), 1);
	must_say("there is no peer 'nobody'");
	assert_int_equal(host_drover(&world.a, output, "peer", "authorize", url, NULL), 2);
	must_say("which key?");
	assert_int_equal(host_drover(&world.a, output, "peer", "authorize", url, "--identity",
				     world.sshd.identity, "--vm", "a'b", NULL),
			 2);
	must_say("is no pattern of names");
	assert_int_equal(host_drover(&world.a, output, "peer", "authorize", url, "--identity",
				     world.sshd.identity, "--action", "steal", NULL),
			 2);
	must_say("'steal' is no action");
}

static void a_check_says_what_the_host_has(void **state)
{
	json_t *report, *facts;

	(void)state;
	need_kvm();
	add("b");
	assert_int_equal(host_drover(&world.a, output, "peer", "check", "b", NULL), 0);
	must_say("KVM        yes");
	assert_int_equal(host_drover(&world.a, output, "peer", "check", "b", "--json", NULL), 0);
	report = json_loads(output, 0, NULL);
	facts = json_object_get(report, "facts");
	assert_true(json_integer_value(json_object_get(report, "bytes_per_s")) > 0);
	assert_true(json_integer_value(json_object_get(facts, "memory_bytes")) > 0);
	assert_true(json_is_object(json_object_get(facts, "cpu")));
	assert_true(json_array_size(json_object_get(facts, "interfaces")) > 0);
	json_decref(report);
	/* The command line counts more than what is stored. */
	assert_int_equal(
	    host_drover(&world.a, output, "peer", "check", "b", "--remote-command", "/nowhere/drover", NULL),
	    1);
	must_say("/nowhere/drover");
	host_must(&world.a, "peer", "remove", "b", NULL);
}

static void a_move_goes_to_a_peer(void **state)
{
	(void)state;
	need_kvm();
	add("b");
	host_run_guest(&world.a, "moved", "32M", NULL, GUEST);
	assert_int_equal(host_drover(&world.a, output, "migrate", "moved", "b", "--downtime", "2s", NULL), 0);
	must_say("VM 'moved' runs on b now");
	assert_string_equal(host_ledger(&world.a, "moved").peer, "b");
	host_must(&world.b, "kill", "moved", NULL);
	host_must(&world.a, "forget", "moved", NULL);
	host_must(&world.b, "forget", "moved", NULL);
	host_must(&world.a, "peer", "remove", "b", NULL);
}

/* Replaces the server's authorized_keys by the line that `peer authorize` prints. */
static void authorize(const char *const options[4])
{
	char path[SSHD_PATH + 32];
	FILE *file;

	assert_int_equal(host_drover(&world.a, output, "peer", "authorize", "b", options[0], options[1],
				     options[2], options[3], NULL),
			 0);
	must_say("restrict,command=\"");
	snprintf(path, sizeof(path), "%s/authorized_keys", world.sshd.dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(output, file);
	assert_int_equal(fclose(file), 0);
}

static void a_key_may_do_what_its_line_says(void **state)
{
	static const char *const web[] = {"--vm", "web*", NULL, NULL};
	static const char *const check[] = {"--action", "check", NULL, NULL};
	static const char *const anything[] = {NULL, NULL, NULL, NULL};
	static const char *const little[] = {"--images", "/srv/cd", "--memory-max", "16M"};

	(void)state;
	need_kvm();
	add("b");
	host_run_guest(&world.a, "web1", "32M", NULL, GUEST);
	host_run_guest(&world.a, "db", "32M", NULL, GUEST);
	authorize(check);
	assert_int_equal(host_drover(&world.a, output, "peer", "check", "b", NULL), 0);
	assert_int_equal(host_drover(&world.a, output, "migrate", "web1", "b", NULL), 1);
	must_say("this key may not ask for 'move'");
	authorize(web);
	assert_int_equal(host_drover(&world.a, output, "migrate", "db", "b", NULL), 1);
	must_say("this key is not for VM 'db'");
	assert_int_equal(host_drover(&world.a, output, "migrate", "web1", "b", "--downtime", "2s", NULL), 0);
	authorize(little);
	must_say(" --images '/srv/cd' --memory-max 16777216\" ");
	assert_int_equal(host_drover(&world.a, output, "migrate", "db", "b", NULL), 1);
	must_say("this key may bring VMs of 16 MiB");
	authorize(anything);
	assert_int_equal(host_drover(&world.a, output, "migrate", "db", "b", "--downtime", "2s", NULL), 0);
	host_must(&world.b, "kill", "web1", NULL);
	host_must(&world.b, "kill", "db", NULL);
	host_must(&world.a, "peer", "remove", "b", NULL);
}

static int open_world(void **state)
{
	(void)state;
	if (pair_open(&world))
		return -1;
	snprintf(url, sizeof(url), "ssh://%s@127.0.0.1:%u", world.sshd.user, world.sshd.port);
	snprintf(serve, sizeof(serve), "env DROVER_STATE=%s/state DROVER_RUN=%s/run %s/drover serve",
		 world.b.root, world.b.root, host_build());
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
	    cmocka_unit_test(a_peer_is_kept_listed_and_forgotten), cmocka_unit_test(what_is_wrong_is_said),
	    cmocka_unit_test(a_check_says_what_the_host_has),      cmocka_unit_test(a_move_goes_to_a_peer),
	    cmocka_unit_test(a_key_may_do_what_its_line_says),
	};

	return cmocka_run_group_tests(tests, open_world, close_world);
}
