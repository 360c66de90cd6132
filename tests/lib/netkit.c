/* netkit.c: see netkit.h. */
#include "tests/lib/netkit.h"
#include "tests/lib/need.h"
#include "tests/lib/test.h"

#include <string.h>
#include <unistd.h>

enum { QUEUES = 3 };

const uint8_t netkit_guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3}, netkit_host_mac[6] = {2, 0, 0, 0, 0, 9};
const uint8_t netkit_plain[NETKIT_HEADER];
struct machine *netkit_machine;
struct driver netkit_driver;
int netkit_peer;

struct machine *netkit_make(const char *tap, int ram_fd, struct err *err)
{
	struct vm_config config = {.name = "net", .memory_bytes = NETKIT_RAM, .cpus = 1};
	config_new_uuid(config.uuid);
	struct device_config *device = config_add_device(&config, DEVICE_NET);
	device->slot = NETKIT_SLOT;
	strcpy(device->net.tap, tap);
	memcpy(device->net.mac, netkit_guest_mac, 6);
	struct machine *made = machine_create(&config, ram_fd, NULL, err);
	config_free(&config);
	return made;
}

int netkit_group_setup(void **state)
{
	(void)state;
	if (geteuid() == 0)
		netns_enter();
	return 0;
}

int netkit_setup(void **state)
{
	struct err err = {0};
	(void)state;
	need_root("a network namespace with a tap");
	if (!need_kvm())
		return -1;
	netns_tap("tap0");
	netkit_machine = netkit_make("tap0", -1, &err);
	if (!netkit_machine)
		fail_msg("%s", err.text);
	assert_int_equal(pci_assign(&netkit_machine->pci, &err), 0);
	devices_resume(netkit_machine);
	netns_running("tap0");
	netkit_peer = netns_socket("tap0");
	return 0;
}

int netkit_teardown(void **state)
{
	(void)state;
	machine_destroy(netkit_machine);
	netkit_machine = NULL;
	close(netkit_peer);
	netns_delete("tap0");
	return 0;
}

void netkit_begin(uint64_t features)
{
	driver_begin(&netkit_driver, netkit_machine, NETKIT_SLOT, NETKIT_MEMORY);
	driver_negotiate(&netkit_driver, features);
	assert_int_equal(netkit_driver.features & features, features);
	driver_vectors(&netkit_driver, QUEUES);
	driver_ready(&netkit_driver, QUEUES);
}

/* A frame of an experimental Ethernet type with something in it. */
void netkit_frame(uint8_t *frame, size_t len, const uint8_t *to, const uint8_t *from, unsigned seed)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (size_t i = 14; i < len; i++)
		frame[i] = (uint8_t)(i * 3 + i / 256 + seed);
}

void netkit_offer(uint32_t len)
{
	const struct driver_buffer buffer = {driver_alloc(&netkit_driver, len), len, true};
	driver_add(&netkit_driver, NETKIT_RX, &buffer, 1);
	driver_kick(&netkit_driver, NETKIT_RX);
}

static unsigned used_now(unsigned queue)
{
	const struct driver_queue *q = &netkit_driver.queue[queue];
	const uint16_t *at = driver_at(&netkit_driver, q->used + 2, 2);
	return (uint16_t)(__atomic_load_n(at, __ATOMIC_SEQ_CST) - q->next_used);
}

/* take: the next frame, of as many buffers as it says, which were all there at the same time. */
size_t netkit_take(uint8_t header[NETKIT_HEADER], uint8_t *frame, unsigned *buffers)
{
	size_t at = 0;
	unsigned count = 1;
	for (unsigned i = 0; i < count; i++) {
		uint32_t len;
		uint16_t head = driver_wait(&netkit_driver, NETKIT_RX, &len);
		const uint8_t *desc =
		    driver_at(&netkit_driver, netkit_driver.queue[NETKIT_RX].desc + 16u * head, 16);
		const uint8_t *data = driver_at(&netkit_driver, le64_get(desc), len);
		if (i == 0) {
			memcpy(header, data, NETKIT_HEADER);
			count = le16_get(header + 10);
			assert_true(used_now(NETKIT_RX) >= count - 1);
		}
		unsigned skip = i == 0 ? NETKIT_HEADER : 0;
		memcpy(frame + at, data + skip, len - skip);
		at += len - skip;
	}
	*buffers = count;
	return at;
}

void netkit_expect(const uint8_t *frame, size_t len, unsigned buffers)
{
	static uint8_t header[NETKIT_HEADER], got[NETKIT_WHOLE];
	unsigned count;
	size_t had;
	do /* a bridge has something to say of its own */
		had = netkit_take(header, got, &count);
	while (memcmp(got + 6, netkit_host_mac, 6));
	assert_int_equal(had, len);
	assert_int_equal(count, buffers);
	assert_memory_equal(got, frame, len);
	assert_int_equal(header[0], 0);
	assert_int_equal(header[1], 0);
}

void netkit_transmit(const uint8_t header[NETKIT_HEADER], const uint8_t *frame, uint32_t len)
{
	/* The header is cut in two, to be difficult. */
	const struct driver_buffer buffers[3] = {
	    {driver_alloc(&netkit_driver, 5), 5, false},
	    {driver_alloc(&netkit_driver, NETKIT_HEADER - 5 + 3), NETKIT_HEADER - 5 + 3, false},
	    {driver_alloc(&netkit_driver, len - 3), len - 3, false}};
	memcpy(driver_at(&netkit_driver, buffers[0].gpa, 5), header, 5);
	memcpy(driver_at(&netkit_driver, buffers[1].gpa, NETKIT_HEADER - 5), header + 5, NETKIT_HEADER - 5);
	memcpy(driver_at(&netkit_driver, buffers[1].gpa + NETKIT_HEADER - 5, 3), frame, 3);
	memcpy(driver_at(&netkit_driver, buffers[2].gpa, len - 3), frame + 3, len - 3);
	driver_add(&netkit_driver, NETKIT_TX, buffers, 3);
	driver_kick(&netkit_driver, NETKIT_TX);
	driver_wait(&netkit_driver, NETKIT_TX, NULL);
}

void netkit_expect_at_peer(int fd, const uint8_t *frame, size_t len, uint8_t header[NETNS_HEADER])
{
	static uint8_t got[NETKIT_WHOLE];
	assert_int_equal(netns_receive(fd, header, got, sizeof(got)), len);
	assert_memory_equal(got, frame, len);
}

uint8_t netkit_command(uint8_t class, uint8_t number)
{
	const struct driver_buffer buffers[2] = {{driver_alloc(&netkit_driver, 3), 3, false},
						 {driver_alloc(&netkit_driver, 1), 1, true}};
	const uint8_t request[3] = {class, number, 1};
	uint32_t len;
	memcpy(driver_at(&netkit_driver, buffers[0].gpa, 3), request, 3);
	*(uint8_t *)driver_at(&netkit_driver, buffers[1].gpa, 1) = 0xee;
	driver_add(&netkit_driver, NETKIT_CONTROL, buffers, 2);
	driver_kick(&netkit_driver, NETKIT_CONTROL);
	driver_wait(&netkit_driver, NETKIT_CONTROL, &len);
	assert_int_equal(len, 1);
	return *(uint8_t *)driver_at(&netkit_driver, buffers[1].gpa, 1);
}
