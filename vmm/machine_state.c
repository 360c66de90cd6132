/* machine_state.c: machine_save and machine_load: which parts there are, and in which order. */
#include "vmm/clock.h"
#include "vmm/emulate_syscall.h"
#include "vmm/machine_impl.h"
#include "vmm/netrom.h"
#include "vmm/vcpu_state.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static_assert(sizeof(struct kvm_cpuid_entry2) == 40, "STATE_CPUID holds these");

/* ---- interrupt chips and PIT ---------------------------------------------------------------------------- */

static const struct {
	enum state_id id;
	unsigned instance;
	uint32_t chip;
	size_t size;
} chips[] = {
    {STATE_PIC, 0, KVM_IRQCHIP_PIC_MASTER, sizeof(struct kvm_pic_state)},
    {STATE_PIC, 1, KVM_IRQCHIP_PIC_SLAVE, sizeof(struct kvm_pic_state)},
    {STATE_IOAPIC, 0, KVM_IRQCHIP_IOAPIC, sizeof(struct kvm_ioapic_state)},
};
enum { CHIPS = sizeof(chips) / sizeof(chips[0]) };

int machine_save_chips(const struct machine *machine, struct state_writer *writer, struct err *err)
{
	for (unsigned i = 0; i < CHIPS; i++) {
		struct kvm_irqchip chip;
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = chips[i].chip;
		if (ioctl(machine->kvm.vm, KVM_GET_IRQCHIP, &chip))
			return err_sys(err, "KVM: cannot read interrupt chip %u", chips[i].chip);
		state_put(writer, chips[i].id, chips[i].instance, &chip.chip, chips[i].size);
	}
	struct kvm_pit_state2 pit;
	memset(&pit, 0, sizeof(pit));
	if (ioctl(machine->kvm.vm, KVM_GET_PIT2, &pit))
		return err_sys(err, "KVM: cannot read the timer chip");
	state_put(writer, STATE_PIT, 0, &pit, sizeof(pit));
	return 0;
}

int machine_load_chips(const struct machine *machine, const struct state *state, struct err *err)
{
	for (unsigned i = 0; i < CHIPS; i++) {
		struct kvm_irqchip chip;
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = chips[i].chip;
		memcpy(&chip.chip, state_get(state, chips[i].id, chips[i].instance)->data, chips[i].size);
		if (ioctl(machine->kvm.vm, KVM_SET_IRQCHIP, &chip))
			return err_sys(err, "machine state: KVM refuses the state of interrupt chip %u",
				       chips[i].chip);
	}
	struct kvm_pit_state2 pit;
	memcpy(&pit, state_get(state, STATE_PIT, 0)->data, sizeof(pit));
	if (ioctl(machine->kvm.vm, KVM_SET_PIT2, &pit))
		return err_sys(err, "machine state: KVM refuses the state of the timer chip");
	return 0;
}

/* ---- our own devices ------------------------------------------------------------------------------------ */

static void save_devices(struct machine *machine, struct state_writer *writer)
{
	state_open(writer, STATE_SERIAL, 0);
	serial_save(&machine->serial, writer->out);
	state_close(writer);
	pthread_mutex_lock(&machine->devices);
	state_open(writer, STATE_RTC, 0);
	rtc_save(&machine->rtc, writer->out);
	state_close(writer);
	state_open(writer, STATE_POWER, 0);
	power_save(&machine->power, writer->out);
	state_close(writer);
	state_open(writer, STATE_FWCFG, 0);
	fwcfg_save(&machine->fwcfg, writer->out);
	state_close(writer);
	pthread_mutex_unlock(&machine->devices);
	if (machine->firmware.image) {
		state_open(writer, STATE_FIRMWARE, 0);
		firmware_save(&machine->firmware, writer->out);
		state_close(writer);
	}
	const struct buf *rom = netrom_get(machine);
	if (rom)
		state_put(writer, STATE_NETROM, 0, rom->data, rom->len);
	devices_save(machine, writer);
}

static int load_devices(struct machine *machine, const struct state *state, struct err *err)
{
	const struct state_section *serial = state_get(state, STATE_SERIAL, 0);
	const struct state_section *rtc = state_get(state, STATE_RTC, 0);
	const struct state_section *power = state_get(state, STATE_POWER, 0);
	const struct state_section *fwcfg = state_get(state, STATE_FWCFG, 0);
	const struct state_section *rom = state_get(state, STATE_NETROM, 0);
	const struct state_section *firmware = state_get(state, STATE_FIRMWARE, 0);
	if (serial_load(&machine->serial, serial->data, serial->len, err))
		return -1;
	pthread_mutex_lock(&machine->devices);
	int failed = rtc_load(&machine->rtc, rtc->data, rtc->len, err) ||
		     power_load(&machine->power, power->data, power->len, err) ||
		     (fwcfg->data && fwcfg_load(&machine->fwcfg, fwcfg->data, fwcfg->len, err));
	machine_update_sci(machine);
	pthread_mutex_unlock(&machine->devices);
	if (failed || (firmware->data && firmware_restore(machine, firmware->data, firmware->len, err)) ||
	    netrom_restore(machine, rom->data, rom->len, err))
		return -1;
	return devices_load(machine, state, err);
}

