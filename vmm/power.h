/* power.h: how a guest resets or powers off the machine: the keyboard controller's reset line (port 0x64), the
 * reset control register (0xcf9), and ACPI's fixed registers, which vmm/acpi.c describes to the guest: PM1 with the power
 * button, the timer, and general-purpose event 0, which says that the generation's id has changed.
 * The timer's own interrupt (on its highest bit) does not exist.
 * Not locked: its user serializes. */
#ifndef VMM_POWER_H
#define VMM_POWER_H

#include "common/buf.h"
#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	POWER_PM1_EVENT = 0x600,   /* status, enable: 16 bits each */
	POWER_PM1_CONTROL = 0x604, /* 16 bits */
	POWER_PM1_LEN = 6,
	POWER_TIMER = 0x608, /* 32 bits, at POWER_TIMER_HZ */
	POWER_TIMER_HZ = 3579545,
	POWER_GPE = 0x60c, /* status, enable: 8 bits each */
	POWER_GPE_LEN = 2,
	POWER_SLEEP_TYPE_OFF = 5, /* SLP_TYP of the S5 state */
	POWER_RESET_PORT = 0xcf9,
	POWER_RESET_VALUE = 0x06,
	POWER_SCI_IRQ = 9,
	POWER_STATE_VERSION = 2,
	POWER_STATE_LEN_1 = 2 + POWER_PM1_LEN,
	POWER_STATE_LEN = POWER_STATE_LEN_1 + POWER_GPE_LEN + 16,
};

enum power_event {
	POWER_NOTHING,
	POWER_RESET_KEYBOARD,
	POWER_RESET_PORT_CF9,
	POWER_OFF,
};

struct power {
	uint8_t keyboard_command; /* the command of the keyboard controller that awaits its data byte, or 0 */
	uint8_t reset_control;
	uint8_t pm1[POWER_PM1_LEN];
	uint8_t gpe[POWER_GPE_LEN];
	uint64_t timer_zero_ns; /* CLOCK_MONOTONIC when the timer was 0; wraps */
};

void power_init(struct power *power);
/* power_read, power_write: a byte at one of the ports above (but for the timer's) or 0x60, 0x64.
 * power_write returns what the guest did by it to the machine. */
uint8_t power_read(const struct power *power, uint16_t port);
enum power_event power_write(struct power *power, uint16_t port, uint8_t value);
/* power_timer: what it shows now. */
uint32_t power_timer(const struct power *power);
/* power_button: it is pressed.  power_generation: event 0.  power_sci: ACPI's interrupt is wanted. */
void power_button(struct power *power);
void power_generation(struct power *power);
bool power_sci(const struct power *power);
/* power_load: the time since the save has passed for the timer (vmm/clock.h says how much of it). */
void power_save(const struct power *power, struct buf *out);
int power_load(struct power *power, const void *data, size_t len, struct err *err);

#endif
