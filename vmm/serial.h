/* serial.h: a 16550A UART.
 *
 * What the guest transmits leaves at once, so the transmitter is always empty; what arrives waits in a FIFO of
 * 16 bytes.  Differences from the chip: no line delays (a receive time-out is due as soon as there is data below
 * the trigger level), modem inputs never change, and the interrupt is not gated by OUT2.
 * All functions take the device's own lock: vCPU threads and the main thread use it at the same time. */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include "common/buf.h"
#include "common/err.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SERIAL_FIFO = 16, SERIAL_STATE_VERSION = 1 };

/* What a UART is connected to.  Both are called with the device's lock held. */
struct serial_wires {
	void *arg;
	void (*irq)(void *arg, bool level); /* on changes of the interrupt output only */
	void (*transmit)(void *arg, const uint8_t *data, size_t len);
};

struct serial {
	pthread_mutex_t lock;
	struct serial_wires wires;
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	uint8_t fcr;        /* as written, less the self-clearing bits */
	bool thr_empty_due; /* the "transmitter empty" interrupt is due */
	bool overrun;
	bool irq_level;
	uint8_t fifo[SERIAL_FIFO];
	unsigned head, count;
};

void serial_init(struct serial *serial, const struct serial_wires *wires);
void serial_destroy(struct serial *serial);

/* serial_reset: all registers as after serial_init. */
void serial_reset(struct serial *serial);

/* The guest's accesses; reg 0..7. */
uint8_t serial_read(struct serial *serial, unsigned reg);
void serial_write(struct serial *serial, unsigned reg, uint8_t value);
/* serial_write_string(serial, data, len): len writes to register 0 (`rep outsb`), passed on in one call. */
void serial_write_string(struct serial *serial, const uint8_t *data, size_t len);

/* serial_input(serial, data, len): bytes from the line.  Returns how many the FIFO took. */
size_t serial_input(struct serial *serial, const uint8_t *data, size_t len);

/* serial_save: appends the registers.  serial_load: takes what serial_save wrote; data is not trusted: 0, or -1
 * with *err and the device unchanged.  Drives the interrupt output to where it belongs. */
void serial_save(struct serial *serial, struct buf *out);
int serial_load(struct serial *serial, const void *data, size_t len, struct err *err);

#endif
