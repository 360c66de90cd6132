/* power.h: how a guest resets or powers off the machine: the keyboard controller's reset line (port 0x64), the
 * reset control register (0xcf9), and ACPI's fixed PM1 registers, which vmm/acpi.c describes to the guest.
 * Not locked: its user serializes. */
#ifndef VMM_POWER_H
#define VMM_POWER_H

#include "common/buf.h"
#include "common/err.h"
#include <stddef.h>
#include <stdint.h>

enum {
	POWER_PM1_EVENT = 0x600,   /* status, enable: 16 bits each */
	POWER_PM1_CONTROL = 0x604, /* 16 bits */
	POWER_PM1_LEN = 6,
	POWER_SLEEP_TYPE_OFF = 5, /* SLP_TYP of the S5 state */
	POWER_RESET_PORT = 0xcf9,
	POWER_RESET_VALUE = 0x06,
	POWER_SCI_IRQ = 9,
	POWER_STATE_VERSION = 1,
};

struct power {
	uint8_t keyboard_command; /* the command of the keyboard controller that awaits its data byte, or 0 */
	uint8_t reset_control;
	uint8_t pm1[POWER_PM1_LEN];
};

void power_init(struct power *power);
/* power_read, power_write: a byte at one of the ports above or 0x60, 0x64.
 * power_write returns NULL, or one clause that says how the guest ended the machine. */
uint8_t power_read(const struct power *power, uint16_t port);
const char *power_write(struct power *power, uint16_t port, uint8_t value);
void power_save(const struct power *power, struct buf *out);
int power_load(struct power *power, const void *data, size_t len, struct err *err);

#endif
