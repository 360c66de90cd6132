/* test_cpu.c: the CPUID that each vCPU gets, and the comparison of two hosts' CPUs. */
#include "common/jobj.h"
#include "tests/lib/need.h"
#include "tests/lib/test.h"
#include "vmm/cpuid.h"
#include "vmm/machine.h"

#include <string.h>

/* ---- topology ------------------------------------------------------------------------------------------- */

static struct cpuid_table host, vcpu;

static void add(uint32_t leaf, uint32_t subleaf, bool indexed, uint32_t eax, uint32_t ebx, uint32_t ecx,
		uint32_t edx)
{
	host.entries[host.count++] = (struct kvm_cpuid_entry2){
	    .function = leaf,
	    .index = subleaf,
	    .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
	    .eax = eax,
	    .ebx = ebx,
	    .ecx = ecx,
	    .edx = edx,
	};
}

static void make_host(void)
{
	memset(&host, 0, sizeof(host));
	add(0, 0, false, 0xd, 0, 0, 0);
	add(1, 0, false, 0x306c3, 0x07400800, 0, 1u << 28);
	add(4, 0, true, 0xfc004121, 0, 0, 0); /* level 1 data */
	add(4, 3, true, 0xfc1fc163, 0, 0, 0); /* level 3 */
	add(4, 4, true, 0, 0, 0, 0);
	add(0x80000001, 0, false, 0, 0, 1u << 1, 0);
	add(0x80000008, 0, false, 0x3030, 0, 0x7007, 0);
	add(0x8000001d, 3, true, 0x1c163, 0, 0, 0);
	add(0x8000001e, 0, false, 99, 99, 99, 99);
}

static void test_topology(void **state)
{
	(void)state;
	make_host();
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(cpuid_for_vcpu(&host, i, 6, &vcpu), 0);
		const struct kvm_cpuid_entry2 *e = cpuid_find(&vcpu, 1, 0);
		assert_int_equal(e->ebx >> 24, i);         /* APIC id */
		assert_int_equal(e->ebx >> 16 & 0xff, 8);  /* ids in the package */
		assert_int_equal(e->ebx & 0xffff, 0x0800); /* the rest as it was */
		assert_int_equal(e->edx >> 28 & 1, 1);
		e = cpuid_find(&vcpu, 4, 0);
		assert_int_equal(e->eax >> 14 & 0xfff, 0); /* level 1 belongs to one core */
		assert_int_equal(e->eax >> 26, 7);
		assert_int_equal(cpuid_find(&vcpu, 4, 3)->eax >> 14 & 0xfff, 7);
		assert_int_equal(cpuid_find(&vcpu, 4, 4)->eax, 0);
		e = cpuid_find(&vcpu, 0xb, 0);
		assert_int_equal(e->edx, i);
		assert_int_equal(e->eax, 0);
		assert_int_equal(e->ebx, 1);
		e = cpuid_find(&vcpu, 0xb, 1);
		assert_int_equal(e->edx, i);
		assert_int_equal(e->eax, 3);
		assert_int_equal(e->ebx, 6);
		assert_int_equal(cpuid_find(&vcpu, 0xb, 2)->ecx >> 8, 0);
		assert_int_equal(cpuid_find(&vcpu, 0x80000008, 0)->ecx, 5 | 3 << 12);
		assert_int_equal(cpuid_find(&vcpu, 0x8000001d, 3)->eax >> 14 & 0xfff, 5);
		assert_int_equal(cpuid_find(&vcpu, 0x8000001e, 0)->eax, i);
	}
	assert_int_equal(cpuid_for_vcpu(&host, 0, 1, &vcpu), 0);
	assert_int_equal(cpuid_find(&vcpu, 1, 0)->edx >> 28 & 1, 0);
	assert_int_equal(cpuid_find(&vcpu, 0x80000001, 0)->ecx, 0);
}

static void test_full_table(void **state)
{
	(void)state;
	make_host();
	while (host.count < CPUID_MAX_ENTRIES - 2)
		add(0x40000100 + host.count, 0, false, 0, 0, 0, 0);
	assert_int_equal(cpuid_for_vcpu(&host, 0, 1, &vcpu), -1);
}

/* ---- comparison ----------------------------------------------------------------------------------------- */

static json_t *describe(void)
{
	return json_pack("{s:s, s:i, s:i, s:i, s:b, s:{s:s, s:s}, s:[s, s]}", "vendor", "GenuineIntel",
			 "tsc_khz", 2000000, "xsave_bytes", 4096, "phys_bits", 46, "tsc_scaling", 0,
			 "features", "1.0.ecx", "0x201", "7.0.ebx", "0x20", "msrs", "0x174", "0xc0000080");
}

/* guest on host, with one field of each replaced (where value is given). */
static int fits(const char *key, json_t *guest_value, json_t *host_value, struct err *err)
{
	json_t *guest = describe(), *other = describe();
	int result;

	if (guest_value)
		json_object_set_new(guest, key, guest_value);
	if (host_value)
		json_object_set_new(other, key, host_value);
	*err = (struct err){0};
	result = machine_cpu_fits(guest, other, err);
	json_decref(guest);
	json_decref(other);
	return result;
}

