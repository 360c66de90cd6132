/* machine_reset.c: what happens to a machine that is not asked by its vCPUs' instructions alone: the reset, the power
 * button, a new generation.
 *
 * A reset is wanted by a vCPU thread, which itself must leave KVM_RUN before its registers may be set: so it only says so,
 * gets everybody out of the guest, and the last one to leave resets the machine, in vcpu.c.  machine_pause waits for that.
 * vCPUs and interrupt chips go back to what they were when they were made, except that time goes on.  RAM stays as it is,
 * as in real machines, but for the firmware's copy. */
#include "vmm/acpi.h"
#include "vmm/emulate_syscall.h"
#include "vmm/machine_impl.h"
#include "vmm/state.h"
#include "vmm/vcpu_state.h"
#include <stdlib.h>
#include <sys/random.h>

int machine_reset_prepare(struct machine *machine, struct err *err)
{
	struct state_writer writer;
	state_begin(&writer, &machine->power_on);
	for (unsigned i = 0; i < machine->cpus; i++)
		if (vcpu_state_save(&machine->vcpus[i], &writer, err))
			return -1;
	if (machine_save_chips(machine, &writer, err))
		return -1;
	state_end(&writer);
	return 0;
}

void machine_restart(struct machine *machine, enum machine_end why, const char *detail)
{
	/* A kernel that was loaded from files cannot be loaded again: another host has no such files. */
	if (!machine->firmware.image) {
		machine_end(machine, why, detail);
		return;
	}
	pthread_mutex_lock(&machine->lock);
	if (machine->reset == RESET_NONE)
		machine->reset = RESET_WANTED;
	for (unsigned i = 0; i < machine->cpus; i++)
		if (machine->vcpus[i].in_guest)
			vcpu_kick(&machine->vcpus[i]);
	pthread_cond_broadcast(&machine->go); /* those that rest: they may be the last ones out */
	pthread_mutex_unlock(&machine->lock);
}

int machine_reset(struct machine *machine, struct err *err)
{
	if (!machine->firmware.image)
		return err_set(
		    err, ERR_STATE,
		    "this VM was booted from a kernel's file, which it cannot load again; stop and start it");
	machine_restart(machine, MACHINE_END_RESET, "reset");
	return 0;
}

static void reset_devices(struct machine *machine)
{
	devices_reset(machine);
	serial_reset(&machine->serial);
	pthread_mutex_lock(&machine->devices);
	machine->rtc.index = 0; /* its RAM has a battery */
	uint64_t zero_ns = machine->power.timer_zero_ns;
	power_init(&machine->power);
	machine->power.timer_zero_ns = zero_ns;
	machine_update_sci(machine);
	fwcfg_reset(&machine->fwcfg);
	pthread_mutex_unlock(&machine->devices);
}

int machine_reset_now(struct machine *machine, struct err *err)
{
	struct state *state = malloc(sizeof(*state));
	if (!state)
		return err_sys(err, "machine reset");
	int failed = state_parse(machine->power_on.data, machine->power_on.len, state, err);
	reset_devices(machine);
	for (unsigned i = 0; !failed && i < machine->cpus; i++)
		failed = vcpu_state_reset(&machine->vcpus[i], state, err);
	failed = failed || machine_load_chips(machine, state, err);
	free(state);
	if (failed)
		return err_context(err, "machine reset");
	emulate_syscall_reset(machine);
	firmware_shadow(machine);
	return 0;
}

/* ---- ACPI's events --------------------------------------------------------------------------------------- */

void machine_update_sci(struct machine *machine)
{
	bool level = power_sci(&machine->power);
	if (level == machine->sci)
		return;
	machine->sci = level;
	kvm_irq_line(&machine->kvm, POWER_SCI_IRQ, level);
}

void machine_power_button(struct machine *machine)
{
	pthread_mutex_lock(&machine->devices);
	power_button(&machine->power);
	machine_update_sci(machine);
	pthread_mutex_unlock(&machine->devices);
}

uint64_t machine_generation_gpa(const struct machine *machine)
{
	return machine->firmware.image ? machine->ram.low - MEMORY_PAGE : ACPI_GENERATION_GPA;
}

int machine_set_generation(struct machine *machine, struct err *err)
{
	uint8_t id[16];
	if (getrandom(id, sizeof(id), 0) != sizeof(id)) /* not interrupted for so few */
		return err_sys(err, "cannot make a new generation's id");
	(void)machine_write_ram(machine, machine_generation_gpa(machine), id, sizeof(id));
	return 0;
}

int machine_new_generation(struct machine *machine, struct err *err)
{
	if (machine_set_generation(machine, err))
		return -1;
	pthread_mutex_lock(&machine->devices);
	power_generation(&machine->power);
	machine_update_sci(machine);
	pthread_mutex_unlock(&machine->devices);
	return 0;
}
