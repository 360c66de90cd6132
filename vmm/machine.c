/* machine.c: making and unmaking a machine, running and pausing it. */
#include "vmm/machine.h"
#include "common/io.h"
#include "common/thread.h"
#include "vmm/boot.h"
#include "vmm/clock.h"
#include "vmm/cpuid_model.h"
#include "vmm/emulate_syscall.h"
#include "vmm/machine_impl.h"
#include "vmm/netrom.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* A pause that the guest is to be told of. */
#define LONG_PAUSE_NS 1000000000ull

int machine_check_host(struct err *err)
{
	struct kvm kvm;
	if (kvm_open(&kvm, err))
		return -1;
	kvm_close(&kvm);
	return 0;
}

/* ---- creation ------------------------------------------------------------------------------------------ */

static void serial_irq(void *arg, bool level)
{
	const struct machine *machine = arg;
	kvm_irq_line(&machine->kvm, SERIAL_IRQ, level);
}

static void serial_transmit(void *arg, const uint8_t *data, size_t len)
{
	const struct machine *machine = arg;
	if (machine->owner.console)
		machine->owner.console(machine->owner.arg, data, len);
}

static void init_locks(struct machine *machine)
{
	pthread_mutex_init(&machine->lock, NULL);
	pthread_mutex_init(&machine->devices, NULL);
	pthread_mutex_init(&machine->dirty.lock, NULL);
	thread_cond_init(&machine->go);
	pthread_cond_init(&machine->idle, NULL);
}

static struct machine *new_machine(const struct machine_owner *owner)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	if (!machine)
		return NULL;
	machine->kvm = (struct kvm){.dev = -1, .vm = -1};
	machine->ram = (struct memory){.fd = -1};
	if (owner)
		machine->owner = *owner;
	init_locks(machine);
	rtc_init(&machine->rtc);
	power_init(&machine->power);
	const struct serial_wires wires = {.arg = machine, .irq = serial_irq, .transmit = serial_transmit};
	serial_init(&machine->serial, &wires);
	pci_init(&machine->pci, &machine->kvm, &machine->irq);
	return machine;
}

int machine_set_slot(struct machine *machine, unsigned slot, uint32_t flags)
{
	const struct slot *s = &machine->slots[slot];
	return kvm_set_slot(&machine->kvm, slot, flags, s->gpa, s->bytes,
			    machine->ram.base + s->first_page * MEMORY_PAGE);
}

static int create_ram(struct machine *machine, const struct vm_config *config, int *ram_fd, struct err *err)
{
	if (*ram_fd < 0)
		*ram_fd = memory_create_fd(config->memory_bytes, "drover-ram", err);
	if (*ram_fd < 0 || memory_map(&machine->ram, *ram_fd, config->memory_bytes, err))
		return -1;
	*ram_fd = -1;
	if (config->huge_pages)
		memory_use_huge_pages(&machine->ram);
	const struct memory *ram = &machine->ram;
	machine->slots[SLOT_LOW] = (struct slot){.gpa = 0, .bytes = ram->low};
	machine->slots[SLOT_HIGH] = (struct slot){
	    .gpa = MEMORY_HIGH_BASE, .bytes = ram->size - ram->low, .first_page = ram->low / MEMORY_PAGE};
	for (unsigned i = 0; i < SLOT_COUNT; i++)
		if (machine->slots[i].bytes && machine_set_slot(machine, i, 0))
			return err_sys(err, "KVM: cannot give the guest its %llu bytes of RAM",
				       (unsigned long long)ram->size);
	return 0;
}

/* Instructions are emulated when KVM fails at them; all else that emulation does is for where it has no hardware. */
static bool needs_emulation(const struct machine *machine)
{
	return machine->emulation && !kvm_has_hardware();
}

static int create_vcpus(struct machine *machine, unsigned cpus, enum cpu_model model, struct err *err)
{
	int most = kvm_has(&machine->kvm, KVM_CAP_MAX_VCPUS);
	if (most && cpus > (unsigned)most)
		return err_set(err, ERR_USAGE, "KVM on this host allows %d vCPUs, not %u", most, cpus);
	machine->vcpus = calloc(cpus, sizeof(machine->vcpus[0]));
	machine->cpuid = calloc(1, sizeof(*machine->cpuid));
	machine->msrs = calloc(1, sizeof(*machine->msrs));
	if (!machine->vcpus || !machine->cpuid || !machine->msrs)
		return err_sys(err, "cannot make %u vCPUs", cpus);
	if (cpuid_host(&machine->kvm, machine->cpuid, err) || cpuid_apply_model(machine->cpuid, model, err))
		return -1;
	if (needs_emulation(machine))
		cpuid_hide_async_faults(machine->cpuid);
	for (unsigned i = 0; i < cpus; i++) {
		machine->cpus = i + 1; /* machine_destroy unmakes those that were begun */
		if (vcpu_create(&machine->vcpus[i], machine, i, err) ||
		    cpuid_set_vcpu(machine->vcpus[i].fd, machine->cpuid, i, cpus, err) ||
		    dirty_ring_map(&machine->vcpus[i], err))
			return -1;
	}
	machine->tsc_khz = clock_tsc_khz(machine->vcpus[0].fd);
	return msr_list_probe(&machine->kvm, machine->vcpus[0].fd, machine->msrs, err);
}

