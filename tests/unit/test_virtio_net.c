/* test_virtio_net.c: a network device on a tap in a network namespace: frames both ways, mergeable buffers, offloads, headers that
 * the kernel must not see, a guest without buffers, a move over a bridge, taps that cannot be had. */
#include "tests/lib/need.h"
#include "tests/lib/netns.h"
#include "tests/lib/test.h"
#include "tests/lib/virtio_driver.h"
#include "vmm/tap.h"

#include <linux/virtio_net.h>
#include <string.h>
#include <unistd.h>

enum {
	SLOT = 3,
	MEMORY = 1 << 20,
	RAM = 16 << 20,
	RX = 0,
	TX = 1,
	CONTROL = 2,
	QUEUES = 3,
	HEADER = 12,
	LONG = 1514,
	WHOLE = 65562 + 22, /* a buffer for any frame */
	IP_TCP = 14 + 20 + 20,
};
static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3}, host_mac[6] = {2, 0, 0, 0, 0, 9};

#define F(name) VIRTIO_BIT(VIRTIO_NET_F_##name)

static struct machine *machine;
static struct driver driver;
static int peer; /* sees and sends frames at the tap */

/* ---- machine and driver --------------------------------------------------------------------------------------------- */

static struct machine *make(const char *tap, int ram_fd, struct err *err)
{
	struct vm_config config = {.name = "net", .memory_bytes = RAM, .cpus = 1};
	config_new_uuid(config.uuid);
	struct device_config *device = config_add_device(&config, DEVICE_NET);
	device->slot = SLOT;
	strcpy(device->net.tap, tap);
	memcpy(device->net.mac, guest_mac, 6);
	struct machine *made = machine_create(&config, ram_fd, NULL, err);
	config_free(&config);
	return made;
}

static int group_setup(void **state)
{
	(void)state;
	if (geteuid() == 0)
		netns_enter();
	return 0;
}

static int setup(void **state)
{
	struct err err = {0};
	(void)state;
	need_root("a network namespace with a tap");
	if (!need_kvm())
		return -1;
	netns_tap("tap0");
	machine = make("tap0", -1, &err);
	if (!machine)
		fail_msg("%s", err.text);
	assert_int_equal(pci_assign(&machine->pci, &err), 0);
	devices_resume(machine);
	netns_running("tap0");
	peer = netns_socket("tap0");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_destroy(machine);
	machine = NULL;
	close(peer);
	netns_delete("tap0");
	return 0;
}

static void begin(uint64_t features)
{
	driver_begin(&driver, machine, SLOT, MEMORY);
	driver_negotiate(&driver, features);
	assert_int_equal(driver.features & features, features);
	driver_vectors(&driver, QUEUES);
	driver_ready(&driver, QUEUES);
}

/* A frame of an experimental Ethernet type with something in it. */
static void make_frame(uint8_t *frame, size_t len, const uint8_t *to, const uint8_t *from, unsigned seed)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (size_t i = 14; i < len; i++)
		frame[i] = (uint8_t)(i * 3 + i / 256 + seed);
}

static void offer(uint32_t len)
{
	const struct driver_buffer buffer = {driver_alloc(&driver, len), len, true};
	driver_add(&driver, RX, &buffer, 1);
	driver_kick(&driver, RX);
}

static unsigned used_now(unsigned queue)
{
	const struct driver_queue *q = &driver.queue[queue];
	const uint16_t *at = driver_at(&driver, q->used + 2, 2);
	return (uint16_t)(__atomic_load_n(at, __ATOMIC_SEQ_CST) - q->next_used);
}

/* take: the next frame, of as many buffers as it says, which were all there at the same time. */
static size_t take(uint8_t header[HEADER], uint8_t *frame, unsigned *buffers)
{
	size_t at = 0;
	unsigned count = 1;
	for (unsigned i = 0; i < count; i++) {
		uint32_t len;
		uint16_t head = driver_wait(&driver, RX, &len);
		const uint8_t *desc = driver_at(&driver, driver.queue[RX].desc + 16u * head, 16);
		const uint8_t *data = driver_at(&driver, le64_get(desc), len);
		if (i == 0) {
			memcpy(header, data, HEADER);
			count = le16_get(header + 10);
			assert_true(used_now(RX) >= count - 1);
		}
		unsigned skip = i == 0 ? HEADER : 0;
		memcpy(frame + at, data + skip, len - skip);
		at += len - skip;
	}
	*buffers = count;
	return at;
}

