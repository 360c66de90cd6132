/* test_fitness.c: which hosts are fit for a VM, and what is said of those that are not; facts in any form. */
#include "migrate/fitness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct device_config cards[] = {
    {.kind = DEVICE_NET, .slot = 2, .net = {.tap = "tap7"}},
    {.kind = DEVICE_NET, .slot = 3, .net = {.tap = ""}},
};
static const struct vm_config config = {
    .name = "web", .memory_bytes = 1 << 30, .cpus = 1, .devices = cards, .ndevices = 2};

static json_t *cpu(const char *vendor)
{
	return json_pack("{s:s, s:i, s:b, s:i, s:i, s:{}, s:[]}", "vendor", vendor, "tsc_khz", 2000000,
			 "tsc_scaling", 0, "xsave_bytes", 576, "phys_bits", 48, "features", "msrs");
}

/* A host that is fit. */
static json_t *good_facts(void)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:i, s:I, s:[s, s]}", "host", "b", "drover", "0.1.0",
			 "kvm", "", "cpu", cpu("AuthenticAMD"), "memory_bytes", (json_int_t)4 << 30, "cpus",
			 4, "disk_bytes", (json_int_t)100 << 30, "interfaces", "lo", "tap7");
}

static const struct fitness_check *check_of(const struct fitness *fitness, const char *what)
{
	for (size_t i = 0; i < fitness->count; i++)
		if (!strcmp(fitness->check[i].what, what))
			return &fitness->check[i];
	return NULL;
}

/* Of good_facts with that one value instead (taken over), and what the host says of the VM; so far away. */
static struct fitness fitness_far(uint64_t rtt_ns, const char *key, json_t *value, const char *refusal)
{
	json_t *facts = good_facts(), *there = json_pack("{s:s}", "refusal", refusal);
	json_t *guest = cpu("AuthenticAMD");
	const struct fitness_vm vm = {.config = &config,
				      .cpu = guest,
				      .touched_bytes = 512 << 20,
				      .rtt_ns = rtt_ns,
				      .downtime_ns = 30000000};
	struct fitness fitness;

	if (key)
		json_object_set_new(facts, key, value);
	fitness_check(&vm, facts, there, &fitness);
	json_decref(facts);
	json_decref(there);
	json_decref(guest);
	return fitness;
}

static struct fitness fitness_with(const char *key, json_t *value, const char *refusal)
{
	return fitness_far(1000000, key, value, refusal);
}

static void must_be_unfit(struct fitness fitness, const char *what, const char *says)
{
	const struct fitness_check *check = check_of(&fitness, what);

	assert_non_null(check);
	assert_false(fitness.fit);
	assert_false(check->fit);
	if (!strstr(check->text, says))
		fail_msg("'%s' is not in: %s", says, check->text);
	for (size_t i = 0; i < fitness.count; i++)
		if (&fitness.check[i] != check && !fitness.check[i].fit)
			fail_msg("%s, too: %s", fitness.check[i].what, fitness.check[i].text);
}

static void a_host_that_has_all_is_fit(void **state)
{
	struct fitness fitness = fitness_with(NULL, NULL, "");

	(void)state;
	assert_true(fitness.fit);
	assert_int_equal(fitness.count, FITNESS_CHECKS);
}

static void each_thing_that_it_lacks_is_one_sentence(void **state)
{
	(void)state;
	must_be_unfit(fitness_with("kvm", json_string("no /dev/kvm"), ""), "kvm", "no /dev/kvm");
	must_be_unfit(fitness_with("cpu", cpu("GenuineIntel"), ""), "cpu", "GenuineIntel");
	must_be_unfit(fitness_with("memory_bytes", json_integer(256 << 20), ""), "memory", "512 MiB");
	must_be_unfit(fitness_with("disk_bytes", json_integer(1 << 20), ""), "disk", "make room");
	must_be_unfit(fitness_with("interfaces", json_array(), ""), "network", "'tap7'");
	must_be_unfit(fitness_with(NULL, NULL, "a VM lives there"), "name", "a VM lives there");
	must_be_unfit(fitness_far(100000000, NULL, NULL, ""), "downtime", "a round trip takes 100.0 ms");
}

static void memory_that_is_used_counts_and_the_rest_is_mentioned(void **state)
{
	struct fitness fitness = fitness_with("memory_bytes", json_integer(768 << 20), "");

	(void)state;
	assert_true(fitness.fit);
	assert_non_null(strstr(check_of(&fitness, "memory")->text, "not all of its 1 GiB"));
}

static void facts_of_any_form_do_no_harm(void **state)
{
	static const char *const forms[] = {"null", "[]", "-1", "\"x\"", "{}", "[[], 1, null, {\"a\": []}]"};
	static const char *const keys[] = {"drover", "kvm",        "cpu",       "memory_bytes",
					   "cpus",   "disk_bytes", "interfaces"};
	json_t *guest = cpu("AuthenticAMD");
	const struct fitness_vm vm = {.config = &config, .cpu = guest, .touched_bytes = 512 << 20};
	struct fitness fitness;

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		json_t *form = json_loads(forms[i], JSON_DECODE_ANY, NULL);

		assert_non_null(form);
		fitness_check(&vm, form, form, &fitness);
		assert_false(fitness.fit);
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			(void)fitness_with(keys[k], json_deep_copy(form), "");
		json_decref(form);
	}
	/* A host that knows nothing of this question has not refused. */
	fitness_check(&vm, NULL, NULL, &fitness);
	assert_true(check_of(&fitness, "name")->fit);
	json_decref(guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_host_that_has_all_is_fit),
	    cmocka_unit_test(each_thing_that_it_lacks_is_one_sentence),
	    cmocka_unit_test(memory_that_is_used_counts_and_the_rest_is_mentioned),
	    cmocka_unit_test(facts_of_any_form_do_no_harm),
	};

	return cmocka_run_group_tests_name("fitness", tests, NULL, NULL);
}
