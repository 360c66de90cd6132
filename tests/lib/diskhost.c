/* diskhost.c: see diskhost.h. */
#include "tests/lib/diskhost.h"
#include "common/io.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_WORDS "qd=8 span=4M"
enum { PATIENCE_S = 40 };

void diskhost_start(const struct host *host, const char *vm, const char *fault, const char *disk,
		    const char *words)
{
	char kernel[HOST_PATH + 32], append[256];
	struct command *command = calloc(1, sizeof(*command));
	const char *argv[] = {"drover", "run",      "--name", vm,       "--memory", "32M",      "--kernel",
			      kernel,   "--append", append,   "--disk", disk,       "--detach", NULL};

	assert_non_null(command);
	snprintf(kernel, sizeof(kernel), "%s/guest/testguest.elf", host_build());
	snprintf(append, sizeof(append), "io=disk-log " LOG_WORDS " report=20 %s", words);
	command_start(command, host, fault, argv);
	if (command_wait(command))
		fail_msg("drover run: %s", command->output);
	free(command);
	diskhost_wait(host, vm, 1);
}

void diskhost_write(const char *disk, uint64_t at, uint64_t bytes,
		    void (*content)(void *arg, uint64_t at, uint8_t data[DISKHOST_PIECE]), void *arg)
{
	const struct dvol_open_options options = {.writable = true};
	static uint8_t data[DISKHOST_PIECE];
	struct err err = {0};
	struct dvol *vol = dvol_open(disk, &options, &err);

	for (uint64_t done = 0; vol && done < bytes; done += sizeof(data)) {
		content(arg, done, data);
		if (dvol_write(vol, data, sizeof(data), at + done, &err))
			break;
	}
	if (!vol || err.kind != ERR_NONE || dvol_close(vol, &err))
		fail_msg("%s", err.text);
}

static void at_random(void *random, uint64_t at, uint8_t data[DISKHOST_PIECE])
{
	(void)at;
	random_fill(random, data, DISKHOST_PIECE);
}

void diskhost_make(const struct host *host, const char *disk, const char *size, uint64_t filled)
{
	uint64_t random = random_begin();

	host_must(host, "image", "create", disk, size, NULL);
	diskhost_write(disk, DISKHOST_LOG, filled, at_random, &random);
}

void diskhost_copy(const struct host *host, const char *vm, char path[DISKHOST_PATH])
{
	snprintf(path, DISKHOST_PATH, "%s/state/vms/%s/disks/slot-1.dvol", host->root, vm);
}

/* The guest's log there; the caller frees. */
static char *console(const struct host *host, const char *vm)
{
	char path[DISKHOST_PATH];
	void *text = NULL;
	size_t len;

	snprintf(path, sizeof(path), "%s/state/vms/%s/console.log", host->root, vm);
	if (io_read_file(path, 16 << 20, &text, &len))
		return strdup("");
	if (strstr(text, "ERROR") || strstr(text, "EXCEPTION") || strstr(text, "\nguest: "))
		fail_msg("VM %s on %s: %s", vm, host->name, (char *)text);
	return text;
}

/* The number behind `key` in the last whole line with `what`; false: there is none. */
static bool last_number(const char *text, const char *what, const char *key, uint64_t *number)
{
	const char *found = NULL, *at;

	for (at = text; (at = strstr(at, what)) && strchr(at, '\n'); at++)
		found = at;
	at = found ? strstr(found, key) : NULL;
	if (at)
		*number = strtoull(at + strlen(key), NULL, 10);
	return at != NULL;
}

uint64_t diskhost_flushed(const struct host *host, const char *vm)
{
	char *text = console(host, vm);
	uint64_t flushed = 0, errors = 0;

	(void)last_number(text, "log flushed=", "flushed=", &flushed);
	(void)last_number(text, "log flushed=", "errors=", &errors);
	free(text);
	if (errors)
		fail_msg("VM %s found %llu errors", vm, (unsigned long long)errors);
	return flushed;
}

