/* virtio_net.c: the network device: what it offers, its control queue, and making itself known where it has moved to.
 *
 * After a move the switches on the way still send the guest's frames to where it was.  RARP requests with its address as
 * the sender, a few in case some are lost, teach them; a guest that can announces itself too, with all its addresses. */
#include "vmm/virtio_net.h"
#include "common/io.h"
#include "common/iovec.h"
#include "vmm/devices.h"
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { ANNOUNCEMENTS = 5, ANNOUNCE_FIRST_MS = 50, ANNOUNCE_LATER_MS = 100, RARP_BYTES = 60 };

/* What the guest may be given, by what it negotiated; and the other way round what it may give. */
static const struct {
	unsigned offload, guest, host;
} offloads[] = {
    {TUN_F_CSUM, NET_F_GUEST_CSUM, NET_F_CSUM},      {TUN_F_TSO4, NET_F_GUEST_TSO4, NET_F_HOST_TSO4},
    {TUN_F_TSO6, NET_F_GUEST_TSO6, NET_F_HOST_TSO6}, {TUN_F_TSO_ECN, NET_F_GUEST_ECN, NET_F_HOST_ECN},
    {TUN_F_UFO, NET_F_GUEST_UFO, NET_F_HOST_UFO},
};
enum { OFFLOADS = sizeof(offloads) / sizeof(offloads[0]) };

static struct net *of(struct virtio *dev)
{
	return (struct net *)dev;
}

static uint64_t offered(const struct tap *tap)
{
	uint64_t features = VIRTIO_BIT(NET_F_MAC) | VIRTIO_BIT(NET_F_STATUS) | VIRTIO_BIT(NET_F_MRG_RXBUF) |
			    VIRTIO_BIT(NET_F_CTRL_VQ) | VIRTIO_BIT(NET_F_CTRL_RX) |
			    VIRTIO_BIT(NET_F_GUEST_ANNOUNCE);
	for (unsigned i = 0; i < OFFLOADS; i++)
		if (tap->able & offloads[i].offload)
			features |= VIRTIO_BIT(offloads[i].guest) | VIRTIO_BIT(offloads[i].host);
	return features;
}

/* Nothing works without the checksum, whatever the driver took. */
static unsigned wanted_offloads(const struct virtio *dev)
{
	unsigned wanted = 0;
	for (unsigned i = 0; i < OFFLOADS && virtio_has(dev, NET_F_GUEST_CSUM); i++)
		if (virtio_has(dev, offloads[i].guest))
			wanted |= offloads[i].offload;
	return wanted & (TUN_F_TSO4 | TUN_F_TSO6) ? wanted : wanted & ~(unsigned)TUN_F_TSO_ECN;
}

/* ---- making itself known ------------------------------------------------------------------------------------------ */

static void send_rarp(struct net *net)
{
	uint8_t frame[TAP_HEADER + RARP_BYTES] = {0};
	uint8_t *to = frame + TAP_HEADER, *packet = to + ETH_HLEN;
	static const uint8_t request[] = {0, 1, 8, 0, 6, 4, 0, 3}; /* Ethernet, IPv4, who am I */
	memset(to, 0xff, ETH_ALEN);
	memcpy(to + ETH_ALEN, net->mac, ETH_ALEN);
	to[12] = ETH_P_RARP >> 8;
	to[13] = ETH_P_RARP & 0xff;
	memcpy(packet, request, sizeof(request));
	memcpy(packet + 8, net->mac, ETH_ALEN);
	memcpy(packet + 18, net->mac, ETH_ALEN);
	(void)!write(net->tap.fd, frame, sizeof(frame)); /* no link: nobody to tell */
}

static void announce_next(struct net *net)
{
	struct itimerspec when = {0};
	send_rarp(net);
	if (--net->announcements == 0)
		return;
	unsigned later = ANNOUNCEMENTS - 1 - net->announcements;
	when.it_value.tv_nsec = (long)(ANNOUNCE_FIRST_MS + later * ANNOUNCE_LATER_MS) * 1000000;
	(void)timerfd_settime(net->loop.fds[NET_FD_TIMER], 0, &when, NULL);
}

static void announce(struct net *net)
{
	struct virtio *dev = &net->dev;
	net->announcements = ANNOUNCEMENTS;
	announce_next(net);
	if (virtio_has(dev, NET_F_GUEST_ANNOUNCE) && virtio_has(dev, NET_F_CTRL_VQ))
		__atomic_or_fetch(&net->status, NET_S_ANNOUNCE, __ATOMIC_SEQ_CST);
	/* In any case: the link may have been down where it came from. */
	virtio_config_changed(dev);
}

/* ---- control queue ------------------------------------------------------------------------------------------------ */

