/* test_virtio_net_move.c: a network device that moves to the tap of another host, here the other port of a bridge; a tap that goes
 * away, and taps that cannot be had. */
#include "tests/lib/netkit.h"
#include "tests/lib/test.h"

#include <string.h>
#include <unistd.h>

static void is_rarp(int fd)
{
	uint8_t header[NETNS_HEADER], frame[200];
	assert_int_equal(netns_receive(fd, header, frame, sizeof(frame)), 60);
	static const uint8_t start[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, type[] = {0x80, 0x35};
	assert_memory_equal(frame, start, 6);
	assert_memory_equal(frame + 6, netkit_guest_mac, 6);
	assert_memory_equal(frame + 12, type, 2);
	assert_memory_equal(frame + 22, netkit_guest_mac, 6);
	assert_memory_equal(frame + 32, netkit_guest_mac, 6);
}

/* To another host's tap, here the other port of a bridge, with buffers on their way and frames that come meanwhile. */
static void test_move(void **state)
{
	(void)state;
	struct err err = {0};
	struct buf saved = {0};
	static uint8_t frame[NETKIT_LONG], header[NETNS_HEADER];
	netns_bridge("br0");
	netns_tap("tap1");
	netns_join("br0", "tap0");
	netns_join("br0", "tap1");
	int far = netns_socket("br0");
	netkit_begin(NETKIT_F(MRG_RXBUF) | NETKIT_F(STATUS) | NETKIT_F(CTRL_VQ) | NETKIT_F(GUEST_ANNOUNCE));
	for (int i = 0; i < 13; i++)
		netkit_offer(512);
	/* The bridge learns that the guest is at tap0. */
	netkit_frame(frame, 60, netkit_host_mac, netkit_guest_mac, 3);
	memset(frame, 0xff, 6);
	netkit_transmit(netkit_plain, frame, 60);
	netkit_expect_at_peer(far, frame, 60, header);
	netkit_frame(frame, 60, netkit_guest_mac, netkit_host_mac, 4);
	netns_send(far, NULL, frame, 60);
	netkit_expect(frame, 60, 1);
	/* A pause by itself: what comes meanwhile is there afterwards, and nobody is told anything. */
	devices_pause(netkit_machine);
	netkit_frame(frame, 1000, netkit_guest_mac, netkit_host_mac, 5);
	netns_send(far, NULL, frame, 1000);
	devices_resume(netkit_machine);
	netkit_expect(frame, 1000, 2);
	assert_true(netns_silent(far));
	assert_int_equal(driver_get(&netkit_driver, netkit_driver.device + 6, 2), VIRTIO_NET_S_LINK_UP);

	machine_pause(netkit_machine);
	virtio_save(netkit_machine->virtio[NETKIT_SLOT], &saved);
	struct machine *other = netkit_make("tap1", dup(machine_ram_fd(netkit_machine)), &err);
	assert_non_null(other);
	if (virtio_load(other->virtio[NETKIT_SLOT], saved.data, saved.len, &err))
		fail_msg("%s", err.text);
	machine_destroy(netkit_machine);
	netkit_machine = netkit_driver.machine = other;
	(void)driver_pending(&netkit_driver, 0);
	assert_true(netns_silent(far));
	netns_running("tap1");
	devices_resume(netkit_machine);
	for (int i = 0; i < 5; i++)
		is_rarp(far);
	/* The guest is asked to announce itself, and does. */
	assert_true(driver_pending(&netkit_driver, 0));
	assert_int_equal(driver_get(&netkit_driver, netkit_driver.device + 6, 2),
			 VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(netkit_command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK),
			 VIRTIO_NET_OK);
	assert_int_equal(driver_get(&netkit_driver, netkit_driver.device + 6, 2), VIRTIO_NET_S_LINK_UP);
	/* The bridge has learnt, and the buffers that were left are still good. */
	for (unsigned i = 0; i < 6; i++) {
		netkit_frame(frame, 100 + i, netkit_guest_mac, netkit_host_mac, i);
		netns_send(far, NULL, frame, 100 + i);
		netkit_expect(frame, 100 + i, 1);
	}
	machine_pause(netkit_machine);
	for (size_t cut = 0; cut < saved.len; cut++)
		assert_int_not_equal(virtio_load(netkit_machine->virtio[NETKIT_SLOT], saved.data, cut, &err),
				     0);
	buf_free(&saved);
	machine_destroy(netkit_machine);
	netkit_machine = NULL;
	close(far);
	netns_delete("br0");
	netns_delete("tap1");
}

static void test_link_lost(void **state)
{
	(void)state;
	static uint8_t frame[60];
	netkit_begin(NETKIT_F(STATUS));
	netkit_offer(2000);
	(void)driver_pending(&netkit_driver, 0);
	netns_delete("tap0");
	for (int i = 0; i < 50000 && driver_get(&netkit_driver, netkit_driver.device + 6, 2); i++)
		usleep(100);
	assert_int_equal(driver_get(&netkit_driver, netkit_driver.device + 6, 2), 0);
	assert_true(driver_pending(&netkit_driver, 0));
	/* The guest goes on sending, to nobody. */
	netkit_frame(frame, 60, netkit_host_mac, netkit_guest_mac, 3);
	netkit_transmit(netkit_plain, frame, 60);
	netkit_offer(2000);
	netkit_transmit(netkit_plain, frame, 60);
	assert_int_equal(driver_status(&netkit_driver) & VIRTIO_NEEDS_RESET, 0);
}

static void test_taps(void **state)
{
	(void)state;
	struct err err = {0};
	assert_null(netkit_make("nosuch", -1, &err));
	assert_non_null(strstr(err.text, "there is no network interface nosuch"));
	assert_non_null(strstr(err.text, "ip tuntap add dev nosuch mode tap user "));
	assert_null(netkit_make("tap0", -1, &err));
	assert_non_null(strstr(err.text, "tap tap0 is used by another process"));
	assert_null(netkit_make("lo", -1, &err));
	assert_non_null(strstr(err.text, "interface lo is no tap with one queue"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_move, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_link_lost, netkit_setup, netkit_teardown),
	    cmocka_unit_test_setup_teardown(test_taps, netkit_setup, netkit_teardown),
	};
	return cmocka_run_group_tests(tests, netkit_group_setup, NULL);
}
