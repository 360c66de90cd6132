/* test_nbdkit.c: volumes served by nbdkit with our plugin, and used by other people's clients. */
#include "common/io.h"
#include "imagefmt/dvol.h"
#include "tests/lib/host.h"
#include "tests/lib/shell.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, DISK = 16 * MIB };

static int enter(void **state)
{
	return temp_setup(state) || chdir(*state);
}

static int leave(void **state)
{
	return chdir("/") || temp_teardown(state);
}

static struct dvol *open_volume(const char *path, bool writable)
{
	struct dvol_open_options options = {.writable = writable};
	struct err err = {0};
	struct dvol *vol = dvol_open(path, &options, &err);

	if (!vol)
		fail_msg("%s", err.text);
	return vol;
}

static void make_volume(const char *path)
{
	struct dvol_create_options options = {.size_bytes = DISK};
	struct err err = {0};

	if (dvol_create(path, &options, &err))
		fail_msg("%s", err.text);
}

/* fill(vol, byte, offset): a MiB. */
static void fill(struct dvol *vol, int byte, uint64_t offset)
{
	static char data[MIB];
	struct err err = {0};

	memset(data, byte, sizeof(data));
	if (dvol_write(vol, data, sizeof(data), offset, &err))
		fail_msg("%s", err.text);
}

static void close_epoch(struct dvol *vol)
{
	struct err err = {0};

	if (dvol_epoch_close(vol, NULL, NULL, &err))
		fail_msg("%s", err.text);
}

static void close_volume(struct dvol *vol)
{
	struct err err = {0};

	if (dvol_close(vol, &err))
		fail_msg("%s", err.text);
}

/* byte_at(path, offset): of a file. */
static int byte_at(const char *path, off_t offset)
{
	int fd = open(path, O_RDONLY);
	unsigned char byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	close(fd);
	return byte;
}

struct writer {
	struct dvol *vol;
	atomic_bool stop;
	unsigned rounds;
};

static void *write_on(void *arg)
{
	struct writer *writer = arg;
	static char data[65536];
	struct err err = {0};

	/* At least once through the volume, whoever reads how fast. */
	while (!writer->stop || writer->rounds < DISK / sizeof(data)) {
		memset(data, 0x80 | (int)writer->rounds, sizeof(data));
		if (dvol_write(writer->vol, data, sizeof(data),
			       (uint64_t)writer->rounds * sizeof(data) % DISK, &err) ||
		    dvol_flush(writer->vol, &err))
			return (void *)"failed";
		writer->rounds++;
	}
	return NULL;
}

static void clients_read_their_epochs_while_the_head_is_written(void **state)
{
	struct writer writer = {0};
	pthread_t thread;
	void *result;

	(void)state;
	make_volume("v.dvol");
	writer.vol = open_volume("v.dvol", true);
	for (int epoch = 1; epoch <= 2; epoch++) {
		for (int i = 0; i < DISK / MIB; i++)
			fill(writer.vol, epoch, (uint64_t)i * MIB);
		close_epoch(writer.vol);
	}
	assert_int_equal(pthread_create(&thread, NULL, write_on, &writer), 0);
	/* Two servers, each with two clients that have several connections each. */
	shell_must("for e in 1 2; do %s file=v.dvol epoch=1.$e --run "
		   "\"%s nbdcopy \\$uri $e.a & nbdcopy --connections=4 \\$uri $e.b && wait \\$!\" & "
		   "pids=\"$pids $!\"; done; for p in $pids; do wait $p || exit 1; done",
		   shell_nbdkit(), shell_nbdkit_run());
	writer.stop = true;
	pthread_join(thread, &result);
	assert_null(result);
	close_volume(writer.vol);
	for (int epoch = 1; epoch <= 2; epoch++)
		shell_must(
		    "head -c %d /dev/zero | tr '\\000' '\\%03o' > want; cmp want %d.a && cmp want %d.b", DISK,
		    epoch, epoch, epoch);
}

