/* The record of a snapshot: what is written is what is read, and nothing that is damaged, cut off or made up is taken for one. */
#include "tests/lib/random.h"
#include "tests/lib/test.h"
#include "vmm/definition.h"
#include "vmm/definition_text.h"
#include "vmm/snapshot_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill(struct snapshot_record *record)
{
	struct vm_config *config = &record->config;

	*record = (struct snapshot_record){.id = {3, 14},
					   .time_ns = 1700000000123456789,
					   .ram = true,
					   .paused = true,
					   .note = "before \"restore\"",
					   .made_by = "drover 0.1.0",
					   .state_bytes = 10857,
					   .state_checksum = 0xfedcba9876543210,
					   .cpu = json_pack("{s:s}", "vendor", "AuthenticAMD")};
	snprintf(config->name, sizeof(config->name), "web");
	config_new_uuid(config->uuid);
	config->memory_bytes = 64 << 20;
	config->cpus = 2;
	config->limits = (struct vm_limits){.memory_bytes = 512 << 20,
					    .cpu_percent = 150,
					    .read_bytes = 1000000,
					    .write_iops = 333,
					    .required = true};
	config->emulation = true;
	config->cmdline = strdup("console=ttyS0 a=\"b\\c\"");
	config->kernel = strdup("/boot/vm linuz");
	struct device_config *disk = config_add_device(config, DEVICE_DISK);
	disk->disk.path = strdup("/var/lib/web root.dvol");
	disk->disk.queues = 2;
	strcpy(disk->disk.serial, "root:#1");
	struct device_config *net = config_add_device(config, DEVICE_NET);
	memcpy(net->net.mac, "\x52\x54\x00\x01\x02\x03", 6);
	net = config_add_device(config, DEVICE_NET);
	memcpy(net->net.mac, "\x52\x54\x00\x01\x02\x04", 6);
	strcpy(net->net.tap, "tap0");
	config_add_device(config, DEVICE_BALLOON);
	snapshot_record_add_disk(record, "/var/lib/web root.dvol");
	snapshot_record_add_clone(record, "try", "/var/lib/try.dvol");
}

static void test_there_and_back(void **state)
{
	struct snapshot_record record, again;
	struct err err = {0};

	(void)state;
	for (int ram = 0; ram < 2; ram++) {
		fill(&record);
		record.ram = ram;
		char *text = snapshot_record_encode(&record);
		if (snapshot_record_decode(text, strlen(text), &again, &err))
			fail_msg("%s", err.text);
		char *second = snapshot_record_encode(&again);
		assert_string_equal(second, text);
		assert_int_equal(again.id.term, 3);
		assert_int_equal(again.id.number, 14);
		assert_int_equal(again.ram, ram);
		assert_int_equal(again.state_checksum, ram ? record.state_checksum : 0);
		assert_string_equal(again.config.devices[0].disk.path, "/var/lib/web root.dvol");
		assert_int_equal(again.ndisks, 1);
		assert_string_equal(again.clones[0].disk, "/var/lib/try.dvol");
		snapshot_record_free(&again);
		snapshot_record_free(&record);
		free(text);
		free(second);
	}
}

/* changed: the record's text with one field replaced. */
static char *changed(const char *key, json_t *value)
{
	struct snapshot_record record;

	fill(&record);
	char *text = snapshot_record_encode(&record);
	json_t *json = json_loads(text, 0, NULL);
	free(text);
	if (value)
		json_object_set_new(json, key, value);
	else
		json_object_del(json, key);
	text = json_dumps(json, 0);
	json_decref(json);
	snapshot_record_free(&record);
	return text;
}

static void refused(const char *key, json_t *value, const char *words)
{
	struct snapshot_record record;
	struct err err = {0};
	char *text = changed(key, value);

	assert_int_equal(snapshot_record_decode(text, strlen(text), &record, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	if (!strstr(err.text, words))
		fail_msg("%s: \"%s\" does not say \"%s\"", key, err.text, words);
	assert_null(record.disks);
	assert_null(record.cpu);
	free(text);
}

static void test_refused(void **state)
{
	static const char *const all[] = {"format", "term",        "epoch",         "time_ns", "kind",
					  "note",   "made_by",     "config",        "clones",  "cpu",
					  "paused", "state_bytes", "state_checksum"};
	json_t *many = json_array();

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		refused(all[i], NULL, all[i]);
	refused("disks", NULL, "disks");
	refused("format", json_integer(2), "use a newer one");
	refused("term", json_integer(0), "term");
	refused("epoch", json_integer(-1), "epoch");
	refused("kind", json_string("tape"), "\"tape\"");
	refused("state_bytes", json_integer(17 << 20), "state_bytes");
	refused("state_checksum", json_string("12"), "state_checksum");
	refused("disks", json_pack("[s]", "relative.dvol"), "absolute paths");
	refused("disks", json_pack("[i]", 1), "absolute paths");
	refused("disks", json_pack("{}"), "not a list");
	for (int i = 0; i <= CONFIG_MAX_DEVICES; i++)
		json_array_append_new(many, json_string("/d"));
	refused("disks", many, "not a list of at most");
	refused("clones", json_pack("[i]", 1), "vm");
	refused("config", json_pack("{}"), "name");
}

/* Neither cut off nor changed at random does it crash anybody; a prefix is never a record. */
static void test_noise(void **state)
{
	struct snapshot_record record;
	uint64_t random = random_begin();
	char *text = changed("note", json_string("noise"));
	size_t len = strlen(text);

	(void)state;
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(snapshot_record_decode(text, cut, &record, NULL), -1);
	for (int i = 0; i < 20000; i++) {
		char *copy = strdup(text);
		for (uint64_t n = random_below(&random, 4) + 1; n > 0; n--)
			copy[random_below(&random, len)] = (char)random_next(&random);
		if (!snapshot_record_decode(copy, len, &record, NULL))
			snapshot_record_free(&record);
		free(copy);
	}
	free(text);
}

/* A VM that was made of a snapshot has a definition that nobody wrote: it says what the VM is. */
static void says_what_it_is(const struct vm_config *config)
{
	struct vm_config read;
	struct buf text = {0};
	struct err err = {0};

	definition_text(config, &text);
	if (definition_read((const char *)text.data, strlen((const char *)text.data), "text", "web", config,
			    &read, &err))
		fail_msg("%s\n%s", err.text, (const char *)text.data);
	json_t *a = config_to_json(config), *b = config_to_json(&read);
	char *one = json_dumps(a, JSON_SORT_KEYS | JSON_INDENT(1)),
	     *two = json_dumps(b, JSON_SORT_KEYS | JSON_INDENT(1));
	assert_string_equal(one, two);
	free(one);
	free(two);
	json_decref(a);
	json_decref(b);
	config_free(&read);
	buf_free(&text);
}

static void test_definition(void **state)
{
	struct snapshot_record record;
	struct vm_config *config = &record.config;

	(void)state;
	fill(&record);
	says_what_it_is(config);
	free(config->kernel);
	free(config->cmdline);
	config->kernel = config->cmdline = NULL;
	config->boot = BOOT_NETWORK;
	says_what_it_is(config);
	snapshot_record_free(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_noise),
	    cmocka_unit_test(test_definition),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
