/* virtio_net.h: the network device (VIRTIO 1.2, 5.1) on a tap: what virtio_net.c (what it is, and its control queue) and
 * virtio_net_io.c (frames) share. */
#ifndef VMM_VIRTIO_NET_H
#define VMM_VIRTIO_NET_H

#include "vmm/tap.h"
#include "vmm/virtio.h"

enum {
	NET_QUEUE_RX,
	NET_QUEUE_TX,
	NET_QUEUE_CONTROL,
	NET_QUEUES,
	NET_QUEUE_SIZE = 256,
	/* Header, Ethernet header with two VLAN tags, and what the largest of segments to be split has. */
	NET_FRAME_MAX = TAP_HEADER + 22 + 65535,
	NET_HAND_IOVS = 1023, /* with the spill behind them what one readv takes */
	/* bits of the feature words */
	NET_F_CSUM = 0,
	NET_F_GUEST_CSUM = 1,
	NET_F_MAC = 5,
	NET_F_GUEST_TSO4 = 7,
	NET_F_GUEST_TSO6 = 8,
	NET_F_GUEST_ECN = 9,
	NET_F_GUEST_UFO = 10,
	NET_F_HOST_TSO4 = 11,
	NET_F_HOST_TSO6 = 12,
	NET_F_HOST_ECN = 13,
	NET_F_HOST_UFO = 14,
	NET_F_MRG_RXBUF = 15,
	NET_F_STATUS = 16,
	NET_F_CTRL_VQ = 17,
	NET_F_CTRL_RX = 18,
	NET_F_GUEST_ANNOUNCE = 21,
	/* bits of the status field */
	NET_S_LINK_UP = 1,
	NET_S_ANNOUNCE = 2,
	/* fds of the loop */
	NET_FD_TAP = 0,
	NET_FD_TIMER = 1,
};

/* Chains taken from the receive queue and not filled yet, oldest first: a frame is read straight into them.  They are the
 * ones that were popped last, so that unpopping as many gives them back. */
struct net_hand {
	unsigned count, iovs;
	uint64_t bytes;
	struct {
		uint16_t head, iovs;
		uint64_t bytes;
	} chain[NET_QUEUE_SIZE];
	struct iovec iov[NET_HAND_IOVS];
};

struct net {
	struct virtio dev; /* first */
	struct virtio_loop loop;
	struct tap tap;
	uint8_t mac[6];
	uint16_t status;        /* atomic: read by vCPU threads */
	bool tap_gone;          /* the interface was deleted, or there never was one: the link is down */
	bool arrived;           /* loaded and not started yet */
	unsigned announcements; /* that are still to be sent */
	struct net_hand hand;   /* loop's thread */
	uint64_t held,
	    held_fit; /* a frame of `held` bytes (0: none) lies in the hand, and behind held_fit in the spill */
	uint8_t spill[NET_FRAME_MAX];
	struct iovec iov[VIRTQUEUE_CHAIN_MAX + 1];
	struct virtqueue_chain chain;
};

/* For the loop: what a kick of the queue, or the readable tap, asks for; bounded, so that all get their turn. */
void net_rx_kicked(struct net *net);
void net_rx_ready(struct net *net);
void net_tx_kicked(struct net *net);
/* net_rx_return: give the hand back to the queue; a frame that waits for more buffers is lost.  Loop stopped. */
void net_rx_return(struct net *net);
/* net_header_fits(features, header, len): what the driver put before a frame of len bytes is what these features allow, and
 * points nowhere outside of it.  Clears what has no meaning for the host. */
bool net_header_fits(uint64_t features, uint8_t header[TAP_HEADER], size_t len);

#endif