static int create_emulation(struct machine *machine, struct err *err)
{
	if (!needs_emulation(machine))
		return 0;
	emulate_tick_prepare(machine);
	return emulate_syscall_prepare(machine, err);
}

static int create(struct machine *machine, const struct vm_config *config, int *ram_fd, struct err *err)
{
	machine->emulation = config->emulation;
	if (config_check(config, err) || kvm_open(&machine->kvm, err) || kvm_create_vm(&machine->kvm, err) ||
	    irq_init(&machine->irq, &machine->kvm, err) || create_ram(machine, config, ram_fd, err) ||
	    dirty_init(machine, config, err) || create_vcpus(machine, config->cpus, config->cpu_model, err) ||
	    create_emulation(machine, err) || machine_reset_prepare(machine, err) ||
	    devices_create(machine, config, err))
		return -1;
	rtc_describe(&machine->rtc, machine->ram.low, machine->ram.size - machine->ram.low, config->cpus);
	fwcfg_init(machine, config);
	return 0;
}

struct machine *machine_create(const struct vm_config *config, int ram_fd, const struct machine_owner *owner,
			       struct err *err)
{
	struct machine *machine = new_machine(owner);
	if (!machine) {
		err_sys(err, "cannot make a machine");
	} else if (create(machine, config, &ram_fd, err)) {
		machine_destroy(machine);
		machine = NULL;
	}
	io_close(&ram_fd); /* -1 once the machine has it */
	return machine;
}

int machine_start(struct machine *machine, struct err *err)
{
	for (unsigned i = 0; i < machine->cpus; i++)
		if (vcpu_start(&machine->vcpus[i], err))
			return -1;
	return emulate_tick_start(machine, err);
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	pthread_mutex_lock(&machine->lock);
	machine->quit = true;
	machine->running = false;
	for (unsigned i = 0; i < machine->cpus; i++)
		if (machine->vcpus[i].in_guest)
			vcpu_kick(&machine->vcpus[i]);
	pthread_cond_broadcast(&machine->go);
	pthread_mutex_unlock(&machine->lock);
	devices_pause(machine);
	emulate_tick_stop(machine);
	dirty_destroy(machine); /* it needs the vCPUs' rings */
	for (unsigned i = 0; i < machine->cpus; i++)
		vcpu_destroy(&machine->vcpus[i]);
	free(machine->vcpus);
	free(machine->cpuid);
	free(machine->msrs);
	devices_destroy(machine);
	fwcfg_free(&machine->fwcfg);
	buf_free(&machine->power_on);
	serial_destroy(&machine->serial);
	pci_destroy(&machine->pci);
	irq_destroy(&machine->irq);
	kvm_close(&machine->kvm);
	firmware_free(&machine->firmware);
	emulate_syscall_free(machine);
	memory_unmap(&machine->ram);
	pthread_cond_destroy(&machine->go);
	pthread_cond_destroy(&machine->idle);
	pthread_mutex_destroy(&machine->dirty.lock);
	pthread_mutex_destroy(&machine->devices);
	pthread_mutex_destroy(&machine->lock);
	free(machine);
}

/* As firmware leaves it: memory is write-back.  Linux makes no use of PAT where MTRRs are off. */
enum { MSR_MTRR_DEFAULT = 0x2ff, MTRR_WRITE_BACK = 0x800 | 6 };

int machine_boot(struct machine *machine, const struct vm_config *config, struct err *err)
{
	struct boot_start start;
	if (machine->ever_ran)
		return err_set(err, ERR_STATE, "this machine has run already");
	if (!config->kernel) {
		if (firmware_load(machine, config->firmware, err) ||
		    netrom_load(machine, NETROM_DEFAULT, err))
			return -1;
		firmware_shadow(machine);
		return machine_set_generation(machine, err);
	}
	if (pci_assign(&machine->pci, err) || boot_load(&machine->ram, config, &start, err))
		return -1;
	for (unsigned i = 0; i < machine->cpus; i++)
		if (msr_list_has(machine->msrs, MSR_MTRR_DEFAULT) &&
		    msr_set(machine->vcpus[i].fd, MSR_MTRR_DEFAULT, MTRR_WRITE_BACK))
			return err_set(err, ERR_SYSTEM, "vCPU %u: cannot set its memory types", i);
	if (boot_set_cpu(machine->vcpus[0].fd, &start, err))
		return -1;
	return machine_set_generation(machine, err);
}

