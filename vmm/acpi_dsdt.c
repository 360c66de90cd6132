/* acpi_dsdt.c: the devices that no bus can find by asking: the PCI bus itself with how its interrupts are wired, the
 * legacy devices, firmware's configuration ports, the generation id; and the state "off". */
#include "vmm/acpi.h"
#include "vmm/aml.h"
#include "vmm/fwcfg.h"
#include "vmm/pci.h"
#include "vmm/power.h"

enum { SERIAL_PORT = 0x3f8, SERIAL_PORTS = 8, SERIAL_IRQ = 4, RTC_PORT = 0x70, RTC_PORTS = 2 };

/* The value of _CRS is the template that follows. */
static void resources(struct aml *aml)
{
	aml_name(aml, "_CRS");
	aml_template(aml);
}

static void hardware_id(struct aml *aml, const char *name, const char *id)
{
	aml_device(aml, name);
	aml_name(aml, "_HID");
	aml_eisa_id(aml, id);
}

/* INTA of slot s to its input of the chips, by number. */
static void interrupt_routing(struct aml *aml)
{
	aml_name(aml, "_PRT");
	aml_package(aml, PCI_SLOTS - 1);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		aml_package(aml, 4);
		aml_integer(aml, slot << 16 | 0xffff); /* any function */
		aml_integer(aml, 0);                   /* INTA */
		aml_integer(aml, 0);                   /* not through a link device */
		aml_integer(aml, PCI_INTX_FIRST + slot % PCI_INTX_LINES);
		aml_close(aml);
	}
	aml_close(aml);
}

static void legacy_devices(struct aml *aml)
{
	hardware_id(aml, "COM1", "PNP0501");
	aml_name(aml, "_UID");
	aml_integer(aml, 1);
	resources(aml);
	aml_ports(aml, SERIAL_PORT, SERIAL_PORTS);
	aml_irq(aml, SERIAL_IRQ);
	aml_close(aml);
	aml_close(aml);
	hardware_id(aml, "RTC", "PNP0B00"); /* it raises no interrupts */
	resources(aml);
	aml_ports(aml, RTC_PORT, RTC_PORTS);
	aml_close(aml);
	aml_close(aml);
}

static void pci_bus(struct aml *aml)
{
	hardware_id(aml, "PCI0", "PNP0A03");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	resources(aml);
	aml_word_range(aml, AML_BUS, 0, 0);
	aml_ports(aml, 0xcf8, 8);
	aml_word_range(aml, AML_IO, 0, 0xcf7);
	aml_word_range(aml, AML_IO, 0xd00, 0xffff);
	aml_memory_range(aml, PCI_HOLE_FIRST, PCI_HOLE_LAST);
	aml_close(aml);
	interrupt_routing(aml);
	legacy_devices(aml);
	aml_close(aml);
}

/* By the ids for which drivers look: QEMU's for its configuration ports, and Microsoft's for the generation
 * ("Virtual Machine Generation ID", 2012). */
static void other_devices(struct aml *aml, uint64_t generation)
{
	aml_device(aml, "FWCF");
	aml_name(aml, "_HID");
	aml_string(aml, "QEMU0002");
	resources(aml);
	aml_ports(aml, FWCFG_PORT, FWCFG_PORTS);
	aml_close(aml);
	aml_close(aml);
	aml_device(aml, "VGEN");
	aml_name(aml, "_HID");
	aml_string(aml, "DRVR0001");
	aml_name(aml, "_CID");
	aml_string(aml, "VM_Gen_Counter");
	aml_name(aml, "_DDN");
	aml_string(aml, "VM_Gen_Counter");
	aml_name(aml, "ADDR");
	aml_package(aml, 2);
	aml_integer(aml, generation & UINT32_MAX);
	aml_integer(aml, generation >> 32);
	aml_close(aml);
	aml_close(aml);
}

void acpi_dsdt(struct buf *out, uint64_t generation)
{
	struct aml aml = {.depth = 0};
	aml_scope(&aml, "\\_SB");
	pci_bus(&aml);
	other_devices(&aml, generation);
	aml_close(&aml);
	aml_scope(&aml, "\\_GPE");
	aml_method(&aml, "_E00"); /* general-purpose event 0 */
	aml_notify(&aml, "\\_SB.VGEN", 0x80);
	aml_close(&aml);
	aml_close(&aml);
	aml_name(&aml, "\\_S5");
	aml_package(&aml, 2);
	aml_integer(&aml, POWER_SLEEP_TYPE_OFF);
	aml_integer(&aml, POWER_SLEEP_TYPE_OFF);
	aml_close(&aml);
	buf_put(out, aml.out.data, aml.out.len);
	buf_free(&aml.out);
}
