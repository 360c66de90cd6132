/* Both sleep while there is nothing to do, so that two guests fit on a machine with two CPUs.
 *
 * The receiver calls until the first frame has come, from which switches and the sender learn where it is.  The sender has no
 * more than `depth` frames under way that were not acknowledged, so what the way between loses is the measure's
 * exception: it waits for LOST_MS and takes them for lost.  Its last frame says so, a few times. */
#include "net.h"
#include "arch.h"
#include "clock.h"
#include "console.h"
#include "cpu.h"
#include "ram.h"
#include "stop.h"
#include "text.h"
#include "virtio.h"

#define F_MAC         5
#define HEADER        12u /* struct virtio_net_hdr */
#define BUFFER        2048u
#define ETHERTYPE     0xb588 /* 88b5, for local experiments, in network byte order */
#define WARM_MS       200
#define CALL_MS       20
#define TICK_MS       10 /* for what is to be done at some time */
#define LOST_MS       200
#define GIVE_UP_MS    20000
#define BYES          8
#define WINDOW_FACTOR 4 /* frames under way for each of `depth`: 64 makes a queue full */

enum kind { CALL = 1, DATA, ACK, BYE };

struct frame {
	uint8_t header[HEADER];
	uint8_t to[6], from[6];
	uint16_t type;
	uint16_t kind;
	uint32_t window;  /* of the sender; the receiver acknowledges at half of it */
	uint64_t number;  /* of DATA from 1 on; ACK: how many have come, and */
	uint64_t highest; /* the highest number among them */
	uint64_t words[];
} __attribute__((packed));

static struct virtio_device device;
static struct virtio_queue rx, tx;
static uint8_t *rx_buffers, *tx_buffers;
static uint8_t me[6], peer[6] = {255, 255, 255, 255, 255, 255};
static uint16_t tx_free;
static uint16_t tx_list[VIRTIO_QUEUE_MAX];
static uint32_t frame_bytes;
static uint64_t errors;

static struct frame *buffer(uint8_t *buffers, unsigned i)
{
	return (struct frame *)(buffers + i * BUFFER);
}

static void open_queue(struct virtio_queue *queue, uint16_t number, uint8_t **buffers, uint16_t flags)
{
	virtio_queue_open(&device, queue, number);
	*buffers = ram_alloc((uint64_t)queue->size * BUFFER);
	for (uint16_t i = 0; i < queue->size; i++) {
		queue->desc[i].addr = (uintptr_t)buffer(*buffers, i);
		queue->desc[i].len = BUFFER;
		queue->desc[i].flags = flags;
	}
}

static void open_device(void)
{
	virtio_open(&device, VIRTIO_TYPE_NET, 1ull << F_MAC);
	open_queue(&rx, 0, &rx_buffers, VIRTIO_DESC_WRITE);
	open_queue(&tx, 1, &tx_buffers, 0);
	pci_wake(&device.pci);
	cpu_wakeable(TICK_MS);
	virtio_queue_wakes(&device, &rx);
	virtio_ready(&device);
	for (unsigned i = 0; i < sizeof(me); i++)
		me[i] = device.config[i];
	for (uint16_t i = 0; i < tx.size; i++)
		tx_list[tx_free++] = i;
	for (uint16_t i = 0; i < rx.size; i++)
		virtio_add(&rx, i);
	virtio_kick(&rx);
}

static void reclaim(void)
{
	uint16_t head;
	uint32_t len;

	while (virtio_take(&tx, &head, &len))
		tx_list[tx_free++] = head;
}

/* Queues a frame; false where the queue is full. */
static bool put(enum kind kind, uint32_t bytes, uint64_t number, uint64_t highest, uint32_t window)
{
	struct frame *frame;
	uint16_t head;

	if (!tx_free)
		reclaim();
	if (!tx_free)
		return false;
	head = tx_list[--tx_free];
	frame = buffer(tx_buffers, head);
	__builtin_memcpy(frame->to, peer, 6);
	__builtin_memcpy(frame->from, me, 6);
	frame->type = ETHERTYPE;
	frame->kind = (uint16_t)kind;
	frame->window = window;
	frame->number = number;
	frame->highest = highest;
	frame->words[0] = number * 0x9e3779b97f4a7c15;
	tx.desc[head].len = HEADER + bytes;
	virtio_add(&tx, head);
	return true;
}

/* The next frame of ours, into *frame, which holds until give_back(). */
static bool get(const struct frame **frame, uint16_t *head, uint32_t *len)
{
	while (virtio_take(&rx, head, len)) {
		*frame = buffer(rx_buffers, *head);
		if (*len >= HEADER + FRAME_MIN && (*frame)->type == ETHERTYPE)
			return true;
		virtio_add(&rx, *head);
	}
	return false;
}

static void give_back(uint16_t head)
{
	virtio_add(&rx, head);
}

