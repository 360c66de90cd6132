/* test_postcopy.c: guests that go over before all of their memory has (docs/stream.md, Post-copy): whole in the end, whatever breaks on the
 * way; and where it cannot be mended, nobody goes on with a wrong page, and never are there two. */
#include "common/fault.h"
#include "tests/lib/host.h"
#include "tests/lib/need.h"
#include "tests/lib/random.h"
#include "tests/lib/relay.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Writes as fast as it can, all over what it has, and checks all of it. */
#define BUSY "fill=96M dirty=max report=50"

static struct {
	char folder[TEMP_MAX];
	struct sshd sshd;
	struct host a, b;
} world;

static struct command command;

/* The command of host_migrate_argv, through a relay unless that is NULL, with more options (NULL at the end). */
static const char *const *argv_with(const struct relay *relay, const char *vm, const char *fault,
				    const char *const more[])
{
	static const char *argv[40];
	static char url[SSH_USER_MAX + 64];
	const char *const *plain = host_migrate_argv(&world.sshd, &world.b, vm, fault);
	size_t n = 0;

	for (; plain[n]; n++)
		argv[n] = plain[n];
	if (relay) {
		snprintf(url, sizeof(url), "ssh://%s@127.0.0.1:%u", world.sshd.user, relay_port(relay));
		argv[3] = url;
	}
	for (size_t i = 0; more[i]; i++)
		argv[n++] = more[i];
	argv[n] = NULL;
	return argv;
}

static const char *const in_any_case[] = {"--postcopy", NULL};

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

static uint64_t last_seq(const struct host *host, const char *vm)
{
	static struct guest_report reports[4096];
	size_t n = host_reports(host, vm, reports, 4096);

	return n > 0 ? reports[n - 1].seq : 0;
}

static void forget(const char *vm)
{
	host_must(&world.a, "forget", "--force", vm, NULL);
	host_must(&world.b, "forget", "--force", vm, NULL);
}

/* It runs on B, has all that it had, and A has let go of it. */
static void is_whole_on_b(const char *vm)
{
	uint64_t a = last_seq(&world.a, vm), b = last_seq(&world.b, vm);
	char state[16];

	host_wait_report(&world.b, vm, (a > b ? a : b) + 10);
	host_state(&world.a, vm, state);
	assert_string_equal(state, "none");
	host_must(&world.b, "kill", vm, NULL);
	forget(vm);
}

static void must_move(const char *vm)
{
	int status = command_wait(&command);

	if (status)
		fail_msg("migrate of %s: status %d: %s", vm, status, command.output);
}

static void a_guest_that_writes_as_fast_as_it_can(void **state)
{
	json_t *report, *postcopy, *faults;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "busy", "128M", NULL, BUSY);
	command_start(&command, &world.a, NULL, argv_with(NULL, "busy", NULL, in_any_case));
	must_move("busy");
	report = report_of(command.output);
	postcopy = json_object_get(report, "postcopy");
	faults = json_object_get(postcopy, "faults");
	print_message("  downtime %.1f ms, %lld pages owed, %lld faults: p50 %lld us, p99 %lld us, max %lld us\n",
		      json_real_value(json_object_get(report, "downtime_ms")), number(postcopy, "pages"),
		      number(faults, "count"), number(faults, "p50_us"), number(faults, "p99_us"),
		      number(faults, "max_us"));
	assert_true(number(postcopy, "pages") > 1000);
	assert_true(number(faults, "count") > 0);
	assert_int_equal(number(report, "max_throttle"), 0);
	json_decref(report);
	is_whole_on_b("busy");
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
	    cmocka_unit_test(a_guest_that_writes_as_fast_as_it_can),
	};

	return cmocka_run_group_tests_name("postcopy", tests, open_world, close_world);
}
