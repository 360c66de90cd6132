/* test_linux.c: Debian's kernel with its own virtio drivers: a shell on the serial console, a file system on a volume, a
 * TCP connection.
 *
 * Where KVM has hardware virtualization the kernel is booted as it is, in seconds; elsewhere in two to three minutes, with the
 * emulation of docs/machine.md.  So it is booted once for each kernel, initramfs and version of drover; a snapshot is taken when
 * its shell is there, and kept in the build folder; each test begins with that.
 * Where KVM cannot give the guest's TSC an offset, the guest sees all of the time since the snapshot go by at once.  Its command
 * line says that it shall not complain, since what it says of that comes between what the tests look for. */
#include "cli/vms.h"
#include "common/io.h"
#include "tests/lib/cli.h"
#include "tests/lib/host.h"
#include "tests/lib/need.h"
#include "tests/lib/netns.h"
#include "tests/lib/shell.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/clock.h"
#include "vmm/kvm.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PATIENCE_S = 120, /* for a command: 2 s where nobody else works */
	BOOT_S = 900,     /* beside other tests; 250 s alone */
	PORT = 7001,
	ANSWER_MS = 10000,
	LINE = 2048,
};

static struct cli cli;
static char folder[TEMP_MAX];          /* $TMPDIR's, with the run folder */
static char files[HOST_PATH * 2];      /* kernel and initrd */
static char cache[HOST_PATH * 2 + 32]; /* with the state folder and the disk, of this version */
static char disk[sizeof(cache) + 16];
static int console = -1;
static char seen[1 << 17];
static size_t len;

/* ---- the console ----------------------------------------------------------------------------------------- */

static void open_console(void)
{
	struct control control;
	struct err err = {0};
	int fds[CONTROL_MAX_FDS];
	size_t count = 0;

	if (vms_connect(&control, "linux", &err) ||
	    control_call(&control, json_pack("{s:s, s:i}", "cmd", "console", "backlog", 65536), ANSWER_MS,
			 NULL, fds, &count, &err))
		fail_msg("%s", err.text);
	control_close(&control);
	assert_int_equal(count, 1);
	console = fds[0];
	len = 0;
	seen[0] = '\0';
}

/* see(text, seconds): until the guest has written it, after what was seen before. */
static void see(const char *text, unsigned seconds)
{
	uint64_t until = clock_mono_ns() + seconds * 1000000000ull;

	while (!strstr(seen, text)) {
		struct pollfd fd = {.fd = console, .events = POLLIN};
		ssize_t n = 0;

		if (clock_mono_ns() > until || len == sizeof(seen) - 1)
			fail_msg("'%s' did not come, but: %s", text, seen);
		if (poll(&fd, 1, 1000) > 0) {
			n = read(console, seen + len, sizeof(seen) - 1 - len);
			if (n <= 0)
				fail_msg("the guest ended: %s", seen);
		}
		len += (size_t)n;
		seen[len] = '\0';
	}
}

static void type(const char *text)
{
	len = 0;
	seen[0] = '\0';
	assert_int_equal(io_write_full(console, text, strlen(text)), 0);
}

/* command(text): a line for the guest's shell, which must succeed; what it wrote is in `seen`. */
static void command(const char *text)
{
	char line[512];

	snprintf(line, sizeof(line), "%s; echo \"-=$?=-\"\n", text);
	type(line);
	see("=-\r\n", PATIENCE_S); /* not what was typed, which has a quote there */
	if (!strstr(seen, "-=0=-\r\n"))
		fail_msg("'%s' failed: %s", text, seen);
}

/* ---- boot, snapshot, restore ------------------------------------------------------------------------------- */

static void prepare(void)
{
	static bool done;
	char output[SHELL_OUTPUT];

	if (done)
		return;
	int status =
	    shell_run(output, "'%s/tests/linux/prepare' '%s/linux'", getenv("DROVER_SRC"), host_build());
	output[strcspn(output, "\n")] = '\0';
	if (status == 77)
		need_skip("%s", output);
	if (status)
		fail_msg("tests/linux/prepare: status %d: %s", status, output);
	assert_true(snprintf(files, sizeof(files), "%s", output) < (int)sizeof(files));
	snprintf(cache, sizeof(cache), "%s/drover-%s", files, DROVER_VERSION);
	snprintf(disk, sizeof(disk), "%s/disk.dvol", cache);
	netns_enter();
	netns_tap("lin0");
	shell_must("ip addr add 10.99.0.1/24 dev lin0");
	done = true;
}

static void must(void)
{
	if (cli.status)
		fail_msg("status %d: %s", cli.status, cli.err);
}

/* command_line: with hardware the kernel finds out by itself what it has.  Elsewhere it could not measure its clock. */
static void command_line(bool hardware, char line[LINE])
{
	char output[SHELL_OUTPUT];
	struct kvm kvm;
	struct err err = {0};

	snprintf(line, LINE, "console=ttyS0 reboot=t panic=-1");
	if (hardware)
		return;
	assert_int_equal(shell_run(output, "cat '%s/tests/linux/cmdline'", getenv("DROVER_SRC")), 0);
	if (kvm_open(&kvm, &err) || kvm_create_vm(&kvm, &err))
		fail_msg("%s", err.text);
	int vcpu = ioctl(kvm.vm, KVM_CREATE_VCPU, 0);
	assert_true(vcpu >= 0);
	assert_true(snprintf(line, LINE, "tsc_early_khz=%u %.*s", clock_tsc_khz(vcpu),
			     (int)strcspn(output, "\n"), output) < LINE);
	close(vcpu);
	kvm_close(&kvm);
}

