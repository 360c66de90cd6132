/* power.c: reset and power-off registers. */
#include "vmm/power.h"
#include <string.h>

enum {
	KEYBOARD_DATA = 0x60,
	KEYBOARD_COMMAND = 0x64,
	COMMAND_WRITE_OUTPUT_PORT = 0xd1, /* bit 0 of the data byte is the reset line, active low */
	COMMAND_PULSE_RESET = 0xfe,
	PM1_CONTROL_LOW = POWER_PM1_CONTROL - POWER_PM1_EVENT,
	PM1_CONTROL_HIGH,
	CONTROL_SCI_ENABLE = 0x01, /* low byte: the machine is always in ACPI mode */
	CONTROL_SLEEP = 0x20,      /* high byte: SLP_EN, and SLP_TYP above it */
};

void power_init(struct power *power)
{
	memset(power, 0, sizeof(*power));
	power->pm1[PM1_CONTROL_LOW] = CONTROL_SCI_ENABLE;
}

uint8_t power_read(const struct power *power, uint16_t port)
{
	switch (port) {
	case KEYBOARD_DATA:
	case KEYBOARD_COMMAND:
		return 0; /* status: both buffers empty, nothing connected */
	case POWER_RESET_PORT:
		return power->reset_control;
	default:
		return power->pm1[port - POWER_PM1_EVENT];
	}
}

static const char *write_pm1(struct power *power, unsigned at, uint8_t value)
{
	if (at < 2)
		return NULL; /* status: bits are cleared by writing ones, and none is ever set */
	if (at == PM1_CONTROL_LOW)
		value |= CONTROL_SCI_ENABLE;
	power->pm1[at] = value;
	if (at != PM1_CONTROL_HIGH || !(value & CONTROL_SLEEP))
		return NULL;
	power->pm1[at] = (uint8_t)(value & ~CONTROL_SLEEP); /* SLP_EN reads as 0 */
	return (value >> 2 & 7) == POWER_SLEEP_TYPE_OFF ? "power-off by ACPI" : NULL;
}

const char *power_write(struct power *power, uint16_t port, uint8_t value)
{
	uint8_t command = power->keyboard_command;
	switch (port) {
	case KEYBOARD_COMMAND:
		power->keyboard_command = value == COMMAND_WRITE_OUTPUT_PORT ? value : 0;
		return value == COMMAND_PULSE_RESET ? "reset by the keyboard controller" : NULL;
	case KEYBOARD_DATA:
		power->keyboard_command = 0;
		return command == COMMAND_WRITE_OUTPUT_PORT && !(value & 1)
			   ? "reset by the keyboard controller"
			   : NULL;
	case POWER_RESET_PORT:
		power->reset_control = value & 0x0e;
		return value & 0x04 ? "reset by port 0xcf9" : NULL;
	default:
		return write_pm1(power, port - POWER_PM1_EVENT, value);
	}
}

void power_save(const struct power *power, struct buf *out)
{
	buf_put_u8(out, power->keyboard_command);
	buf_put_u8(out, power->reset_control);
	buf_put(out, power->pm1, POWER_PM1_LEN);
}

int power_load(struct power *power, const void *data, size_t len, struct err *err)
{
	struct reader r = reader_of(data, len);
	uint8_t command = reader_u8(&r);
	uint8_t reset_control = reader_u8(&r);
	const void *pm1 = reader_bytes(&r, POWER_PM1_LEN);
	if (r.bad || r.left)
		return err_set(err, ERR_INPUT, "power control state: its length of %zu bytes is wrong", len);
	power->keyboard_command = command;
	power->reset_control = reset_control;
	memcpy(power->pm1, pm1, POWER_PM1_LEN);
	return 0;
}