static void expect(const uint8_t *frame, size_t len, unsigned buffers)
{
	static uint8_t header[HEADER], got[WHOLE];
	unsigned count;
	size_t had;
	do /* a bridge has something to say of its own */
		had = take(header, got, &count);
	while (memcmp(got + 6, host_mac, 6));
	assert_int_equal(had, len);
	assert_int_equal(count, buffers);
	assert_memory_equal(got, frame, len);
	assert_int_equal(header[0], 0);
	assert_int_equal(header[1], 0);
}

static void transmit(const uint8_t header[HEADER], const uint8_t *frame, uint32_t len)
{
	/* The header is cut in two, to be difficult. */
	const struct driver_buffer buffers[3] = {
	    {driver_alloc(&driver, 5), 5, false},
	    {driver_alloc(&driver, HEADER - 5 + 3), HEADER - 5 + 3, false},
	    {driver_alloc(&driver, len - 3), len - 3, false}};
	memcpy(driver_at(&driver, buffers[0].gpa, 5), header, 5);
	memcpy(driver_at(&driver, buffers[1].gpa, HEADER - 5), header + 5, HEADER - 5);
	memcpy(driver_at(&driver, buffers[1].gpa + HEADER - 5, 3), frame, 3);
	memcpy(driver_at(&driver, buffers[2].gpa, len - 3), frame + 3, len - 3);
	driver_add(&driver, TX, buffers, 3);
	driver_kick(&driver, TX);
	driver_wait(&driver, TX, NULL);
}

static void expect_at_peer(int fd, const uint8_t *frame, size_t len, uint8_t header[NETNS_HEADER])
{
	static uint8_t got[WHOLE];
	assert_int_equal(netns_receive(fd, header, got, sizeof(got)), len);
	assert_memory_equal(got, frame, len);
}

static const uint8_t plain[HEADER];

/* ---- */

static void test_both_ways(void **state)
{
	(void)state;
	static uint8_t frame[LONG], header[NETNS_HEADER];
	static const size_t lengths[] = {60, 61, 700, LONG};
	begin(F(MAC) | F(STATUS));
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(driver_get(&driver, driver.device + i, 1), guest_mac[i]);
	assert_int_equal(driver_get(&driver, driver.device + 6, 2), VIRTIO_NET_S_LINK_UP);
	for (unsigned i = 0; i < 4; i++) {
		make_frame(frame, lengths[i], host_mac, guest_mac, i);
		transmit(plain, frame, (uint32_t)lengths[i]);
		expect_at_peer(peer, frame, lengths[i], header);
		make_frame(frame, lengths[i], guest_mac, host_mac, i + 50);
		offer(HEADER + LONG);
		netns_send(peer, NULL, frame, lengths[i]);
		expect(frame, lengths[i], 1);
	}
	/* What does not fit into the buffer is lost, and the buffer is used for the next. */
	offer(HEADER + 100);
	make_frame(frame, LONG, guest_mac, host_mac, 1);
	netns_send(peer, NULL, frame, LONG);
	make_frame(frame, 100, guest_mac, host_mac, 2);
	netns_send(peer, NULL, frame, 100);
	expect(frame, 100, 1);
}

static void test_mergeable(void **state)
{
	(void)state;
	static uint8_t frame[LONG];
	begin(F(MRG_RXBUF));
	for (int i = 0; i < 12; i++)
		offer(512);
	for (unsigned i = 0; i < 20; i++) {
		static const size_t lengths[] = {60, 500, 501, 1024 - HEADER, 1025 - HEADER};
		static const unsigned buffers[] = {1, 1, 2, 2, 3};
		unsigned k = i % 5;
		make_frame(frame, lengths[k], guest_mac, host_mac, i);
		netns_send(peer, NULL, frame, lengths[k]);
		expect(frame, lengths[k], buffers[k]);
		for (unsigned n = 0; n < buffers[k]; n++)
			offer(512);
	}
}

