/* virtio_net_io.c: frames between the queues of a network device and its tap, without a copy of their own. */
#include "common/iovec.h"
#include "vmm/virtio_net.h"
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

/* Frames for the guest until it learns of them, and until what it sends has its turn. */
enum { RX_BATCH = 64 };

/* ---- to the guest ------------------------------------------------------------------------------------------------- */

static struct virtqueue *rx_queue(struct net *net)
{
	return &net->dev.queue[NET_QUEUE_RX].vq;
}

static bool mergeable(const struct net *net)
{
	return virtio_has(&net->dev, NET_F_MRG_RXBUF);
}

/* hand_full: no further chain, whatever the driver offers. */
static bool hand_full(struct net *net, unsigned iovs)
{
	const struct net_hand *hand = &net->hand;
	return hand->count == NET_QUEUE_SIZE || hand->count >= rx_queue(net)->size ||
	       hand->iovs + iovs > NET_HAND_IOVS;
}

/* gather: chains into the hand until any frame has room.  *full: it would take no more.  false: the queue makes no sense. */
static bool gather(struct net *net, bool *full)
{
	struct net_hand *hand = &net->hand;
	struct virtqueue_chain *chain = &net->chain;
	uint64_t want = mergeable(net) ? NET_FRAME_MAX : 1;
	*full = false;
	while (hand->bytes < want && !*full) {
		enum virtqueue_result result = virtqueue_pop(rx_queue(net), chain);
		if (result == VIRTQUEUE_EMPTY)
			return true;
		/* The header is always within the first. */
		if (result == VIRTQUEUE_BROKEN || chain->in_bytes < TAP_HEADER || chain->in > NET_HAND_IOVS)
			return false;
		if (hand_full(net, chain->in)) {
			virtqueue_unpop(rx_queue(net));
			*full = true;
			break;
		}
		memcpy(hand->iov + hand->iovs, chain->iov + chain->out, chain->in * sizeof(hand->iov[0]));
		hand->chain[hand->count].head = chain->head;
		hand->chain[hand->count].iovs = (uint16_t)chain->in;
		hand->chain[hand->count++].bytes = chain->in_bytes;
		hand->iovs += chain->in;
		hand->bytes += chain->in_bytes;
		*full = hand_full(net, 0);
	}
	return true;
}

/* The first chains of the hand have a frame of len bytes: they go back to the driver, together. */
static void deliver(struct net *net, uint64_t len)
{
	struct net_hand *hand = &net->hand;
	struct virtqueue_used used[NET_QUEUE_SIZE];
	unsigned chains = 0, iovs = 0;
	uint8_t number[2];
	for (uint64_t left = len; left; chains++) {
		uint64_t part = hand->chain[chains].bytes < left ? hand->chain[chains].bytes : left;
		used[chains].head = hand->chain[chains].head;
		used[chains].written = (uint32_t)part;
		iovs += hand->chain[chains].iovs;
		hand->bytes -= hand->chain[chains].bytes;
		left -= part;
	}
	/* num_buffers, which the tap does not know. */
	le16_put(number, (uint16_t)chains);
	iovec_put(hand->iov, iovs, TAP_HEADER - sizeof(number), number, sizeof(number));
	virtqueue_wrote_iov(rx_queue(net), hand->iov, iovs, len);
	virtqueue_push_heads(rx_queue(net), used, chains);
	hand->count -= chains;
	hand->iovs -= iovs;
	memmove(hand->chain, hand->chain + chains, hand->count * sizeof(hand->chain[0]));
	memmove(hand->iov, hand->iov + iovs, hand->iovs * sizeof(hand->iov[0]));
}

static void link_lost(struct net *net)
{
	net->tap_gone = true;
	net->loop.fds[NET_FD_TAP] = -1;
	__atomic_and_fetch(&net->status, (uint16_t)~NET_S_LINK_UP, __ATOMIC_SEQ_CST);
	virtio_config_changed(&net->dev);
}

/* finish_held: the frame that did not fit, into what has been gathered since.  false: it still does not. */
static bool finish_held(struct net *net, bool full)
{
	struct net_hand *hand = &net->hand;
	uint64_t held = net->held;
	if (hand->bytes >= held) {
		iovec_put(hand->iov, hand->iovs, net->held_fit, net->spill, held - net->held_fit);
		net->held = 0;
		deliver(net, held);
		return true;
	}
	/* It never will where the driver cuts its buffers so small: lost. */
	if (full)
		net->held = 0;
	return full;
}

