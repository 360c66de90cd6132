/* test_virtio_net_offloads.c: checksums and segmentation between a guest and its tap, and headers that the kernel must not
 * see. */
#include "tests/lib/netkit.h"
#include "tests/lib/test.h"

#include <string.h>

enum { IP_TCP = 14 + 20 + 20 };

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
	netkit_frame(frame, IP_TCP + len, to, from, 9);
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
	static uint8_t frame[IP_TCP + BIG], got[NETKIT_WHOLE];
	uint8_t header[NETKIT_HEADER] = {0}, seen[NETNS_HEADER];
	netkit_begin(NETKIT_F(CSUM) | NETKIT_F(HOST_TSO4));
	size_t len = make_tcp(frame, netkit_host_mac, netkit_guest_mac, 100);
	put_header(header, NEEDS, 0, 0, 0, 34, 16);
	netkit_transmit(header, frame, (uint32_t)len);
	assert_int_equal(netns_receive(netkit_peer, seen, got, sizeof(got)), len);
	assert_int_equal(seen[0] & NEEDS, NEEDS);
	assert_int_equal(le16_get(seen + 6), 34);
	assert_int_equal(le16_get(seen + 8), 16);
	/* One that is to be cut into segments of MSS bytes. */
	len = make_tcp(frame, netkit_host_mac, netkit_guest_mac, BIG);
	put_header(header, NEEDS, TCP4, IP_TCP, MSS, 34, 16);
	netkit_transmit(header, frame, (uint32_t)len);
	assert_int_equal(netns_receive(netkit_peer, seen, got, sizeof(got)), len);
	assert_int_equal(seen[1], TCP4);
	assert_int_equal(le16_get(seen + 4), MSS);
	assert_memory_equal(got + IP_TCP, frame + IP_TCP, BIG);
}

static void test_offloads_in(void **state)
{
	(void)state;
	static uint8_t frame[IP_TCP + BIG], got[NETKIT_WHOLE];
	uint8_t header[NETKIT_HEADER], sent[NETNS_HEADER];
	unsigned buffers;
	size_t len = make_tcp(frame, netkit_guest_mac, netkit_host_mac, BIG);
	put_header(sent, NEEDS, TCP4, IP_TCP, MSS, 34, 16);
	/* A guest that can has it whole. */
	netkit_begin(NETKIT_F(MRG_RXBUF) | NETKIT_F(GUEST_CSUM) | NETKIT_F(GUEST_TSO4));
	for (int i = 0; i < 12; i++)
		netkit_offer(4096);
	netns_send(netkit_peer, sent, frame, len);
	assert_int_equal(netkit_take(header, got, &buffers), len);
	assert_int_equal(buffers, (len + NETKIT_HEADER + 4095) / 4096);
	assert_int_equal(header[1], TCP4);
	assert_int_equal(header[0] & NEEDS, NEEDS);
	assert_int_equal(le16_get(header + 4), MSS);
	assert_memory_equal(got + IP_TCP, frame + IP_TCP, BIG);
	/* Another one has segments, whose checksums are complete. */
	netkit_begin(NETKIT_F(MRG_RXBUF));
	for (int i = 0; i < 25; i++)
		netkit_offer(2048);
	netns_send(netkit_peer, sent, frame, len);
	for (unsigned i = 0; i < BIG / MSS; i++) {
		assert_int_equal(netkit_take(header, got, &buffers), IP_TCP + MSS);
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
	uint8_t header[NETKIT_HEADER] = {0}, seen[NETNS_HEADER];
	netkit_begin(NETKIT_F(CSUM) | NETKIT_F(HOST_TSO4));
	size_t len = make_tcp(frame, netkit_host_mac, netkit_guest_mac, 2000);
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
		netkit_transmit(header, frame, (uint32_t)len);
	}
	/* Nothing of that comes out before this. */
	netkit_frame(frame, 60, netkit_host_mac, netkit_guest_mac, 1);
	netkit_transmit(netkit_plain, frame, 60);
	netkit_expect_at_peer(netkit_peer, frame, 60, seen);
	/* Without the feature even a proper checksum request is none. */
	netkit_begin(0);
	len = make_tcp(frame, netkit_host_mac, netkit_guest_mac, 100);
	put_header(header, NEEDS, 0, 0, 0, 34, 16);
	netkit_transmit(header, frame, (uint32_t)len);
	netkit_frame(frame, 60, netkit_host_mac, netkit_guest_mac, 2);
	netkit_transmit(netkit_plain, frame, 60);
	netkit_expect_at_peer(netkit_peer, frame, 60, seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_offloads_out, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_offloads_in, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_garbage, netkit_setup, netkit_teardown),
	};
	return cmocka_run_group_tests(tests, netkit_group_setup, NULL);
}