static void test_no_buffers(void **state)
{
	(void)state;
	static uint8_t frame[LONG];
	begin(F(MRG_RXBUF));
	/* They wait in the tap. */
	for (unsigned i = 0; i < 10; i++) {
		make_frame(frame, 200 + i, guest_mac, host_mac, i);
		netns_send(peer, NULL, frame, 200 + i);
	}
	for (unsigned i = 0; i < 10; i++) {
		offer(512);
		make_frame(frame, 200 + i, guest_mac, host_mac, i);
		expect(frame, 200 + i, 1);
	}
	/* One that is larger than what is offered waits for more, whatever comes behind it. */
	make_frame(frame, LONG, guest_mac, host_mac, 77);
	netns_send(peer, NULL, frame, LONG);
	for (int i = 0; i < 2; i++) {
		offer(512);
		transmit(plain, frame, 60);
		assert_true(driver_idle(&driver, RX));
	}
	offer(512);
	expect(frame, LONG, 3);
	/* And is lost when the machine stands still meanwhile; the next one is not. */
	netns_send(peer, NULL, frame, LONG);
	offer(512);
	transmit(plain, frame, 60);
	devices_pause(machine);
	make_frame(frame, 333, guest_mac, host_mac, 5);
	netns_send(peer, NULL, frame, 333);
	devices_resume(machine);
	expect(frame, 333, 1);
}

/* ---- offloads -------------------------------------------------------------------------------------------------------- */

static uint16_t sum(const uint8_t *data, size_t len, uint32_t start)
{
	uint32_t total = start;
	for (size_t i = 0; i < len; i++)
		total += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

static void be16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* A TCP segment with `len` bytes, its checksum left to be completed. */
static size_t make_tcp(uint8_t *frame, const uint8_t *to, const uint8_t *from, size_t len)
{
	make_frame(frame, IP_TCP + len, to, from, 9);
	uint8_t *ip = frame + 14, *tcp = ip + 20;
	static const uint8_t addresses[8] = {10, 0, 0, 1, 10, 0, 0, 2};
	be16(frame + 12, 0x0800);
	memset(ip, 0, 40);
	ip[0] = 0x45;
	be16(ip + 2, (unsigned)(40 + len));
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, addresses, 8);
	be16(ip + 10, (uint16_t)~sum(ip, 20, 0));
	be16(tcp, 1000);
	be16(tcp + 2, 2000);
	tcp[12] = 5 << 4;
	tcp[13] = 0x10; /* ACK */
	be16(tcp + 14, 1000);
	be16(tcp + 16, sum(addresses, 8, (uint32_t)(6 + 20 + len)));
	return IP_TCP + len;
}

static void put_header(uint8_t *at, uint8_t flags, uint8_t gso, unsigned hdr_len, unsigned gso_size,
		       unsigned csum_start, unsigned csum_offset)
{
	memset(at, 0, NETNS_HEADER);
	at[0] = flags;
	at[1] = gso;
	le16_put(at + 2, (uint16_t)hdr_len);
	le16_put(at + 4, (uint16_t)gso_size);
	le16_put(at + 6, (uint16_t)csum_start);
	le16_put(at + 8, (uint16_t)csum_offset);
}

enum { NEEDS = VIRTIO_NET_HDR_F_NEEDS_CSUM, TCP4 = VIRTIO_NET_HDR_GSO_TCPV4, MSS = 1400, BIG = 20 * MSS };

static void test_offloads_out(void **state)
{
	(void)state;
	static uint8_t frame[IP_TCP + BIG], got[WHOLE];
	uint8_t header[HEADER] = {0}, seen[NETNS_HEADER];
	begin(F(CSUM) | F(HOST_TSO4));
	size_t len = make_tcp(frame, host_mac, guest_mac, 100);
	put_header(header, NEEDS, 0, 0, 0, 34, 16);
	transmit(header, frame, (uint32_t)len);
	assert_int_equal(netns_receive(peer, seen, got, sizeof(got)), len);
	assert_int_equal(seen[0] & NEEDS, NEEDS);
	assert_int_equal(le16_get(seen + 6), 34);
	assert_int_equal(le16_get(seen + 8), 16);
	/* One that is to be cut into segments of MSS bytes. */
	len = make_tcp(frame, host_mac, guest_mac, BIG);
	put_header(header, NEEDS, TCP4, IP_TCP, MSS, 34, 16);
	transmit(header, frame, (uint32_t)len);
	assert_int_equal(netns_receive(peer, seen, got, sizeof(got)), len);
	assert_int_equal(seen[1], TCP4);
	assert_int_equal(le16_get(seen + 4), MSS);
	assert_memory_equal(got + IP_TCP, frame + IP_TCP, BIG);
}

