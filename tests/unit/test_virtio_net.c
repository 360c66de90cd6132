/* test_virtio_net.c: a network device on a tap: frames both ways, mergeable buffers, a guest without buffers, the control
 * queue, buffers that make no sense. */
#include "tests/lib/netkit.h"
#include "tests/lib/test.h"

#include <string.h>

static void test_both_ways(void **state)
{
	(void)state;
	static uint8_t frame[NETKIT_LONG], header[NETNS_HEADER];
	static const size_t lengths[] = {60, 61, 700, NETKIT_LONG};
	netkit_begin(NETKIT_F(MAC) | NETKIT_F(STATUS));
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(driver_get(&netkit_driver, netkit_driver.device + i, 1),
				 netkit_guest_mac[i]);
	assert_int_equal(driver_get(&netkit_driver, netkit_driver.device + 6, 2), VIRTIO_NET_S_LINK_UP);
	for (unsigned i = 0; i < 4; i++) {
		netkit_frame(frame, lengths[i], netkit_host_mac, netkit_guest_mac, i);
		netkit_transmit(netkit_plain, frame, (uint32_t)lengths[i]);
		netkit_expect_at_peer(netkit_peer, frame, lengths[i], header);
		netkit_frame(frame, lengths[i], netkit_guest_mac, netkit_host_mac, i + 50);
		netkit_offer(NETKIT_HEADER + NETKIT_LONG);
		netns_send(netkit_peer, NULL, frame, lengths[i]);
		netkit_expect(frame, lengths[i], 1);
	}
	/* What does not fit into the buffer is lost, and the buffer is used for the next. */
	netkit_offer(NETKIT_HEADER + 100);
	netkit_frame(frame, NETKIT_LONG, netkit_guest_mac, netkit_host_mac, 1);
	netns_send(netkit_peer, NULL, frame, NETKIT_LONG);
	netkit_frame(frame, 100, netkit_guest_mac, netkit_host_mac, 2);
	netns_send(netkit_peer, NULL, frame, 100);
	netkit_expect(frame, 100, 1);
}

static void test_mergeable(void **state)
{
	(void)state;
	static uint8_t frame[NETKIT_LONG];
	netkit_begin(NETKIT_F(MRG_RXBUF));
	for (int i = 0; i < 12; i++)
		netkit_offer(512);
	for (unsigned i = 0; i < 20; i++) {
		static const size_t lengths[] = {60, 500, 501, 1024 - NETKIT_HEADER, 1025 - NETKIT_HEADER};
		static const unsigned buffers[] = {1, 1, 2, 2, 3};
		unsigned k = i % 5;
		netkit_frame(frame, lengths[k], netkit_guest_mac, netkit_host_mac, i);
		netns_send(netkit_peer, NULL, frame, lengths[k]);
		netkit_expect(frame, lengths[k], buffers[k]);
		for (unsigned n = 0; n < buffers[k]; n++)
			netkit_offer(512);
	}
}

static void test_no_buffers(void **state)
{
	(void)state;
	static uint8_t frame[NETKIT_LONG];
	netkit_begin(NETKIT_F(MRG_RXBUF));
	/* They wait in the tap. */
	for (unsigned i = 0; i < 10; i++) {
		netkit_frame(frame, 200 + i, netkit_guest_mac, netkit_host_mac, i);
		netns_send(netkit_peer, NULL, frame, 200 + i);
	}
	for (unsigned i = 0; i < 10; i++) {
		netkit_offer(512);
		netkit_frame(frame, 200 + i, netkit_guest_mac, netkit_host_mac, i);
		netkit_expect(frame, 200 + i, 1);
	}
	/* One that is larger than what is offered waits for more, whatever comes behind it. */
	netkit_frame(frame, NETKIT_LONG, netkit_guest_mac, netkit_host_mac, 77);
	netns_send(netkit_peer, NULL, frame, NETKIT_LONG);
	for (int i = 0; i < 2; i++) {
		netkit_offer(512);
		netkit_transmit(netkit_plain, frame, 60);
		assert_true(driver_idle(&netkit_driver, NETKIT_RX));
	}
	netkit_offer(512);
	netkit_expect(frame, NETKIT_LONG, 3);
	/* And is lost when the netkit_machine stands still meanwhile; the next one is not. */
	netns_send(netkit_peer, NULL, frame, NETKIT_LONG);
	netkit_offer(512);
	netkit_transmit(netkit_plain, frame, 60);
	devices_pause(netkit_machine);
	netkit_frame(frame, 333, netkit_guest_mac, netkit_host_mac, 5);
	netns_send(netkit_peer, NULL, frame, 333);
	devices_resume(netkit_machine);
	netkit_expect(frame, 333, 1);
}

static void test_control(void **state)
{
	(void)state;
	netkit_begin(NETKIT_F(CTRL_VQ) | NETKIT_F(CTRL_RX));
	assert_int_equal(netkit_command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC), VIRTIO_NET_OK);
	assert_int_equal(netkit_command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI), VIRTIO_NET_OK);
	assert_int_equal(netkit_command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET), VIRTIO_NET_OK);
	assert_int_equal(netkit_command(VIRTIO_NET_CTRL_MQ, 0), VIRTIO_NET_ERR);
	assert_int_equal(netkit_command(99, 99), VIRTIO_NET_ERR);
}

static void test_broken(void **state)
{
	(void)state;
	const struct {
		unsigned queue;
		struct driver_buffer buffer;
	} cases[] = {
	    {NETKIT_RX, {NETKIT_MEMORY * 2, NETKIT_HEADER - 1, true}},
	    {NETKIT_RX, {NETKIT_MEMORY * 2, 2000, false}},
	    {NETKIT_RX, {0xfee00000, 2000, true}},
	    {NETKIT_TX, {NETKIT_MEMORY * 2, NETKIT_HEADER - 1, false}},
	    {NETKIT_TX, {NETKIT_RAM - 100, 101, false}},
	    {NETKIT_CONTROL, {NETKIT_MEMORY * 2, 1, true}},
	    {NETKIT_CONTROL, {NETKIT_MEMORY * 2, 2, false}},
	};
	static uint8_t frame[60], header[NETNS_HEADER];
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		netkit_begin(NETKIT_F(MRG_RXBUF) | NETKIT_F(CTRL_VQ));
		driver_add(&netkit_driver, cases[i].queue, &cases[i].buffer, 1);
		driver_kick(&netkit_driver, cases[i].queue);
		driver_wait_broken(&netkit_driver);
	}
	netkit_begin(0);
	netkit_frame(frame, 60, netkit_host_mac, netkit_guest_mac, 3);
	netkit_transmit(netkit_plain, frame, 60);
	netkit_expect_at_peer(netkit_peer, frame, 60, header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_both_ways, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_mergeable, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_no_buffers, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_control, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_broken, netkit_setup, netkit_teardown),
	};
	return cmocka_run_group_tests(tests, netkit_group_setup, NULL);
}