/* ---- running ------------------------------------------------------------------------------------------- */

static void after_long_pause(struct machine *machine)
{
	/* Its watchdogs are not to take the pause for a hang.  EINVAL where the guest does not use KVM's clock. */
	for (unsigned i = 0; i < machine->cpus; i++)
		(void)ioctl(machine->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
	/* KVM has counted the timer chip's ticks meanwhile, to deliver them all at once.  Setting its state
	 * forgets them.  (KVM_REINJECT_CONTROL would prevent it, but takes 13 ms when the machine is made.) */
	struct kvm_pit_state2 pit;
	if (!ioctl(machine->kvm.vm, KVM_GET_PIT2, &pit))
		(void)ioctl(machine->kvm.vm, KVM_SET_PIT2, &pit);
}

void machine_resume(struct machine *machine)
{
	if (machine->running || machine_has_ended(machine))
		return;
	if (machine->ever_ran && clock_mono_ns() - machine->paused_ns > LONG_PAUSE_NS)
		after_long_pause(machine);
	machine->ever_ran = true;
	devices_resume(machine);
	emulate_tick_resume(machine);
	pthread_mutex_lock(&machine->lock);
	machine->running = true;
	pthread_cond_broadcast(&machine->go);
	pthread_mutex_unlock(&machine->lock);
}

bool machine_any_in_guest(const struct machine *machine)
{
	for (unsigned i = 0; i < machine->cpus; i++)
		if (machine->vcpus[i].in_guest)
			return true;
	return false;
}

static void kick_all(struct machine *machine)
{
	for (unsigned i = 0; i < machine->cpus; i++)
		if (machine->vcpus[i].in_guest)
			vcpu_kick(&machine->vcpus[i]);
}

void machine_pause(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	if (machine->running)
		machine->paused_ns = clock_mono_ns();
	machine->running = false;
	kick_all(machine);
	pthread_cond_broadcast(&machine->go); /* those that rest; they see that they stand still now */
	while (machine_any_in_guest(machine) || machine->reset != RESET_NONE)
		pthread_cond_wait(&machine->idle, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
	/* Last, since what a vCPU just did may have started a device. */
	devices_pause(machine);
	emulate_tick_pause(machine);
}

void machine_flush_vcpus(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->cpus; i++) {
		struct vcpu *vcpu = &machine->vcpus[i];
		uint64_t laps = vcpu->laps;
		if (vcpu->in_guest)
			vcpu_kick(vcpu);
		while (vcpu->in_guest && vcpu->laps == laps)
			pthread_cond_wait(&machine->idle, &machine->lock);
	}
	pthread_mutex_unlock(&machine->lock);
}

bool machine_running(const struct machine *machine)
{
	return machine->running && !machine_has_ended(machine);
}

bool machine_has_ended(const struct machine *machine)
{
	return __atomic_load_n(&machine->ended, __ATOMIC_RELAXED);
}

void machine_end(struct machine *machine, enum machine_end why, const char *detail)
{
	pthread_mutex_lock(&machine->lock);
	bool first = !machine->ended;
	__atomic_store_n(&machine->ended, true, __ATOMIC_RELAXED);
	kick_all(machine);
	pthread_mutex_unlock(&machine->lock);
	if (first && machine->owner.ended)
		machine->owner.ended(machine->owner.arg, why, detail);
}

void machine_throttle(struct machine *machine, unsigned percent)
{
	pthread_mutex_lock(&machine->lock);
	machine->throttle = percent < THROTTLE_MAX ? percent : THROTTLE_MAX;
	kick_all(machine);
	pthread_cond_broadcast(&machine->go);
	pthread_mutex_unlock(&machine->lock);
}

/* ---- devices ------------------------------------------------------------------------------------------- */

size_t machine_console_input(struct machine *machine, const void *data, size_t len)
{
	return serial_input(&machine->serial, data, len);
}

int machine_write_ram(struct machine *machine, uint64_t gpa, const void *data, uint64_t len)
{
	void *at = memory_at(&machine->ram, gpa, len);
	if (!at)
		return -1;
	memcpy(at, data, len);
	dirty_mark(machine, memory_offset(&machine->ram, gpa), len);
	return 0;
}