static void test_offloads_in(void **state)
{
	(void)state;
	static uint8_t frame[IP_TCP + BIG], got[WHOLE];
	uint8_t header[HEADER], sent[NETNS_HEADER];
	unsigned buffers;
	size_t len = make_tcp(frame, guest_mac, host_mac, BIG);
	put_header(sent, NEEDS, TCP4, IP_TCP, MSS, 34, 16);
	/* A guest that can has it whole. */
	begin(F(MRG_RXBUF) | F(GUEST_CSUM) | F(GUEST_TSO4));
	for (int i = 0; i < 12; i++)
		offer(4096);
	netns_send(peer, sent, frame, len);
	assert_int_equal(take(header, got, &buffers), len);
	assert_int_equal(buffers, (len + HEADER + 4095) / 4096);
	assert_int_equal(header[1], TCP4);
	assert_int_equal(header[0] & NEEDS, NEEDS);
	assert_int_equal(le16_get(header + 4), MSS);
	assert_memory_equal(got + IP_TCP, frame + IP_TCP, BIG);
	/* Another one has segments, whose checksums are complete. */
	begin(F(MRG_RXBUF));
	for (int i = 0; i < 25; i++)
		offer(2048);
	netns_send(peer, sent, frame, len);
	for (unsigned i = 0; i < BIG / MSS; i++) {
		assert_int_equal(take(header, got, &buffers), IP_TCP + MSS);
		assert_int_equal(header[0], 0);
		assert_int_equal(header[1], 0);
		assert_memory_equal(got + IP_TCP, frame + IP_TCP + i * MSS, MSS);
		assert_int_equal(sum(got + 34, 20 + MSS, sum(got + 26, 8, 6 + 20 + MSS)), 0xffff);
	}
}

static void test_garbage(void **state)
{
	(void)state;
	static uint8_t frame[IP_TCP + 2000];
	uint8_t header[HEADER] = {0}, seen[NETNS_HEADER];
	begin(F(CSUM) | F(HOST_TSO4));
	size_t len = make_tcp(frame, host_mac, guest_mac, 2000);
	const struct {
		unsigned flags, gso, hdr_len, gso_size, start, offset;
	} bad[] = {
	    {NEEDS, 0, 0, 0, (unsigned)len - 1, 0},                      /* a checksum behind the end */
	    {NEEDS, 0, 0, 0, 34, (unsigned)len - 34},                    /* the same */
	    {NEEDS, 0, 0, 0, 0xffff, 0xffff},                            /* and so far that it wraps */
	    {0, TCP4, IP_TCP, MSS, 34, 16},                              /* segments without checksums */
	    {NEEDS, TCP4, IP_TCP, 0, 34, 16},                            /* of no bytes */
	    {NEEDS, TCP4, (unsigned)len + 1, MSS, 34, 16},               /* headers longer than the frame */
	    {NEEDS, VIRTIO_NET_HDR_GSO_TCPV6, IP_TCP, MSS, 34, 16},      /* not agreed */
	    {NEEDS, VIRTIO_NET_HDR_GSO_UDP, IP_TCP, MSS, 34, 16},        /* not agreed */
	    {NEEDS, TCP4 | VIRTIO_NET_HDR_GSO_ECN, IP_TCP, MSS, 34, 16}, /* not agreed */
	    {NEEDS, VIRTIO_NET_HDR_GSO_ECN, IP_TCP, MSS, 34, 16},        /* of nothing */
	    {NEEDS, 2, IP_TCP, MSS, 34, 16},                             /* no such type */
	    {NEEDS, 0x7f, IP_TCP, MSS, 34, 16},
	};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put_header(header, (uint8_t)bad[i].flags, (uint8_t)bad[i].gso, bad[i].hdr_len,
			   bad[i].gso_size, bad[i].start, bad[i].offset);
		transmit(header, frame, (uint32_t)len);
	}
	/* Nothing of that comes out before this. */
	make_frame(frame, 60, host_mac, guest_mac, 1);
	transmit(plain, frame, 60);
	expect_at_peer(peer, frame, 60, seen);
	/* Without the feature even a proper checksum request is none. */
	begin(0);
	len = make_tcp(frame, host_mac, guest_mac, 100);
	put_header(header, NEEDS, 0, 0, 0, 34, 16);
	transmit(header, frame, (uint32_t)len);
	make_frame(frame, 60, host_mac, guest_mac, 2);
	transmit(plain, frame, 60);
	expect_at_peer(peer, frame, 60, seen);
}