static void an_epoch_that_is_served_cannot_be_deleted(void **state)
{
	struct dvol_id id = {.term = 1, .number = 1};
	struct err err = {0};
	struct dvol *vol;
	int status;

	(void)state;
	make_volume("v.dvol");
	vol = open_volume("v.dvol", true);
	close_epoch(vol);
	fill(vol, 1, 0);
	close_epoch(vol);
	pid_t pid = fork();

	if (pid == 0) {
		_exit(shell_run(NULL,
				"mkfifo go; %s file=v.dvol epoch=1.1 --run '%s : > served; read line < go'",
				shell_nbdkit(), shell_nbdkit_run()));
	}
	assert_true(pid > 0);
	shell_must("until [ -e served ]; do sleep 0.02; done");
	assert_int_equal(dvol_epoch_delete(vol, id, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	shell_must("echo > go");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(dvol_epoch_delete(vol, id, &err), 0);
	close_volume(vol);
}

static void what_clients_write_is_in_the_volume(void **state)
{
	struct dvol_map_extent *list;
	struct err err = {0};
	struct dvol *vol;
	char *data = malloc(DISK), *want;
	size_t count, len;

	(void)state;
	assert_non_null(data);
	make_volume("v.dvol");
	shell_must(
	    "head -c 8M /dev/urandom > src.raw; head -c 5000 /dev/urandom > tail; truncate -s %d src.raw; "
	    "dd if=tail of=src.raw bs=1000 seek=15000 conv=notrunc",
	    DISK);
	shell_must("%s file=v.dvol --run '%s nbdcopy src.raw $uri'", shell_nbdkit(), shell_nbdkit_run());
	shell_must("%s file=v.dvol --run '%s qemu-io -f raw -c \"write -z 1M 1M\" -c \"discard 4M 1M\" "
		   "-c \"write -P 7 513 1000\" -c flush $uri'",
		   shell_nbdkit(), shell_nbdkit_run());
	shell_must("for a in 1 4; do dd if=/dev/zero of=src.raw bs=1M seek=$a count=1 conv=notrunc; done; "
		   "head -c 1000 /dev/zero | tr '\\000' '\\007' | dd of=src.raw bs=1 seek=513 conv=notrunc");
	vol = open_volume("v.dvol", false);
	assert_int_equal(io_read_file("src.raw", DISK, (void **)&want, &len), 0);
	assert_int_equal(dvol_read(vol, data, DISK, 0, &err), 0);
	assert_true(len == DISK && !memcmp(data, want, DISK));
	/* Zeroes and discards are kept as such. */
	assert_int_equal(dvol_map(vol, MIB, MIB, 2, &list, &count, &err), 0);
	assert_true(count == 1 && list[0].kind != DVOL_MAP_DATA);
	free(list);
	assert_int_equal(dvol_map(vol, 4 * MIB, MIB, 2, &list, &count, &err), 0);
	assert_true(count == 1 && list[0].kind != DVOL_MAP_DATA);
	free(list);
	close_volume(vol);
	free(want);
	free(data);
}

static void extents_are_told(void **state)
{
	char output[SHELL_OUTPUT];
	struct dvol *vol;

	(void)state;
	make_volume("v.dvol");
	vol = open_volume("v.dvol", true);
	fill(vol, 1, 3 * MIB);
	close_epoch(vol);
	close_volume(vol);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(shell_run(output, "%s -r v.dvol %s --run '%s nbdinfo --map --totals $uri'",
					   shell_nbdkit(), i ? "epoch=1.1" : "", shell_nbdkit_run()),
				 0);
		if (!strstr(output, "1048576   6.2%   0 data") ||
		    !strstr(output, "15728640  93.8%   3 hole,zero"))
			fail_msg("%s", output);
	}
	assert_int_equal(
	    shell_run(output, "%s v.dvol --run '%s nbdinfo --json $uri'", shell_nbdkit(), shell_nbdkit_run()),
	    0);
	assert_non_null(strstr(output, "\"can_multi_conn\": true"));
	assert_non_null(strstr(output, "\"can_trim\": true"));
	assert_non_null(strstr(output, "\"can_fast_zero\": true"));
	assert_non_null(strstr(output, "\"can_fua\": true"));
	assert_non_null(strstr(output, "\"block_size_preferred\": 4096"));
	assert_non_null(strstr(output, "\"is_read_only\": false"));
}

/* cannot_write(parameters): a client that wants to write is refused, and reads. */
static void cannot_write(const char *parameters)
{
	char output[SHELL_OUTPUT];

	assert_int_not_equal(shell_run(NULL, "%s %s --run '%s qemu-io -f raw -c \"write 0 4k\" $uri'",
				       shell_nbdkit(), parameters, shell_nbdkit_run()),
			     0);
	assert_int_equal(shell_run(output, "%s %s --run '%s nbdinfo --json $uri'", shell_nbdkit(), parameters,
				   shell_nbdkit_run()),
			 0);
	assert_non_null(strstr(output, "\"is_read_only\": true"));
}

static void epochs_and_read_only_servers_refuse_writes(void **state)
{
	struct dvol *vol;

	(void)state;
	make_volume("v.dvol");
	vol = open_volume("v.dvol", true);
	fill(vol, 5, 0);
	close_epoch(vol);
	close_volume(vol);
	cannot_write("file=v.dvol epoch=1.1");
	cannot_write("-r file=v.dvol");
	shell_must("%s -r v.dvol --run '%s nbdcopy $uri head.raw'", shell_nbdkit(), shell_nbdkit_run());
	assert_int_equal(byte_at("head.raw", 0), 5);
}

static void a_file_of_an_old_epoch_is_read_without_a_mount(void **state)
{
	char output[SHELL_OUTPUT];

	(void)state;
	make_volume("v.dvol");
	shell_must("mkdir tree && echo 'as it was' > tree/letter && truncate -s %d fs.raw && "
		   "mke2fs -q -t ext4 -d tree fs.raw && %s v.dvol --run '%s nbdcopy fs.raw $uri'",
		   DISK, shell_nbdkit(), shell_nbdkit_run());
	struct dvol *vol = open_volume("v.dvol", true);

	close_epoch(vol);
	close_volume(vol);
	shell_must("echo 'as it is' > new && printf 'rm letter\\nwrite new letter\\n' | debugfs -w fs.raw && "
		   "%s v.dvol --run '%s nbdcopy fs.raw $uri'",
		   shell_nbdkit(), shell_nbdkit_run());
	assert_int_equal(shell_run(output,
				   "%s -r v.dvol --run '%s nbdcopy $uri head.raw'; "
				   "%s v.dvol epoch=1.1 --run '%s nbdcopy $uri old.raw'; "
				   "for f in head old; do debugfs -R 'cat /letter' $f.raw 2>/dev/null; done",
				   shell_nbdkit(), shell_nbdkit_run(), shell_nbdkit(), shell_nbdkit_run()),
			 0);
	assert_string_equal(output, "as it is\nas it was\n");
}

/* complains(parameters, sentence): nbdkit does not start, and says why. */
static void complains(const char *parameters, const char *sentence)
{
	char output[SHELL_OUTPUT];

	assert_int_not_equal(shell_run(output, "%s %s --run true", shell_nbdkit_at("sock"), parameters), 0);
	if (!strstr(output, sentence))
		fail_msg("nbdkit with '%s' does not say '%s': %s", parameters, sentence, output);
}

static void what_cannot_be_served_is_said(void **state)
{
	char output[SHELL_OUTPUT];
	struct dvol *vol;

	(void)state;
	make_volume("v.dvol");
	shell_must("head -c 1M /dev/zero > zero.dvol");
	complains("", "which volume? say file=VOLUME");
	complains("file=v.dvol epoch=2", "'2' is not an epoch");
	complains("file=v.dvol epoch=1.5", "1.5");
	complains("file=v.dvol speed=9", "unknown parameter 'speed'");
#ifndef __SANITIZE_ADDRESS__ /* with its library preloaded nbdkit, any plugin, hangs in exit after a strerror */
	complains("file=none.dvol", "none.dvol");
#endif
	complains("file=zero.dvol", "zero.dvol");
	vol = open_volume("v.dvol", true);
	complains("file=v.dvol", "v.dvol");
	close_volume(vol);
	/* Its own library is nobody else's business. */
	assert_int_equal(shell_run(output, "nm -D --defined-only %s/nbdkit-dvol-plugin.so", host_build()), 0);
	assert_non_null(strstr(output, " T plugin_init"));
	assert_null(strstr(output, "dvol_open"));
	assert_null(strstr(output, "err_set"));
	assert_int_equal(shell_run(output, "%s --dump-plugin", shell_nbdkit_at("sock")), 0);
	assert_non_null(strstr(output, "dvol_format_version=1"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(clients_read_their_epochs_while_the_head_is_written),
	    TEST(an_epoch_that_is_served_cannot_be_deleted),
	    TEST(what_clients_write_is_in_the_volume),
	    TEST(extents_are_told),
	    TEST(epochs_and_read_only_servers_refuse_writes),
	    TEST(a_file_of_an_old_epoch_is_read_without_a_mount),
	    TEST(what_cannot_be_served_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
