/* test_convert.c: images from one format to another and back, by `drover image convert` as a user calls it. */
#include "imagefmt/dvol.h"
#include "tests/lib/cli.h"
#include "tests/lib/random.h"
#include "tests/lib/shell.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * KIB };
/* A tail that is no multiple of any cluster. */
enum { DISK = 24 * MIB + 3 * 512, DATA_KIB = 3 * 1024 };

static struct cli cli;
static const char *dir;

static int enter(void **state)
{
	if (temp_setup(state))
		return -1;
	dir = *state;
	cli_open(dir);
	return chdir(dir);
}

static int leave(void **state)
{
	return chdir("/") || temp_teardown(state);
}

/* make_raw(path): data, zeroes that are written, holes, scraps, and data at the very end. */
static void make_raw(const char *path)
{
	uint64_t random = random_begin();
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *data = malloc(2 * MIB);

	assert_true(fd >= 0 && data && ftruncate(fd, DISK) == 0);
	random_fill(&random, data, 2 * MIB);
	assert_int_equal(pwrite(fd, data, 2 * MIB, 0), 2 * MIB);
	for (int i = 0; i < 64; i++)
		assert_int_equal(pwrite(fd, data + i * 4096, 4096, 5 * MIB + i * 16 * KIB), 4096);
	assert_int_equal(pwrite(fd, data, 5000, DISK - 5000), 5000);
	memset(data, 0, 2 * MIB);
	assert_int_equal(pwrite(fd, data, 2 * MIB, 10 * MIB), 2 * MIB);
	close(fd);
	free(data);
}

static long allocated_kib(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (long)st.st_blocks / 2;
}

/* only(names): the folder holds these, separated by blanks, and nothing else. */
static void only(const char *names)
{
	DIR *list = opendir(".");
	struct dirent *entry;

	assert_non_null(list);
	while ((entry = readdir(list)))
		if (entry->d_name[0] != '.' && !strstr(names, entry->d_name))
			fail_msg("'%s' was left behind", entry->d_name);
	closedir(list);
}

static void convert(const char *words)
{
	char line[512];

	snprintf(line, sizeof(line), "image convert %s", words);
	cli_run_words(&cli, line);
	if (cli.status)
		fail_msg("drover %s: status %d: %s", line, cli.status, cli.err);
}

static void refuse(const char *words, int status, const char *sentence)
{
	char line[512];

	snprintf(line, sizeof(line), "image convert %s", words);
	cli_run_words(&cli, line);
	cli_expect(&cli, status, sentence);
}

/* served_equals(volume, parameters, file, format): the volume, served by the plugin, is this image. */
static void served_equals(const char *volume, const char *parameters, const char *file, const char *format)
{
	shell_must("%s file=%s %s --run '%s qemu-img compare -f raw -F %s $uri %s'", shell_nbdkit(), volume,
		   parameters, shell_nbdkit_run(), format, file);
}

static void each_format_comes_and_goes_unchanged(void **state)
{
	static const struct {
		const char *format, *suffix, *options;
		long slack_kib; /* its own tables, and clusters that are only partly data */
	} cases[] = {
	    {"qcow2", "qcow2", "", 4096},
	    {"vmdk", "vmdk", "", 4096},
	    {"vpc", "vhd", "-o force_size=on", 8 * 1024},
	    {"vhdx", "vhdx", "", 20 * 1024},
	    {"vdi", "vdi", "", 8 * 1024},
	    {"parallels", "hdd", "", 8 * 1024},
	};

	(void)state;
	make_raw("src.raw");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *format = cases[i].format, *suffix = cases[i].suffix;
		char words[128], file[64];

		print_message("%s\n", format);
		shell_must("qemu-img convert -f raw -O %s %s src.raw src.%s", format, cases[i].options,
			   suffix);
		snprintf(words, sizeof(words), "src.%s x.dvol", suffix);
		convert(words);
		snprintf(file, sizeof(file), "src.%s", suffix);
		served_equals("x.dvol", "", file, format);
		served_equals("x.dvol", "epoch=1.1", file, format);
		assert_true(allocated_kib("x.dvol") < DATA_KIB + 6 * 1024);
		snprintf(words, sizeof(words), "x.dvol back.%s", suffix);
		convert(words);
		/* A size that is not the same is a warning of it. */
		shell_must("qemu-img compare -f %s -F %s src.%s back.%s >out 2>&1 && "
			   "[ \"$(cat out)\" = 'Images are identical.' ] && rm out",
			   format, format, suffix, suffix);
		snprintf(file, sizeof(file), "back.%s", suffix);
		assert_true(allocated_kib(file) < DATA_KIB + cases[i].slack_kib);
		shell_must("qemu-img check -f %s back.%s || [ $? = 63 ]", format, suffix);
		shell_must("rm src.%s back.%s x.dvol", suffix, suffix);
	}
	only("src.raw");
}

