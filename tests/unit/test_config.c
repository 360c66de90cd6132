/* test_config.c: the description of a VM: its checks, and its JSON form there and back. */
#include "tests/lib/test.h"
#include "vmm/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UUID "01234567-89ab-4def-8123-456789abcdef"

static json_t *good(void)
{
	return json_pack("{s:s, s:s, s:I, s:i, s:s, s:s, s:s, s:s}", "name", "web-1", "uuid", UUID,
			 "memory_bytes", (json_int_t)(512 << 20), "cpus", 2, "dirty_mode", "bitmap", "kernel",
			 "/boot/k", "initrd", "/boot/i", "cmdline", "console=ttyS0");
}

static void test_round_trip(void **state)
{
	struct vm_config config, again;
	struct err err = {0};
	json_t *json = good(), *back;

	(void)state;
	assert_int_equal(config_from_json(json, &config, &err), 0);
	assert_string_equal(config.name, "web-1");
	assert_string_equal(config.uuid, UUID);
	assert_int_equal(config.memory_bytes, 512 << 20);
	assert_int_equal(config.cpus, 2);
	assert_int_equal(config.dirty_mode, DIRTY_BITMAP);
	assert_string_equal(config.kernel, "/boot/k");
	assert_string_equal(config.initrd, "/boot/i");
	assert_string_equal(config.cmdline, "console=ttyS0");
	back = config_to_json(&config);
	assert_true(json_equal(json, back));
	assert_int_equal(config_from_json(back, &again, &err), 0);
	config_free(&again);
	config_free(&config);
	json_decref(back);
	json_decref(json);
}

static void test_incoming_has_no_kernel(void **state)
{
	struct vm_config config;
	struct err err = {0};
	json_t *json = good();

	(void)state;
	json_object_del(json, "kernel");
	json_object_del(json, "initrd");
	json_object_del(json, "cmdline");
	json_object_del(json, "dirty_mode");
	assert_int_equal(config_from_json(json, &config, &err), 0);
	assert_null(config.kernel);
	assert_null(config.initrd);
	assert_null(config.cmdline);
	assert_null(config.firmware);
	assert_int_equal(config.dirty_mode, DIRTY_AUTO);
	config_free(&config);
	/* Nor has one that starts by firmware. */
	json_object_set_new(json, "firmware", json_string("/bios"));
	assert_int_equal(config_from_json(json, &config, &err), 0);
	json_t *again = config_to_json(&config);
	assert_string_equal(json_string_value(json_object_get(again, "firmware")), "/bios");
	json_decref(again);
	config_free(&config);
	json_decref(json);
}

/* One field replaced (NULL: removed) makes it fail with these words, and leaves nothing behind. */
static void refuse(const char *key, json_t *value, const char *words)
{
	struct vm_config config;
	struct err err = {0};
	json_t *json = good();

	if (value)
		json_object_set_new(json, key, value);
	else
		json_object_del(json, key);
	assert_int_equal(config_from_json(json, &config, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
	assert_null(config.kernel);
	assert_int_equal(config.cpus, 0);
	json_decref(json);
}

static void test_refusals(void **state)
{
	static char longer[2049];

	(void)state;
	memset(longer, 'x', 2048);
	refuse("name", NULL, "name");
	refuse("name", json_string(""), "name");
	refuse("name", json_string("a/b"), "name");
	refuse("name", json_string("-x"), "name");
	refuse("name", json_integer(1), "name");
	refuse("name", json_string(longer), "name");
	refuse("uuid", NULL, "uuid");
	refuse("uuid", json_string("01234567-89AB-4def-8123-456789abcdef"), "lower-case");
	refuse("uuid", json_string("01234567-89ab-4def-8123-456789abcde"), "UUID");
	refuse("memory_bytes", json_integer((4 << 20) - 4096), "memory_bytes");
	refuse("memory_bytes", json_integer((json_int_t)(4ull << 40) + 4096), "memory_bytes");
	refuse("memory_bytes", json_integer((512 << 20) + 1), "multiple");
	refuse("memory_bytes", json_string("512M"), "memory_bytes");
	refuse("cpus", json_integer(0), "cpus");
	refuse("cpus", json_integer(65), "cpus");
	refuse("dirty_mode", json_string("magic"), "dirty_mode");
	refuse("kernel", json_string("boot/k"), "not absolute");
	refuse("kernel", NULL, "no kernel");
	refuse("firmware", json_string("/bios"), "a kernel is booted directly");
	refuse("initrd", json_string("i"), "not absolute");
	refuse("cmdline", json_string(longer), "cmdline");
	refuse("disks", json_array(), "\"disks\"");
}

static void test_not_an_object(void **state)
{
	struct vm_config config;
	struct err err = {0};
	json_t *json = json_array();

	(void)state;
	assert_int_equal(config_from_json(json, &config, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	json_decref(json);
}

static void test_uuid(void **state)
{
	char a[CONFIG_UUID_LEN + 1], b[CONFIG_UUID_LEN + 1];

	(void)state;
	config_new_uuid(a);
	config_new_uuid(b);
	assert_true(config_uuid_valid(a));
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
	assert_string_not_equal(a, b);
	assert_false(config_uuid_valid(""));
	assert_false(config_uuid_valid(UUID "0"));
	assert_false(config_uuid_valid("01234567-89ab-4def-8123_456789abcdef"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip), cmocka_unit_test(test_incoming_has_no_kernel),
	    cmocka_unit_test(test_refusals),   cmocka_unit_test(test_not_an_object),
	    cmocka_unit_test(test_uuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
