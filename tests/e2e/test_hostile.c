/* test_hostile.c: senders that are let in, and want more than that: other files, interfaces, memory and names of the receiver's host, and
 * messages out of their place.  Each is refused with its sentence, no VM is left, and nothing was written. */
#include "common/io.h"
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/session.h"
#include "tests/lib/test.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[TEMP_MAX];
static struct host host;
static struct session session;

#define VM "web1"

static const char *const nothing[] = {NULL};

static void put_device(json_t *config, json_t *device)
{
	json_t *devices = json_object_get(config, "devices");

	if (!devices) {
		devices = json_array();
		json_object_set_new(config, "devices", devices);
	}
	json_array_append_new(devices, device);
}

/* BEGIN with that configuration is refused; the VM is not there. */
static void begin_is_refused(const char *const options[], json_t *config, const char *part)
{
	session_open(&session, &host, options);
	session_greet(&session, VM);
	session_send_json(&session, MESSAGE_BEGIN, session_begin(&host, config));
	session_is_refused(&session, MESSAGE_REFUSE, part);
	assert_int_equal(session_close(&session), 1);
	host_wait_state(&host, VM, "none");
}

static json_t *with_image(const char *path)
{
	json_t *config = session_config(VM);

	put_device(config, json_pack("{s:s, s:i, s:s, s:s, s:b}", "kind", "disk", "slot", 1, "path", path,
				     "format", "raw", "read_only", 1));
	return config;
}

static void is_taken(const char *const options[], json_t *config)
{
	session_open(&session, &host, options);
	session_ready(&session, &host, config);
	(void)session_close(&session);
	host_wait_state(&host, VM, "none");
	host_must(&host, "forget", "--force", VM, NULL);
}

static void write_file(const char *path, const char *text)
{
	assert_int_equal(io_replace_file(path, text, strlen(text)), 0);
	assert_int_equal(truncate(path, 1 << 20), 0);
}

static void reads_only_what_it_may(void **state)
{
	char secret[TEMP_MAX + 32], images[TEMP_MAX + 32], image[TEMP_MAX + 64], way[TEMP_MAX + 64],
	    up[TEMP_MAX + 64];
	const char *permitted[] = {"--images", images, NULL}, *one[] = {"--images", image, NULL};

	(void)state;
	need_kvm();
	snprintf(secret, sizeof(secret), "%s/secret.raw", folder);
	snprintf(images, sizeof(images), "%s/images", folder);
	snprintf(image, sizeof(image), "%s/cd.raw", images);
	snprintf(way, sizeof(way), "%s/way", images);
	snprintf(up, sizeof(up), "%s/../secret.raw", images);
	assert_int_equal(mkdir(images, 0700), 0);
	write_file(secret, "secret");
	write_file(image, "a CD");
	assert_int_equal(symlink(secret, way), 0);
	begin_is_refused(nothing, with_image(secret), "does not let VMs that come read");
	begin_is_refused(permitted, with_image(secret), "does not let VMs that come read");
	begin_is_refused(one, with_image(secret), "does not let VMs that come read");
	/* Out of the folder: also by a way that lies in it. */
	begin_is_refused(permitted, with_image(up), "that host has no");
	begin_is_refused(permitted, with_image(way), "that host has no");
	begin_is_refused(permitted, with_image(images), "");
	is_taken(permitted, with_image(image));
	is_taken(one, with_image(image));
	assert_int_equal(unlink(way), 0);
	assert_int_equal(unlink(image), 0);
	assert_int_equal(rmdir(images), 0);
	assert_int_equal(unlink(secret), 0);
}

/* What this very VM had here before, it may have again, whoever brings it. */
static void reads_what_it_had(void **state)
{
	char image[TEMP_MAX + 32];
	const char *permitted[] = {"--images", image, NULL};

	(void)state;
	need_kvm();
	snprintf(image, sizeof(image), "%s/cd.raw", folder);
	write_file(image, "a CD");
	session_open(&session, &host, permitted);
	session_ready(&session, &host, with_image(image));
	(void)session_close(&session);
	host_wait_state(&host, VM, "none");
	json_t *config = with_image(image), *begin;

	session_open(&session, &host, nothing);
	session_greet(&session, VM);
	begin = session_begin(&host, config);
	json_object_set_new(begin, "term", json_integer(3));
	session_send_json(&session, MESSAGE_BEGIN, begin);
	json_decref(session_await_json(&session, MESSAGE_READY));
	(void)session_close(&session);
	host_wait_state(&host, VM, "none");
	host_must(&host, "forget", "--force", VM, NULL);
	assert_int_equal(unlink(image), 0);
}

