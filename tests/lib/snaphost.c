/* snaphost.c: see snaphost.h. */
#include "tests/lib/snaphost.h"
#include "common/io.h"
#include "tests/lib/need.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 16, REPORTS = 4096 };

void snap_disk(const struct host *host, char path[HOST_PATH + 32])
{
	snprintf(path, HOST_PATH + 32, "%s/disk.dvol", host->root);
}

void snap_define(const struct host *host, const char *vm, const char *parameters)
{
	char disk[HOST_PATH + 32], yaml[HOST_PATH + 32], text[2048];

	snap_disk(host, disk);
	host_must(host, "image", "create", disk, "4M", NULL);
	snprintf(text, sizeof(text),
		 "memory: 64M\nkernel: %s/guest/testguest.elf\ncmdline: %s\ndisks:\n  - path: %s\n"
		 "nets:\n  - mac: 52:54:00:00:00:01\n",
		 host_build(), parameters, disk);
	snprintf(yaml, sizeof(yaml), "%s/vm.yaml", host->root);
	assert_int_equal(io_replace_file(yaml, text, strlen(text)), 0);
	host_must(host, "create", vm, "-f", yaml, NULL);
}

void snap_start(const struct host *host, const char *vm, const char *parameters)
{
	snap_define(host, vm, parameters);
	host_must(host, "start", vm, NULL);
	host_wait_report(host, vm, 0);
}

void snap_end(const struct host *host, const char *vm)
{
	char path[HOST_PATH + 96];

	host_must(host, "kill", vm, NULL);
	snprintf(path, sizeof(path), "%s/state/vms/%s/console.log", host->root, vm);
	assert_int_equal(unlink(path), 0);
}

void snap_forget(const struct host *host, const char *vm)
{
	char disk[HOST_PATH + 32], state[16];

	host_state(host, vm, state);
	if (strcmp(state, "none") != 0)
		host_must(host, "kill", vm, NULL);
	host_must(host, "remove", vm, NULL);
	host_must(host, "forget", "--force", vm, NULL);
	snap_disk(host, disk);
	assert_int_equal(unlink(disk), 0);
}

static json_t *run_json(const struct host *host, va_list args)
{
	const char *argv[WORDS] = {"drover"};
	struct command *command = calloc(1, sizeof(*command));
	int n = 1;

	assert_non_null(command);
	while ((argv[n] = va_arg(args, const char *)))
		n++;
	argv[n++] = "--json";
	argv[n] = NULL;
	command_start(command, host, NULL, argv);
	if (command_wait(command))
		fail_msg("drover %s: %s", argv[1], command->output);
	json_t *json = json_loads(command->output, 0, NULL);
	if (!json)
		fail_msg("drover %s: no JSON: %s", argv[1], command->output);
	free(command);
	return json;
}

json_t *snap_json(const struct host *host, ...)
{
	va_list args;
	json_t *json;

	va_start(args, host);
	json = run_json(host, args);
	va_end(args);
	return json;
}

void snap_take(const struct host *host, const char *vm, char id[32])
{
	json_t *json = snap_json(host, "snapshot", vm, NULL);

	snprintf(id, 32, "%s", json_string_value(json_object_get(json, "epoch")));
	json_decref(json);
}

void snap_refused(const struct host *host, const char *sentence, ...)
{
	const char *argv[WORDS] = {"drover"};
	struct command *command = calloc(1, sizeof(*command));
	va_list args;
	int n = 1, status;

	assert_non_null(command);
	va_start(args, sentence);
	while ((argv[n] = va_arg(args, const char *)))
		n++;
	va_end(args);
	command_start(command, host, NULL, argv);
	status = command_wait(command);
	if (status < 1 || status > 2 || !strstr(command->output, sentence))
		fail_msg("drover %s: status %d: %s; not: %s", argv[1], status, command->output, sentence);
	free(command);
}

void snap_store(const struct host *host, const char *vm, const char *file, char path[HOST_PATH + 96])
{
	snprintf(path, HOST_PATH + 96, "%s/state/vms/%s/snapshots/%s", host->root, vm, file);
}