static void print(const char *what, const char *count, uint64_t frames, uint64_t lost, uint64_t cycles)
{
	struct text line = {0};

	text_str(&line, "drover-guest: net ");
	text_str(&line, what);
	text_field(&line, count, frames);
	text_field(&line, "us", clock_us(cycles));
	text_field(&line, "lost", lost);
	text_field(&line, "errors", errors);
	text_field(&line, "kicks", tx.kicks + rx.kicks);
	text_str(&line, " end");
	console_now(&line);
}

/* ---- sending ------------------------------------------------------------------------------------------------------- */

static struct {
	uint64_t sent, acked, came; /* highest numbers; came: frames that came there */
	uint64_t moved_at;          /* TSC of the last acknowledgement */
} flow;

static void take_acks(uint64_t now)
{
	const struct frame *frame;
	uint16_t head;
	uint32_t len;

	while (get(&frame, &head, &len)) {
		if (frame->kind == ACK && frame->highest > flow.acked && frame->highest <= flow.sent) {
			flow.acked = frame->highest;
			flow.came = frame->number;
			flow.moved_at = now;
		}
		give_back(head);
	}
	virtio_kick(&rx);
}

static void wait_for_call(void)
{
	uint64_t start = rdtsc();
	const struct frame *frame;
	uint16_t head;
	uint32_t len;

	for (bool called = false; !called;) {
		if (!get(&frame, &head, &len)) {
			if (rdtsc() - start > clock_cycles_of_ms(GIVE_UP_MS))
				stop_error("nobody receives", NULL);
			virtio_sleep(&rx);
			continue;
		}
		called = frame->kind == CALL;
		if (called)
			__builtin_memcpy(peer, frame->from, 6);
		give_back(head);
	}
}

static void send_until(uint64_t end, uint32_t window)
{
	uint64_t now;

	while ((now = rdtsc()) < end) {
		while (flow.sent - flow.acked < window && put(DATA, frame_bytes, flow.sent + 1, 0, window))
			flow.sent++;
		virtio_kick(&tx);
		take_acks(now);
		if (now - flow.moved_at > clock_cycles_of_ms(LOST_MS) && now > flow.moved_at) {
			flow.acked = flow.sent;
			flow.moved_at = now;
		}
		if (flow.sent - flow.acked == window)
			virtio_sleep(&rx);
	}
}

static _Noreturn void send(uint64_t seconds, uint32_t window)
{
	struct text line = {0};
	uint64_t start, came, sent;

	wait_for_call();
	flow.moved_at = rdtsc();
	send_until(rdtsc() + clock_cycles_of_ms(WARM_MS), window);
	text_str(&line, "drover-guest: net begin");
	console_now(&line);
	start = rdtsc();
	came = flow.came;
	sent = flow.sent;
	flow.moved_at = start;
	send_until(start + clock_cycles_of_ms(seconds * 1000), window);
	came = flow.came - came;
	sent = flow.sent - sent;
	print("sent", "acked", came, sent > came + window ? sent - came - window : 0, rdtsc() - start);
	for (unsigned i = 0; i < BYES; i++) {
		uint64_t pause = rdtsc();

		put(BYE, FRAME_MIN, flow.sent, 0, window);
		virtio_kick(&tx);
		while (rdtsc() - pause < clock_cycles_of_ms(CALL_MS))
			cpu_relax();
	}
	stop_machine();
}

/* ---- receiving ----------------------------------------------------------------------------------------------------- */

static _Noreturn void receive(void)
{
	uint64_t came = 0, acked = 0, highest = 0, called = 0, start = rdtsc(), now;
	const struct frame *frame;
	uint16_t head;
	uint32_t len;

	for (;;) {
		uint32_t window = 1;
		bool bye = false;

		now = rdtsc();
		while (get(&frame, &head, &len)) {
			window = frame->window;
			if (frame->kind == DATA) {
				if (!came++)
					start = now;
				errors += frame->words[0] != frame->number * 0x9e3779b97f4a7c15 ||
					  frame->number <= highest;
				highest = frame->number;
				if (came == 1)
					__builtin_memcpy(peer, frame->from, 6);
			}
			bye = bye || frame->kind == BYE;
			give_back(head);
			if (came - acked >= (window + 1) / 2 && put(ACK, FRAME_MIN, came, highest, 0))
				acked = came;
		}
		virtio_kick(&rx);
		if (!came && (!called || now - called > clock_cycles_of_ms(CALL_MS))) {
			put(CALL, FRAME_MIN, 0, 0, 0);
			called = now;
		}
		virtio_kick(&tx);
		if (bye)
			break;
		if (now - start > clock_cycles_of_ms(GIVE_UP_MS) && !came)
			stop_error("nobody sends", NULL);
		virtio_sleep(&rx);
	}
	print("received", "frames", came, highest - came, now - start);
	stop_machine();
}

_Noreturn void net_run(const struct params *p)
{
	frame_bytes = (uint32_t)p->frame;
	open_device();
	if (p->net == NET_RECEIVE)
		receive();
	send(p->seconds, (uint32_t)p->depth == 1 ? 1 : (uint32_t)p->depth * WINDOW_FACTOR);
}
