/* test_ipxe.c: a VM boots from its network: Debian's SeaBIOS and iPXE, whose driver for virtio-net nobody here wrote, and dnsmasq
 * at the other end of the tap.  iPXE gets its address by DHCP and a program by TFTP, and starts it; the program says what of it
 * has arrived.  Then the machine moves, and boots from the network again by what came with it. */
#include "common/io.h"
#include "tests/lib/need.h"
#include "tests/lib/netns.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "tests/lib/vm.h"
#include "vmm/machine_impl.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAP    "tap0"
#define SERVER "192.0.2.1"
#define MAC    "52:54:00:aa:00:01"

enum { PROGRAM = 32 << 10, SLOT = 5 };

static struct vm vm;
static char folder[TEMP_MAX];
static pid_t server;
static uint8_t program[PROGRAM];

/* Adds up all bytes of the program, itself included, which lies at 0x7c00; says so with the sum, and reports two bytes. */
GUEST_CODE(program, 16,
	   "	cld\n"
	   "	xorw %ax, %ax\n"
	   "	movw %ax, %ds\n"
	   "	xorw %bx, %bx\n"
	   "	movw $0x7c00, %si\n"
	   "	movw $0x8000, %cx\n" /* PROGRAM */
	   "1:	lodsb\n"
	   "	xorb %ah, %ah\n"
	   "	addw %ax, %bx\n"
	   "	loop 1b\n"
	   "	movw $0x3f8, %dx\n"
	   "	movw $(0x7c00 + 3f - guest_program), %si\n"
	   "2:	lodsb\n"
	   "	outb %al, %dx\n"
	   "	testb %al, %al\n"
	   "	jnz 2b\n"
	   "	movb %bl, %al\n"
	   "	outb %al, %dx\n"
	   "	movb %bh, %al\n"
	   "	outb %al, %dx\n"
	   "4:	hlt\n"
	   "	jmp 4b\n"
	   "3:	.asciz \"the sum is \"\n");

static void start_server(void)
{
	char range[64], root[TEMP_MAX + 32], log[TEMP_MAX + 32], leases[TEMP_MAX + 32];

	snprintf(range, sizeof(range), "--dhcp-range=192.0.2.10,192.0.2.10,1h");
	snprintf(root, sizeof(root), "--tftp-root=%s", folder);
	snprintf(log, sizeof(log), "--log-facility=%s/log", folder);
	snprintf(leases, sizeof(leases), "--dhcp-leasefile=%s/leases", folder);
	server = fork();
	assert_true(server >= 0);
	if (server == 0) {
		execlp("dnsmasq", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
		       "--no-resolv", "--no-hosts", "--no-ping", "--user=root", "--interface=" TAP,
		       "--bind-interfaces", "--pid-file=", "--dhcp-authoritative", "--dhcp-boot=program",
		       "--enable-tftp", range, root, log, leases, (char *)NULL);
		_exit(127);
	}
}

static void make_program(void)
{
	char path[TEMP_MAX];

	for (unsigned i = 0; i < PROGRAM; i++)
		program[i] = (uint8_t)(i * 7 + i / 251);
	memcpy(program, guest_program, (uintptr_t)guest_program_end - (uintptr_t)guest_program);
	kernel_write_file(folder, "program", program, PROGRAM, path);
}

static int setup(void **state)
{
	(void)state;
	need_root("make a network namespace with a tap");
	if (!need_kvm())
		return -1;
	temp_make(folder);
	netns_enter();
	netns_tap(TAP);
	netns_address(TAP, SERVER);
	make_program();
	start_server();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_free(&vm);
	config_free(&vm.config);
	if (server > 0) {
		kill(server, SIGTERM);
		waitpid(server, NULL, 0);
	}
	netns_delete(TAP);
	temp_remove(folder);
	return 0;
}

static void boot(void)
{
	struct err err = {0};

	vm_make(&vm, 64, 1, DIRTY_AUTO);
	struct device_config *net = config_add_device(&vm.config, DEVICE_NET);
	net->slot = SLOT;
	strcpy(net->net.tap, TAP);
	assert_true(config_parse_mac(MAC, net->net.mac));
	vm.config.boot = BOOT_NETWORK;
	vm.config.emulation = true; /* iPXE returns from interrupts in protected mode */
	vm_replace(&vm);
	if (machine_boot(vm.machine, &vm.config, &err))
		fail_msg("%s", err.text);
	machine_resume(vm.machine);
}

static void check_log(void)
{
	char path[TEMP_MAX + 16];
	void *log;
	size_t len;

	snprintf(path, sizeof(path), "%s/log", folder);
	assert_int_equal(io_read_file(path, 1 << 20, &log, &len), 0);
	assert_non_null(strstr(log, "DHCPACK(" TAP ") 192.0.2.10 " MAC));
	assert_non_null(strstr(log, "/program to 192.0.2.10"));
	free(log);
}

static void test_boots_from_the_network(void **state)
{
	static const char said[] = "the sum is ";
	uint16_t sum = 0;
	size_t at;

	(void)state;
	boot();
	at = vm_wait_text(&vm, "SeaBIOS (version", 0);
	at = vm_wait_text(&vm, "iPXE (http://ipxe.org)", at);
	at = vm_wait_text(&vm, "Booting from ROM", at);
	size_t plain = vm_wait_text(&vm, said, at);
	/* What follows are bytes, behind the text's NUL. */
	uint8_t *raw = memmem(vm.console, vm.console_len, said, strlen(said));
	assert_non_null(raw);
	at = (size_t)(raw - vm.console) + sizeof(said);
	vm_wait_console(&vm, at + 2);
	for (unsigned i = 0; i < PROGRAM; i++)
		sum = (uint16_t)(sum + program[i]);
	assert_int_equal(le16_get(vm.console + at), sum);
	check_log();
	/* Elsewhere the firmware has it all again, and needs no file. */
	vm_move(&vm);
	assert_int_equal(machine_reset(vm.machine, NULL), 0);
	machine_resume(vm.machine);
	at = vm_wait_text(&vm, "SeaBIOS (version", plain);
	vm_wait_text(&vm, "iPXE (http://ipxe.org)", at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_boots_from_the_network, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
