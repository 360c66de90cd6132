/* test_deltas.c: a guest that writes to the same pages again and again is moved by what changes of them, and every word of it is
 * right over there: also when links are cut at random, and when the other host's copy is damaged under way. */
#include "tests/lib/need.h"
#include "tests/lib/pair.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static struct pair world;
static struct command command;

static void the_guest_is_whole(const char *vm)
{
	host_wait_report(&world.b, vm, pair_last_seq(&world, vm) + 20);
	host_must(&world.b, "kill", vm, NULL);
	host_must(&world.a, "forget", vm, NULL);
	host_must(&world.b, "forget", vm, NULL);
}

static void has_moved(const char *vm)
{
	if (command_wait(&command)) {
		size_t len = strlen(command.output);

		fail_msg("%s: %s", vm, command.output + (len > 900 ? len - 900 : 0));
	}
	print_message("  %s: %lld pages, %lld as changes, %lld rounds, %lld KiB, %lld pages again\n", vm,
		      (long long)command_number(&command, "pages_sent"),
		      (long long)command_number(&command, "delta_pages"),
		      (long long)command_number(&command, "rounds"),
		      (long long)command_number(&command, "bytes_sent") >> 10,
		      (long long)command_number(&command, "pages_again"));
}

static void move(const char *vm, const char *parameters, const char *const more[])
{
	need_kvm();
	host_run_guest(&world.a, vm, "128M", NULL, parameters);
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, vm, NULL, 0, more));
	has_moved(vm);
}

static void what_is_written_again_goes_as_changes(void **state)
{
	static const char *const more[] = {"--streams", "3", NULL};

	(void)state;
	move("again", "fill=64M working=16M dirty=max pattern=random report=50", more);
	/* Most of what the first round had sent of the working set. */
	assert_true(command_number(&command, "delta_pages") > 1000);
	the_guest_is_whole("again");
}

static void who_wants_pages_as_they_are_gets_them(void **state)
{
	static const char *const more[] = {"--compress", "none", NULL};

	(void)state;
	move("none", "fill=32M working=4M dirty=max report=50", more);
	assert_int_equal(command_number(&command, "delta_pages"), 0);
	the_guest_is_whole("none");
}

/* Pages to which changes had been made become holes there, and come whole.  No pause is as short as is asked for. */
static void what_is_owed_does_not_go_as_changes(void **state)
{
	static const char *const more[] = {"--if-busy",  "postcopy", "--bandwidth", "8M",
					   "--downtime", "1ms",      NULL};

	(void)state;
	move("owed", "fill=16M working=8M dirty=max report=50", more);
	assert_true(command_number(&command, "delta_pages") > 1000);
	assert_null(strstr(command.output, "\"postcopy\": null"));
	the_guest_is_whole("owed");
}

static void links_that_are_cut_at_random(void **state)
{
	enum { CUTS = 8 };
	/* A pause is too long at this pace while the guest writes as fast as it can, however little a page takes. */
	static const char *const more[] = {"--streams", "3",           "--reconnect", "20s", "--if-busy",
					   "wait",      "--bandwidth", "2M",          NULL};
	uint64_t random = random_begin();
	struct relay *relay;

	(void)state;
	need_kvm();
	relay = sshd_relay(&world.sshd);
	assert_non_null(relay);
	host_run_guest(&world.a, "cut", "32M", NULL, "fill=8M dirty=max report=50");
	command_start(&command, &world.a, NULL,
		      host_migrate_argv_with(&world.sshd, &world.b, "cut", NULL, relay_port(relay), more));
	/* From about the end of the first round on. */
	pair_wait_for_bytes(relay, 4 << 20, &command);
	for (int cuts = 0; cuts < CUTS; cuts++) {
		pair_wait_for_bytes(relay, relay_bytes_up(relay) + 20000 + random_below(&random, 400000),
				    &command);
		if (!command_lives(&command))
			fail_msg("it ended after %d cuts: %d: %s", cuts, command_wait(&command),
				 command.output);
		relay_cut(relay);
	}
	host_type(&world.a, "cut", "dirty=0");
	has_moved("cut");
	assert_true(command_number(&command, "delta_pages") > 100);
	assert_true(command_number(&command, "reconnects") > 0);
	relay_stop(relay);
	the_guest_is_whole("cut");
}

