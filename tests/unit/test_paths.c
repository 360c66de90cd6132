/* test_paths.c: where things lie, for root and for others, and which paths are refused. */
#include "common/io.h"
#include "common/paths.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* A user that exists nowhere, so that /tmp/drover-UID is this test's alone. */
enum { STRANGER = 1987654321 };
#define STRANGER_RUN "/tmp/drover-1987654321"

static const char *const variables[] = {"DROVER_STATE", "DROVER_RUN", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
					"HOME"};
enum { VARIABLES = sizeof(variables) / sizeof(variables[0]) };
static char *kept[VARIABLES];

static int empty_environment(void **state)
{
	(void)state;
	for (int i = 0; i < VARIABLES; i++) {
		const char *value = getenv(variables[i]);

		kept[i] = value ? strdup(value) : NULL;
		unsetenv(variables[i]);
	}
	return 0;
}

static int restore_environment(void **state)
{
	(void)state;
	if (geteuid() != getuid() && seteuid(getuid()) < 0)
		return -1;
	for (int i = 0; i < VARIABLES; i++) {
		if (kept[i])
			setenv(variables[i], kept[i], 1);
		else
			unsetenv(variables[i]);
		free(kept[i]);
	}
	return 0;
}

static void be_root(void)
{
	if (geteuid() != 0)
		need_skip("only root sees where root's files lie");
}

/* Somebody other than root, for the rest of the test. */
static void be_somebody(void)
{
	if (geteuid() == 0)
		assert_int_equal(seteuid(STRANGER), 0);
}

