/* A VM's YAML file: what it gives, what is refused and where (the line), and that a changed file keeps the identity, the slots and
 * the addresses of what stays. */
#include "tests/lib/test.h"
#include "vmm/definition.h"

#include <string.h>

static int read_text(const char *text, const struct vm_config *kept, struct vm_config *config,
		     struct err *err)
{
	return definition_read(text, strlen(text), "web.yaml", "web", kept, config, err);
}

static void accept(const char *text, const struct vm_config *kept, struct vm_config *config)
{
	struct err err = {0};
	if (read_text(text, kept, config, &err))
		fail_msg("%s", err.text);
}

static void test_whole(void **state)
{
	(void)state;
	struct vm_config config;
	accept("# a web server\n"
	       "memory: 2G\n"
	       "cpus: 4\n"
	       "kernel: /boot/vmlinuz\n"
	       "initrd: /boot/initrd.img\n"
	       "cmdline: console=ttyS0 root=/dev/vda1\n"
	       "dirty-tracking: bitmap\n"
	       "cpu-model: x86-64-v3\n"
	       "emulate: true\n"
	       "huge-pages: true\n"
	       "disks:\n"
	       "  - path: /vol/root.dvol\n"
	       "    serial: ROOT1\n"
	       "    queues: 2\n"
	       "  - path: /vol/cd.iso\n"
	       "    format: raw\n"
	       "    read-only: yes\n"
	       "nets:\n"
	       "  - tap: tap0\n"
	       "    mac: 52:54:00:aa:bb:cc\n"
	       "console-ports: [org.qemu.guest_agent.0, com.example.log]\n"
	       "limits:\n"
	       "  memory-max: auto\n"
	       "  cpu: 1.5\n"
	       "  write-bytes: 50M\n"
	       "  required: true\n"
	       "balloon: false\n",
	       NULL, &config);
	assert_string_equal(config.name, "web");
	assert_true(config_uuid_valid(config.uuid));
	assert_int_equal(config.memory_bytes, 2ull << 30);
	assert_int_equal(config.cpus, 4);
	assert_string_equal(config.kernel, "/boot/vmlinuz");
	assert_string_equal(config.initrd, "/boot/initrd.img");
	assert_string_equal(config.cmdline, "console=ttyS0 root=/dev/vda1");
	assert_int_equal(config.dirty_mode, DIRTY_BITMAP);
	assert_int_equal(config.cpu_model, CPU_X86_64_V3);
	assert_true(config.emulation);
	assert_true(config.huge_pages);
	assert_int_equal(config.ndevices, 5);
	static const enum device_kind kinds[] = {DEVICE_DISK, DEVICE_DISK, DEVICE_NET, DEVICE_RNG,
						 DEVICE_CONSOLE};
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(config.devices[i].kind, kinds[i]);
		assert_int_equal(config.devices[i].slot, CONFIG_FIRST_SLOT + i);
	}
	assert_string_equal(config.devices[0].disk.path, "/vol/root.dvol");
	assert_string_equal(config.devices[0].disk.serial, "ROOT1");
	assert_int_equal(config.devices[0].disk.queues, 2);
	assert_int_equal(config.devices[1].disk.format, DISK_RAW);
	assert_true(config.devices[1].disk.read_only);
	/* RAM, 1/128 of it, 128 MiB, and 64 MiB for each disk. */
	assert_int_equal(config.limits.memory_bytes, (2ull << 30) + (16 << 20) + (128 << 20) + (128 << 20));
	assert_int_equal(config.limits.cpu_percent, 150);
	assert_int_equal(config.limits.write_bytes, 50 << 20);
	assert_true(config.limits.required);
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc};
	assert_memory_equal(config.devices[2].net.mac, mac, 6);
	assert_string_equal(config.devices[4].console.name[1], "com.example.log");

	/* The JSON form that travels gives the same. */
	struct err err = {0};
	struct vm_config again;
	json_t *json = config_to_json(&config);
	if (config_from_json(json, &again, &err))
		fail_msg("%s", err.text);
	json_t *json_again = config_to_json(&again);
	assert_true(json_equal(json, json_again));
	json_decref(json);
	json_decref(json_again);
	config_free(&again);
	config_free(&config);
}

static void test_least(void **state)
{
	(void)state;
	struct vm_config config;
	accept("memory: 512M\n", NULL, &config);
	assert_int_equal(config.cpus, 1);
	assert_null(config.kernel);
	assert_false(config.emulation);
	assert_int_equal(config.boot, BOOT_DISK);
	/* What nobody has to ask for. */
	assert_int_equal(config.ndevices, 2);
	assert_int_equal(config.devices[0].kind, DEVICE_RNG);
	assert_int_equal(config.devices[1].kind, DEVICE_BALLOON);
	config_free(&config);
}

