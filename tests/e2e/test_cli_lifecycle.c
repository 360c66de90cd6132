/* A VM from its definition to its end, by hand: create, edit, start, status, reset, balloon, stop, kill, remove; and what is
 * refused.  The guests are SeaBIOS without a disk to boot, which heeds no power button, and the test guest. */
#include "common/io.h"
#include "tests/lib/cli.h"
#include "tests/lib/image.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/control.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct cli cli;
static char folder[TEMP_MAX], before[4096];

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(folder), 0);
	cli_open(folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cli_run_words(&cli, "kill g --force");
	assert_int_equal(chdir(before), 0);
	temp_remove(folder);
	return 0;
}

static void must(const char *words)
{
	cli_run_words(&cli, words);
	if (cli.status)
		fail_msg("'%s' ended with %d: %s", words, cli.status, cli.err);
}

static json_t *must_json(const char *words)
{
	must(words);
	json_t *json = json_loads(cli.out, 0, NULL);
	assert_non_null(json);
	return json;
}

static void write_text(const char *path, const char *text)
{
	assert_int_equal(io_replace_file(path, text, strlen(text)), 0);
}

/* The definition of a machine with a volume, of which nothing can be booted. */
static void define(void)
{
	char text[4600];
	must("image create v.dvol 1M");
	snprintf(text, sizeof(text), "memory: 32M\ncpus: 2\ndisks:\n  - path: %s/v.dvol\n    serial: one\n",
		 folder);
	write_text("g.yaml", text);
	must("create g -f g.yaml");
}

static void test_definitions(void **state)
{
	(void)state;
	define();
	cli_run_words(&cli, "create g -f g.yaml");
	cli_expect(&cli, 1, "this host has a definition of VM 'g' already");
	write_text("bad.yaml", "memory: 32M\ncpu: 2\n");
	cli_run_words(&cli, "create h -f bad.yaml");
	cli_expect(&cli, 1, "bad.yaml: line 2: Unexpected key: cpu");
	cli_run_words(&cli, "create h -f none.yaml");
	cli_expect(&cli, 1, "cannot read 'none.yaml'");
	cli_run_words(&cli, "create h");
	cli_expect(&cli, 2, "option '--file' is missing");
	cli_run_words(&cli, "create h -f");
	cli_expect(&cli, 2, "option '--file' wants an argument");
	cli_run_words(&cli, "start h");
	cli_expect(&cli, 1, "this host has no definition of a VM 'h'");
	/* A bad change changes nothing; a good one keeps the identity. */
	cli_run_words(&cli, "edit g -f bad.yaml");
	cli_expect(&cli, 1, "bad.yaml: line 2");
	write_text("g2.yaml", "memory: 64M\n");
	json_t *after = must_json("edit g -f g2.yaml --json");
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(after, "config"), "memory_bytes")), 64 << 20);
	json_decref(after);
	/* With an editor: one that appends, one that fails. */
	setenv("EDITOR", "sh -c 'echo cpus: 3 >>$0'", 1);
	unsetenv("VISUAL");
	after = must_json("edit g --json");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(after, "config"), "cpus")), 3);
	json_decref(after);
	setenv("EDITOR", "false", 1);
	cli_run_words(&cli, "edit g");
	cli_expect(&cli, 1, "the editor 'false' failed; nothing was changed");
	must("remove g");
	cli_run_words(&cli, "remove g");
	cli_expect(&cli, 1, "this host has no definition of a VM 'g'");
}

static void test_life(void **state)
{
	(void)state;
	define();
	json_t *started = must_json("start g --json");
	assert_true(json_integer_value(json_object_get(started, "pid")) > 1);
	json_decref(started);
	cli_run_words(&cli, "start g");
	cli_expect(&cli, 1, "VM 'g' lives on this host already");
	cli_run_words(&cli, "remove g");
	cli_expect(&cli, 1, "'drover stop g' first");
	/* The volume is the VM's. */
	cli_run_words(&cli, "image close v.dvol");
	cli_expect(&cli, 1, "is in use");
	json_t *status = must_json("status g --json");
	json_t *devices = json_object_get(status, "devices");
	assert_int_equal(json_array_size(devices), 3);
	assert_string_equal(json_string_value(json_object_get(json_array_get(devices, 0), "kind")), "disk");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(devices, 0), "slot")), 1);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(status, "balloon"), "target_bytes")),
	    32 << 20);
	json_decref(status);
	must("status g");
	assert_non_null(strstr(cli.out, "slot 1: disk "));
	must("balloon g 16M");
	status = must_json("status g --json");
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(status, "balloon"), "target_bytes")),
	    16 << 20);
	json_decref(status);
	cli_run_words(&cli, "balloon g 1G");
	assert_int_equal(cli.status, 2);
	must("reset g");
	must("pause g");
	cli_run_words(&cli, "reset g");
	cli_expect(&cli, 1, "VM 'g' is paused; 'drover resume g' first");
	must("resume g");
	/* Nobody in there heeds the button. */
	json_t *stopped = must_json("stop g --timeout 50ms --json");
	assert_true(json_is_true(json_object_get(stopped, "forced")));
	json_decref(stopped);
	must("image close v.dvol");
	must("start g");
	must("kill g");
	cli_run_words(&cli, "stop g");
	assert_int_equal(cli.status, 1);
	must("remove g");
}

static void test_kernel_has_no_reset(void **state)
{
	char kernel[4200], words[9000];
	(void)state;
	snprintf(kernel, sizeof(kernel), "%s", cli_program());
	strcpy(strrchr(kernel, '/'), "/guest/testguest.elf");
	snprintf(words, sizeof(words), "run --name g --memory 64M --detach --kernel %s", kernel);
	must(words);
	cli_run_words(&cli, "reset g");
	cli_expect(&cli, 1, "booted from a kernel's file");
	cli_run_words(&cli, "balloon g 16M");
	assert_int_equal(cli.status, 1);
	must("kill g");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_definitions, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_life, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_kernel_has_no_reset, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