static void has_no_more_of_the_host_than_it_may(void **state)
{
	static const char *const memory[] = {"--memory-max", "8M", NULL};
	static const char *const taps[] = {"--tap", "web*", NULL};
	static const char *const vms[] = {"--vm", "db*", NULL};
	json_t *config;

	(void)state;
	need_kvm();
	config = session_config(VM);
	json_object_set_new(config, "memory_bytes", json_integer(16 << 20));
	begin_is_refused(memory, config, "this key may bring VMs of 8 MiB");
	config = session_config(VM);
	json_object_set_new(config, "memory_bytes", json_integer(4ll << 40));
	begin_is_refused(nothing, config, "in all, swap included");
	config = session_config(VM);
	put_device(config, json_pack("{s:s, s:i, s:s, s:s}", "kind", "net", "slot", 1, "tap", "lo", "mac",
				     "52:54:00:00:00:01"));
	begin_is_refused(taps, config, "may not be connected to interface 'lo'");
	session_open(&session, &host, vms);
	session_send_json(&session, MESSAGE_HELLO, session_hello("move", VM));
	session_is_refused(&session, MESSAGE_REFUSE, "this key is not for VM");
	assert_int_equal(session_close(&session), 1);
}

static void names_and_numbers_that_are_none(void **state)
{
	json_t *config, *disk;

	(void)state;
	need_kvm();
	config = session_config(VM);
	put_device(config,
		   json_pack("{s:s, s:i, s:[s]}", "kind", "console", "slot", 1, "ports", "a/../../x"));
	begin_is_refused(nothing, config, "names have letters");
	config = session_config(VM);
	put_device(config, json_pack("{s:s, s:i, s:[s]}", "kind", "console", "slot", 1, "ports", ".."));
	begin_is_refused(nothing, config, "begins with '.'");
	config = session_config(VM);
	json_object_set_new(config, "cpus", json_integer(65));
	begin_is_refused(nothing, config, "\"cpus\"");
	config = session_config(VM);
	put_device(config, json_pack("{s:s, s:i, s:s, s:s}", "kind", "net", "slot", 1, "tap", "../lo", "mac",
				     "52:54:00:00:00:01"));
	begin_is_refused(nothing, config, "no name of an interface");
	/* A disk that moves, and of which BEGIN says nothing: its path is not looked at. */
	config = session_config(VM);
	disk = json_pack("{s:s, s:i, s:s}", "kind", "disk", "slot", 1, "path", "/etc/passwd");
	put_device(config, disk);
	begin_is_refused(nothing, config, "\"slot\" is missing");
	session_open(&session, &host, nothing);
	session_send_json(&session, MESSAGE_HELLO, session_hello("move", "../web1"));
	session_is_refused(&session, MESSAGE_REFUSE, "names no valid VM");
	assert_int_equal(session_close(&session), 1);
}