static void state_is(const char *expected)
{
	char path[PATHS_MAX];
	struct err err = {0};

	if (paths_state(path, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(path, expected);
}

static void run_is(const char *expected)
{
	char path[PATHS_MAX];
	struct err err = {0};

	if (paths_run(path, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(path, expected);
}

static void own_variables_come_first(void **state)
{
	(void)state;
	for (int i = 0; i < VARIABLES; i++)
		setenv(variables[i], "/other", 1);
	setenv("DROVER_STATE", "/x/state", 1);
	setenv("DROVER_RUN", "/x/run", 1);
	state_is("/x/state");
	run_is("/x/run");
	be_somebody();
	state_is("/x/state");
	run_is("/x/run");
}

static void roots_files_are_the_systems(void **state)
{
	(void)state;
	be_root();
	setenv("XDG_STATE_HOME", "/xs", 1);
	setenv("XDG_RUNTIME_DIR", "/xr", 1);
	setenv("HOME", "/root", 1);
	state_is("/var/lib/drover");
	run_is("/run/drover");
	/* An empty variable is as good as none. */
	setenv("DROVER_STATE", "", 1);
	setenv("DROVER_RUN", "", 1);
	state_is("/var/lib/drover");
	run_is("/run/drover");
}

static void other_users_files_are_their_own(void **state)
{
	char path[PATHS_MAX], expected[64];
	struct err err = {0};

	(void)state;
	be_somebody();
	assert_int_equal(paths_state(path, &err), -1);
	assert_non_null(strstr(err.text, "set DROVER_STATE or HOME"));
	setenv("HOME", "/home/me", 1);
	state_is("/home/me/.local/state/drover");
	/* A relative one does not count, as its specification wants it. */
	setenv("XDG_STATE_HOME", "xs", 1);
	state_is("/home/me/.local/state/drover");
	setenv("XDG_STATE_HOME", "/xs", 1);
	state_is("/xs/drover");

	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	run_is("/run/user/7/drover");
	unsetenv("XDG_RUNTIME_DIR");
	snprintf(expected, sizeof(expected), "/tmp/drover-%u", (unsigned int)geteuid());
	run_is(expected);
}

static void run_refused(void)
{
	char path[PATHS_MAX];
	struct err err = {0};

	assert_int_equal(seteuid(STRANGER), 0);
	assert_int_equal(paths_run(path, &err), -1);
	assert_int_equal(seteuid(0), 0);
	assert_non_null(strstr(err.text, STRANGER_RUN));
	assert_non_null(strstr(err.text, "set DROVER_RUN"));
}

static void a_folder_in_tmp_that_others_can_write_is_not_used(void **state)
{
	(void)state;
	be_root();
	/* Somebody else made it. */
	assert_int_equal(mkdir(STRANGER_RUN, 0700), 0);
	run_refused();
	/* It is the user's, but open to others. */
	assert_int_equal(chown(STRANGER_RUN, STRANGER, 0), 0);
	assert_int_equal(chmod(STRANGER_RUN, 0770), 0);
	run_refused();
	assert_int_equal(chmod(STRANGER_RUN, 0755), 0);
	assert_int_equal(seteuid(STRANGER), 0);
	run_is(STRANGER_RUN);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(rmdir(STRANGER_RUN), 0);
	/* A link to a folder of the user's that somebody else could turn elsewhere. */
	assert_int_equal(symlink("/", STRANGER_RUN), 0);
	run_refused();
	assert_int_equal(unlink(STRANGER_RUN), 0);
}

static int remove_stranger(void **state)
{
	int result = restore_environment(state);

	if (unlink(STRANGER_RUN) < 0)
		rmdir(STRANGER_RUN);
	return result;
}

static void relative_variables_are_refused(void **state)
{
	char path[PATHS_MAX];
	struct err err = {0};

	(void)state;
	setenv("DROVER_STATE", "state", 1);
	assert_int_equal(paths_state(path, &err), -1);
	assert_non_null(strstr(err.text, "DROVER_STATE=state is not an absolute path"));
	assert_int_equal(paths_vm_dir("vm", path, &err), -1);
	setenv("DROVER_RUN", "./run", 1);
	assert_int_equal(paths_run(path, &err), -1);
	assert_int_equal(paths_vm_socket("vm", path, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
}

static void a_vm_has_its_folder_files_and_socket(void **state)
{
	char path[PATHS_MAX];
	struct err err = {0};

	(void)state;
	setenv("DROVER_STATE", "/s", 1);
	setenv("DROVER_RUN", "/r", 1);
	assert_int_equal(paths_vm_dir("web-1", path, &err), 0);
	assert_string_equal(path, "/s/vms/web-1");
	assert_int_equal(paths_vm_file("web-1", "handover", path, &err), 0);
	assert_string_equal(path, "/s/vms/web-1/handover");
	assert_int_equal(paths_vm_socket("web-1", path, &err), 0);
	assert_string_equal(path, "/r/vms/web-1.sock");
}

static void a_name_cannot_lead_out_of_the_folder(void **state)
{
	static const char *const bad[] = {"", ".", "..", "../x", "a/b", "/etc", "-x"};
	char path[PATHS_MAX];

	(void)state;
	setenv("DROVER_STATE", "/s", 1);
	setenv("DROVER_RUN", "/r", 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};

		assert_int_equal(paths_vm_dir(bad[i], path, &err), -1);
		assert_int_equal(paths_vm_file(bad[i], "lock", path, &err), -1);
		assert_int_equal(paths_vm_socket(bad[i], path, &err), -1);
		assert_int_equal(err.kind, ERR_USAGE);
		assert_non_null(strstr(err.text, "is not a VM name"));
	}
	assert_int_equal(paths_vm_dir(NULL, path, NULL), -1);
}

static void a_socket_path_fits_an_address_or_is_refused(void **state)
{
	const size_t limit = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	char path[PATHS_MAX], run[PATHS_MAX] = "/";
	size_t len = limit - strlen("/vms/a.sock");
	struct err err = {0};

	(void)state;
	memset(run + 1, 'r', len - 1);
	run[len] = '\0';
	setenv("DROVER_RUN", run, 1);
	assert_int_equal(paths_vm_socket("a", path, &err), 0);
	assert_int_equal(strlen(path), limit);
	assert_int_equal(paths_vm_socket("ab", path, &err), -1);
	assert_non_null(strstr(err.text, "set DROVER_RUN to a shorter path"));
}

static void a_path_without_end_is_refused(void **state)
{
	char path[PATHS_MAX], longest[2 * PATHS_MAX];
	struct err err = {0};

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	setenv("DROVER_STATE", longest, 1);
	assert_int_equal(paths_state(path, &err), -1);
	longest[PATHS_MAX - 1] = '\0';
	setenv("DROVER_STATE", longest, 1);
	assert_int_equal(paths_state(path, &err), 0);
	assert_int_equal(paths_vm_dir("a", path, &err), -1);
	assert_non_null(strstr(err.text, "choose a shorter folder"));
}

/* ---- paths_helper: this program, copied, tells where it finds a helper ----------------------------------- */

static void copy_self(const char *to)
{
	void *data;
	size_t len;

	assert_int_equal(io_read_file("/proc/self/exe", SIZE_MAX, &data, &len), 0);
	assert_int_equal(io_replace_file(to, data, len), 0);
	assert_int_equal(chmod(to, 0700), 0);
	free(data);
}

/* What `program helper NAME` prints, without the end of the line. */
static void ask(const char *program, const char *name, char answer[PATHS_MAX])
{
	char command[3 * PATHS_MAX];
	FILE *output;

	snprintf(command, sizeof(command), "'%s' helper '%s'", program, name);
	output = popen(command, "r");
	assert_non_null(output);
	assert_non_null(fgets(answer, PATHS_MAX, output));
	pclose(output);
	answer[strcspn(answer, "\n")] = '\0';
}

static void a_helper_is_found_beside_then_in_libexec(void **state)
{
	const char *top = *state;
	char self[TEMP_MAX + 64], libexec[TEMP_MAX + 64], beside[TEMP_MAX + 64], answer[PATHS_MAX];
	struct stat one, other;

	snprintf(self, sizeof(self), "%s/bin", top);
	snprintf(libexec, sizeof(libexec), "%s/libexec/drover", top);
	assert_int_equal(io_mkdirs(self, 0700), 0);
	assert_int_equal(io_mkdirs(libexec, 0700), 0);
	snprintf(self, sizeof(self), "%s/bin/self", top);
	snprintf(beside, sizeof(beside), "%s/bin/no-such-helper", top);
	snprintf(libexec, sizeof(libexec), "%s/libexec/drover/no-such-helper", top);
	copy_self(self);

	ask(self, "no-such-helper", answer);
	assert_non_null(strstr(answer, "no-such-helper is neither in "));
	assert_non_null(strstr(answer, DROVER_LIBEXEC));
	assert_int_equal(io_replace_file(libexec, "", 0), 0);
	ask(self, "no-such-helper", answer);
	assert_non_null(strstr(answer, "is neither in ")); /* it cannot be run */
	assert_int_equal(chmod(libexec, 0700), 0);
	ask(self, "no-such-helper", answer);
	assert_int_equal(stat(libexec, &one), 0);
	assert_int_equal(stat(answer, &other), 0);
	assert_true(one.st_ino == other.st_ino);
	assert_int_equal(io_replace_file(beside, "", 0), 0);
	assert_int_equal(chmod(beside, 0700), 0);
	ask(self, "no-such-helper", answer);
	assert_string_equal(answer, beside);
}

#define PATH_TEST(test) cmocka_unit_test_setup_teardown(test, empty_environment, restore_environment)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    PATH_TEST(own_variables_come_first),
	    PATH_TEST(roots_files_are_the_systems),
	    PATH_TEST(other_users_files_are_their_own),
	    cmocka_unit_test_setup_teardown(a_folder_in_tmp_that_others_can_write_is_not_used,
					    empty_environment, remove_stranger),
	    PATH_TEST(relative_variables_are_refused),
	    PATH_TEST(a_vm_has_its_folder_files_and_socket),
	    PATH_TEST(a_name_cannot_lead_out_of_the_folder),
	    PATH_TEST(a_socket_path_fits_an_address_or_is_refused),
	    PATH_TEST(a_path_without_end_is_refused),
	    cmocka_unit_test_setup_teardown(a_helper_is_found_beside_then_in_libexec, temp_setup,
					    temp_teardown),
	};

	if (argc == 3 && strcmp(argv[1], "helper") == 0) {
		char path[PATHS_MAX];
		struct err err = {0};

		puts(paths_helper(argv[2], path, &err) == 0 ? path : err.text);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