static void lacks(const char *key, json_t *guest_value, json_t *host_value, const char *words)
{
	struct err err;

	assert_int_equal(fits(key, guest_value, host_value, &err), -1);
	assert_int_equal(err.kind, ERR_REFUSED);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void test_fits(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(fits("", NULL, NULL, &err), 0);
	/* a host with more */
	assert_int_equal(
	    fits("features", NULL,
		 json_pack("{s:s, s:s, s:s}", "1.0.ecx", "0xffffffff", "7.0.ebx", "0x21", "d.0.eax", "0x7"),
		 &err),
	    0);
	assert_int_equal(fits("msrs", NULL, json_pack("[s, s, s]", "0xc0000080", "0x10a", "0x174"), &err), 0);
	assert_int_equal(fits("xsave_bytes", NULL, json_integer(8192), &err), 0);
	assert_int_equal(fits("phys_bits", NULL, json_integer(52), &err), 0);
	/* 250 ppm, either way */
	assert_int_equal(fits("tsc_khz", NULL, json_integer(2000500), &err), 0);
	assert_int_equal(fits("tsc_khz", NULL, json_integer(1999500), &err), 0);
}

static void test_does_not_fit(void **state)
{
	(void)state;
	lacks("vendor", NULL, json_string("AuthenticAMD"), "AuthenticAMD");
	lacks(
	    "tsc_khz", NULL, json_integer(2000501),
	    "the guest's TSC runs at 2000000 kHz, the other host's at 2000501, and its CPU cannot scale it");
	lacks("tsc_khz", NULL, json_integer(1999499), "move it to a host of the same frequency");
	/* What counts is the host that it is to go to. */
	lacks("tsc_khz", json_integer(1500000), NULL, "1500000");
	lacks("xsave_bytes", json_integer(8192), NULL, "vector");
	lacks("phys_bits", json_integer(52), NULL, "physical");
	lacks("features", NULL, json_pack("{s:s, s:s}", "1.0.ecx", "0x1", "7.0.ebx", "0x20"), "ssse3");
	lacks("features", NULL, json_pack("{s:s}", "1.0.ecx", "0x201"), "avx2");
	lacks("features", json_pack("{s:s}", "7.0.edx", "0x1"), NULL,
	      "CPUID 7.0.edx bit 0"); /* it has no name */
	lacks("features", json_pack("{s:s}", "99.0.eax", "0x8000000000000000"), NULL,
	      "CPUID 99.0.eax bit 63");
	lacks("features", json_pack("{s:s}", "1.0.ecx", "0xffffffff"), NULL, "and 24 more");
	lacks("msrs", NULL, json_pack("[s]", "0x174"), "MSR 0xc0000080");
}

static void test_scaling_host_takes_any_frequency(void **state)
{
	json_t *guest = describe(), *other = describe();
	struct err err = {0};

	(void)state;
	json_object_set_new(other, "tsc_khz", json_integer(3100000));
	json_object_set_new(other, "tsc_scaling", json_true());
	assert_int_equal(machine_cpu_fits(guest, other, &err), 0);
	json_decref(guest);
	json_decref(other);
}

static void test_hostile_descriptions(void **state)
{
	json_t *bad[] = {json_integer(1),
			 json_string("0xg"),
			 json_pack("[i]", 1),
			 json_pack("{s:i}", "1.0.ecx", 1),
			 json_pack("[s]", "0x1ffffffff"),
			 json_pack("{s:s}", "a.very.long.name.of.a.register", "0x1")};
	static const char *const keys[] = {"features", "msrs", "vendor", "tsc_khz", "xsave_bytes"};
	json_t *many = json_array();
	struct err err;

	(void)state;
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			/* what is of the right type there is not bad there */
			if (k == 2 ? json_is_string(bad[i]) : k > 2 && json_is_integer(bad[i]))
				continue;
			assert_int_equal(fits(keys[k], json_incref(bad[i]), NULL, &err), -1);
			assert_true(err.kind == ERR_INPUT);
		}
	}
	for (unsigned i = 0; i < 513; i++)
		json_array_append_new(many, json_string("0x1"));
	assert_int_equal(fits("msrs", many, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_int_equal(machine_cpu_fits(bad[0], bad[2], &err), -1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		json_decref(bad[i]);
}

static void test_this_host(void **state)
{
	const struct vm_config config = {.name = "cpu",
					 .uuid = "01234567-89ab-4cde-8f01-23456789abcd",
					 .memory_bytes = 8 << 20,
					 .cpus = 1};
	const struct machine_owner owner = {0};
	struct machine *machine;
	struct err err = {0};
	json_t *json, *features;
	uint64_t value = 0;

	(void)state;
	need_kvm();
	assert_int_equal(machine_check_host(&err), 0);
	machine = machine_create(&config, -1, &owner, &err);
	if (!machine)
		fail_msg("%s", err.text);
	json = machine_cpu_json(machine, &err);
	machine_destroy(machine);
	assert_non_null(json);
	assert_int_equal(machine_cpu_fits(json, json, &err), 0);
	features = json_object_get(json, "features");
	assert_int_equal(jobj_hex64(features, "1.0.edx", true, &value, &err), 0);
	assert_true(value & 1u << 6); /* physical address extension: there is no x86-64 without */
	assert_int_equal(jobj_hex64(features, "1.0.ecx", true, &value, &err), 0);
	assert_false(value & 1u << 5); /* nested virtualization is hidden */
	assert_true(value & 1u << 31); /* a hypervisor says so */
	assert_true(json_integer_value(json_object_get(json, "tsc_khz")) > 100000);
	assert_true(json_array_size(json_object_get(json, "msrs")) > 10);
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_topology),
	    cmocka_unit_test(test_full_table),
	    cmocka_unit_test(test_fits),
	    cmocka_unit_test(test_does_not_fit),
	    cmocka_unit_test(test_scaling_host_takes_any_frequency),
	    cmocka_unit_test(test_hostile_descriptions),
	    cmocka_unit_test(test_this_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
