/* ioport.c: which device answers at which port.  Most devices here are 8 bits wide: a larger access is as many
 * accesses to the ports that follow.  Those that are wide take accesses as they come.  Where nothing answers, reads
 * give ones and writes are lost. */
#include "vmm/machine_impl.h"
#include <string.h>

struct port_range {
	uint16_t first, last;
	uint8_t (*read)(struct machine *machine, uint16_t port);
	void (*write)(struct machine *machine, uint16_t port, uint8_t value);
	/* len writes to port `first` at once, or NULL */
	void (*write_string)(struct machine *machine, const uint8_t *data, size_t len);
	/* a wide device has these two instead: size 1, 2 or 4 */
	uint32_t (*read_wide)(struct machine *machine, uint16_t port, unsigned size);
	void (*write_wide)(struct machine *machine, uint16_t port, unsigned size, uint32_t value);
};

enum {
	SERIAL_PORT = 0x3f8,
	RTC_PORT = 0x70,
	KEYBOARD_DATA_PORT = 0x60,
	KEYBOARD_PORT = 0x64,
	POST_PORT = 0x80,
	PCI_PORT = 0xcf8,
	PCI_PORTS = 8,
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
	enum power_event event = power_write(&machine->power, port, value);
	machine_update_sci(machine);
	pthread_mutex_unlock(&machine->devices);
	switch (event) {
	case POWER_NOTHING:
		break;
	case POWER_RESET_KEYBOARD:
		machine_restart(machine, MACHINE_END_RESET,
				"the guest asked for reset by the keyboard controller");
		break;
	case POWER_RESET_PORT_CF9:
		machine_restart(machine, MACHINE_END_RESET, "the guest asked for reset by port 0xcf9");
		break;
	case POWER_OFF:
		machine_end(machine, MACHINE_END_RESET, "the guest asked for power-off by ACPI");
		break;
	}
}

static uint32_t read_timer(struct machine *machine, uint16_t port, unsigned size)
{
	(void)size; /* the upper bytes of a short access are cut off */
	pthread_mutex_lock(&machine->devices);
	uint32_t value = power_timer(&machine->power);
	pthread_mutex_unlock(&machine->devices);
	return value >> 8 * (port - POWER_TIMER);
}

static void write_timer(struct machine *machine, uint16_t port, unsigned size, uint32_t value)
{
	(void)machine; /* it cannot be set */
	(void)port;
	(void)size;
	(void)value;
}

static uint32_t read_fwcfg(struct machine *machine, uint16_t port, unsigned size)
{
	pthread_mutex_lock(&machine->devices);
	uint32_t value = fwcfg_read(machine, port, size);
	pthread_mutex_unlock(&machine->devices);
	return value;
}

static void write_fwcfg(struct machine *machine, uint16_t port, unsigned size, uint32_t value)
{
	pthread_mutex_lock(&machine->devices);
	fwcfg_write(machine, port, size, value);
	pthread_mutex_unlock(&machine->devices);
}

static uint32_t read_pci(struct machine *machine, uint16_t port, unsigned size)
{
	return pci_port_read(&machine->pci, port, size);
}

static void write_pci(struct machine *machine, uint16_t port, unsigned size, uint32_t value)
{
	pci_port_write(&machine->pci, port, size, value);
}

/* The first that fits counts. */
static const struct port_range ranges[] = {
    {SERIAL_PORT, SERIAL_PORT + 7, .read = read_serial, .write = write_serial,
     .write_string = write_serial_string},
    {RTC_PORT, RTC_PORT + 1, .read = read_rtc, .write = write_rtc},
    {KEYBOARD_DATA_PORT, KEYBOARD_DATA_PORT, .read = read_power, .write = write_power},
    {KEYBOARD_PORT, KEYBOARD_PORT, .read = read_power, .write = write_power},
    {POWER_PM1_EVENT, POWER_PM1_EVENT + POWER_PM1_LEN - 1, .read = read_power, .write = write_power},
    {POWER_GPE, POWER_GPE + POWER_GPE_LEN - 1, .read = read_power, .write = write_power},
    {POWER_TIMER, POWER_TIMER + 3, .read_wide = read_timer, .write_wide = write_timer},
    {FWCFG_PORT, FWCFG_PORT + FWCFG_PORTS - 1, .read_wide = read_fwcfg, .write_wide = write_fwcfg},
    {POWER_RESET_PORT, POWER_RESET_PORT, .read = read_power, .write = write_power},
    {PCI_PORT, PCI_PORT + PCI_PORTS - 1, .read_wide = read_pci, .write_wide = write_pci},
};

/* By the first port of the access only: a 32-bit write to 0xcf8 must not reset the machine. */
static const struct port_range *find(uint16_t port)
{
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (port >= ranges[i].first && port <= ranges[i].last)
			return &ranges[i];
	return NULL;
}

static void access_wide(struct machine *machine, const struct port_range *range, bool out, uint16_t port,
			unsigned size, uint32_t count, uint8_t *data)
{
	for (uint32_t i = 0; i < count; i++, data += size) {
		uint8_t value[4] = {0};
		if (out) {
			memcpy(value, data, size);
			range->write_wide(machine, port, size, le32_get(value));
		} else {
			le32_put(value, range->read_wide(machine, port, size));
			memcpy(data, value, size);
		}
	}
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
	if (range->read_wide) {
		access_wide(machine, range, out, port, size, count, data);
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
