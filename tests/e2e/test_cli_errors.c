/* test_cli_errors.c: whatever is wrong, drover says it in one line, ends with the status that belongs to it, and
 * leaves nothing behind. */
#include "tests/lib/cli.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct cli cli; /* too large for a stack */

struct mistake {
	const char *words, *sentence;
};

static void check_all(const struct mistake *mistakes, size_t count, int status)
{
	for (size_t i = 0; i < count; i++) {
		cli_run_words(&cli, mistakes[i].words);
		cli_expect(&cli, status, mistakes[i].sentence);
		if (cli.out[0] && !strstr(mistakes[i].words, "--json"))
			fail_msg("'%s' printed on stdout: %s", mistakes[i].words, cli.out);
	}
}

static void wrong_usage_is_status_2(void **state)
{
	static const struct mistake mistakes[] = {
	    {"nonsense", "there is no command 'nonsense'; 'drover help' lists the commands"},
	    {"--nonsense", "unknown option '--nonsense'"},
	    {"help nonsense", "there is no command 'nonsense'"},
	    {"list surplus", "list: surplus operand 'surplus'; see 'drover help list'"},
	    {"list --nonsense", "list: unknown option '--nonsense'"},
	    {"list -x", "list: unknown option '-x'"},
	    {"status", "status: NAME is missing"},
	    {"status ../etc", "'../etc' is not a VM's name"},
	    {"status a b", "status: surplus operand 'b'"},
	    {"console", "console: NAME is missing"},
	    {"console a --json", "console: unknown option '--json'"},
	    {"pause", "pause: NAME is missing"},
	    {"resume a --force", "resume: unknown option '--force'"},
	    {"kill a --force=1", "kill: option '--force' takes no argument"},
	    {"dirty-rate a --interval", "dirty-rate: option '--interval' wants an argument"},
	    {"dirty-rate a --interval 1", "is not a time"},
	    {"dirty-rate a --interval 1h", "is not within 1 ms and 1 min 0 s"},
	    {"migrate a", "migrate: HOST is missing"},
	    {"migrate a ftp://b", "ftp://b"},
	    {"migrate a ssh://", "ssh://"},
	    {"migrate a ssh://b/path", "ssh://b/path"},
	    {"migrate a ssh://b --downtime 0ms", "is not within 1 ms and 1 h 0 min"},
	    {"resolve a b/c", "\"b/c\" is not a host"},
	    {"forget", "forget: NAME is missing"},
	    {"serve a", "serve: surplus operand 'a'"},
	    {"run", "run: option '--name' is missing"},
	    {"run --name a --memory 64M --boot network",
	     "boot: from the network, but the VM has no network card"},
	    {"run --name a --memory 64M --boot floppy --net tap0", "--boot"},
	    {"run --name a --memory 64M", "run: there is nothing to boot: give it a --disk or a --kernel"},
	    {"run --name a --memory 64M --disk d --append x", "run: --initrd and --append go with --kernel"},
	    {"run --name a --memory 64M --kernel k --firmware f", "--firmware without it"},
	    {"run --name a --memory 64M --kernel k --net ,mac=", "'' is no name of an interface"},
	    {"run --name a --memory 64M --kernel k --net t,mac=1:2", "'1:2' is no MAC address"},
	    {"run --name -a --memory 64M --kernel k", "'-a' is not a VM's name"},
	    {"run --name a/b --memory 64M --kernel k", "'a/b' is not a VM's name"},
	    {"run --name a --memory 64Q --kernel k", "\"64Q\" is not a size"},
	    {"run --name a --memory -64M --kernel k", "\"-64M\" is not a size"},
	    {"run --name a --memory 1K --kernel k", "is not within 4 MiB and 4 TiB"},
	    {"run --name a --memory 99999999T --kernel k", "is not a"},
	    {"run --name a --memory 64M --kernel k --cpus 0", "\"0\" is not a number from 1 to 64"},
	    {"run --name a --memory 64M --kernel k --cpus 65", "\"65\" is not a number from 1 to 64"},
	    {"run --name a --memory 64M --kernel k --dirty-tracking no",
	     "'no' is none of auto, ring, bitmap"},
	    {"run --name a --memory 64M --kernel k --json", "--json goes with --detach"},
	    {"run --name a --memory 64M --kernel k surplus", "run: surplus operand 'surplus'"},
	};

	(void)state;
	check_all(mistakes, sizeof(mistakes) / sizeof(mistakes[0]), 2);
}

static void an_unknown_vm_is_status_1(void **state)
{
	static const char *const lines[] = {"status nobody",       "console nobody",
					    "pause nobody",        "resume nobody",
					    "stop nobody",         "dirty-rate nobody",
					    "cancel nobody",       "resolve nobody",
					    "forget nobody",       "migrate nobody ssh://127.0.0.1:1",
					    "kill --force nobody", "forget --force nobody"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		cli_run_words(&cli, lines[i]);
		cli_expect(&cli, 1, "'nobody'");
		if (!strstr(cli.err, "'drover list' shows"))
			fail_msg("'%s' does not say what helps: %s", lines[i], cli.err);
		assert_string_equal(cli.out, "");
	}
}

