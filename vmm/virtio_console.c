/* virtio_console.c: named ports between guest and host (VIRTIO 1.2, 5.3, with MULTIPORT), as guest agents use them.  At the
 * host a port is a UNIX stream socket.
 *
 * One client at a time; the next ones wait in the socket's backlog.  Bytes move only when the other side takes them: a chain
 * stays in the guest's queue until the client has all of it, and what a client sends stays in its socket until the guest
 * has a buffer.  So nothing is kept here, nothing is lost while one side is slow, and nothing need be saved but which
 * ports are open.  Without a client, what the guest writes is dropped.  A client does not move with the guest, which
 * learns on the other host that it has gone; and no new one comes before the guest knows that.
 *
 * Port 0 is the one that a driver without MULTIPORT would take for its console.  Nobody is there. */
#include "common/io.h"
#include "common/iovec.h"
#include "vmm/devices.h"
#include "vmm/machine_impl.h"
#include <assert.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	QUEUE_SIZE = 64,
	F_MULTIPORT = 1,
	QUEUE_CONTROL_IN = 2,
	QUEUE_CONTROL_OUT = 3,
	MESSAGE = 8, /* port (u32), event, value (u16 each) */
	/* messages that a port has to tell, in this order */
	DUE_ADD = 1,
	DUE_NAME = 2,
	DUE_OPEN = 4,
};

struct port {
	const char *name;
	unsigned id;
	int listen_fd, client_fd; /* -1: none */
	bool known;               /* the guest has it */
	bool guest_open;          /* somebody there has opened it */
	bool told;                /* the guest thinks that there is a client */
	uint8_t due;
	bool can_receive; /* the guest may have buffers */
	bool eof;         /* the client sends no more */
	bool gone;        /* and takes no more */
	bool blocked;     /* it does not take what is there, of which it has `sent` bytes already */
	uint64_t sent;
};

struct console {
	struct virtio dev; /* first */
	struct virtio_loop loop;
	struct device_config config; /* its names */
	unsigned ports;
	struct port port[CONFIG_MAX_PORTS]; /* from id 1 on */
	struct iovec iov[VIRTQUEUE_CHAIN_MAX];
	struct virtqueue_chain chain;
};

static_assert((int)CONFIG_MAX_PORTS <= (int)VIRTIO_LOOP_FDS, "a socket of each port in the loop");

static struct console *of(struct virtio *dev)
{
	return (struct console *)dev;
}

/* Queues: two of port 0, two for control, then two of each port. */
static unsigned queue_in(const struct port *port)
{
	return 2 * port->id + 2;
}

static struct port *port_of_queue(struct console *console, unsigned queue)
{
	unsigned id = queue / 2 - 1;
	return queue < 4 ? NULL : &console->port[id - 1];
}

/* ---- what the guest is told --------------------------------------------------------------------------------------- */

static size_t message(struct port *port, uint8_t what, uint8_t out[MESSAGE + CONFIG_PORT_MAX])
{
	static const uint16_t events[] = {[DUE_ADD] = VIRTIO_CONSOLE_PORT_ADD,
					  [DUE_NAME] = VIRTIO_CONSOLE_PORT_NAME,
					  [DUE_OPEN] = VIRTIO_CONSOLE_PORT_OPEN};
	size_t name = what == DUE_NAME ? strlen(port->name) : 0;
	if (what == DUE_OPEN)
		port->told = port->client_fd >= 0;
	le32_put(out, port->id);
	le16_put(out + 4, events[what]);
	le16_put(out + 6, what == DUE_OPEN ? port->told : 1);
	memcpy(out + MESSAGE, port->name, name);
	return MESSAGE + name;
}