/* A VM that this host defines is not another one's, though that one has its name. */
static void takes_no_name_of_the_hosts_own(void **state)
{
	char yaml[TEMP_MAX + 32];

	(void)state;
	need_kvm();
	snprintf(yaml, sizeof(yaml), "%s/own.yaml", folder);
	assert_int_equal(io_replace_file(yaml, "memory: 32M\n", 12), 0);
	host_must(&host, "create", VM, "-f", yaml, NULL);
	session_open(&session, &host, nothing);
	session_send_json(&session, MESSAGE_HELLO, session_hello("move", VM));
	session_is_refused(&session, MESSAGE_REFUSE, "of its own, which is another one");
	assert_int_equal(session_close(&session), 1);
	host_must(&host, "remove", VM, NULL);
	assert_int_equal(unlink(yaml), 0);
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

static void is_given_up(const char *part)
{
	session_is_refused(&session, MESSAGE_ABORT, part);
	assert_int_equal(session_close(&session), 1);
	host_wait_state(&host, VM, "none");
	host_must(&host, "forget", "--force", VM, NULL);
}

static void make_ready(bool postcopy)
{
	json_t *begin;

	session_open(&session, &host, nothing);
	session_greet(&session, VM);
	begin = session_begin(&host, session_config(VM));
	json_object_set_new(begin, "postcopy", json_boolean(postcopy));
	session_send_json(&session, MESSAGE_BEGIN, begin);
	json_decref(session_await_json(&session, MESSAGE_READY));
}

static void send_epoch(uint64_t number, uint32_t flags)
{
	const struct message_epoch epoch = {.term = 2, .epoch = number, .parent = number - 1, .flags = flags};
	struct err err;

	assert_int_equal(message_send_epoch(session.link, &epoch, &err), 0);
}

static void send_commit(const char *number)
{
	struct message_commit commit = {.term = 2};
	struct err err;

	snprintf(commit.session, sizeof(commit.session), "%s", number);
	assert_int_equal(message_send_commit(session.link, &commit, &err), 0);
	assert_int_equal(link_flush(session.link, &err), 0);
}

static void starts_nothing_before_its_time(void **state)
{
	(void)state;
	need_kvm();
	make_ready(false);
	send_commit(SESSION_NUMBER);
	is_given_up("COMMIT where the protocol has no place for it");
	/* An epoch with a machine state that is none. */
	make_ready(false);
	send_epoch(1, EPOCH_CONSISTENT);
	session_send(&session, MESSAGE_STATE, "no state", 8);
	const struct message_seal seal = {.epoch = 1, .state_bytes = 8};
	struct err err;

	assert_int_equal(message_send_seal(session.link, &seal, &err), 0);
	send_commit(SESSION_NUMBER);
	is_given_up("");
}

static void pages_of_nowhere(void **state)
{
	uint8_t payload[8 + PAGES_HEADER + PAGES_RUN];

	(void)state;
	need_kvm();
	memset(payload, 0, sizeof(payload));
	le64_put(payload, 1);
	le32_put(payload + 8 + 4, 1);
	le64_put(payload + 8 + PAGES_HEADER, SESSION_MEMORY / PAGES_SIZE);
	le32_put(payload + 8 + PAGES_HEADER + 8, 1);
	le32_put(payload + 8 + PAGES_HEADER + 12, PAGES_RUN_ZERO);
	make_ready(false);
	send_epoch(1, 0);
	session_send(&session, MESSAGE_PAGES, payload, sizeof(payload));
	is_given_up("past the end of the memory");
	le16_put(payload + 8, 1);
	make_ready(false);
	send_epoch(1, 0);
	session_send(&session, MESSAGE_PAGES, payload, sizeof(payload));
	is_given_up("volume 1, which is not known");
}

/* More machine state than there may be is refused while it comes. */
static void state_without_an_end(void **state)
{
	uint8_t *some = calloc(1, FRAME_MAX);
	struct err err;

	(void)state;
	need_kvm();
	assert_non_null(some);
	make_ready(false);
	send_epoch(1, EPOCH_CONSISTENT);
	for (size_t len = 0; len <= STREAM_STATE_MAX; len += FRAME_MAX) {
		buf_put(link_begin(session.link), some, FRAME_MAX);
		assert_int_equal(link_send(session.link, MESSAGE_STATE, 0, &err), 0);
	}
	assert_int_equal(link_flush(session.link, &err), 0);
	is_given_up("larger than 16 MiB");
	free(some);
}

static void messages_with_more_than_they_have(void **state)
{
	struct err err;
	json_t *hello, *begin;
	char long_text[20000];

	(void)state;
	need_kvm();
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = 0;
	session_open(&session, &host, nothing);
	hello = session_hello("move", VM);
	json_object_set_new(hello, "drover", json_string(long_text));
	session_send_json(&session, MESSAGE_HELLO, hello);
	session_is_refused(&session, MESSAGE_REFUSE, "at most 16384 are allowed");
	assert_int_equal(session_close(&session), 1);
	/* A CPU that does not fit into a request to the VM process. */
	session_open(&session, &host, nothing);
	session_greet(&session, VM);
	begin = session_begin(&host, session_config(VM));
	json_t *cpu = json_deep_copy(json_object_get(begin, "cpu"));

	for (int i = 0; i < 10; i++) {
		char key[16];

		snprintf(key, sizeof(key), "x%d", i);
		json_object_set_new(cpu, key, json_string(long_text));
	}
	json_object_set_new(begin, "cpu", cpu);
	session_send_json(&session, MESSAGE_BEGIN, begin);
	session_is_refused(&session, MESSAGE_REFUSE, "");
	assert_int_equal(session_close(&session), 1);
	host_wait_state(&host, VM, "none");
	/* Flags of a frame are a later version's. */
	make_ready(false);
	link_begin(session.link);
	assert_int_equal(link_send(session.link, MESSAGE_SEAL, 0x8000, &err), 0);
	is_given_up("flags (0x8000)");
}

static void owes_only_what_was_agreed(void **state)
{
	uint8_t owed[16 + OWED_RUN];

	(void)state;
	need_kvm();
	memset(owed, 0, sizeof(owed));
	le64_put(owed, 1);
	le32_put(owed + 8, 1);
	le64_put(owed + 16 + 8, 1);
	make_ready(false);
	send_epoch(1, 0);
	session_send(&session, MESSAGE_OWED, owed, sizeof(owed));
	is_given_up("OWED where the protocol has no place for it");
	le64_put(owed + 16, SESSION_MEMORY / PAGES_SIZE);
	make_ready(true);
	send_epoch(1, 0);
	session_send(&session, MESSAGE_OWED, owed, sizeof(owed));
	is_given_up("goes past the end of the memory");
}

/* From here on this process and its children see a host that has little memory left. */
static void leave_little_memory(void)
{
	char path[TEMP_MAX + 32];

	snprintf(path, sizeof(path), "%s/meminfo", folder);
	assert_int_equal(io_replace_file(path, "MemAvailable: 32768 kB\n", 23), 0);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(path, "/proc/meminfo", NULL, MS_BIND, NULL))
		need_skip("a file of /proc cannot be covered here");
}