static void raw_goes_both_ways_and_stays_sparse(void **state)
{
	json_t *report;

	(void)state;
	make_raw("src.raw");
	convert("src.raw x.dvol --json");
	report = json_loads(cli.out, 0, NULL);
	assert_non_null(report);
	assert_string_equal(json_string_value(json_object_get(report, "epoch")), "1.1");
	assert_int_equal(json_integer_value(json_object_get(report, "size_bytes")), DISK);
	/* 2 MiB, 64 scraps of a block, and the last 5000 bytes, which begin in the last block but one. */
	assert_in_range(json_integer_value(json_object_get(report, "written_bytes")),
			2 * MIB + 64 * 4096 + 5000, 2 * MIB + 64 * 4096 + 3 * 4096);
	json_decref(report);
	convert("x.dvol back.raw");
	shell_must("cmp src.raw back.raw");
	assert_true(allocated_kib("back.raw") < DATA_KIB);
	convert("src.raw second.img");
	shell_must("cmp src.raw second.img");
	convert("src.raw named --to raw");
	only("src.raw x.dvol back.raw second.img named");
}

static void a_size_that_no_volume_has_is_rounded_up(void **state)
{
	(void)state;
	shell_must("printf 'hello' > small.raw; head -c 10000 /dev/urandom > odd.raw");
	convert("small.raw small.dvol");
	assert_non_null(strstr(cli.err, "4091 bytes larger"));
	convert("odd.raw odd.dvol");
	assert_non_null(strstr(cli.err, "240 bytes larger"));
	convert("odd.dvol back.raw");
	shell_must("cmp -n 10000 odd.raw back.raw && [ $(stat -c %%s back.raw) = 10240 ]");
	convert("odd.raw odd.qcow2");
	shell_must("qemu-img compare -f raw -F qcow2 odd.raw odd.qcow2");
}

/* fill(vol, byte): the first MiB. */
static void fill(struct dvol *vol, int byte)
{
	char *data = malloc(MIB);
	struct err err = {0};

	assert_non_null(data);
	memset(data, byte, MIB);
	if (dvol_write(vol, data, MIB, 0, &err))
		fail_msg("%s", err.text);
	free(data);
}

static void close_epoch(struct dvol *vol)
{
	struct err err = {0};

	if (dvol_epoch_close(vol, NULL, NULL, &err))
		fail_msg("%s", err.text);
}

/* make_volume(path, options): epoch 1.1 has ones in its first MiB, 1.2 twos, the head threes. */
static void make_volume(const char *path)
{
	struct dvol_create_options create = {.size_bytes = 8 * MIB};
	struct dvol_open_options open = {.writable = true};
	struct err err = {0};
	struct dvol *vol;

	if (dvol_create(path, &create, &err) || !(vol = dvol_open(path, &open, &err)))
		fail_msg("%s", err.text);
	fill(vol, 1);
	close_epoch(vol);
	fill(vol, 2);
	close_epoch(vol);
	fill(vol, 3);
	assert_int_equal(dvol_close(vol, &err), 0);
}

/* begins_with(path, byte): a raw image of 8 MiB, the first of them such bytes, the others zero. */
static void begins_with(const char *path, int byte)
{
	shell_must("{ head -c 1M /dev/zero | tr '\\000' '\\%03o'; head -c 7M /dev/zero; } | cmp - %s", byte,
		   path);
}

