/* power.c: reset and power-off registers, and ACPI's.  Source: ACPI specification 6.4, chapter 4.8. */
#include "vmm/power.h"
#include "common/io.h"
#include "vmm/clock.h"
#include <string.h>

enum {
	KEYBOARD_DATA = 0x60,
	KEYBOARD_COMMAND = 0x64,
	COMMAND_WRITE_OUTPUT_PORT = 0xd1, /* bit 0 of the data byte is the reset line, active low */
	COMMAND_PULSE_RESET = 0xfe,
	PM1_CONTROL_LOW = POWER_PM1_CONTROL - POWER_PM1_EVENT,
	PM1_CONTROL_HIGH,
	PM1_STATUS_HIGH = 1,
	PM1_ENABLE = 2,
	BUTTON = 0x01, /* status and enable, high bytes */
	GPE_STATUS = 0,
	GPE_ENABLE = 1,
	GPE_GENERATION = 0x01,
	CONTROL_SCI_ENABLE = 0x01, /* low byte: the machine is always in ACPI mode */
	CONTROL_SLEEP = 0x20,      /* high byte: SLP_EN, and SLP_TYP above it */
};

void power_init(struct power *power)
{
	memset(power, 0, sizeof(*power));
	power->pm1[PM1_CONTROL_LOW] = CONTROL_SCI_ENABLE;
	power->timer_zero_ns = clock_mono_ns();
}

uint8_t power_read(const struct power *power, uint16_t port)
{
	switch (port) {
	case KEYBOARD_DATA:
	case KEYBOARD_COMMAND:
		return 0; /* status: both buffers empty, nothing connected */
	case POWER_RESET_PORT:
		return power->reset_control;
	case POWER_GPE:
	case POWER_GPE + 1:
		return power->gpe[port - POWER_GPE];
	default:
		return power->pm1[port - POWER_PM1_EVENT];
	}
}

static enum power_event write_pm1(struct power *power, unsigned at, uint8_t value)
{
	if (at < PM1_ENABLE) { /* status: bits are cleared by writing ones */
		power->pm1[at] &= (uint8_t)~value;
		return POWER_NOTHING;
	}
	if (at == PM1_CONTROL_LOW)
		value |= CONTROL_SCI_ENABLE;
	power->pm1[at] = value;
	if (at != PM1_CONTROL_HIGH || !(value & CONTROL_SLEEP))
		return POWER_NOTHING;
	power->pm1[at] = (uint8_t)(value & ~CONTROL_SLEEP); /* SLP_EN reads as 0 */
	return (value >> 2 & 7) == POWER_SLEEP_TYPE_OFF ? POWER_OFF : POWER_NOTHING;
}

enum power_event power_write(struct power *power, uint16_t port, uint8_t value)
{
	uint8_t command = power->keyboard_command;
	switch (port) {
	case KEYBOARD_COMMAND:
		power->keyboard_command = value == COMMAND_WRITE_OUTPUT_PORT ? value : 0;
		return value == COMMAND_PULSE_RESET ? POWER_RESET_KEYBOARD : POWER_NOTHING;
	case KEYBOARD_DATA:
		power->keyboard_command = 0;
		return command == COMMAND_WRITE_OUTPUT_PORT && !(value & 1) ? POWER_RESET_KEYBOARD
									    : POWER_NOTHING;
	case POWER_RESET_PORT:
		power->reset_control = value & 0x0e;
		return value & 0x04 ? POWER_RESET_PORT_CF9 : POWER_NOTHING;
	case POWER_GPE:
		power->gpe[GPE_STATUS] &= (uint8_t)~value;
		return POWER_NOTHING;
	case POWER_GPE + 1:
		power->gpe[GPE_ENABLE] = value;
		return POWER_NOTHING;
	default:
		return write_pm1(power, port - POWER_PM1_EVENT, value);
	}
}

uint32_t power_timer(const struct power *power)
{
	uint64_t ns = clock_mono_ns() - power->timer_zero_ns;
	return (uint32_t)((unsigned __int128)ns * POWER_TIMER_HZ / 1000000000);
}

void power_button(struct power *power)
{
	power->pm1[PM1_STATUS_HIGH] |= BUTTON;
}

void power_generation(struct power *power)
{
	power->gpe[GPE_STATUS] |= GPE_GENERATION;
}

bool power_sci(const struct power *power)
{
	const uint8_t *status = power->pm1, *enable = power->pm1 + PM1_ENABLE;
	return (status[PM1_STATUS_HIGH] & enable[PM1_STATUS_HIGH] & BUTTON) ||
	       (power->gpe[GPE_STATUS] & power->gpe[GPE_ENABLE] & GPE_GENERATION);
}

void power_save(const struct power *power, struct buf *out)
{
	buf_put_u8(out, power->keyboard_command);
	buf_put_u8(out, power->reset_control);
	buf_put(out, power->pm1, POWER_PM1_LEN);
	buf_put(out, power->gpe, POWER_GPE_LEN);
	buf_put_u64(out, clock_mono_ns() - power->timer_zero_ns);
	buf_put_u64(out, clock_real_ns());
}

int power_load(struct power *power, const void *data, size_t len, struct err *err)
{
	static const uint8_t none[POWER_GPE_LEN];
	struct reader r = reader_of(data, len);
	uint8_t command = reader_u8(&r);
	uint8_t reset_control = reader_u8(&r);
	const void *pm1 = reader_bytes(&r, POWER_PM1_LEN), *gpe = none;
	uint64_t timer_ns = 0;
	if (len != POWER_STATE_LEN_1) { /* version 1 had no more */
		gpe = reader_bytes(&r, POWER_GPE_LEN);
		timer_ns = reader_u64(&r);
		timer_ns += clock_elapsed(reader_u64(&r), clock_real_ns());
	}
	if (r.bad || r.left)
		return err_set(err, ERR_INPUT, "power control state: its length of %zu bytes is wrong", len);
	power->keyboard_command = command;
	power->reset_control = reset_control;
	memcpy(power->pm1, pm1, POWER_PM1_LEN);
	memcpy(power->gpe, gpe, POWER_GPE_LEN);
	power->timer_zero_ns = clock_mono_ns() - timer_ns;
	return 0;
}
