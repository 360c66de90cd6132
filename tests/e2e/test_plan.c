/* test_plan.c: what `drover plan` says of a host and of a VM, in words and as JSON, and what it refuses.  Not: times. */
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUEST "fill=8M dirty=10 report=50"

static char output[HOST_OUTPUT];

static void must_say(const char *text)
{
	if (!strstr(output, text))
		fail_msg("'%s' is not in: %s", text, output);
}

static int plan(const char *vm, const char *serve, const char *option)
{
	return host_drover(&world.a, output, "plan", vm, world.url, "--identity", world.sshd.identity,
			   "--known-hosts", world.sshd.known_hosts, "--remote-command", serve, option, NULL);
}

static json_t *plan_json(const char *vm, int status)
{
	json_t *report;

	assert_int_equal(plan(vm, world.serve, "--json"), status);
	report = json_loads(output, 0, NULL);
	if (!report)
		fail_msg("no JSON, but: %s", output);
	return report;
}

static const json_t *check_of(const json_t *report, const char *name)
{
	const json_t *list = json_object_get(report, "checks");
	size_t i;
	json_t *one;

	json_array_foreach(
	    list, i, one) if (!strcmp(json_string_value(json_object_get(one, "check")), name)) return one;
	fail_msg("there is no check '%s' in: %s", name, output);
	return NULL;
}

static void forget(const char *vm)
{
	host_must(&world.a, "kill", vm, NULL);
	host_must(&world.a, "forget", vm, NULL);
}

static void a_host_that_is_fit_and_a_guest_that_goes_on(void **state)
{
	static const char *const numbers[] = {
	    "connect_ms",        "rtt_ms",        "links",
	    "bytes_per_s",       "page_bytes",    "again_bytes",
	    "dirty_bytes_per_s", "touched_bytes", "brief_dirty_bytes_per_s"};
	static const char *const forecasts[] = {"total_ms", "downtime_ms", "bytes_sent", "rounds"};
	static const char *const checks[] = {"version", "kvm", "cpu", "memory", "disk", "network", "name"};
	struct guest_report last;
	const json_t *forecast;
	json_t *report;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "fit", "32M", NULL, GUEST);
	report = plan_json("fit", 0);
	assert_true(json_is_true(json_object_get(report, "fit")));
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		assert_true(json_is_true(json_object_get(check_of(report, checks[i]), "fit")));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (json_number_value(json_object_get(report, numbers[i])) <= 0)
			fail_msg("%s is not a number above 0: %s", numbers[i], output);
	forecast = json_object_get(report, "forecast");
	for (size_t i = 0; i < sizeof(forecasts) / sizeof(forecasts[0]); i++)
		if (json_number_value(json_object_get(forecast, forecasts[i])) <= 0)
			fail_msg("%s is not a number above 0: %s", forecasts[i], output);
	assert_non_null(json_string_value(json_object_get(forecast, "strategy")));
	json_decref(report);
	/* It is its own host's again, nothing came to be there, and a second plan says the same in words. */
	host_wait_state(&world.a, "fit", "running");
	host_wait_state(&world.b, "fit", "none");
	assert_int_equal(plan("fit", world.serve, NULL), 0);
	must_say("VM 'fit' to ssh://");
	must_say("it has KVM");
	must_say("forecast");
	last = host_wait_report(&world.a, "fit", 0);
	host_wait_report(&world.a, "fit", last.seq + 2);
	forget("fit");
}

static void a_name_that_is_taken_there_makes_it_unfit(void **state)
{
	json_t *report;

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "same", "32M", NULL, GUEST);
	host_run_guest(&world.b, "same", "32M", NULL, GUEST);
	report = plan_json("same", 1);
	assert_true(json_is_false(json_object_get(report, "fit")));
	assert_true(json_is_false(json_object_get(check_of(report, "name"), "fit")));
	assert_true(json_is_null(json_object_get(report, "forecast")));
	json_decref(report);
	assert_int_equal(plan("same", world.serve, NULL), 1);
	must_say("NOT FIT: a VM 'same' lives on that host already");
	host_must(&world.b, "kill", "same", NULL);
	host_must(&world.b, "forget", "same", NULL);
	forget("same");
}

static void a_key_that_is_not_for_the_vm_makes_it_unfit(void **state)
{
	char serve[sizeof(world.serve) + 32];

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "key", "32M", NULL, GUEST);
	snprintf(serve, sizeof(serve), "%s --vm other", world.serve);
	assert_int_equal(plan("key", serve, NULL), 1);
	must_say("NOT FIT: this key is not for VM 'key'");
	forget("key");
}

static void a_way_that_is_too_long_is_told_with_a_remedy(void **state)
{
	struct relay *relay = pair_relay();
	char direct[sizeof(world.url)];

	(void)state;
	need_kvm();
	host_run_guest(&world.a, "far", "32M", NULL, GUEST);
	relay_delay(relay, 50000);
	strcpy(direct, world.url);
	snprintf(world.url, sizeof(world.url), "ssh://%s@127.0.0.1:%u", world.sshd.user, relay_port(relay));
	assert_int_equal(plan("far", world.serve, NULL), 1);
	strcpy(world.url, direct);
	must_say("NOT FIT: a round trip takes ");
	must_say("ms or more");
	relay_stop(relay);
	forget("far");
}

static void what_cannot_be_asked_is_one_sentence(void **state)
{
	(void)state;
	need_kvm();
	assert_int_equal(plan("nobody", world.serve, NULL), 1);
	must_say("drover: no VM 'nobody' runs on this host");
	host_run_guest(&world.a, "lost", "32M", NULL, GUEST);
	assert_int_equal(plan("lost", "false", NULL), 1);
	must_say("drover: ");
	host_wait_state(&world.a, "lost", "running");
	assert_int_equal(host_drover(&world.a, output, "plan", "lost", "elsewhere", NULL), 1);
	must_say("there is no peer 'elsewhere'");
	assert_int_equal(host_drover(&world.a, output, "plan", "lost", NULL), 2);
	must_say("HOST is missing");
	forget("lost");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_host_that_is_fit_and_a_guest_that_goes_on),
	    cmocka_unit_test(a_name_that_is_taken_there_makes_it_unfit),
	    cmocka_unit_test(a_key_that_is_not_for_the_vm_makes_it_unfit),
	    cmocka_unit_test(a_way_that_is_too_long_is_told_with_a_remedy),
	    cmocka_unit_test(what_cannot_be_asked_is_one_sentence),
	};

	return cmocka_run_group_tests(tests, pair_open, pair_close);
}
