/* test_virtio_console.c: named ports between a guest's driver and the sockets that a VM process has for them: who is there, bytes both ways with one
 * side slow, clients that come and go, a move, messages that make no sense. */
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "tests/lib/virtio_driver.h"
#include "vmm/ports.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	SLOT = 7,
	MEMORY = 1 << 20,
	RAM = 16 << 20,
	CONTROL_IN = 2,
	CONTROL_OUT = 3,
	AGENT = 1, /* ports */
	OTHER = 2,
	QUEUES = 8,
	READY = 0,
	ADD = 1,
	PORT_READY = 3,
	OPEN = 6,
	NAME = 7,
	PATIENCE_MS = 5000,
};
#define AGENT_NAME "org.qemu.guest_agent.0"

static char folder[TEMP_MAX];
static struct machine *machine;
static struct driver driver;

/* ---- the host ------------------------------------------------------------------------------------------------------- */

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	assert_in_range(snprintf(at.sun_path, sizeof(at.sun_path), "%s/vms/console.ports/%s", folder, name),
			1, sizeof(at.sun_path) - 1);
	return at;
}

static int listen_at(void *arg, const char *name, struct err *err)
{
	(void)arg;
	return ports_listen("console", name, err);
}

static int client(const char *name)
{
	const struct sockaddr_un at = address(name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void await(int fd, short events)
{
	struct pollfd now = {.fd = fd, .events = events};
	assert_int_equal(poll(&now, 1, PATIENCE_MS), 1);
}

static void receive(int fd, void *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		await(fd, POLLIN);
		ssize_t n = read(fd, (char *)data + at, len - at);
		assert_true(n > 0);
		at += (size_t)n;
	}
}

/* ---- the machine ---------------------------------------------------------------------------------------------------- */

static struct machine *make(int ram_fd)
{
	struct vm_config config = {.name = "console", .memory_bytes = RAM, .cpus = 1};
	const struct machine_owner owner = {.port = listen_at};
	struct err err = {0};
	config_new_uuid(config.uuid);
	struct device_config *device = config_add_device(&config, DEVICE_CONSOLE);
	device->slot = SLOT;
	device->console.ports = 2;
	strcpy(device->console.name[0], AGENT_NAME);
	strcpy(device->console.name[1], "other");
	struct machine *made = machine_create(&config, ram_fd, &owner, &err);
	config_free(&config);
	if (!made)
		fail_msg("%s", err.text);
	return made;
}

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	setenv("DROVER_RUN", folder, 1);
	struct err err = {0};
	machine = make(-1);
	assert_int_equal(pci_assign(&machine->pci, &err), 0);
	devices_resume(machine);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_destroy(machine);
	machine = NULL;
	unsetenv("DROVER_RUN");
	temp_remove(folder);
	return 0;
}

/* ---- the guest's side ------------------------------------------------------------------------------------------------ */

static void offer(unsigned queue, uint32_t len)
{
	const struct driver_buffer buffer = {driver_alloc(&driver, len), len, true};
	driver_add(&driver, queue, &buffer, 1);
	driver_kick(&driver, queue);
}

/* The device's next bytes in a queue, of which each buffer was `size` long. */
static const uint8_t *taken(unsigned queue, uint32_t *len)
{
	uint16_t head = driver_wait(&driver, queue, len);
	const uint8_t *desc = driver_at(&driver, driver.queue[queue].desc + 16u * head, 16);
	return driver_at(&driver, le64_get(desc), *len);
}

static void say(uint32_t port, uint16_t event, uint16_t value)
{
	const struct driver_buffer buffer = {driver_alloc(&driver, 8), 8, false};
	uint8_t *at = driver_at(&driver, buffer.gpa, 8);
	le32_put(at, port);
	le16_put(at + 4, event);
	le16_put(at + 6, value);
	driver_add(&driver, CONTROL_OUT, &buffer, 1);
	driver_kick(&driver, CONTROL_OUT);
	driver_wait(&driver, CONTROL_OUT, NULL);
}

/* hear: the next message, and its buffer is offered again. */
static void hear(uint32_t port, uint16_t event, uint16_t value, const char *text)
{
	uint32_t len;
	const uint8_t *at = taken(CONTROL_IN, &len);
	assert_int_equal(len, 8 + strlen(text));
	assert_int_equal(le32_get(at), port);
	assert_int_equal(le16_get(at + 4), event);
	assert_int_equal(le16_get(at + 6), value);
	assert_memory_equal(at + 8, text, strlen(text));
	offer(CONTROL_IN, 128);
}

static void begin(void)
{
	driver_begin(&driver, machine, SLOT, MEMORY);
	driver_negotiate(&driver, VIRTIO_BIT(1));
	driver_ready(&driver, QUEUES);
}