static void with_json_the_error_is_an_object_too(void **state)
{
	static const struct {
		const char *words, *kind;
	} cases[] = {
	    {"status nobody --json", "state"},          {"--json", NULL}, /* not an option of drover's own */
	    {"list --nonsense --json", "usage"},        {"migrate nobody ftp://nowhere --json", "usage"},
	    {"migrate nobody nowhere --json", "state"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *kind = NULL, *message = NULL;
		json_t *object;

		cli_run_words(&cli, cases[i].words);
		assert_true(cli.status == 1 || cli.status == 2);
		if (!cases[i].kind) {
			assert_string_equal(cli.out, "");
			continue;
		}
		object = json_loads(cli.out, 0, NULL);
		assert_int_equal(
		    json_unpack(object, "{s:{s:s, s:s}}", "error", "kind", &kind, "message", &message), 0);
		assert_string_equal(kind, cases[i].kind);
		/* The same sentence on stderr. */
		assert_memory_equal(cli.err + strlen("drover: "), message, strlen(message));
		json_decref(object);
	}
}

static void bytes_that_are_not_text_do_no_harm(void **state)
{
	json_t *object;

	(void)state;
	cli_run(&cli, "status", "\x1b[2J\xff\n", "--json", NULL);
	cli_expect(&cli, 2, "[2J");
	object = json_loads(cli.out, 0, NULL);
	assert_non_null(object);
	json_decref(object);
}

static bool full_stdout(void)
{
	int fd = open("/dev/full", O_WRONLY);

	return fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0;
}

static bool no_stdout(void)
{
	return close(STDOUT_FILENO) == 0;
}

static void a_result_that_cannot_be_written_is_a_failure(void **state)
{
	(void)state;
	cli_run_in(&cli, full_stdout, "list");
	cli_expect(&cli, 1, "cannot write to standard output: No space left on device");
	cli_run_in(&cli, full_stdout, "--version");
	cli_expect(&cli, 1, "cannot write to standard output");
	/* Nothing that drover opens may take the place of a closed stdout. */
	cli_run_in(&cli, no_stdout, "status nobody");
	cli_expect(&cli, 1, "'nobody'");
}

static void help_and_version_are_no_errors(void **state)
{
	static const struct mistake lines[] = {
	    {"", "usage: drover COMMAND"},
	    {"help", "usage: drover COMMAND"},
	    {"--help", "usage: drover COMMAND"},
	    {"-h", "usage: drover COMMAND"},
	    {"help migrate", "usage: drover migrate NAME HOST"},
	    {"migrate --help", "usage: drover migrate NAME HOST"},
	    {"run -h", "usage: drover run --name NAME"},
	    {"--version", "drover "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		cli_run_words(&cli, lines[i].words);
		assert_int_equal(cli.status, 0);
		assert_string_equal(cli.err, "");
		assert_memory_equal(cli.out, lines[i].sentence, strlen(lines[i].sentence));
	}
}

static void an_empty_host_has_an_empty_list(void **state)
{
	(void)state;
	cli_run_words(&cli, "list");
	assert_int_equal(cli.status, 0);
	assert_string_equal(cli.out, "no VMs on this host\n");
	cli_run_words(&cli, "list --json");
	assert_int_equal(cli.status, 0);
	assert_string_equal(cli.out, "{\"vms\": []}\n");
}

static void folders_that_cannot_be_used_are_named(void **state)
{
	char folder[4096];

	setenv("DROVER_STATE", "relative", 1);
	cli_run_words(&cli, "list");
	cli_expect(&cli, 2, "DROVER_STATE=relative");
	setenv("DROVER_STATE", "/dev/null", 1);
	cli_run_words(&cli, "list");
	cli_expect(&cli, 1, "/dev/null");
	cli_open(*state);
	snprintf(folder, sizeof(folder), "%s/%0100d", (const char *)*state, 0);
	setenv("DROVER_RUN", folder, 1);
	cli_run_words(&cli, "kill a");
	cli_expect(&cli, 2, "DROVER_RUN");
	cli_open(*state);
}

/* ---- what run checks ------------------------------------------------------------------------------------------ */

static void files_that_cannot_be_booted_are_named(void **state)
{
	const char *folder = *state;
	char fifo[4096], garbage[4096], fresh[4096];
	int fd;

	need_kvm();
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	snprintf(garbage, sizeof(garbage), "%s/garbage", folder);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	fd = open(garbage, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "not a kernel", 12), 12);
	close(fd);
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--kernel", "/nonexistent/k", NULL);
	cli_expect(&cli, 1, "cannot read the kernel '/nonexistent/k': No such file or directory");
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--kernel", folder, NULL);
	cli_expect(&cli, 1, "is not a regular file");
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--kernel", fifo, NULL);
	cli_expect(&cli, 1, "is not a regular file");
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--kernel", garbage, "--initrd",
		"/nonexistent/i", NULL);
	cli_expect(&cli, 1, "cannot read the initrd '/nonexistent/i'");
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--disk", garbage, NULL);
	cli_expect(&cli, 1, "is no volume, and a raw image can only be read: make a volume of it with");
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--disk", "/nonexistent/d", NULL);
	cli_expect(&cli, 1, "cannot read the disk '/nonexistent/d': No such file or directory");
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--disk", "/dev/null,read-only", NULL);
	cli_expect(&cli, 1, "the disk '/dev/null' is not a regular file");
	cli_run(&cli, "run", "--name", "a", "--memory", "4194305", "--kernel", garbage, NULL);
	cli_expect(&cli, 2, "4096");
	/* A new volume, in whose first superblock there is nothing yet, is one. */
	snprintf(fresh, sizeof(fresh), "%s/fresh.dvol", folder);
	cli_run(&cli, "image", "create", fresh, "1M", NULL);
	assert_int_equal(cli.status, 0);
	cli_run(&cli, "run", "--name", "a", "--memory", "64M", "--kernel", garbage, "--disk", fresh, NULL);
	cli_expect(&cli, 1, "neither an ELF file nor a Linux bzImage");
	assert_int_equal(unlink(fresh), 0);
	assert_int_equal(unlink(fifo), 0);
	assert_int_equal(unlink(garbage), 0);
}