/* The first so many bytes of RAM. */
static void send_ram(uint64_t bytes)
{
	enum { PAGES = PAGES_BATCH_MAX, LEN = 8 + PAGES_HEADER + PAGES_RUN + PAGES * PAGES_SIZE };
	uint8_t *payload = calloc(1, LEN);

	assert_non_null(payload);
	memset(payload + 8 + PAGES_HEADER + PAGES_RUN, 'x', PAGES * PAGES_SIZE);
	le64_put(payload, 1);
	le32_put(payload + 8 + 4, 1);
	le32_put(payload + 8 + 8, PAGES * PAGES_SIZE);
	le32_put(payload + 8 + PAGES_HEADER + 8, PAGES);
	for (uint64_t page = 0; page < bytes / PAGES_SIZE; page += PAGES) {
		le64_put(payload + 8 + PAGES_HEADER, page);
		session_send(&session, MESSAGE_PAGES, payload, LEN);
	}
	free(payload);
}

static void leaves_the_host_some_memory(void **state)
{
	json_t *config = session_config(VM), *begin;

	(void)state;
	need_kvm();
	need_root("what /proc/meminfo says is covered");
	leave_little_memory();
	json_object_set_new(config, "memory_bytes", json_integer(64 << 20));
	session_open(&session, &host, nothing);
	session_greet(&session, VM);
	begin = session_begin(&host, config);
	json_object_set_new(begin, "touched_bytes", json_integer(0));
	session_send_json(&session, MESSAGE_BEGIN, begin);
	json_decref(session_await_json(&session, MESSAGE_READY));
	send_epoch(1, 0);
	/* What it says it uses is less than it sends. */
	send_ram(16 << 20);
	is_given_up("has 32 MiB of memory left, of which it keeps 64 MiB");
	assert_int_equal(umount("/proc/meminfo"), 0);
}

static int setup(void **state)
{
	(void)state;
	temp_make(folder);
	host_open(&host, folder, "b");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	host_close(&host);
	temp_remove(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_only_what_it_may),
	    cmocka_unit_test(reads_what_it_had),
	    cmocka_unit_test(has_no_more_of_the_host_than_it_may),
	    cmocka_unit_test(names_and_numbers_that_are_none),
	    cmocka_unit_test(takes_no_name_of_the_hosts_own),
	    cmocka_unit_test(starts_nothing_before_its_time),
	    cmocka_unit_test(pages_of_nowhere),
	    cmocka_unit_test(state_without_an_end),
	    cmocka_unit_test(messages_with_more_than_they_have),
	    cmocka_unit_test(owes_only_what_was_agreed),
	    cmocka_unit_test(leaves_the_host_some_memory),
	};

	return cmocka_run_group_tests_name("hostile", tests, setup, teardown);
}
