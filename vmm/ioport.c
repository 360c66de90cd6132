/* ioport.c: which device answers at which port.  All devices here are 8 bits wide: a larger access is as many
 * accesses to the ports that follow; where nothing answers, reads give ones and writes are lost. */
#include "vmm/machine_impl.h"
#include <stdio.h>
#include <string.h>

struct port_range {
	uint16_t first, last;
	uint8_t (*read)(struct machine *machine, uint16_t port);
	void (*write)(struct machine *machine, uint16_t port, uint8_t value);
	/* len writes to port `first` at once, or NULL */
	void (*write_string)(struct machine *machine, const uint8_t *data, size_t len);
};

enum {
	SERIAL_PORT = 0x3f8,
	RTC_PORT = 0x70,
	KEYBOARD_DATA_PORT = 0x60,
	KEYBOARD_PORT = 0x64,
	POST_PORT = 0x80
};

static uint8_t read_serial(struct machine *machine, uint16_t port)
{
	return serial_read(&machine->serial, port - SERIAL_PORT);
}

static void write_serial(struct machine *machine, uint16_t port, uint8_t value)
{
	serial_write(&machine->serial, port - SERIAL_PORT, value);
}

static void write_serial_string(struct machine *machine, const uint8_t *data, size_t len)
{
	serial_write_string(&machine->serial, data, len);
}

static uint8_t read_rtc(struct machine *machine, uint16_t port)
{
	pthread_mutex_lock(&machine->devices);
	uint8_t value = rtc_read(&machine->rtc, port - RTC_PORT);
	pthread_mutex_unlock(&machine->devices);
	return value;
}

static void write_rtc(struct machine *machine, uint16_t port, uint8_t value)
{
	pthread_mutex_lock(&machine->devices);
	rtc_write(&machine->rtc, port - RTC_PORT, value);
	pthread_mutex_unlock(&machine->devices);
}

static uint8_t read_power(struct machine *machine, uint16_t port)
{
	pthread_mutex_lock(&machine->devices);
	uint8_t value = power_read(&machine->power, port);
	pthread_mutex_unlock(&machine->devices);
	return value;
}

static void write_power(struct machine *machine, uint16_t port, uint8_t value)
{
	pthread_mutex_lock(&machine->devices);
	const char *end = power_write(&machine->power, port, value);
	pthread_mutex_unlock(&machine->devices);
	if (!end)
		return;
	char text[80];
	snprintf(text, sizeof(text), "the guest asked for %s", end);
	machine_end(machine, MACHINE_END_RESET, text);
}

static const struct port_range ranges[] = {
    {SERIAL_PORT, SERIAL_PORT + 7, read_serial, write_serial, write_serial_string},
    {RTC_PORT, RTC_PORT + 1, read_rtc, write_rtc, NULL},
    {KEYBOARD_DATA_PORT, KEYBOARD_DATA_PORT, read_power, write_power, NULL},
    {KEYBOARD_PORT, KEYBOARD_PORT, read_power, write_power, NULL},
    {POWER_PM1_EVENT, POWER_PM1_EVENT + POWER_PM1_LEN - 1, read_power, write_power, NULL},
    {POWER_RESET_PORT, POWER_RESET_PORT, read_power, write_power, NULL},
};

/* By the first port of the access only: a 32-bit write to 0xcf8 must not reset the machine. */
static const struct port_range *find(uint16_t port)
{
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (port >= ranges[i].first && port <= ranges[i].last)
			return &ranges[i];
	return NULL;
}

void ioport_access(struct machine *machine, bool out, uint16_t port, unsigned size, uint32_t count,
		   uint8_t *data)
{
	const struct port_range *range = find(port);
	if (!range) {
		if (!out)
			memset(data, 0xff, (size_t)size * count);
		return;
	}
	if (out && size == 1 && port == range->first && range->write_string) {
		range->write_string(machine, data, count);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		for (unsigned b = 0; b < size; b++, data++) {
			bool here = port + b <= range->last;
			if (out && here)
				range->write(machine, (uint16_t)(port + b), *data);
			else if (!out)
				*data = here ? range->read(machine, (uint16_t)(port + b)) : 0xff;
		}
	}
}