static size_t epochs_of(const char *path)
{
	struct dvol_epoch *list;
	struct err err = {0};
	struct dvol *vol = dvol_open(path, NULL, &err);
	size_t count;

	if (!vol || dvol_epochs(vol, &list, &count, &err))
		fail_msg("%s", err.text);
	free(list);
	dvol_close(vol, NULL);
	return count;
}

static void a_volume_is_copied_flat_at_any_epoch(void **state)
{
	struct dvol_create_options clone = {.size_bytes = 8 * MIB,
					    .backing_kind = DVOL_BACKING_DVOL,
					    .backing_path = "v.dvol",
					    .backing_epoch = {.term = 1, .number = 2}};
	struct err err = {0};

	(void)state;
	make_volume("v.dvol");
	convert("v.dvol 1.raw --epoch 1.1");
	begins_with("1.raw", 1);
	convert("v.dvol 2.dvol --epoch 1.2");
	convert("2.dvol 2.raw");
	begins_with("2.raw", 2);
	assert_int_equal(epochs_of("2.dvol"), 1);
	convert("v.dvol 3.dvol --no-epoch");
	assert_int_equal(epochs_of("3.dvol"), 0);
	convert("3.dvol 3.raw");
	begins_with("3.raw", 3);
	/* What a clone has not written is its base's. */
	assert_int_equal(dvol_create("clone.dvol", &clone, &err), 0);
	refuse("clone.dvol 4.raw", 1, "reads another file, its backing v.dvol");
	convert("clone.dvol 4.raw --allow-backing");
	begins_with("4.raw", 2);
	refuse("v.dvol 5.raw --epoch 1.7", 1, "1.7");
	refuse("v.dvol 5.raw --epoch 1", 2, "is not an epoch");
	refuse("v.dvol v.dvol --force", 2, "are the same file");
	only("v.dvol clone.dvol 1.raw 2.raw 3.raw 4.raw 2.dvol 3.dvol");
}

static void a_closed_epoch_is_copied_beside_its_writer(void **state)
{
	struct dvol_open_options open = {.writable = true};
	struct err err = {0};
	struct dvol *vol;

	(void)state;
	make_volume("v.dvol");
	vol = dvol_open("v.dvol", &open, &err);
	assert_non_null(vol);
	convert("v.dvol 1.raw --epoch 1.1");
	begins_with("1.raw", 1);
	cli_run_words(&cli, "image convert v.dvol head.raw");
	assert_int_equal(cli.status, 1);
	/* Nor is a volume replaced under the one who writes it. */
	refuse("1.raw v.dvol --force", 1, "v.dvol is in use, and is not replaced");
	dvol_close(vol, NULL);
	only("v.dvol 1.raw");
}

static void compressed_volumes_are_smaller_and_the_same(void **state)
{
	(void)state;
	shell_must("seq 1 1500000 | head -c 8M > text.raw");
	convert("text.raw plain.dvol");
	convert("text.raw small.dvol --compress 3");
	assert_true(allocated_kib("small.dvol") < allocated_kib("plain.dvol") - 3 * 1024);
	convert("small.dvol back.raw");
	shell_must("cmp text.raw back.raw");
	served_equals("small.dvol", "epoch=1.1", "text.raw", "raw");
}

static void a_target_that_exists_is_replaced_only_by_force(void **state)
{
	(void)state;
	make_raw("src.raw");
	shell_must("echo mine > x.dvol; mkdir folder.raw");
	refuse("src.raw x.dvol", 1, "x.dvol exists already; --force replaces it");
	shell_must("[ \"$(cat x.dvol)\" = mine ]");
	convert("src.raw x.dvol --force");
	convert("x.dvol back.raw");
	shell_must("cmp src.raw back.raw");
	refuse("src.raw folder.raw --force", 1, "is not a plain file");
	refuse("src.raw nowhere/x.dvol", 1, "cannot find the folder");
	refuse("src.raw src.raw --force", 2, "are the same file");
	only("src.raw x.dvol back.raw folder.raw");
}