/* ---- hosts without KVM ------------------------------------------------------------------------------------------ */

static bool own_mounts(void)
{
	return unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool kvm_absent(void)
{
	if (access("/dev/kvm", F_OK))
		return true;
	return own_mounts() && mount("none", "/dev", "tmpfs", 0, NULL) == 0;
}

/* Something that opens, but is no KVM. */
static bool kvm_unfit(void)
{
	return own_mounts() && mount("/dev/null", "/dev/kvm", NULL, MS_BIND, NULL) == 0;
}

static bool kvm_forbidden(void)
{
	return setgid(65534) == 0 && setuid(65534) == 0;
}

static void check_no_kvm(bool (*before)(void), const char *what)
{
	cli_run_in(&cli, before, "run --name a --memory 64M --kernel k --detach --json");
	if (cli.status == 125)
		need_skip("this user cannot make a host %s here", what);
	cli_expect(&cli, 3, "/dev/kvm");
	assert_non_null(strstr(cli.out, "\"kind\": \"no-kvm\""));
}

static void without_kvm_it_is_status_3(void **state)
{
	(void)state;
	check_no_kvm(kvm_absent, "without /dev/kvm");
}

static void something_else_in_its_place_is_status_3(void **state)
{
	(void)state;
	if (access("/dev/kvm", F_OK))
		need_skip("there is no /dev/kvm to put something in the place of");
	check_no_kvm(kvm_unfit, "with another file as /dev/kvm");
}

static void a_kvm_that_is_forbidden_is_status_3(void **state)
{
	struct stat st;

	(void)state;
	if (geteuid() || stat("/dev/kvm", &st) || st.st_mode & 06)
		need_skip("/dev/kvm is not one that some users may not open");
	check_no_kvm(kvm_forbidden, "where /dev/kvm is forbidden");
}

/* ------------------------------------------------------------------------------------------------------------------ */

static int open_host(void **state)
{
	if (temp_setup(state))
		return -1;
	cli_open(*state);
	return 0;
}

/* No failed command may have made a folder: what is there now is what the tests made. */
static int close_host(void **state)
{
	int kept = rmdir(*state);

	if (!kept) {
		free(*state);
		return 0;
	}
	print_message("something was left in %s\n", (const char *)*state);
	temp_teardown(state);
	return -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wrong_usage_is_status_2),
	    cmocka_unit_test(an_unknown_vm_is_status_1),
	    cmocka_unit_test(with_json_the_error_is_an_object_too),
	    cmocka_unit_test(bytes_that_are_not_text_do_no_harm),
	    cmocka_unit_test(a_result_that_cannot_be_written_is_a_failure),
	    cmocka_unit_test(help_and_version_are_no_errors),
	    cmocka_unit_test(an_empty_host_has_an_empty_list),
	    cmocka_unit_test(folders_that_cannot_be_used_are_named),
	    cmocka_unit_test(files_that_cannot_be_booted_are_named),
	    cmocka_unit_test(without_kvm_it_is_status_3),
	    cmocka_unit_test(something_else_in_its_place_is_status_3),
	    cmocka_unit_test(a_kvm_that_is_forbidden_is_status_3),
	};

	return cmocka_run_group_tests(tests, open_host, close_host);
}