/* ---- control, breaking, moving ----------------------------------------------------------------------------------------- */

static uint8_t command(uint8_t class, uint8_t number)
{
	const struct driver_buffer buffers[2] = {{driver_alloc(&driver, 3), 3, false},
						 {driver_alloc(&driver, 1), 1, true}};
	const uint8_t request[3] = {class, number, 1};
	uint32_t len;
	memcpy(driver_at(&driver, buffers[0].gpa, 3), request, 3);
	*(uint8_t *)driver_at(&driver, buffers[1].gpa, 1) = 0xee;
	driver_add(&driver, CONTROL, buffers, 2);
	driver_kick(&driver, CONTROL);
	driver_wait(&driver, CONTROL, &len);
	assert_int_equal(len, 1);
	return *(uint8_t *)driver_at(&driver, buffers[1].gpa, 1);
}

static void test_control(void **state)
{
	(void)state;
	begin(F(CTRL_VQ) | F(CTRL_RX));
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC), VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI), VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET), VIRTIO_NET_OK);
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(99, 99), VIRTIO_NET_ERR);
}

static void test_broken(void **state)
{
	(void)state;
	const struct {
		unsigned queue;
		struct driver_buffer buffer;
	} cases[] = {
	    {RX, {MEMORY * 2, HEADER - 1, true}}, {RX, {MEMORY * 2, 2000, false}},
	    {RX, {0xfee00000, 2000, true}},       {TX, {MEMORY * 2, HEADER - 1, false}},
	    {TX, {RAM - 100, 101, false}},        {CONTROL, {MEMORY * 2, 1, true}},
	    {CONTROL, {MEMORY * 2, 2, false}},
	};
	static uint8_t frame[60], header[NETNS_HEADER];
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(F(MRG_RXBUF) | F(CTRL_VQ));
		driver_add(&driver, cases[i].queue, &cases[i].buffer, 1);
		driver_kick(&driver, cases[i].queue);
		driver_wait_broken(&driver);
	}
	begin(0);
	make_frame(frame, 60, host_mac, guest_mac, 3);
	transmit(plain, frame, 60);
	expect_at_peer(peer, frame, 60, header);
}