static void an_image_that_reads_other_files_is_refused(void **state)
{
	(void)state;
	make_raw("base.raw");
	shell_must("qemu-img create -f qcow2 -F raw -b base.raw over.qcow2");
	refuse("over.qcow2 x.raw", 1, "over.qcow2 reads another file, base.raw");
	convert("over.qcow2 x.raw --allow-backing");
	shell_must("cmp base.raw x.raw; rm x.raw");
	shell_must("qemu-img create -f qcow2 -o data_file=data.raw,data_file_raw=on ext.qcow2 1M");
	refuse("ext.qcow2 x.raw", 1, "reads another file, data.raw");
	/* A VMDK may be a few lines of text that name the files with its content. */
	shell_must("qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat base.raw flat.vmdk");
	refuse("flat.vmdk x.raw", 1, "flat-flat.vmdk");
	only("base.raw over.qcow2 ext.qcow2 data.raw flat.vmdk flat-flat.vmdk");
}

static void a_format_is_not_guessed(void **state)
{
	(void)state;
	make_raw("disk.raw");
	shell_must("cp disk.raw disk; qemu-img create -f qcow2 fake.raw 1M; cp fake.raw cloud.img; "
		   "qemu-img create -f qed other.img 1M");
	refuse("disk x.dvol", 2, "nothing in");
	convert("disk x.dvol --from raw");
	refuse("fake.raw y.dvol", 2, "is called raw but begins like qcow2");
	convert("fake.raw y.raw --from raw");
	shell_must("cmp fake.raw y.raw");
	convert("cloud.img z.dvol");
	refuse("other.img w.dvol", 1, "of the format 'qed', which is not one of");
	refuse("disk.raw w", 2, "tells no format: say it with --to");
	refuse("disk.raw w.dvol --from floppy", 2, "is none of raw, dvol, qcow2");
	refuse("disk.raw w.qcow2 --compress 3", 2, "--compress is for volumes");
	refuse("disk.raw w.qcow2 --no-epoch", 2, "--no-epoch is for volumes");
	refuse("disk.raw w.dvol --epoch 1.1", 2, "is no volume");
	refuse("nothing.qcow2 w.dvol", 1, "cannot find nothing.qcow2");
	only("disk.raw disk fake.raw cloud.img other.img x.dvol y.raw z.dvol");
}

static void a_damaged_image_is_a_sentence_and_leaves_nothing(void **state)
{
	(void)state;
	make_raw("src.raw");
	shell_must(
	    "qemu-img convert -f raw -O qcow2 src.raw a.qcow2; cp a.qcow2 b.qcow2; "
	    "qemu-img convert -f raw -O vhdx src.raw c.vhdx; : > empty.raw; head -c 5M /dev/zero > v.dvol");
	/* The version, then the first entry of the first table. */
	shell_must("printf '\\000\\000\\000\\011' | dd of=a.qcow2 bs=1 seek=4 conv=notrunc");
	shell_must("printf '\\377\\377\\377\\377' | dd of=b.qcow2 bs=1 seek=$((0x30000)) conv=notrunc");
	shell_must("dd if=/dev/urandom of=c.vhdx bs=64k seek=1 count=60 conv=notrunc");
	refuse("a.qcow2 x.dvol", 1, "Unsupported qcow2 version 9");
	refuse("b.qcow2 x.dvol", 1, "b.qcow2 is damaged");
	refuse("c.vhdx x.dvol --from vhdx", 1, "c.vhdx");
	refuse("empty.raw x.dvol", 1, "is empty");
	refuse("v.dvol x.raw --from dvol", 1, "v.dvol");
	only("src.raw a.qcow2 b.qcow2 c.vhdx empty.raw v.dvol");
}

static bool no_programs(void)
{
	return setenv("PATH", "/nonexistent", 1) == 0;
}

static void missing_programs_are_named_with_their_package(void **state)
{
	(void)state;
	shell_must("qemu-img create -f qcow2 a.qcow2 1M");
	cli_run_in(&cli, no_programs, "image convert a.qcow2 a.dvol");
	cli_expect(&cli, 1, "qemu-img is not installed: install the Debian package qemu-utils");
	only("a.qcow2");
}

/* other_server(options): from now on drover finds an nbdkit under the name of qemu-nbd, which takes the socket in the
 * same way and has misfortunes on demand. */