static void test_network_boot(void **state)
{
	(void)state;
	struct vm_config config, again;
	struct err err = {0};
	accept("memory: 512M\nboot: network\nnets:\n  - tap: tap0\n", NULL, &config);
	assert_int_equal(config.boot, BOOT_NETWORK);
	json_t *json = config_to_json(&config);
	if (config_from_json(json, &again, &err))
		fail_msg("%s", err.text);
	assert_int_equal(again.boot, BOOT_NETWORK);
	config_free(&again);
	json_object_set_new(json, "boot", json_string("tape"));
	assert_int_equal(config_from_json(json, &again, &err), -1);
	assert_non_null(strstr(err.text, "tape"));
	json_decref(json);
	config_free(&config);
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *words;
	} cases[] = {
	    {"", "it is empty"},
	    {"cpus: 2\n", "memory"},
	    {"memory: 2G\ncpus: 0\n", "web.yaml: line 2: cpus"},
	    {"memory: 2G\n\ncpus: 1x\n", "line 3: cpus"},
	    {"memory: lots\n", "line 1: memory"},
	    {"memory: 2G\nmemory: 3G\n", "already seen"},
	    {"memory: 2G\nwings: 2\n", "line 2: Unexpected key: wings"},
	    {"memory: 2G\ndisks:\n  - path: /a\n    colour: red\n", "line 4: Unexpected key: colour"},
	    {"memory: 2G\ndisks:\n  - path: /a\n  - path: b\n", "line 4: path"},
	    {"memory: 2G\ndisks:\n  - path: /a\n    format: zip\n", "line 4: format"},
	    {"memory: 2G\ndisks:\n  - path: /a\n  - path: /b\n    queues: 17\n", "line 5: queues"},
	    {"memory: 2G\ndisks:\n  - path: /a\n    format: raw\n", "raw image can only be read"},
	    {"memory: 2G\ndisks: /a\n", "line 2"},
	    {"memory: 2G\nnets:\n  - tap: a-name-that-is-too-long\n", "line 3: tap"},
	    {"memory: 2G\nnets:\n  - tap: tap0\n    mac: 01:00:5e:00:00:01\n", "line 4: mac"},
	    {"memory: 2G\nrng: perhaps\n", "line 2: rng"},
	    {"memory: 2G\nkernel: vmlinuz\n", "line 2: kernel"},
	    {"memory: 2G\ninitrd: /initrd\n", "no kernel"},
	    {"memory: 2G\ndirty-tracking: guess\n", "line 2: dirty-tracking"},
	    {"memory: 2G\nconsole-ports: [a, a]\n", "two ports"},
	    {"memory: 2G\ncpu-model: 486\n", "line 2: cpu-model"},
	    {"memory: 2G\nlimits:\n  cpu: 1\n  memory-max: 3X\n", "line 4: memory-max"},
	    {"limits:\n  cpu: 0\nmemory: 2G\n", "line 2: cpu"},
	    {"memory: 2G\nlimits: {swap: 1G}\n", "Unexpected key: swap"},
	    {"memory: 2G\nlimits: {required: true}\n", "none that could be required"},
	    {"memory: 2G\nlimits: 3\n", "line 2"},
	    {"memory: 2G\nemulate: maybe\n", "line 2: emulate"},
	    {"memory: 2G\nhuge-pages: 1G\n", "line 2: huge-pages"},
	    {"memory: 2G\nboot: floppy\n", "line 2: boot"},
	    {"memory: 2G\nboot: network\n", "no network card"},
	    {"memory: 2G\nboot: network\nkernel: /k\nnets:\n  - tap: t\n", "a kernel is booted"},
	    {"memory: &a 2G\ncmdline: *a\n", "web.yaml"},
	    {"- memory: 2G\n", "web.yaml"},
	    {"memory: [\n", "line"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {0};
		struct vm_config config;
		if (!read_text(cases[i].text, NULL, &config, &err))
			fail_msg("taken: %s", cases[i].text);
		assert_int_equal(err.kind, ERR_INPUT);
		if (!strstr(err.text, cases[i].words))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].words);
		assert_null(config.devices);
	}
	struct err err = {0};
	struct vm_config config;
	assert_int_equal(definition_read("memory: 2G\n\0x: y\n", 17, "web.yaml", "web", NULL, &config, &err),
			 -1);
	static char large[DEFINITION_MAX + 1];
	memset(large, '#', sizeof(large));
	assert_int_equal(definition_read(large, sizeof(large), "web.yaml", "web", NULL, &config, &err), -1);
}

static void test_kept(void **state)
{
	(void)state;
	struct vm_config before, after;
	accept("memory: 2G\nballoon: no\ndisks:\n  - path: /a\n  - path: /b\nnets:\n  - tap: tap0\n  - tap: "
	       "tap1\n",
	       NULL, &before);
	/* /a goes, /c comes, the order changes. */
	accept("memory: 4G\nballoon: no\nnets:\n  - tap: tap1\n  - tap: tap2\ndisks:\n  - path: /c\n  - "
	       "path: /b\n",
	       &before, &after);
	assert_string_equal(before.uuid, after.uuid);
	assert_int_equal(after.memory_bytes, 4ull << 30);
	assert_string_equal(after.devices[0].disk.path, "/c");
	assert_string_equal(after.devices[1].disk.path, "/b");
	assert_int_equal(after.devices[1].slot, before.devices[1].slot);
	assert_string_equal(after.devices[2].net.tap, "tap1");
	assert_int_equal(after.devices[2].slot, before.devices[3].slot);
	assert_memory_equal(after.devices[2].net.mac, before.devices[3].net.mac, 6);
	assert_memory_not_equal(after.devices[3].net.mac, before.devices[2].net.mac, 6);
	assert_int_equal(after.devices[4].slot, before.devices[4].slot); /* rng */
	/* What is new is in no place where something else was. */
	for (unsigned i = 0; i < before.ndevices; i++) {
		assert_int_not_equal(after.devices[0].slot, before.devices[i].slot);
		assert_int_not_equal(after.devices[3].slot, before.devices[i].slot);
	}
	config_free(&before);
	config_free(&after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_least),
					   cmocka_unit_test(test_network_boot),
					   cmocka_unit_test(test_refused), cmocka_unit_test(test_kept)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
