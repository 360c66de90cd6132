/* test_permit.c: what a forced command lets a sender ask for. */
#include "migrate/permit.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void vms_and_actions(void **state)
{
	static const char *const vms[] = {"web*", "db"}, *const words[] = {"move", "check"};
	struct permit permit = {.vms = vms, .nvms = 2}, any = {.actions = PERMIT_ALL};
	struct err err;

	(void)state;
	assert_int_equal(permit_actions(words, 2, &permit.actions, &err), 0);
	assert_int_equal(permit_check(&permit, PERMIT_MOVE, "web1", &err), 0);
	assert_int_equal(permit_check(&permit, PERMIT_MOVE, "db", &err), 0);
	assert_int_equal(permit_check(&permit, PERMIT_MOVE, "db2", &err), -1);
	assert_string_equal(err.text, "this key is not for VM 'db2'");
	assert_int_equal(permit_check(&permit, PERMIT_OUTCOME, "db", &err), -1);
	assert_string_equal(err.text, "this key may not ask for 'outcome'");
	assert_int_equal(permit_check(&permit, PERMIT_CHECK, NULL, &err), 0);
	assert_int_equal(permit_check(&any, PERMIT_OUTCOME, "anything", &err), 0);
}

static void taps(void **state)
{
	static const char *const patterns[] = {"web?", "dmz"};
	const struct permit some = {.taps = patterns, .ntaps = 2}, any = {.taps = NULL};

	(void)state;
	assert_true(permit_tap(&some, "web0"));
	assert_true(permit_tap(&some, "dmz"));
	assert_false(permit_tap(&some, "web10"));
	assert_false(permit_tap(&some, "lan"));
	assert_true(permit_tap(&any, "lan"));
}

static void make(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void images(void **state)
{
	const char *folder = *state;
	char in[TEMP_MAX + 16], file[TEMP_MAX + 32], beside[TEMP_MAX + 16], way[TEMP_MAX + 32],
	    slash[TEMP_MAX + 32];
	const char *folders[] = {slash}, *files[] = {file}, *root[] = {"/"};
	const struct permit below = {.images = folders, .nimages = 1}, one = {.images = files, .nimages = 1},
			    all = {.images = root, .nimages = 1}, none = {.images = NULL};

	snprintf(in, sizeof(in), "%s/in", folder);
	snprintf(slash, sizeof(slash), "%s//", in);
	snprintf(file, sizeof(file), "%s/a.raw", in);
	snprintf(beside, sizeof(beside), "%s/in2", folder);
	snprintf(way, sizeof(way), "%s/way", in);
	assert_int_equal(mkdir(in, 0700), 0);
	make(file);
	make(beside);
	assert_int_equal(symlink(beside, way), 0);
	assert_true(permit_reads(&below, file));
	assert_true(permit_reads(&one, file));
	assert_true(permit_reads(&all, beside));
	assert_false(permit_names(&none, file));
	/* A name that begins alike is another one, and so is where a link leads. */
	assert_false(permit_names(&below, beside));
	assert_true(permit_names(&below, way));
	assert_false(permit_reads(&below, way));
	assert_false(permit_reads(&one, way));
	snprintf(way, sizeof(way), "%s/../in2", in);
	assert_false(permit_reads(&below, way));
	snprintf(way, sizeof(way), "%s/nothing", in);
	assert_true(permit_names(&below, way));
	assert_false(permit_reads(&below, way));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vms_and_actions),
	    cmocka_unit_test(taps),
	    cmocka_unit_test_setup_teardown(images, temp_setup, temp_teardown),
	};

	return cmocka_run_group_tests_name("permit", tests, NULL, NULL);
}
