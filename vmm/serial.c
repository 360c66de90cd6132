/* serial.c: registers of the 16550A, after its data sheet (National Semiconductor PC16550D). */
#include "vmm/serial.h"
#include <string.h>

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum {
	IER_RX = 0x01,
	IER_THR = 0x02,
	IER_LINE = 0x04,
	IIR_NONE = 0x01,
	IIR_THR = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO_ON = 0xc0,
	FCR_ENABLE = 0x01,
	FCR_CLEAR_RX = 0x02,
	FCR_KEPT = 0xc9,
	LCR_DLAB = 0x80,
	MCR_DTR = 0x01,
	MCR_RTS = 0x02,
	MCR_OUT1 = 0x04,
	MCR_OUT2 = 0x08,
	MCR_LOOP = 0x10,
	LSR_DATA = 0x01,
	LSR_OVERRUN = 0x02,
	LSR_IDLE = 0x60, /* THR and shift register empty */
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
};

static void power_on(struct serial *s)
{
	s->ier = s->mcr = s->scr = s->fcr = s->dlm = 0;
	s->dll = 1; /* 115200 baud */
	s->lcr = 3; /* 8N1 */
	s->thr_empty_due = s->overrun = false;
	s->head = s->count = 0;
}

void serial_init(struct serial *serial, const struct serial_wires *wires)
{
	memset(serial, 0, sizeof(*serial));
	pthread_mutex_init(&serial->lock, NULL);
	serial->wires = *wires;
	power_on(serial);
}

void serial_destroy(struct serial *serial)
{
	pthread_mutex_destroy(&serial->lock);
}

static unsigned capacity(const struct serial *s)
{
	return s->fcr & FCR_ENABLE ? SERIAL_FIFO : 1;
}

static unsigned trigger_level(const struct serial *s)
{
	static const uint8_t levels[4] = {1, 4, 8, 14};
	return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* The cause of highest priority, as IIR shows it. */
static uint8_t cause(const struct serial *s)
{
	if ((s->ier & IER_LINE) && s->overrun)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->count)
		return s->count >= trigger_level(s) ? IIR_RX : IIR_TIMEOUT;
	if ((s->ier & IER_THR) && s->thr_empty_due)
		return IIR_THR;
	return IIR_NONE;
}

static void update_irq(struct serial *s)
{
	bool level = cause(s) != IIR_NONE;
	if (level == s->irq_level)
		return;
	s->irq_level = level;
	s->wires.irq(s->wires.arg, level);
}

static void receive(struct serial *s, uint8_t byte)
{
	if (s->count == capacity(s)) {
		s->overrun = true;
		return;
	}
	s->fifo[(s->head + s->count++) % SERIAL_FIFO] = byte;
}

static void clear_fifo(struct serial *s)
{
	s->head = s->count = 0;
}

static uint8_t read_data(struct serial *s)
{
	if (!s->count)
		return 0;
	uint8_t byte = s->fifo[s->head];
	s->head = (s->head + 1) % SERIAL_FIFO;
	s->count--;
	return byte;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t iir = cause(s);
	if (iir == IIR_THR)
		s->thr_empty_due = false;
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFO_ON : 0);
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = LSR_IDLE | (s->count ? LSR_DATA : 0) | (s->overrun ? LSR_OVERRUN : 0);
	s->overrun = false;
	return lsr;
}

static uint8_t read_msr(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
	bool divisor = s->lcr & LCR_DLAB;
	switch (reg) {
	case REG_DATA:
		return divisor ? s->dll : read_data(s);
	case REG_IER:
		return divisor ? s->dlm : s->ier;
	case REG_IIR_FCR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_lsr(s);
	case REG_MSR:
		return read_msr(s);
	default:
		return s->scr;
	}
}

void serial_reset(struct serial *serial)
{
	pthread_mutex_lock(&serial->lock);
	power_on(serial);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
}

uint8_t serial_read(struct serial *serial, unsigned reg)
{
	pthread_mutex_lock(&serial->lock);
	uint8_t value = read_register(serial, reg);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
	return value;
}