static void boot(void)
{
	char kernel[sizeof(files) + 16], initrd[sizeof(files) + 16], line[LINE];
	bool hardware = kvm_has_hardware();

	shell_must("rm -rf '%s' && mkdir -p '%s'", cache, cache);
	snprintf(kernel, sizeof(kernel), "%s/%s", files, hardware ? "vmlinuz" : "vmlinux");
	snprintf(initrd, sizeof(initrd), "%s/initrd", files);
	command_line(hardware, line);
	cli_run(&cli, "image", "create", disk, "8M", NULL);
	must();
	cli_run(&cli, "run", "--name", "linux", "--memory", "128M", "--kernel", kernel, "--initrd", initrd,
		"--append", line, "--disk", disk, "--net", "lin0", "--detach", hardware ? NULL : "--emulate",
		NULL);
	must();
	open_console();
	see("/ # ", BOOT_S);
	cli_run(&cli, "snapshot", "linux", NULL);
	must();
}

static bool restore(void)
{
	if (access(disk, F_OK))
		return false;
	cli_run(&cli, "restore", "linux", "--epoch", "1.1", "--discard-current", NULL);
	if (cli.status)
		print_message("booted anew, since the snapshot cannot be restored: %s", cli.err);
	else
		open_console();
	return cli.status == 0;
}

static void start(void)
{
	char path[TEMP_MAX + 8];

	need_kvm();
	need_root("a network namespace");
	prepare();
	snprintf(path, sizeof(path), "%s/state", cache);
	setenv("DROVER_STATE", path, 1);
	snprintf(path, sizeof(path), "%s/run", folder);
	setenv("DROVER_RUN", path, 1);
	if (!restore())
		boot();
	netns_running("lin0");
}

static int setup(void **state)
{
	(void)state;
	temp_make(folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	io_close(&console);
	if (getenv("DROVER_STATE"))
		cli_run(&cli, "kill", "linux", NULL);
	unsetenv("DROVER_STATE");
	unsetenv("DROVER_RUN");
	temp_remove(folder);
	return 0;
}

/* ---- what it does ---------------------------------------------------------------------------------------------- */

static void test_shell(void **state)
{
	(void)state;
	start();
	command("busybox uname -sm; echo $((6 * 7))");
	assert_non_null(strstr(seen, "Linux x86_64\r\n42\r\n"));
}

/* What the guest has synced is on the volume, and the host finds it in there when the guest's power is cut. */
static void test_file_system_on_a_volume(void **state)
{
	char output[SHELL_OUTPUT];

	(void)state;
	start();
	command("busybox mke2fs -b 4096 -i 65536 /dev/vda && busybox mount -t ext4 /dev/vda /mnt");
	command("echo 'the guest was here' >/mnt/letter && busybox sync && busybox cat /mnt/letter");
	assert_non_null(strstr(seen, "the guest was here\r\n"));
	cli_run(&cli, "kill", "linux", NULL);
	must();
	snprintf(output, sizeof(output), "%s/disk.raw", folder);
	cli_run(&cli, "image", "convert", disk, output, NULL);
	must();
	assert_int_equal(shell_run(output, "debugfs -R 'cat /letter' '%s/disk.raw' 2>/dev/null", folder), 0);
	assert_string_equal(output, "the guest was here\n");
}

/* snapshot_and_drop: the snapshot that the others start from is the only one that stays. */
static void snapshot_and_drop(void)
{
	char epoch[16];

	cli_run(&cli, "snapshot", "linux", NULL);
	must();
	assert_int_equal(sscanf(cli.out, "snapshot %15s ", epoch), 1);
	cli_run(&cli, "snapshots", "linux", "--delete", epoch, NULL);
	must();
}

/* RAM that a snapshot has write-protected is written to by the kernel in the middle of whatever it does. */
static void test_goes_on_below_a_snapshot(void **state)
{
	(void)state;
	start();
	for (int i = 0; i < 3; i++) {
		type("i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); done; (exit 0); echo \"-=$?=-\"\n");
		snapshot_and_drop();
		see("=-\r\n", PATIENCE_S);
		snapshot_and_drop();
		command("busybox true");
	}
}

static void test_network(void **state)
{
	const struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(0x0a630001)};
	char got[64] = "";
	size_t have = 0;

	(void)state;
	start();
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	type("echo 'hello, host' | busybox nc 10.99.0.1 7001; echo \"-=$?=-\"\n");
	struct pollfd fd = {.fd = listener, .events = POLLIN};
	if (poll(&fd, 1, PATIENCE_S * 1000) != 1)
		see("a connection", 1); /* tells what came instead */
	int peer = accept(listener, NULL, NULL);
	assert_true(peer >= 0);
	while (!strchr(got, '\n')) {
		fd = (struct pollfd){.fd = peer, .events = POLLIN};
		assert_int_equal(poll(&fd, 1, PATIENCE_S * 1000), 1);
		ssize_t n = read(peer, got + have, sizeof(got) - 1 - have);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_string_equal(got, "hello, host\n");
	assert_int_equal(io_write_full(peer, "hello, guest\n", 13), 0);
	close(peer);
	close(listener);
	see("-=0=-\r\n", PATIENCE_S);
	if (!strstr(seen, "hello, guest\r\n"))
		fail_msg("the answer did not arrive: %s", seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_shell, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_file_system_on_a_volume, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_goes_on_below_a_snapshot, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_network, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