/* As a driver comes up, whose agent then opens its port. */
static void greet(void)
{
	begin();
	assert_int_equal(driver_get(&driver, driver.device + 4, 4), 3);
	for (int i = 0; i < 4; i++)
		offer(CONTROL_IN, 128);
	say(0, READY, 1);
	hear(AGENT, ADD, 1, "");
	hear(OTHER, ADD, 1, "");
	say(AGENT, PORT_READY, 1);
	hear(AGENT, NAME, 1, AGENT_NAME);
	say(OTHER, PORT_READY, 1);
	hear(OTHER, NAME, 1, "other");
	say(AGENT, OPEN, 1);
	assert_true(driver_idle(&driver, CONTROL_IN));
}

static unsigned in(unsigned port)
{
	return 2 + 2 * port;
}

static uint16_t write_port(unsigned port, const void *data, uint32_t len)
{
	const struct driver_buffer buffer = {driver_alloc(&driver, len), len, false};
	memcpy(driver_at(&driver, buffer.gpa, len), data, len);
	uint16_t head = driver_add(&driver, in(port) + 1, &buffer, 1);
	driver_kick(&driver, in(port) + 1);
	return head;
}

/* ---- */

static void test_both_ways(void **state)
{
	(void)state;
	char text[16] = "";
	uint32_t len;
	greet();
	int fd = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	write_port(AGENT, "hello", 5);
	receive(fd, text, 5);
	assert_string_equal(text, "hello");
	driver_wait(&driver, in(AGENT) + 1, NULL);
	assert_int_equal(write(fd, "question", 8), 8);
	/* In buffers smaller than that. */
	offer(in(AGENT), 5);
	assert_memory_equal(taken(in(AGENT), &len), "quest", 5);
	assert_int_equal(len, 5);
	offer(in(AGENT), 5);
	assert_memory_equal(taken(in(AGENT), &len), "ion", 3);
	assert_int_equal(len, 3);
	close(fd);
	hear(AGENT, OPEN, 0, "");
}

static void test_nobody_there(void **state)
{
	(void)state;
	greet();
	/* Without a client it is dropped, and the guest goes on; so on port 0, where nobody can be. */
	write_port(AGENT, "lost", 4);
	driver_wait(&driver, in(AGENT) + 1, NULL);
	const struct driver_buffer buffer = {driver_alloc(&driver, 4), 4, false};
	driver_add(&driver, 1, &buffer, 1);
	driver_kick(&driver, 1);
	driver_wait(&driver, 1, NULL);
	/* A client's bytes wait until somebody in the guest opens the port. */
	int fd = client("other");
	hear(OTHER, OPEN, 1, "");
	assert_int_equal(write(fd, "early", 5), 5);
	offer(in(OTHER), 16);
	write_port(OTHER, "sync", 4);
	char text[4];
	receive(fd, text, 4);
	assert_true(driver_idle(&driver, in(OTHER)));
	say(OTHER, OPEN, 1);
	uint32_t len;
	assert_memory_equal(taken(in(OTHER), &len), "early", 5);
	close(fd);
	hear(OTHER, OPEN, 0, "");
}

static void test_one_client(void **state)
{
	(void)state;
	uint32_t len;
	greet();
	int first = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	int second = client(AGENT_NAME);
	assert_int_equal(write(second, "2", 1), 1);
	assert_int_equal(write(first, "1", 1), 1);
	offer(in(AGENT), 8);
	assert_memory_equal(taken(in(AGENT), &len), "1", 1);
	offer(in(AGENT), 8);
	/* What it left behind comes before the next one. */
	assert_int_equal(write(first, "last", 4), 4);
	close(first);
	assert_memory_equal(taken(in(AGENT), &len), "last", 4);
	offer(in(AGENT), 8);
	hear(AGENT, OPEN, 0, "");
	hear(AGENT, OPEN, 1, "");
	assert_memory_equal(taken(in(AGENT), &len), "2", 1);
	close(second);
	hear(AGENT, OPEN, 0, "");
	/* The end of its sending is not the end of its listening. */
	int third = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	assert_int_equal(write(third, "?", 1), 1);
	shutdown(third, SHUT_WR);
	offer(in(AGENT), 8);
	assert_memory_equal(taken(in(AGENT), &len), "?", 1);
	write_port(AGENT, "!", 1);
	char text;
	receive(third, &text, 1);
	assert_int_equal(text, '!');
	close(third);
	hear(AGENT, OPEN, 0, "");
}

/* More than a socket holds: it stays in the guest's queue, also over a pause, and arrives whole and in order. */
static void test_slow_client(void **state)
{
	(void)state;
	enum { CHUNK = 96 << 10, CHUNKS = 20 };
	static uint8_t data[CHUNK], got[CHUNK];
	greet();
	int fd = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	for (int i = 0; i < CHUNKS; i++) {
		for (unsigned k = 0; k < CHUNK; k++)
			data[k] = (uint8_t)(k * 7 + k / 256 + (unsigned)i);
		write_port(AGENT, data, CHUNK);
	}
	driver_wait(&driver, in(AGENT) + 1, NULL);
	devices_pause(machine);
	devices_resume(machine);
	for (int i = 0; i < CHUNKS; i++) {
		for (unsigned k = 0; k < CHUNK; k++)
			data[k] = (uint8_t)(k * 7 + k / 256 + (unsigned)i);
		receive(fd, got, CHUNK);
		assert_memory_equal(got, data, CHUNK);
	}
	for (int i = 1; i < CHUNKS; i++)
		driver_wait(&driver, in(AGENT) + 1, NULL);
	/* Full again, and the client goes: the guest is not left waiting. */
	for (int i = 0; i < CHUNKS; i++)
		write_port(AGENT, data, CHUNK);
	close(fd);
	for (int i = 0; i < CHUNKS; i++)
		driver_wait(&driver, in(AGENT) + 1, NULL);
	hear(AGENT, OPEN, 0, "");
}