static void other_server(const char *options)
{
	char path[8192];

	shell_must("mkdir -p bin && printf '#!/bin/sh\\nexec nbdkit --foreground %s\\n' > bin/qemu-nbd && "
		   "chmod 755 bin/qemu-nbd && qemu-img create -f qcow2 a.qcow2 8M",
		   options);
	snprintf(path, sizeof(path), "%s/bin:/usr/sbin:/usr/bin:/sbin:/bin", dir);
	assert_int_equal(setenv("PATH", path, 1), 0);
}

static pid_t start_conversion(int *log)
{
	int fd = open("log", O_RDWR | O_CREAT | O_TRUNC, 0600);
	pid_t pid = fork();

	if (pid == 0) {
		dup2(fd, 2);
		execl(cli_program(), "drover", "image", "convert", "a.qcow2", "x.dvol", (char *)NULL);
		_exit(126);
	}
	assert_true(pid > 0);
	*log = fd;
	return pid;
}

/* The server, once it is asked for data: the filter says so in a file. */
static pid_t wait_for_child(pid_t parent)
{
	char path[64], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
	shell_must("until grep -q ' Read id=' requests 2>/dev/null; do sleep 0.02; done");
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	return (pid_t)atoi(text);
}

static void wait_gone(int pidfd)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};

	assert_int_equal(poll(&end, 1, 20000), 1);
	close(pidfd);
}

static void slow_server(void)
{
	other_server("--filter=log --filter=delay pattern 64M rdelay=1000 logfile=requests");
}

static void cancelled_in_the_middle_leaves_nothing(void **state)
{
	int log, status, pidfd;
	char text[512];
	pid_t pid;
	ssize_t len;

	(void)state;
	slow_server();
	pid = start_conversion(&log);
	pidfd = pidfd_open(wait_for_child(pid), 0);
	assert_true(pidfd >= 0);
	assert_int_equal(kill(pid, SIGINT), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	wait_gone(pidfd);
	len = pread(log, text, sizeof(text) - 1, 0);
	text[len > 0 ? len : 0] = '\0';
	close(log);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_string_equal(text, "drover: converting: cancelled; nothing was written\n");
	only("bin a.qcow2 log requests");
}

static void a_killed_conversion_takes_its_server_with_it(void **state)
{
	int log, status, pidfd;
	pid_t pid;

	(void)state;
	slow_server();
	pid = start_conversion(&log);
	close(log);
	pidfd = pidfd_open(wait_for_child(pid), 0);
	assert_true(pidfd >= 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	wait_gone(pidfd);
	assert_int_equal(access("x.dvol", F_OK), -1);
}

static void a_server_that_fails_fails_the_conversion(void **state)
{
	(void)state;
	other_server("--filter=error pattern 64M error-pread=EIO error-pread-rate=100%%");
	refuse("a.qcow2 x.dvol", 1, "reading the source at byte");
	other_server("nonsense");
	refuse("a.qcow2 x.dvol", 1, "nonsense");
	only("bin a.qcow2");
}

static int reset_path(void **state)
{
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	return leave(state);
}

#define TEST(f)           cmocka_unit_test_setup_teardown(f, enter, leave)
#define TEST_WITH_PATH(f) cmocka_unit_test_setup_teardown(f, enter, reset_path)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_format_comes_and_goes_unchanged),
	    TEST(raw_goes_both_ways_and_stays_sparse),
	    TEST(a_size_that_no_volume_has_is_rounded_up),
	    TEST(a_volume_is_copied_flat_at_any_epoch),
	    TEST(a_closed_epoch_is_copied_beside_its_writer),
	    TEST(compressed_volumes_are_smaller_and_the_same),
	    TEST(a_target_that_exists_is_replaced_only_by_force),
	    TEST(an_image_that_reads_other_files_is_refused),
	    TEST(a_format_is_not_guessed),
	    TEST(a_damaged_image_is_a_sentence_and_leaves_nothing),
	    TEST(missing_programs_are_named_with_their_package),
	    TEST_WITH_PATH(cancelled_in_the_middle_leaves_nothing),
	    TEST_WITH_PATH(a_killed_conversion_takes_its_server_with_it),
	    TEST_WITH_PATH(a_server_that_fails_fails_the_conversion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