/* ---- a copy that is not what it should be --------------------------------------------------------------------------- */

struct ram {
	uint8_t *at;
	size_t len;
};

/* A memfd of this name that the process has open. */
static bool map_of(const char *pid, const char *name, struct ram *ram)
{
	char folder[64], path[400], target[64], wanted[64];
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%s/fd", pid);
	snprintf(wanted, sizeof(wanted), "/memfd:%s (deleted)", name);
	dir = opendir(folder);
	*ram = (struct ram){.at = NULL};
	while (dir && !ram->at && (entry = readdir(dir))) {
		ssize_t len;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		len = readlink(path, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = 0;
		if (strcmp(target, wanted))
			continue;
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0 && !fstat(fd, &st));
		ram->len = (size_t)st.st_size;
		ram->at = mmap(NULL, ram->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		assert_true(ram->at != MAP_FAILED);
		close(fd);
	}
	if (dir)
		closedir(dir);
	return ram->at != NULL;
}

static struct ram find_ram(const char *name)
{
	struct ram ram = {.at = NULL};
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	assert_non_null(proc);
	while (!ram.at && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			map_of(entry->d_name, name, &ram);
	closedir(proc);
	assert_non_null(ram.at);
	return ram;
}

/* One bit of every page that the guest wrote to between two of its reports, so that it is sent again.  How many. */
static unsigned damage(const char *vm, const struct ram *here, const struct ram *there, uint64_t *random)
{
	uint8_t *before = malloc(here->len);
	unsigned pages = 0;

	memcpy(before, here->at, here->len);
	host_wait_report(&world.a, vm, pair_last_seq(&world, vm) + 2);
	for (size_t at = 0; at < here->len; at += PAGE) {
		if (!memcmp(before + at, here->at + at, PAGE))
			continue;
		there->at[at + random_below(random, PAGE)] ^= (uint8_t)(1 << random_below(random, 8));
		pages++;
	}
	free(before);
	return pages;
}

static void a_copy_that_was_damaged_is_mended(void **state)
{
	static const char *const more[] = {"--streams", "2", "--reconnect", "20s", NULL};
	uint64_t random = random_begin();
	struct ram here, there;
	char vm[32], mover[16];
	unsigned pages;
	int status;

	(void)state;
	need_kvm();
	/* The receiver's RAM is found by the VM's name: other tests may run. */
	snprintf(vm, sizeof(vm), "damaged-%d", (int)getpid());
	host_run_guest(&world.a, vm, "32M", NULL, "fill=16M working=2M dirty=max report=50");
	command_start(&command, &world.a, "mover.round-acked=stop",
		      host_migrate_argv_with(&world.sshd, &world.b, vm, NULL, 0, more));
	assert_int_equal(waitpid(command.pid, &status, WUNTRACED), command.pid);
	assert_true(WIFSTOPPED(status));
	snprintf(mover, sizeof(mover), "%d", (int)command.pid);
	assert_true(map_of(mover, "drover-ram", &here));
	there = find_ram(vm);
	pages = damage(vm, &here, &there, &random);
	assert_in_range(pages, 512, 1024);
	kill(command.pid, SIGCONT);
	has_moved(vm);
	print_message("  %u pages damaged\n", pages);
	assert_true(command_number(&command, "pages_again") > 0);
	assert_non_null(strstr(command.output, "broke"));
	munmap(here.at, here.len);
	munmap(there.at, there.len);
	the_guest_is_whole(vm);
}

static int open_world(void **state)
{
	(void)state;
	return pair_open(&world);
}

static int close_world(void **state)
{
	(void)state;
	return pair_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_written_again_goes_as_changes),
	    cmocka_unit_test(who_wants_pages_as_they_are_gets_them),
	    cmocka_unit_test(what_is_owed_does_not_go_as_changes),
	    cmocka_unit_test(links_that_are_cut_at_random),
	    cmocka_unit_test(a_copy_that_was_damaged_is_mended),
	};

	return cmocka_run_group_tests(tests, open_world, close_world);
}