/* A slow guest: the client is held up and nothing is lost. */
static void test_slow_guest(void **state)
{
	(void)state;
	static uint8_t data[1 << 20];
	greet();
	int fd = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 13 + i / 256);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	size_t sent = 0, got = 0;
	for (;;) {
		ssize_t n = write(fd, data + sent, sizeof(data) - sent);
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	assert_int_equal(errno, EAGAIN);
	assert_true(sent < sizeof(data));
	while (got < sent) {
		uint32_t len;
		offer(in(AGENT), 16 << 10);
		const uint8_t *at = taken(in(AGENT), &len);
		assert_memory_equal(at, data + got, len);
		got += len;
	}
	assert_int_equal(got, sent);
	close(fd);
	hear(AGENT, OPEN, 0, "");
}

static void test_move(void **state)
{
	(void)state;
	struct err err = {0};
	struct buf saved = {0};
	uint32_t len;
	greet();
	int fd = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	machine_pause(machine);
	write_port(AGENT, "late", 4);
	virtio_save(machine->virtio[SLOT], &saved);
	struct machine *other = make(dup(machine_ram_fd(machine)));
	if (virtio_load(other->virtio[SLOT], saved.data, saved.len, &err))
		fail_msg("%s", err.text);
	machine_destroy(machine);
	machine = driver.machine = other;
	devices_resume(machine);
	/* The client stayed behind; what was for it is dropped, and the guest knows. */
	driver_wait(&driver, in(AGENT) + 1, NULL);
	hear(AGENT, OPEN, 0, "");
	close(fd);
	/* The port is still open in the guest: a new client has its answer. */
	fd = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	assert_int_equal(write(fd, "again", 5), 5);
	offer(in(AGENT), 8);
	assert_memory_equal(taken(in(AGENT), &len), "again", 5);
	close(fd);
	hear(AGENT, OPEN, 0, "");
	machine_pause(machine);
	for (size_t cut = 0; cut < saved.len; cut++)
		assert_int_not_equal(virtio_load(machine->virtio[SLOT], saved.data, cut, &err), 0);
	buf_free(&saved);
}

static void test_no_room_for_messages(void **state)
{
	(void)state;
	begin();
	say(0, READY, 1);
	say(AGENT, PORT_READY, 1);
	assert_true(driver_idle(&driver, CONTROL_IN));
	offer(CONTROL_IN, 128);
	hear(AGENT, ADD, 1, "");
	hear(AGENT, NAME, 1, AGENT_NAME);
	hear(OTHER, ADD, 1, "");
	int fd = client(AGENT_NAME);
	hear(AGENT, OPEN, 1, "");
	close(fd);
	hear(AGENT, OPEN, 0, "");
}

static void break_short(void)
{
	const struct driver_buffer buffer = {driver_alloc(&driver, 7), 7, false};
	driver_add(&driver, CONTROL_OUT, &buffer, 1);
	driver_kick(&driver, CONTROL_OUT);
}

static void break_no_room(void)
{
	offer(CONTROL_IN, 7);
	const struct driver_buffer buffer = {driver_alloc(&driver, 8), 8, false};
	le16_put(driver_at(&driver, buffer.gpa + 6, 2), 1);
	driver_add(&driver, CONTROL_OUT, &buffer, 1);
	driver_kick(&driver, CONTROL_OUT);
}

static void break_address(void)
{
	const struct driver_buffer buffer = {0xfee00000, 8, false};
	driver_add(&driver, in(AGENT) + 1, &buffer, 1);
	driver_kick(&driver, in(AGENT) + 1);
}

static void test_nonsense(void **state)
{
	(void)state;
	static void (*const cases[])(void) = {break_short, break_no_room, break_address};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin();
		cases[i]();
		driver_wait_broken(&driver);
	}
	/* Ports and events that there are not change nothing. */
	greet();
	static const uint32_t ports[] = {0, 3, 0x7fffffff, 0xffffffff};
	for (unsigned i = 0; i < 4; i++)
		for (uint16_t event = 2; event < 10; event++)
			say(ports[i], event, 1);
	say(AGENT, 0xffff, 0xffff);
	assert_true(driver_idle(&driver, CONTROL_IN));
	assert_int_equal(driver_status(&driver) & VIRTIO_NEEDS_RESET, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nobody_there, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_one_client, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_slow_client, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_slow_guest, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_move, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_room_for_messages, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