/* Receive modes and addresses are only hints to filter by; this device passes on whatever the tap gives. */
static uint8_t control(struct net *net, uint8_t class, uint8_t command)
{
	if (class == VIRTIO_NET_CTRL_RX && command <= VIRTIO_NET_CTRL_RX_ALLMULTI)
		return VIRTIO_NET_OK;
	if (class == VIRTIO_NET_CTRL_MAC && command == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return VIRTIO_NET_OK;
	if (class == VIRTIO_NET_CTRL_ANNOUNCE && command == VIRTIO_NET_CTRL_ANNOUNCE_ACK) {
		__atomic_and_fetch(&net->status, (uint16_t)~NET_S_ANNOUNCE, __ATOMIC_SEQ_CST);
		return VIRTIO_NET_OK;
	}
	return VIRTIO_NET_ERR;
}

static int64_t control_request(struct virtio *dev, unsigned queue)
{
	struct net *net = of(dev);
	struct virtqueue_chain *chain = &net->chain;
	uint8_t request[2];
	(void)queue;
	if (!chain->in_bytes ||
	    iovec_get(chain->iov, chain->out, 0, request, sizeof(request)) < sizeof(request))
		return VIRTIO_BROKEN;
	uint8_t ack = control(net, request[0], request[1]);
	iovec_put(chain->iov + chain->out, chain->in, 0, &ack, sizeof(ack));
	return sizeof(ack);
}

static void control_kicked(struct net *net)
{
	virtio_drain(&net->dev, NET_QUEUE_CONTROL, &net->chain, control_request);
}

/* ---- the device --------------------------------------------------------------------------------------------------- */

static void kicked(struct virtio *dev, unsigned queue)
{
	static void (*const handlers[NET_QUEUES])(struct net *) = {net_rx_kicked, net_tx_kicked,
								   control_kicked};
	handlers[queue](of(dev));
}

static void ready(struct virtio *dev, unsigned number)
{
	struct net *net = of(dev);
	uint64_t times;
	if (number == NET_FD_TAP)
		net_rx_ready(net);
	else if (read(net->loop.fds[NET_FD_TIMER], &times, sizeof(times)) == sizeof(times))
		announce_next(net);
}

static void config_read(struct virtio *dev, unsigned offset, void *data, unsigned len)
{
	const struct net *net = of(dev);
	uint8_t config[8];
	memcpy(config, net->mac, sizeof(net->mac));
	le16_put(config + 6, __atomic_load_n(&net->status, __ATOMIC_SEQ_CST));
	virtio_config_get(config, sizeof(config), offset, data, len);
}

static void start(struct virtio *dev)
{
	struct net *net = of(dev);
	if (!net->tap_gone && tap_set_offloads(&net->tap, wanted_offloads(dev))) {
		virtio_broken(dev);
		return;
	}
	if (net->arrived)
		announce(net);
	net->arrived = false;
	virtio_loop_start(&net->loop);
}

static void stop(struct virtio *dev)
{
	struct net *net = of(dev);
	virtio_loop_stop(&net->loop);
	net_rx_return(net);
}

static void reset(struct virtio *dev)
{
	__atomic_and_fetch(&of(dev)->status, (uint16_t)~NET_S_ANNOUNCE, __ATOMIC_SEQ_CST);
}

static void save(struct virtio *dev, struct buf *out)
{
	buf_put_u16(out, __atomic_load_n(&of(dev)->status, __ATOMIC_SEQ_CST));
}

static int load(struct virtio *dev, struct reader *reader, struct err *err)
{
	struct net *net = of(dev);
	(void)err;
	/* The link is this host's. */
	net->status = (uint16_t)((net->tap_gone ? 0 : NET_S_LINK_UP) | (reader_u16(reader) & NET_S_ANNOUNCE));
	net->arrived = true;
	/* What came before the guest did is old, and it had it where it was. */
	if (!net->tap_gone)
		tap_drain(&net->tap);
	return 0;
}

static void destroy(struct virtio *dev)
{
	struct net *net = of(dev);
	if (net->loop.dev)
		io_close(&net->loop.fds[NET_FD_TIMER]);
	virtio_loop_destroy(&net->loop);
	tap_close(&net->tap);
	free(net);
}

static const struct virtio_ops ops = {.name = "net",
				      .id = 1,
				      .class_code = 0x020000,
				      .config_read = config_read,
				      .start = start,
				      .stop = stop,
				      .reset = reset,
				      .save = save,
				      .load = load,
				      .destroy = destroy};

/* A card that is connected to nothing can do all that the one could which the guest knows: nothing ever comes of it. */
static void no_tap(struct net *net)
{
	net->tap_gone = true;
	net->status = 0;
	for (unsigned i = 0; i < OFFLOADS; i++)
		net->tap.able |= offloads[i].offload;
}

static int make(struct net *net, struct machine *machine, const struct device_config *config, struct err *err)
{
	if (!config->net.tap[0])
		no_tap(net);
	if ((config->net.tap[0] && tap_open(&net->tap, config->net.tap, err)) ||
	    virtio_init(&net->dev, &ops, machine, config->slot, offered(&net->tap), NET_QUEUES,
			NET_QUEUE_SIZE, err) ||
	    virtio_loop_init(&net->loop, &net->dev, kicked, ready, err))
		return -1;
	net->loop.fds[NET_FD_TIMER] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	return net->loop.fds[NET_FD_TIMER] < 0 ? err_sys(err, "virtio-net: cannot make its timer") : 0;
}

struct virtio *virtio_net_create(struct machine *machine, const struct device_config *config, struct err *err)
{
	struct net *net = calloc(1, sizeof(*net));
	if (!net) {
		err_sys(err, "cannot make the network device");
		return NULL;
	}
	net->tap.fd = -1;
	net->status = NET_S_LINK_UP;
	memcpy(net->mac, config->net.mac, sizeof(net->mac));
	if (make(net, machine, config, err)) {
		virtio_release(&net->dev);
		destroy(&net->dev);
		return NULL;
	}
	return &net->dev;
}