static void is_rarp(int fd)
{
	uint8_t header[NETNS_HEADER], frame[200];
	assert_int_equal(netns_receive(fd, header, frame, sizeof(frame)), 60);
	static const uint8_t start[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, type[] = {0x80, 0x35};
	assert_memory_equal(frame, start, 6);
	assert_memory_equal(frame + 6, guest_mac, 6);
	assert_memory_equal(frame + 12, type, 2);
	assert_memory_equal(frame + 22, guest_mac, 6);
	assert_memory_equal(frame + 32, guest_mac, 6);
}

/* To another host's tap, here the other port of a bridge, with buffers on their way and frames that come meanwhile. */
static void test_move(void **state)
{
	(void)state;
	struct err err = {0};
	struct buf saved = {0};
	static uint8_t frame[LONG], header[NETNS_HEADER];
	netns_bridge("br0");
	netns_tap("tap1");
	netns_join("br0", "tap0");
	netns_join("br0", "tap1");
	int far = netns_socket("br0");
	begin(F(MRG_RXBUF) | F(STATUS) | F(CTRL_VQ) | F(GUEST_ANNOUNCE));
	for (int i = 0; i < 13; i++)
		offer(512);
	/* The bridge learns that the guest is at tap0. */
	make_frame(frame, 60, host_mac, guest_mac, 3);
	memset(frame, 0xff, 6);
	transmit(plain, frame, 60);
	expect_at_peer(far, frame, 60, header);
	make_frame(frame, 60, guest_mac, host_mac, 4);
	netns_send(far, NULL, frame, 60);
	expect(frame, 60, 1);
	/* A pause by itself: what comes meanwhile is there afterwards, and nobody is told anything. */
	devices_pause(machine);
	make_frame(frame, 1000, guest_mac, host_mac, 5);
	netns_send(far, NULL, frame, 1000);
	devices_resume(machine);
	expect(frame, 1000, 2);
	assert_true(netns_silent(far));
	assert_int_equal(driver_get(&driver, driver.device + 6, 2), VIRTIO_NET_S_LINK_UP);

	machine_pause(machine);
	virtio_save(machine->virtio[SLOT], &saved);
	struct machine *other = make("tap1", dup(machine_ram_fd(machine)), &err);
	assert_non_null(other);
	if (virtio_load(other->virtio[SLOT], saved.data, saved.len, &err))
		fail_msg("%s", err.text);
	machine_destroy(machine);
	machine = driver.machine = other;
	(void)driver_pending(&driver, 0);
	assert_true(netns_silent(far));
	netns_running("tap1");
	devices_resume(machine);
	for (int i = 0; i < 5; i++)
		is_rarp(far);
	/* The guest is asked to announce itself, and does. */
	assert_true(driver_pending(&driver, 0));
	assert_int_equal(driver_get(&driver, driver.device + 6, 2),
			 VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK), VIRTIO_NET_OK);
	assert_int_equal(driver_get(&driver, driver.device + 6, 2), VIRTIO_NET_S_LINK_UP);
	/* The bridge has learnt, and the buffers that were left are still good. */
	for (unsigned i = 0; i < 6; i++) {
		make_frame(frame, 100 + i, guest_mac, host_mac, i);
		netns_send(far, NULL, frame, 100 + i);
		expect(frame, 100 + i, 1);
	}
	machine_pause(machine);
	for (size_t cut = 0; cut < saved.len; cut++)
		assert_int_not_equal(virtio_load(machine->virtio[SLOT], saved.data, cut, &err), 0);
	buf_free(&saved);
	machine_destroy(machine);
	machine = NULL;
	close(far);
	netns_delete("br0");
	netns_delete("tap1");
}

static void test_link_lost(void **state)
{
	(void)state;
	static uint8_t frame[60];
	begin(F(STATUS));
	offer(2000);
	(void)driver_pending(&driver, 0);
	netns_delete("tap0");
	for (int i = 0; i < 50000 && driver_get(&driver, driver.device + 6, 2); i++)
		usleep(100);
	assert_int_equal(driver_get(&driver, driver.device + 6, 2), 0);
	assert_true(driver_pending(&driver, 0));
	/* The guest goes on sending, to nobody. */
	make_frame(frame, 60, host_mac, guest_mac, 3);
	transmit(plain, frame, 60);
	offer(2000);
	transmit(plain, frame, 60);
	assert_int_equal(driver_status(&driver) & VIRTIO_NEEDS_RESET, 0);
}

static void test_taps(void **state)
{
	(void)state;
	struct err err = {0};
	assert_null(make("nosuch", -1, &err));
	assert_non_null(strstr(err.text, "there is no network interface nosuch"));
	assert_non_null(strstr(err.text, "ip tuntap add dev nosuch mode tap user "));
	assert_null(make("tap0", -1, &err));
	assert_non_null(strstr(err.text, "tap tap0 is used by another process"));
	assert_null(make("lo", -1, &err));
	assert_non_null(strstr(err.text, "interface lo is no tap with one queue"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_mergeable, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_buffers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_offloads_out, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_offloads_in, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_control, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_move, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_link_lost, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_taps, setup, teardown),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