static void wait_more(uint64_t until, const char *what, const char *vm)
{
	if (clock_mono_ns() > until)
		fail_msg("VM %s: %s never came", vm, what);
	nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
}

uint64_t diskhost_wait(const struct host *host, const char *vm, uint64_t least)
{
	uint64_t until = clock_mono_ns() + PATIENCE_S * 1000000000ull, flushed;

	while ((flushed = diskhost_flushed(host, vm)) < least)
		wait_more(until, "a record", vm);
	return flushed;
}

void diskhost_verify(const struct host *host, const char *disk, uint64_t flushed)
{
	uint64_t until = clock_mono_ns() + PATIENCE_S * 1000000000ull, errors = 1;
	char kernel[HOST_PATH + 32], words[128], *text = strdup("");

	snprintf(kernel, sizeof(kernel), "%s/guest/testguest.elf", host_build());
	snprintf(words, sizeof(words), "io=disk-verify " LOG_WORDS " flushed=%llu",
		 (unsigned long long)flushed);
	host_must(host, "run", "--name", "verify", "--memory", "32M", "--kernel", kernel, "--append", words,
		  "--disk", disk, "--detach", NULL);
	while (!last_number(text, "log verified=", "errors=", &errors)) {
		free(text);
		wait_more(until, "the verification", "verify");
		text = console(host, "verify");
	}
	free(text);
	assert_int_equal(errors, 0);
	host_wait_state(host, "verify", "none");
	host_must(host, "forget", "verify", NULL);
	host_must(host, "image", "check", disk, NULL);
}

/* ---- volumes ----------------------------------------------------------------------------------------------------- */

static struct dvol *open_volume(const char *path)
{
	const struct dvol_open_options options = {.writable = true};
	struct err err = {0};
	struct dvol *vol = dvol_open(path, &options, &err);

	if (!vol)
		fail_msg("%s", err.text);
	return vol;
}

static struct dvol_epoch *epochs_of(struct dvol *vol, size_t *count)
{
	struct dvol_epoch *list;
	struct err err;

	assert_int_equal(dvol_epochs(vol, &list, count, &err), 0);
	return list;
}

void diskhost_whole(const struct host *from, const struct host *to, const char *vm, const char *disk)
{
	char copy[DISKHOST_PATH];

	diskhost_copy(to, vm, copy);
	diskhost_wait(to, vm, diskhost_flushed(from, vm) + 100);
	host_must(to, "kill", vm, NULL);
	host_wait_state(to, vm, "none");
	diskhost_same(disk, copy);
	diskhost_verify(to, copy, diskhost_flushed(to, vm));
}

size_t diskhost_epochs(const char *path)
{
	struct dvol *vol = open_volume(path);
	size_t count;

	free(epochs_of(vol, &count));
	dvol_close(vol, NULL);
	return count;
}

static bool has(const struct dvol_epoch *list, size_t count, struct dvol_id id)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].id.term == id.term && list[i].id.number == id.number)
			return true;
	return false;
}

void diskhost_same(const char *a, const char *b)
{
	struct dvol *volume[2] = {open_volume(a), open_volume(b)};
	uint8_t root[2][DVOL_ROOT];
	struct dvol_epoch *list[2];
	size_t count[2];
	struct err err = {0};
	bool found = false;

	for (int i = 0; i < 2; i++)
		list[i] = epochs_of(volume[i], &count[i]);
	for (size_t n = count[0]; n-- > 0 && !found;) {
		struct dvol_id id = list[0][n].id;

		if (!has(list[1], count[1], id))
			continue;
		found = true;
		for (int i = 0; i < 2; i++)
			if (dvol_digest(volume[i], id, root[i], &err))
				fail_msg("%s", err.text);
		assert_memory_equal(root[0], root[1], DVOL_ROOT);
	}
	if (!found)
		fail_msg("%s and %s have no epoch in common", a, b);
	for (int i = 0; i < 2; i++) {
		free(list[i]);
		dvol_close(volume[i], NULL);
	}
}