/* epochs_of: how many a volume has, each of which must be in the list. */
static size_t epochs_of(const char *path, const json_t *snapshots)
{
	const struct dvol_open_options options = {.list = true};
	struct dvol_epoch *list;
	struct err err = {0};
	size_t count, i;
	json_t *one;

	if (access(path, F_OK))
		return 0;
	struct dvol *vol = dvol_open(path, &options, &err);
	if (!vol)
		fail_msg("%s", err.text);
	assert_int_equal(dvol_epochs(vol, &list, &count, &err), 0);
	for (size_t n = 0; n < count; n++) {
		char id[64];
		bool found = false;

		snprintf(id, sizeof(id), "%llu.%llu", (unsigned long long)list[n].id.term,
			 (unsigned long long)list[n].id.number);
		json_array_foreach(snapshots, i, one) found |=
		    !strcmp(id, json_string_value(json_object_get(one, "epoch")));
		if (!found)
			fail_msg("%s has an epoch %s that belongs to no snapshot", path, id);
	}
	free(list);
	dvol_close(vol, NULL);
	return count;
}

static size_t files_like(const struct host *host, const char *vm, const char *suffix)
{
	char path[HOST_PATH + 96];
	struct dirent *entry;
	size_t count = 0;

	snap_store(host, vm, "", path);
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name), tail = strlen(suffix);
		count += len > tail && !strcmp(entry->d_name + len - tail, suffix);
	}
	if (dir)
		closedir(dir);
	return count;
}

void snap_settled(const struct host *host, const char *vm, size_t count)
{
	json_t *json = snap_json(host, "snapshots", vm, NULL), *one;
	json_t *list = json_object_get(json, "snapshots");
	char disk[HOST_PATH + 32], ram[HOST_PATH + 96];
	size_t i, with_ram = 0;

	assert_int_equal(json_array_size(list), count);
	json_array_foreach(list, i, one) with_ram +=
	    !strcmp(json_string_value(json_object_get(one, "kind")), "ram");
	snap_disk(host, disk);
	snap_store(host, vm, "ram.dvol", ram);
	assert_int_equal(epochs_of(disk, list), count);
	assert_int_equal(epochs_of(ram, list), with_ram);
	assert_int_equal(files_like(host, vm, ".json"), count);
	assert_int_equal(files_like(host, vm, ".state"), with_ram);
	assert_int_equal(files_like(host, vm, ".begun"), 0);
	assert_int_equal(files_like(host, vm, "restoring"), 0);
	if (with_ram == 0)
		assert_int_not_equal(access(ram, F_OK), 0);
	json_decref(json);
}

uint64_t snap_reports(const struct host *host, const char *vm, size_t n)
{
	struct guest_report *reports = calloc(REPORTS, sizeof(*reports));
	size_t count;
	uint64_t first;

	assert_non_null(reports);
	while ((count = host_reports(host, vm, reports, REPORTS)) < n)
		host_wait_report(host, vm, count ? reports[count - 1].seq + 1 : 0);
	for (size_t i = 1; i < count; i++)
		if (reports[i].seq != reports[i - 1].seq + 1)
			fail_msg("report %llu follows on %llu", (unsigned long long)reports[i].seq,
				 (unsigned long long)reports[i - 1].seq);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(reports[i].errors, 0);
	first = reports[0].seq;
	free(reports);
	return first;
}

uint64_t snap_last(const struct host *host, const char *vm)
{
	struct guest_report *reports = calloc(REPORTS, sizeof(*reports));
	size_t count = host_reports(host, vm, reports, REPORTS);
	uint64_t last = count ? reports[count - 1].seq : 0;

	free(reports);
	return last;
}

int snap_open(struct host *host, char folder[TEMP_MAX])
{
	need_kvm();
	temp_make(folder);
	host_open(host, folder, "a");
	return 0;
}

int snap_close(struct host *host, const char *folder)
{
	host_close(host);
	return rmdir(folder);
}
