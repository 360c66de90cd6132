#include "migrate/fitness.h"

#include "common/err.h"
#include "common/units.h"
#include "migrate/plan.h"
#include "vmm/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Ledger, logs and the like; volumes have room of their own. */
enum { DISK_MIN_MIB = 64 };

static void say(struct fitness *fitness, const char *what, bool fit, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void say(struct fitness *fitness, const char *what, bool fit, const char *format, ...)
{
	struct fitness_check *check = &fitness->check[fitness->count++];
	va_list args;

	check->what = what;
	check->fit = fit;
	va_start(args, format);
	vsnprintf(check->text, sizeof(check->text), format, args);
	va_end(args);
	fitness->fit = fitness->fit && fit;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static uint64_t number_of(const json_t *object, const char *key)
{
	json_int_t number = json_integer_value(json_object_get(object, key));

	return number > 0 ? (uint64_t)number : 0;
}

static void check_version(const json_t *facts, struct fitness *fitness)
{
	const char *version = text_of(facts, "drover");

	/* A host that speaks no version of the stream that this one does has refused the greeting. */
	say(fitness, "version", true, "drover %.40s there, %s here: they understand each other",
	    version ? version : "of an unknown version", DROVER_VERSION);
}

static void check_kvm(const json_t *facts, struct fitness *fitness)
{
	const char *kvm = text_of(facts, "kvm");

	if (kvm && !*kvm)
		say(fitness, "kvm", true, "it has KVM");
	else
		say(fitness, "kvm", false, "it cannot run VMs: %.300s",
		    kvm ? kvm : "it does not say whether it has KVM");
}

static void check_cpu(const struct fitness_vm *vm, const json_t *facts, struct fitness *fitness)
{
	struct err why;

	if (machine_cpu_fits(vm->cpu, json_object_get(facts, "cpu"), &why))
		say(fitness, "cpu", false, "%.390s", why.text);
	else
		say(fitness, "cpu", true, "its CPU has all that the guest sees of this one");
}

static void check_memory(const struct fitness_vm *vm, const json_t *facts, struct fitness *fitness)
{
	uint64_t there = number_of(facts, "memory_bytes");
	char used[24], all[24], free[24];

	units_format_size(vm->touched_bytes, used);
	units_format_size(vm->config->memory_bytes, all);
	units_format_size(there, free);
	if (there < vm->touched_bytes)
		say(fitness, "memory", false,
		    "the guest uses %s of memory, and %s are to be had there; free some", used, free);
	else if (there < vm->config->memory_bytes)
		say(fitness, "memory", true,
		    "the guest uses %s of memory, and %s are to be had there; not all of its %s", used, free,
		    all);
	else
		say(fitness, "memory", true, "the guest has %s of memory, and %s are to be had there", all,
		    free);
}

static void check_disk(const struct fitness_vm *vm, const json_t *facts, struct fitness *fitness)
{
	uint64_t there = number_of(facts, "disk_bytes");
	char free[24], disks[24];

	units_format_size(there, free);
	units_format_size(vm->disk_bytes, disks);
	if (there >> 20 < DISK_MIN_MIB)
		say(fitness, "disk", false,
		    "%s are free where VMs are kept there, %d MiB are the least; make room", free,
		    DISK_MIN_MIB);
	else if (there < vm->disk_bytes)
		say(fitness, "disk", true,
		    "%s are free where VMs are kept there, and the VM's disks take %s: enough only if it has "
		    "a copy of "
		    "them already",
		    free, disks);
	else
		say(fitness, "disk", true, "%s are free where VMs are kept there%s%s", free,
		    vm->disk_bytes ? ", and the VM's disks take " : "", vm->disk_bytes ? disks : "");
}

static bool has_interface(const json_t *facts, const char *name)
{
	const json_t *list = json_object_get(facts, "interfaces");
	size_t i;
	json_t *one;

	json_array_foreach(list, i,
			   one) if (json_is_string(one) && !strcmp(json_string_value(one), name)) return true;
	return false;
}

static void check_interfaces(const struct fitness_vm *vm, const json_t *facts, struct fitness *fitness)
{
	unsigned wanted = 0;

	for (unsigned i = 0; i < vm->config->ndevices; i++) {
		const struct device_config *device = &vm->config->devices[i];

		if (device->kind != DEVICE_NET || !*device->net.tap)
			continue;
		wanted++;
		if (has_interface(facts, device->net.tap))
			continue;
		say(fitness, "network", false,
		    "it has no interface '%s', to which the guest's card in slot %u is connected; make a tap "
		    "of "
		    "that name there",
		    device->net.tap, device->slot);
		return;
	}
	if (wanted)
		say(fitness, "network", true, "the taps of the guest's %u cards are there", wanted);
	else
		say(fitness, "network", true, "the guest's cards need no interface there");
}

static void check_name(const struct fitness_vm *vm, const json_t *there, struct fitness *fitness)
{
	const char *refusal = text_of(there, "refusal");

	if (refusal && *refusal)
		say(fitness, "name", false, "%.390s", refusal);
	else if (refusal)
		say(fitness, "name", true, "it would take VM '%s'", vm->config->name);
	else
		say(fitness, "name", true, "it does not say whether it would take VM '%s'", vm->config->name);
}

static void check_way(const struct fitness_vm *vm, struct fitness *fitness)
{
	struct err why;

	if (plan_way_fits(vm->rtt_ns, vm->downtime_ns, &why))
		say(fitness, "downtime", false, "%.390s", why.text);
	else
		say(fitness, "downtime", true, "a round trip of %.1f ms leaves room for a switch-over",
		    (double)vm->rtt_ns / 1e6);
}

void fitness_check(const struct fitness_vm *vm, const json_t *facts, const json_t *there,
		   struct fitness *fitness)
{
	*fitness = (struct fitness){.fit = true};
	check_version(facts, fitness);
	check_kvm(facts, fitness);
	/* Of a host without KVM there is no CPU to compare with. */
	if (fitness->fit)
		check_cpu(vm, facts, fitness);
	check_memory(vm, facts, fitness);
	check_disk(vm, facts, fitness);
	check_interfaces(vm, facts, fitness);
	check_name(vm, there, fitness);
	check_way(vm, fitness);
}