/* ---- the machine as a whole ----------------------------------------------------------------------------- */

static void save_shape(const struct machine *machine, struct state_writer *writer)
{
	state_open(writer, STATE_MACHINE, 0);
	buf_put_u64(writer->out, machine->ram.size);
	buf_put_u32(writer->out, machine->cpus);
	buf_put_u32(writer->out, 0);
	state_close(writer);
	state_put(writer, STATE_CPUID, 0, machine->cpuid->entries,
		  machine->cpuid->count * sizeof(machine->cpuid->entries[0]));
}

int machine_save(struct machine *machine, struct buf *out, struct err *err)
{
	struct state_writer writer;
	if (machine->running)
		return err_set(err, ERR_STATE, "the machine must be paused before its state is saved");
	if (machine_has_ended(machine))
		return err_set(err, ERR_STATE, "the guest has ended; there is no state to save");
	size_t before = out->len;
	devices_settle(machine);
	state_begin(&writer, out);
	save_shape(machine, &writer);
	int failed = clock_save(machine, &writer, err);
	for (unsigned i = 0; !failed && i < machine->cpus; i++)
		failed = vcpu_state_save(&machine->vcpus[i], &writer, err);
	if (!failed)
		failed = machine_save_chips(machine, &writer, err);
	if (failed) {
		out->len = before;
		return -1;
	}
	emulate_syscall_save(machine, &writer);
	save_devices(machine, &writer);
	state_end(&writer);
	return 0;
}

static int check_shape(const struct machine *machine, const struct state *state, struct err *err)
{
	const struct state_section *section = state_get(state, STATE_MACHINE, 0);
	if (!section->data)
		return err_set(err, ERR_INPUT, "machine state: section machine 0 is missing");
	uint64_t bytes = le64_get(section->data);
	uint32_t cpus = le32_get(section->data + 8);
	if (bytes != machine->ram.size || cpus != machine->cpus)
		return err_set(
		    err, ERR_INPUT,
		    "machine state: it is of a machine with %llu bytes of RAM and %u vCPUs, not %llu and %u",
		    (unsigned long long)bytes, cpus, (unsigned long long)machine->ram.size, machine->cpus);
	return state_complete(state, cpus, err);
}

/* The guest keeps the CPUID that it was started with; KVM refuses what this host cannot do. */
static int load_cpuid(struct machine *machine, const struct state *state, struct err *err)
{
	const struct state_section *section = state_get(state, STATE_CPUID, 0);
	if (section->len % sizeof(struct kvm_cpuid_entry2))
		return err_set(err, ERR_INPUT, "machine state: %u bytes of CPUID are not whole entries",
			       section->len);
	memset(machine->cpuid, 0, sizeof(*machine->cpuid));
	machine->cpuid->count = section->len / (uint32_t)sizeof(struct kvm_cpuid_entry2);
	memcpy(machine->cpuid->entries, section->data, section->len);
	for (unsigned i = 0; i < machine->cpus; i++)
		if (cpuid_set_vcpu(machine->vcpus[i].fd, machine->cpuid, i, machine->cpus, err))
			return err_context(err, "machine state");
	return 0;
}

/* The next save is of the MSRs that the guest came with, not of those that this host knows besides. */
static void keep_msrs(struct machine *machine, const struct state *state)
{
	const struct state_section *section = state_get(state, STATE_VCPU_MSRS, 0);
	machine->msrs->count = section->len / (uint32_t)sizeof(struct kvm_msr_entry);
	for (uint32_t i = 0; i < machine->msrs->count; i++)
		machine->msrs->index[i] = le32_get(section->data + i * sizeof(struct kvm_msr_entry));
}

/* CPUID first, since KVM checks registers against it.  Then the clocks: the timers of the local APICs need the TSC,
 * and an MSR has KVM write the wall-clock time of its clock's zero into RAM.  Then the vCPUs, and only then the
 * interrupt chips: what they have pending goes into local APICs, and would be lost if those were set afterwards.
 * The same holds for devices and chips. */
static int load(struct machine *machine, const struct state *state, struct err *err)
{
	if (check_shape(machine, state, err) || load_cpuid(machine, state, err) ||
	    clock_load(machine, state, err))
		return -1;
	for (unsigned i = 0; i < machine->cpus; i++)
		if (vcpu_state_load(&machine->vcpus[i], state, err))
			return -1;
	keep_msrs(machine, state);
	if (emulate_syscall_load(machine, state, err))
		return -1;
	if (machine_load_chips(machine, state, err) || load_devices(machine, state, err))
		return -1;
	return 0;
}

int machine_load(struct machine *machine, const void *data, size_t len, struct err *err)
{
	if (machine->ever_ran)
		return err_set(err, ERR_STATE,
			       "this machine has run already; state is loaded into a new one");
	struct state *state = malloc(sizeof(*state));
	if (!state)
		return err_sys(err, "machine state");
	int failed = state_parse(data, len, state, err) || load(machine, state, err);
	free(state);
	return failed ? -1 : 0;
}