/* One frame from the tap.  true: there may be more. */
static bool read_frame(struct net *net)
{
	struct net_hand *hand = &net->hand;
	memcpy(net->iov, hand->iov, hand->iovs * sizeof(net->iov[0]));
	net->iov[hand->iovs] = (struct iovec){.iov_base = net->spill, .iov_len = sizeof(net->spill)};
	ssize_t n = readv(net->tap.fd, net->iov, (int)hand->iovs + 1);
	if (n < 0 && errno == EBADFD)
		link_lost(net);
	if (n < TAP_HEADER)
		return n < 0 && errno == EINTR;
	uint64_t len = (uint64_t)n;
	if (len <= hand->bytes) {
		deliver(net, len);
		return true;
	}
	virtqueue_wrote_iov(rx_queue(net), hand->iov, hand->iovs, hand->bytes);
	/* Without mergeable buffers one has to be enough; and longer than any frame is not ours to carry. */
	if (mergeable(net) && len <= NET_FRAME_MAX) {
		net->held = len;
		net->held_fit = hand->bytes;
	}
	return true;
}

/* The guest has no room: the tap keeps what comes, until it drops, as a network does. */
static bool wait_for_buffers(struct net *net)
{
	if (virtqueue_notify_on(rx_queue(net))) {
		virtqueue_notify_off(rx_queue(net));
		return true;
	}
	net->loop.fds[NET_FD_TAP] = -1;
	return false;
}

/* One step; true: there may be more to do. */
static bool receive(struct net *net)
{
	bool full;
	if (!gather(net, &full)) {
		virtio_broken(&net->dev);
		return false;
	}
	if (net->held)
		return finish_held(net, full) || wait_for_buffers(net);
	return net->hand.count ? read_frame(net) : wait_for_buffers(net);
}

void net_rx_ready(struct net *net)
{
	for (unsigned i = 0; i < RX_BATCH && receive(net); i++)
		;
	virtio_signal(&net->dev, NET_QUEUE_RX);
}

void net_rx_kicked(struct net *net)
{
	if (net->tap_gone)
		return;
	/* It is known already that there are buffers, or at once that there are none. */
	virtqueue_notify_off(rx_queue(net));
	net->loop.fds[NET_FD_TAP] = net->tap.fd;
	net_rx_ready(net);
}

void net_rx_return(struct net *net)
{
	while (net->hand.count) {
		virtqueue_unpop(rx_queue(net));
		net->hand.count--;
	}
	net->hand.iovs = 0;
	net->hand.bytes = 0;
	net->held = 0;
}

/* ---- from the guest ----------------------------------------------------------------------------------------------- */

static bool gso_allowed(uint64_t features, uint8_t type)
{
	bool ecn = type & VIRTIO_NET_HDR_GSO_ECN;
	if (ecn && !(features & VIRTIO_BIT(NET_F_HOST_ECN)))
		return false;
	switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return features & VIRTIO_BIT(NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return features & VIRTIO_BIT(NET_F_HOST_TSO6);
	case VIRTIO_NET_HDR_GSO_UDP:
		return !ecn && features & VIRTIO_BIT(NET_F_HOST_UFO);
	default:
		return false;
	}
}

bool net_header_fits(uint64_t features, uint8_t header[TAP_HEADER], size_t len)
{
	uint8_t type = header[1];
	uint16_t hdr_len = le16_get(header + 2), gso_size = le16_get(header + 4);
	uint32_t sum_at = (uint32_t)le16_get(header + 6) + le16_get(header + 8);
	header[0] &= VIRTIO_NET_HDR_F_NEEDS_CSUM; /* the others are about received frames */
	if (header[0] && (!(features & VIRTIO_BIT(NET_F_CSUM)) || sum_at + 2 > len))
		return false;
	if (type == VIRTIO_NET_HDR_GSO_NONE) {
		memset(header + 2, 0, 4);
		return true;
	}
	return header[0] && gso_allowed(features, type) && gso_size && hdr_len <= len;
}

/* The chain's frame into the tap.  What the kernel refuses is dropped, as on a wire. */
static int64_t send_frame(struct virtio *dev, unsigned queue)
{
	struct net *net = (struct net *)dev;
	const struct virtqueue_chain *chain = &net->chain;
	uint8_t header[TAP_HEADER];
	(void)queue;
	if (iovec_get(chain->iov, chain->out, 0, header, sizeof(header)) < sizeof(header))
		return VIRTIO_BROKEN;
	if (chain->out_bytes > NET_FRAME_MAX ||
	    !net_header_fits(dev->features, header, chain->out_bytes - sizeof(header)))
		return 0;
	net->iov[0] = (struct iovec){.iov_base = header, .iov_len = sizeof(header)};
	unsigned count = 1 + iovec_slice(chain->iov, chain->out, sizeof(header), SIZE_MAX, net->iov + 1);
	while (writev(net->tap.fd, net->iov, (int)count) < 0 && errno == EINTR)
		;
	return 0;
}

void net_tx_kicked(struct net *net)
{
	virtio_drain(&net->dev, NET_QUEUE_TX, &net->chain, send_frame);
}
