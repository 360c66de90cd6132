/* test_limits.c: what a VM may use of its host: the words, what is refused, the JSON form, and what of it goes into which file of
 * a control group, of version 1 and 2. */
#include "common/paths.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void set(struct vm_limits *limits, const char *word, const char *value)
{
	struct err err = {0};
	if (limits_set(limits, word, value, &err))
		fail_msg("%s=%s: %s", word, value, err.text);
}

static struct vm_limits all(void)
{
	struct vm_limits limits = {0};
	set(&limits, "memory-max", "3G");
	set(&limits, "cpu", "1.5");
	set(&limits, "read-bytes", "100M");
	set(&limits, "write-bytes", "50M");
	set(&limits, "read-iops", "1000");
	set(&limits, "write-iops", "500");
	set(&limits, "required", "true");
	return limits;
}

static void test_words(void **state)
{
	struct vm_limits limits = all(), again;
	struct err err = {0};
	(void)state;
	assert_int_equal(limits.memory_bytes, 3ull << 30);
	assert_int_equal(limits.cpu_percent, 150);
	assert_int_equal(limits.read_bytes, 100 << 20);
	assert_int_equal(limits.write_iops, 500);
	assert_true(limits.required);
	json_t *json = limits_to_json(&limits);
	assert_int_equal(limits_from_json(json, &again, &err), 0);
	assert_memory_equal(&limits, &again, sizeof(limits));
	json_decref(json);
	set(&limits, "cpu", "0.05");
	assert_int_equal(limits.cpu_percent, 5);
	set(&limits, "cpu", "12");
	assert_int_equal(limits.cpu_percent, 1200);
	/* By itself: what the RAM and two disks need. */
	set(&limits, "memory-max", "auto");
	limits_settle(&limits, 1ull << 30, 2);
	assert_int_equal(limits.memory_bytes, (1ull << 30) + (8 << 20) + (128 << 20) + (128 << 20));
	limits_settle(&limits, 4ull << 30, 2);
	assert_int_equal(limits.memory_bytes, (1ull << 30) + (8 << 20) + (128 << 20) + (128 << 20));
}

static void test_refusals(void **state)
{
	static const struct {
		const char *word, *value, *sentence;
	} cases[] = {
	    {"memory", "3G", "\"memory\" is none of memory-max, cpu,"},
	    {"memory-max", "3X", "is not a size"},
	    {"memory-max", "1M", "\"1M\" is not between 32M and 16T"},
	    {"cpu", "0", "is not between 0.01 and 1000 CPUs"},
	    {"cpu", "1001", "is not between 0.01 and 1000 CPUs"},
	    {"cpu", "1,5", "is not a number of CPUs"},
	    {"cpu", "1.", "is not a number of CPUs"},
	    {"cpu", ".5", "is not a number of CPUs"},
	    {"cpu", "1.255", "is not a number of CPUs"},
	    {"cpu", "99999999999999999999", "is not a number of CPUs"},
	    {"read-bytes", "1K", "is not between 4K and 16T a second"},
	    {"read-iops", "0", "is not a number from 1 to"},
	    {"required", "yes", "is neither true nor false"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vm_limits limits = {0};
		struct err err = {0};
		assert_int_equal(limits_set(&limits, cases[i].word, cases[i].value, &err), -1);
		assert_int_equal(err.kind, ERR_USAGE);
		if (!strstr(err.text, cases[i].sentence))
			fail_msg("%s=%s: %s", cases[i].word, cases[i].value, err.text);
	}
	struct vm_limits limits = {.required = true};
	struct err err = {0};
	assert_int_equal(limits_check(&limits, &err), -1);
	assert_non_null(strstr(err.text, "there is none that could be required"));
}

static void test_hostile_json(void **state)
{
	static const char *const texts[] = {"{\"swap\": 1}",          "{\"memory_bytes\": 1}",
					    "{\"memory_bytes\": -1}", "{\"cpu_percent\": 1.5}",
					    "{\"read_iops\": \"1\"}", "{\"required\": 1}",
					    "{\"required\": true}",   "{\"memory_bytes\": null}"};
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct vm_limits limits;
		struct err err = {0};
		json_t *json = json_loads(texts[i], 0, NULL);
		assert_non_null(json);
		if (!limits_from_json(json, &limits, &err))
			fail_msg("%s is taken", texts[i]);
		assert_int_equal(err.kind, ERR_INPUT);
		json_decref(json);
	}
}

