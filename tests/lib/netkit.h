/* netkit.h: a machine with a network device on a tap in a network namespace, the driver in the test, and a socket that sees and
 * sends frames at the tap.  Needs root.  Every surprise fails the test. */
#ifndef TESTS_LIB_NETKIT_H
#define TESTS_LIB_NETKIT_H

#include "common/err.h"
#include "tests/lib/netns.h"
#include "tests/lib/virtio_driver.h"
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NETKIT_SLOT = 3,
	NETKIT_MEMORY = 1 << 20, /* the driver's */
	NETKIT_RAM = 16 << 20,
	NETKIT_RX = 0, /* queues */
	NETKIT_TX = 1,
	NETKIT_CONTROL = 2,
	NETKIT_HEADER = 12, /* before each frame in the guest's buffers */
	NETKIT_LONG = 1514,
	NETKIT_WHOLE = 65562 + 22, /* a buffer for any frame */
};
#define NETKIT_F(name) VIRTIO_BIT(VIRTIO_NET_F_##name)

extern const uint8_t netkit_guest_mac[6], netkit_host_mac[6];
extern const uint8_t netkit_plain[NETKIT_HEADER]; /* a header that asks for nothing */
extern struct machine *netkit_machine;
extern struct driver netkit_driver;
extern int netkit_peer;

/* netkit_group_setup: of the program.  netkit_setup, netkit_teardown: of each test: tap0, and the machine on it. */
int netkit_group_setup(void **state);
int netkit_setup(void **state);
int netkit_teardown(void **state);
/* netkit_make: a machine whose device is on that tap; ram_fd -1: RAM of its own. */
struct machine *netkit_make(const char *tap, int ram_fd, struct err *err);
/* netkit_begin: the driver anew, with these features, all of which must be there. */
void netkit_begin(uint64_t features);

/* netkit_frame: of an experimental Ethernet type with something in it. */
void netkit_frame(uint8_t *frame, size_t len, const uint8_t *to, const uint8_t *from, unsigned seed);
/* netkit_offer: a buffer of len bytes for what comes in.  netkit_take: the next frame, of as many buffers as it says, which were all
 * there at the same time.  netkit_expect: this is the next one from netkit_host_mac. */
void netkit_offer(uint32_t len);
size_t netkit_take(uint8_t header[NETKIT_HEADER], uint8_t *frame, unsigned *buffers);
void netkit_expect(const uint8_t *frame, size_t len, unsigned buffers);
/* netkit_transmit: the guest sends a frame, and has its buffers back.  netkit_expect_at_peer: it comes there next. */
void netkit_transmit(const uint8_t header[NETKIT_HEADER], const uint8_t *frame, uint32_t len);
void netkit_expect_at_peer(int fd, const uint8_t *frame, size_t len, uint8_t header[NETNS_HEADER]);
/* netkit_command: one to the control queue; the device's answer. */
uint8_t netkit_command(uint8_t class, uint8_t number);

#endif
