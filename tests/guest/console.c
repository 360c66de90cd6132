#include "console.h"
#include "arch.h"

#define COM1          0x3f8
#define COM1_FCR      (COM1 + 2)
#define COM1_LSR      (COM1 + 5)
#define FCR_ENABLE    0x07 /* on, both FIFOs cleared */
#define LSR_DATA      0x01
#define LSR_THR_EMPTY 0x20

#define QUEUE_BYTES   4096u   /* a power of two */
#define RETRY_CYCLES  2000000 /* about a millisecond, when the receiver does not keep up */

static char queue[QUEUE_BYTES];
static unsigned head, tail; /* free-running: [tail, head) is waiting */
static bool may_send;       /* the transmitter was empty when the current line began */
static bool mid_line;       /* the last byte sent was not a line feed */
static volatile bool seized;

static bool byte_waits; /* the UART holds a byte for us */
static uint64_t next_poll, retry_at;
static struct text input, complete;
static bool input_complete;

void console_init(void)
{
	outb(COM1_FCR, FCR_ENABLE);
}

bool console_has_room(void)
{
	return QUEUE_BYTES - (head - tail) > TEXT_MAX;
}

static void enqueue(char c)
{
	queue[head++ % QUEUE_BYTES] = c;
}

bool console_line(const struct text *line)
{
	if (!console_has_room())
		return false;
	for (unsigned i = 0; i < line->len; i++)
		enqueue(line->buf[i]);
	enqueue('\n');
	return true;
}

static void send(char c)
{
	outb(COM1, (uint8_t)c);
	mid_line = c != '\n';
}

void console_flush(void)
{
	while (tail != head && !seized)
		send(queue[tail++ % QUEUE_BYTES]);
}

void console_now(const struct text *line)
{
	for (unsigned i = 0; i < line->len; i++)
		send(line->buf[i]);
	send('\n');
}

void console_seize(void)
{
	seized = true;
	if (mid_line)
		send('\n');
}

static void take_input(char c)
{
	if (c == '\r' || c == '\n') {
		if (input.len) {
			complete = input;
			input_complete = true;
		}
		input.len = 0;
	} else {
		text_bytes(&input, &c, 1);
	}
}

const struct text *console_input(void)
{
	if (!input_complete)
		return NULL;
	input_complete = false;
	return &complete;
}

/* The line status is read once per line sent, and once per poll or byte received. */
void console_turn(uint64_t now, uint64_t poll_cycles)
{
	uint8_t status;

	if (seized)
		return;
	if (byte_waits) {
		take_input((char)inb(COM1));
		byte_waits = false;
		next_poll = now;
		return;
	}
	if (tail != head && may_send) {
		send(queue[tail++ % QUEUE_BYTES]);
		may_send = mid_line;
		return;
	}
	if (now < next_poll && (tail == head || now < retry_at))
		return;
	status = inb(COM1_LSR);
	next_poll = now + poll_cycles;
	byte_waits = status & LSR_DATA;
	if (status & LSR_THR_EMPTY)
		may_send = true;
	else
		retry_at = now + RETRY_CYCLES;
}