static void expect(const char *controller, int version, const char *const files[][2], unsigned count)
{
	const struct cgroup_device device = {254, 16};
	struct vm_limits limits = all();
	struct cgroup_value values[CGROUP_VALUES];
	assert_int_equal(cgroup_values(controller, version, &limits, &device, values), count);
	for (unsigned i = 0; i < count; i++) {
		assert_string_equal(values[i].file, files[i][0]);
		assert_string_equal(values[i].text, files[i][1]);
	}
}

static void test_values(void **state)
{
	static const char *const memory2[][2] = {{"memory.max", "3221225472"}},
				 *const memory1[][2] = {{"memory.limit_in_bytes", "3221225472"}},
				 *const cpu2[][2] = {{"cpu.max", "150000 100000"}},
				 *const cpu1[][2] = {{"cpu.cfs_period_us", "100000"},
						     {"cpu.cfs_quota_us", "150000"}},
				 *const io2[][2] = {{"io.max", "254:16 rbps=104857600 wbps=52428800 "
							       "riops=1000 wiops=500"}},
				 *const io1[][2] = {{"blkio.throttle.read_bps_device", "254:16 104857600"},
						    {"blkio.throttle.write_bps_device", "254:16 52428800"},
						    {"blkio.throttle.read_iops_device", "254:16 1000"},
						    {"blkio.throttle.write_iops_device", "254:16 500"}};
	(void)state;
	expect("memory", 2, memory2, 1);
	expect("memory", 1, memory1, 1);
	expect("cpu", 2, cpu2, 1);
	expect("cpu", 1, cpu1, 2);
	expect("io", 2, io2, 1);
	expect("io", 1, io1, 4);
}

/* What is on a file system without a block device has none that could be limited. */
static void test_devices(void **state)
{
	struct cgroup_device devices[CGROUP_DEVICES];
	struct vm_config config = {.cpus = 1};
	char why[256] = "";
	(void)state;
	assert_int_equal(cgroup_devices(&config, devices, why), 0);
	assert_string_equal(why, "the VM has no disks");
	config_add_device(&config, DEVICE_DISK)->disk.path = strdup("/proc/self/status");
	assert_int_equal(cgroup_devices(&config, devices, why), 0);
	assert_non_null(strstr(why, "/proc/self/status lies on a file system without a block device"));
	free(config.devices[0].disk.path);
	config.devices[0].disk.path = strdup("/nowhere/at/all");
	assert_int_equal(cgroup_devices(&config, devices, why), 0);
	assert_string_equal(why, "/nowhere/at/all: No such file or directory");
	config_free(&config);
}

/* Groups that another has made, or that are none, are not ours to remove; a list of nonsense harms nobody. */
static void test_remove_harmless(void **state)
{
	char path[PATHS_MAX], folder[PATHS_MAX], full[PATHS_MAX + 16];
	(void)state;
	char *run = *state;
	setenv("DROVER_RUN", run, 1);
	cgroup_remove("g");
	assert_int_equal(paths_vm_groups("g", path, NULL), 0);
	snprintf(folder, sizeof(folder), "%s/vms", run);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(full, sizeof(full), "%s/full", run);
	assert_int_equal(mkdir(full, 0700), 0);
	FILE *list = fopen(path, "w");
	assert_non_null(list);
	fprintf(list, "%s/vms\n\nnonsense\n/\n%s\n", run, full);
	fclose(list);
	cgroup_remove("g");
	assert_int_equal(access(folder, F_OK), 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(access(full, F_OK), -1);
	unsetenv("DROVER_RUN");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_hostile_json),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_devices),
	    cmocka_unit_test_setup_teardown(test_remove_harmless, temp_setup, temp_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
