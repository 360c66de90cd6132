/* COM1 by polling.
 *
 * Each port access leaves the guest for the VMM, tens of microseconds from ring 3, so a line of a running
 * guest is queued and leaves one byte per turn of the work loop: it delays no turn by more than one exit. */
#ifndef GUEST_CONSOLE_H
#define GUEST_CONSOLE_H

#include "text.h"
#include <stdbool.h>
#include <stdint.h>

/* Switches the UART's FIFOs on.  First of all calls. */
void console_init(void);

/* Queues a line (a line feed is added), or returns false where the queue has no room for one. */
bool console_line(const struct text *line);
bool console_has_room(void);

/* Sends everything queued, however long it takes. */
void console_flush(void);

/* One turn: at most one port access, to send a byte or to look for input (every poll_cycles of the TSC). */
void console_turn(uint64_t now, uint64_t poll_cycles);

/* The complete input line received since the last call, without its end, or NULL.  Good until the next
 * console_turn().  Lines over TEXT_MAX come cut off. */
const struct text *console_input(void);

/* For the last words of any CPU: silences the queue of CPU 0 and ends a line it was in the middle of. */
void console_seize(void);

/* Sends a line at once; only at the start, or after console_seize(). */
void console_now(const struct text *line);

#endif