static void transmit(struct serial *s, const uint8_t *data, size_t len)
{
	/* Writing takes the "empty" interrupt back, and as the bytes leave at once it is due again: an edge
	 * on the interrupt output, which an edge-triggered input needs to see. */
	s->thr_empty_due = false;
	update_irq(s);
	if (s->mcr & MCR_LOOP) {
		for (size_t i = 0; i < len; i++)
			receive(s, data[i]);
	} else {
		s->wires.transmit(s->wires.arg, data, len);
	}
	s->thr_empty_due = true;
}

static void write_ier(struct serial *s, uint8_t value)
{
	value &= 0x0f;
	if ((value & IER_THR) && !(s->ier & IER_THR))
		s->thr_empty_due = true;
	s->ier = value;
}

static void write_fcr(struct serial *s, uint8_t value)
{
	if ((value ^ s->fcr) & FCR_ENABLE || value & FCR_CLEAR_RX)
		clear_fifo(s);
	s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
	bool divisor = s->lcr & LCR_DLAB;
	switch (reg) {
	case REG_DATA:
		if (divisor)
			s->dll = value;
		else
			transmit(s, &value, 1);
		break;
	case REG_IER:
		if (divisor)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case REG_IIR_FCR:
		write_fcr(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & 0x1f;
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

void serial_write(struct serial *serial, unsigned reg, uint8_t value)
{
	pthread_mutex_lock(&serial->lock);
	write_register(serial, reg, value);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
}

void serial_write_string(struct serial *serial, const uint8_t *data, size_t len)
{
	if (!len)
		return;
	pthread_mutex_lock(&serial->lock);
	if (serial->lcr & LCR_DLAB)
		serial->dll = data[len - 1];
	else
		transmit(serial, data, len);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
}

size_t serial_input(struct serial *serial, const uint8_t *data, size_t len)
{
	size_t taken = 0;
	pthread_mutex_lock(&serial->lock);
	/* In loopback the receiver is cut off from the line. */
	if (!(serial->mcr & MCR_LOOP))
		while (taken < len && serial->count < capacity(serial))
			receive(serial, data[taken++]);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}

enum { FLAG_THR_EMPTY_DUE = 1, FLAG_OVERRUN = 2 };

void serial_save(struct serial *serial, struct buf *out)
{
	pthread_mutex_lock(&serial->lock);
	const uint8_t regs[] = {serial->ier, serial->lcr, serial->mcr, serial->scr,
				serial->fcr, serial->dll, serial->dlm};
	buf_put(out, regs, sizeof(regs));
	buf_put_u8(out, (uint8_t)((serial->thr_empty_due ? FLAG_THR_EMPTY_DUE : 0) |
				  (serial->overrun ? FLAG_OVERRUN : 0)));
	buf_put_u8(out, (uint8_t)serial->count);
	for (unsigned i = 0; i < serial->count; i++)
		buf_put_u8(out, serial->fifo[(serial->head + i) % SERIAL_FIFO]);
	pthread_mutex_unlock(&serial->lock);
}

int serial_load(struct serial *serial, const void *data, size_t len, struct err *err)
{
	struct reader r = reader_of(data, len);
	const uint8_t *regs = reader_bytes(&r, 7);
	uint8_t flags = reader_u8(&r);
	uint8_t count = reader_u8(&r);
	const uint8_t *fifo = reader_bytes(&r, count);
	if (r.bad || r.left)
		return err_set(err, ERR_INPUT, "serial port state: its length of %zu bytes is wrong", len);
	if (count > SERIAL_FIFO || flags > (FLAG_THR_EMPTY_DUE | FLAG_OVERRUN) || regs[0] > 0x0f ||
	    regs[2] > 0x1f || (regs[4] & ~FCR_KEPT) || (!(regs[4] & FCR_ENABLE) && count > 1))
		return err_set(err, ERR_INPUT, "serial port state: impossible register values");
	pthread_mutex_lock(&serial->lock);
	serial->ier = regs[0];
	serial->lcr = regs[1];
	serial->mcr = regs[2];
	serial->scr = regs[3];
	serial->fcr = regs[4];
	serial->dll = regs[5];
	serial->dlm = regs[6];
	serial->thr_empty_due = flags & FLAG_THR_EMPTY_DUE;
	serial->overrun = flags & FLAG_OVERRUN;
	clear_fifo(serial);
	serial->count = count;
	memcpy(serial->fifo, fifo, count);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
	return 0;
}