/* tell: one message.  false: it has to wait for a buffer, or the queue makes no sense. */
static bool tell(struct console *console, struct port *port, uint8_t what)
{
	struct virtio *dev = &console->dev;
	struct virtqueue *vq = &dev->queue[QUEUE_CONTROL_IN].vq;
	struct virtqueue_chain *chain = &console->chain;
	uint8_t data[MESSAGE + CONFIG_PORT_MAX];
	enum virtqueue_result result;
	do
		result = virtqueue_pop(vq, chain);
	while (result == VIRTQUEUE_EMPTY && virtqueue_notify_on(vq));
	if (result == VIRTQUEUE_EMPTY)
		return false;
	size_t len = message(port, what, data);
	if (result == VIRTQUEUE_BROKEN || chain->in_bytes < len) {
		virtio_broken(dev);
		return false;
	}
	iovec_put(chain->iov + chain->out, chain->in, 0, data, len);
	virtqueue_push(vq, chain, (uint32_t)len);
	virtio_signal(dev, QUEUE_CONTROL_IN);
	port->due &= (uint8_t)~what;
	return true;
}

static void tell_all(struct console *console)
{
	for (unsigned i = 0; i < console->ports; i++)
		for (uint8_t what = DUE_ADD; what <= DUE_OPEN; what = (uint8_t)(what << 1))
			if (console->port[i].due & what && !tell(console, &console->port[i], what))
				return;
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

/* From the client into buffers of the guest. */
static void pump_in(struct console *console, struct port *port)
{
	struct virtqueue *vq = &console->dev.queue[queue_in(port)].vq;
	struct virtqueue_chain *chain = &console->chain;
	for (unsigned i = 0;
	     i < VIRTIO_BATCH && port->client_fd >= 0 && port->guest_open && port->can_receive && !port->eof;
	     i++) {
		enum virtqueue_result result = virtqueue_pop(vq, chain);
		if (result == VIRTQUEUE_EMPTY) {
			port->can_receive = virtqueue_notify_on(vq);
			continue;
		}
		if (result == VIRTQUEUE_BROKEN || !chain->in_bytes) {
			virtio_broken(&console->dev);
			return;
		}
		ssize_t n = readv(port->client_fd, chain->iov + chain->out, (int)chain->in);
		if (n > 0) {
			virtqueue_push(vq, chain, (uint32_t)n);
			continue;
		}
		virtqueue_unpop(vq);
		port->eof = n == 0 || (errno != EAGAIN && errno != EINTR);
		break;
	}
	virtio_signal(&console->dev, queue_in(port));
}

/* The chain to the client, what it has not got yet. */
static int64_t send_chain(struct virtio *dev, unsigned queue)
{
	struct console *console = of(dev);
	struct port *port = port_of_queue(console, queue);
	const struct virtqueue_chain *chain = &console->chain;
	if (!port || port->client_fd < 0)
		return 0;
	unsigned count = iovec_slice(chain->iov, chain->out, port->sent, SIZE_MAX, console->iov);
	while (count) {
		const struct msghdr head = {.msg_iov = console->iov, .msg_iovlen = count};
		ssize_t n = sendmsg(port->client_fd, &head, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			break; /* it has gone, or takes no more: dropped */
		port->sent += n > 0 ? (uint64_t)n : 0;
		port->blocked = n < 0;
		if (port->blocked)
			return VIRTIO_LATER;
		count = iovec_slice(chain->iov, chain->out, port->sent, SIZE_MAX, console->iov);
	}
	port->sent = 0;
	return 0;
}

static void pump_out(struct console *console, struct port *port)
{
	port->blocked = false;
	virtio_drain(&console->dev, queue_in(port) + 1, &console->chain, send_chain);
}

/* ---- clients ------------------------------------------------------------------------------------------------------ */

static void client_changed(struct console *console, struct port *port)
{
	port->eof = port->gone = false;
	port->sent = 0;
	if (port->known)
		port->due |= DUE_OPEN;
	tell_all(console);
}

/* nothing_left: of what the client sent, before it went. */
static bool nothing_left(const struct port *port)
{
	char byte;
	return port->gone && recv(port->client_fd, &byte, 1, MSG_PEEK) <= 0;
}

/* settle: after anything happened: whether the client has gone, and what to wait for. */
static void settle(struct console *console, struct port *port)
{
	unsigned slot = port->id - 1;
	port->eof |= nothing_left(port);
	/* What it sent before it went is still for the guest, if there somebody listens. */
	if (port->gone && (port->eof || !port->guest_open)) {
		io_close(&port->client_fd);
		client_changed(console, port);
		pump_out(console, port); /* what it did not take */
	}
	bool next = port->client_fd < 0 && !(port->due & DUE_OPEN);
	console->loop.fds[slot] = next ? port->listen_fd : port->gone ? -1 : port->client_fd;
	console->loop.events[slot] = POLLIN;
	if (port->client_fd >= 0)
		console->loop.events[slot] =
		    (short)((port->guest_open && port->can_receive && !port->eof ? POLLIN : 0) |
			    (port->blocked ? POLLOUT : 0));
}

static void settle_all(struct console *console)
{
	for (unsigned i = 0; i < console->ports; i++)
		settle(console, &console->port[i]);
}

static void ready(struct virtio *dev, unsigned number)
{
	struct console *console = of(dev);
	struct port *port = &console->port[number];
	if (port->client_fd < 0) {
		port->client_fd = accept4(port->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (port->client_fd >= 0)
			client_changed(console, port);
	} else {
		struct pollfd now = {.fd = port->client_fd, .events = POLLIN | POLLOUT};
		port->gone = poll(&now, 1, 0) > 0 && now.revents & (POLLHUP | POLLERR);
		pump_in(console, port);
		if (port->blocked)
			pump_out(console, port);
	}
	settle_all(console);
}

/* ---- what the guest says ------------------------------------------------------------------------------------------ */

static void guest_says(struct console *console, uint32_t id, uint16_t event, uint16_t value)
{
	struct port *port = id >= 1 && id <= console->ports ? &console->port[id - 1] : NULL;
	if (event == VIRTIO_CONSOLE_DEVICE_READY && value)
		for (unsigned i = 0; i < console->ports; i++)
			console->port[i].due |= DUE_ADD;
	if (event == VIRTIO_CONSOLE_PORT_READY && value && port) {
		port->known = true;
		port->due |= DUE_NAME | (port->client_fd >= 0 ? DUE_OPEN : 0);
	}
	if (event == VIRTIO_CONSOLE_PORT_OPEN && port)
		port->guest_open = value != 0;
}

static int64_t take_message(struct virtio *dev, unsigned queue)
{
	struct console *console = of(dev);
	const struct virtqueue_chain *chain = &console->chain;
	uint8_t data[MESSAGE];
	(void)queue;
	if (iovec_get(chain->iov, chain->out, 0, data, sizeof(data)) < sizeof(data))
		return VIRTIO_BROKEN;
	guest_says(console, le32_get(data), le16_get(data + 4), le16_get(data + 6));
	return 0;
}

static void kicked(struct virtio *dev, unsigned queue)
{
	struct console *console = of(dev);
	struct port *port = port_of_queue(console, queue);
	if (queue == QUEUE_CONTROL_OUT)
		virtio_drain(dev, queue, &console->chain, take_message);
	if (queue == QUEUE_CONTROL_IN || queue == QUEUE_CONTROL_OUT)
		tell_all(console);
	else if (queue == 1) /* port 0 */
		virtio_drain(dev, queue, &console->chain, send_chain);
	else if (port && queue == queue_in(port)) {
		port->can_receive = true;
		virtqueue_notify_off(&dev->queue[queue].vq);
		pump_in(console, port);
	} else if (port)
		pump_out(console, port);
	settle_all(console);
}

/* ---- the device --------------------------------------------------------------------------------------------------- */

static void config_read(struct virtio *dev, unsigned offset, void *data, unsigned len)
{
	uint8_t config[12] = {0}; /* columns, rows (u16 each), ports (u32), emergency write (u32) */
	le32_put(config + 4, of(dev)->ports + 1);
	virtio_config_get(config, sizeof(config), offset, data, len);
}

static void start(struct virtio *dev)
{
	virtio_loop_start(&of(dev)->loop);
}

static void stop(struct virtio *dev)
{
	virtio_loop_stop(&of(dev)->loop);
}

static void reset(struct virtio *dev)
{
	struct console *console = of(dev);
	for (unsigned i = 0; i < console->ports; i++) {
		struct port *port = &console->port[i];
		port->known = port->guest_open = port->told = port->can_receive = port->blocked = false;
		port->due = 0;
		port->sent = 0;
	}
}

enum { SAVED_KNOWN = 1, SAVED_GUEST_OPEN = 2, SAVED_TOLD = 4 };

static void save(struct virtio *dev, struct buf *out)
{
	const struct console *console = of(dev);
	buf_put_u8(out, (uint8_t)console->ports);
	for (unsigned i = 0; i < console->ports; i++) {
		const struct port *port = &console->port[i];
		buf_put_u8(out, (uint8_t)((port->known ? SAVED_KNOWN : 0) |
					  (port->guest_open ? SAVED_GUEST_OPEN : 0) |
					  (port->told ? SAVED_TOLD : 0)));
		buf_put_u8(out, port->due);
	}
}

static int load(struct virtio *dev, struct reader *reader, struct err *err)
{
	struct console *console = of(dev);
	unsigned count = reader_u8(reader);
	if (reader->bad || count != console->ports)
		return err_set(err, ERR_INPUT,
			       "machine state: the console in slot %u has %u ports here, not %u",
			       dev->pci.slot, console->ports, count);
	for (unsigned i = 0; i < count; i++) {
		struct port *port = &console->port[i];
		uint8_t flags = reader_u8(reader);
		port->known = flags & SAVED_KNOWN;
		port->guest_open = flags & SAVED_GUEST_OPEN;
		port->told = flags & SAVED_TOLD;
		port->due = reader_u8(reader) & (DUE_ADD | DUE_NAME);
		if (port->told)
			port->due |= DUE_OPEN;
	}
	return 0;
}

static void destroy(struct virtio *dev)
{
	struct console *console = of(dev);
	for (unsigned i = 0; i < console->ports; i++) {
		io_close(&console->port[i].listen_fd);
		io_close(&console->port[i].client_fd);
	}
	virtio_loop_destroy(&console->loop);
	free(console);
}

static const struct virtio_ops ops = {.name = "console",
				      .id = 3,
				      .class_code = 0x078000,
				      .config_read = config_read,
				      .start = start,
				      .stop = stop,
				      .reset = reset,
				      .save = save,
				      .load = load,
				      .destroy = destroy};

static int make_ports(struct console *console, struct machine *machine, struct err *err)
{
	const struct machine_owner *owner = &machine->owner;
	console->ports = console->config.console.ports;
	for (unsigned i = 0; i < console->ports; i++)
		console->port[i] = (struct port){
		    .name = console->config.console.name[i], .id = i + 1, .listen_fd = -1, .client_fd = -1};
	for (unsigned i = 0; i < console->ports && owner->port; i++) {
		struct port *port = &console->port[i];
		port->listen_fd = owner->port(owner->arg, port->name, err);
		if (port->listen_fd < 0)
			return -1;
	}
	return 0;
}

struct virtio *virtio_console_create(struct machine *machine, const struct device_config *config,
				     struct err *err)
{
	struct console *console = calloc(1, sizeof(*console));
	if (!console) {
		err_sys(err, "cannot make the console device");
		return NULL;
	}
	console->config = *config;
	if (make_ports(console, machine, err) ||
	    virtio_init(&console->dev, &ops, machine, config->slot, VIRTIO_BIT(F_MULTIPORT),
			4 + 2 * console->ports, QUEUE_SIZE, err) ||
	    virtio_loop_init(&console->loop, &console->dev, kicked, ready, err)) {
		virtio_release(&console->dev);
		destroy(&console->dev);
		return NULL;
	}
	return &console->dev;
}
