/* test_io_file.c: files that are replaced or left as they were, files read up to a limit, folders made. */
#include "common/io.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t entries_in(const char *path)
{
	DIR *dir = opendir(path);
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static const char *path_in(void **state, const char *name)
{
	static char path[TEMP_MAX + 300];

	snprintf(path, sizeof(path), "%s/%s", (const char *)*state, name);
	return path;
}

static void content_is(const char *path, const char *expected)
{
	void *data;
	size_t len;

	assert_int_equal(io_read_file(path, 1000, &data, &len), 0);
	assert_string_equal(data, expected);
	assert_int_equal(len, strlen(expected));
	free(data);
}

static void a_file_is_made_and_replaced(void **state)
{
	const char *path = path_in(state, "file");
	struct stat st;

	assert_int_equal(io_replace_file(path, "old", 3), 0);
	content_is(path, "old");
	assert_int_equal(io_replace_file(path, "", 0), 0);
	content_is(path, "");
	assert_int_equal(io_replace_file(path, "new", 3), 0);
	content_is(path, "new");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* ".", ".." and the file: no temporary one is left. */
	assert_int_equal(entries_in(*state), 3);
}

static void a_name_of_the_longest_length_can_be_replaced(void **state)
{
	char name[256];

	memset(name, 'n', 255);
	name[255] = '\0';
	assert_int_equal(io_replace_file(path_in(state, name), "old", 3), 0);
	content_is(path_in(state, name), "old");
}

static void a_relative_path_means_the_working_folder(void **state)
{
	int here = open(".", O_RDONLY | O_DIRECTORY);

	assert_int_equal(chdir(*state), 0);
	assert_int_equal(io_replace_file("file", "new", 3), 0);
	assert_int_equal(fchdir(here), 0);
	close(here);
	content_is(path_in(state, "file"), "new");
}

static void a_missing_folder_is_an_error(void **state)
{
	assert_int_equal(io_replace_file(path_in(state, "none/file"), "new", 3), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(io_replace_file("", "new", 3), -1);
	assert_int_equal(entries_in(*state), 2);
}

/* The disk is full in the middle of the write: a limit on the size of files stands in for it. */
static void a_write_that_fails_leaves_the_old_file(void **state)
{
	const char *path = path_in(state, "file");
	static char large[100000];
	struct rlimit old, small;
	int result, problem;

	assert_int_equal(io_replace_file(path, "old", 3), 0);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 50000;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	result = io_replace_file(path, large, sizeof(large));
	problem = errno;
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(result, -1);
	assert_int_equal(problem, EFBIG);
	content_is(path, "old");
	assert_int_equal(entries_in(*state), 3);
}

static void a_rename_that_fails_leaves_nothing(void **state)
{
	assert_int_equal(mkdir(path_in(state, "dir"), 0700), 0);
	assert_int_equal(io_replace_file(path_in(state, "dir"), "new", 3), -1);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(entries_in(*state), 3);
}

static void a_folder_that_may_not_be_written_leaves_the_old_file(void **state)
{
	enum { NOBODY = 65534 };
	int here = open(".", O_RDONLY | O_DIRECTORY);
	bool root = geteuid() == 0;
	int result, problem;

	assert_int_equal(io_replace_file(path_in(state, "file"), "old", 3), 0);
	assert_int_equal(chmod(*state, 0555), 0);
	/* From inside, since nobody may search the folders above; root may write anywhere. */
	assert_int_equal(chdir(*state), 0);
	if (root)
		assert_int_equal(seteuid(NOBODY), 0);
	result = io_replace_file("file", "new", 3);
	problem = errno;
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(fchdir(here), 0);
	close(here);
	chmod(*state, 0700);
	assert_int_equal(result, -1);
	assert_int_equal(problem, EACCES);
	content_is(path_in(state, "file"), "old");
	assert_int_equal(entries_in(*state), 3);
}

static void a_link_is_replaced_and_its_target_left(void **state)
{
	char target[TEMP_MAX + 300];

	snprintf(target, sizeof(target), "%s/target", (const char *)*state);
	assert_int_equal(io_replace_file(target, "old", 3), 0);
	assert_int_equal(symlink("target", path_in(state, "link")), 0);
	assert_int_equal(io_replace_file(path_in(state, "link"), "new", 3), 0);
	content_is(path_in(state, "link"), "new");
	content_is(target, "old");
}

static void a_file_is_read_up_to_the_limit(void **state)
{
	const char *path = path_in(state, "file");
	void *data = NULL;
	size_t len = 77;

	assert_int_equal(io_replace_file(path,
					 "12\0"
					 "45",
					 5),
			 0);
	assert_int_equal(io_read_file(path, 4, &data, &len), -1);
	assert_int_equal(errno, EFBIG);
	assert_null(data);
	assert_int_equal(io_read_file(path, 5, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(data,
			    "12\0"
			    "45",
			    6);
	free(data);
	assert_int_equal(io_read_file(path, SIZE_MAX, &data, &len), 0);
	assert_int_equal(len, 5);
	free(data);
}

/* Such a file says that it has no bytes. */
static void a_file_of_unknown_size_is_read_to_its_end(void **state)
{
	void *data = NULL;
	size_t len;

	(void)state;
	assert_int_equal(io_read_file("/proc/self/maps", 1 << 24, &data, &len), 0);
	assert_true(len > 100);
	assert_int_equal(strlen(data), len);
	free(data);
	data = NULL;
	assert_int_equal(io_read_file("/proc/self/maps", 10, &data, &len), -1);
	assert_int_equal(errno, EFBIG);
	assert_null(data);
}

static void what_is_no_regular_file_is_refused(void **state)
{
	void *data = NULL;
	size_t len;

	assert_int_equal(io_read_file(*state, 100, &data, &len), -1);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(io_read_file("/dev/zero", 100, &data, &len), -1);
	assert_int_equal(errno, EINVAL);
	/* A FIFO without a writer would hang an ordinary open. */
	assert_int_equal(mkfifo(path_in(state, "fifo"), 0600), 0);
	assert_int_equal(io_read_file(path_in(state, "fifo"), 100, &data, &len), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(io_read_file(path_in(state, "none"), 100, &data, &len), -1);
	assert_int_equal(errno, ENOENT);
	assert_null(data);
}

static void folders_are_made_with_those_above(void **state)
{
	struct stat st;

	assert_int_equal(io_mkdirs(path_in(state, "a/b//c/"), 0700), 0);
	assert_int_equal(stat(path_in(state, "a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(io_mkdirs(path_in(state, "a/b/c"), 0700), 0);
	assert_int_equal(io_mkdirs("/", 0700), 0);
	assert_int_equal(io_mkdirs("", 0700), -1);
	assert_int_equal(io_replace_file(path_in(state, "file"), "", 0), 0);
	assert_int_equal(io_mkdirs(path_in(state, "file"), 0700), -1);
	assert_int_equal(errno, ENOTDIR);
	assert_int_equal(io_mkdirs(path_in(state, "file/x"), 0700), -1);
	assert_int_equal(errno, ENOTDIR);
	assert_int_equal(io_mkdirs("/proc/none/x", 0700), -1);
}

#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, temp_setup, temp_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    FILE_TEST(a_file_is_made_and_replaced),
	    FILE_TEST(a_name_of_the_longest_length_can_be_replaced),
	    FILE_TEST(a_relative_path_means_the_working_folder),
	    FILE_TEST(a_missing_folder_is_an_error),
	    FILE_TEST(a_write_that_fails_leaves_the_old_file),
	    FILE_TEST(a_rename_that_fails_leaves_nothing),
	    FILE_TEST(a_folder_that_may_not_be_written_leaves_the_old_file),
	    FILE_TEST(a_link_is_replaced_and_its_target_left),
	    FILE_TEST(a_file_is_read_up_to_the_limit),
	    cmocka_unit_test(a_file_of_unknown_size_is_read_to_its_end),
	    FILE_TEST(what_is_no_regular_file_is_refused),
	    FILE_TEST(folders_are_made_with_those_above),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
