/* dirty.c: what ring and bitmap have in common, and machine.h's side of it. */
#include "vmm/dirty.h"
#include "vmm/machine_impl.h"
#include <assert.h>

#define RING_FROM (16ull << 30)

static_assert((int)DIRTY_SLOTS == (int)SLOT_COUNT, "one dirty bitmap per slot");

/* The bitmap is copied whole at each harvest, 26 us a GiB; the ring costs about 50 us more than it for its own system
 * calls, stops the guest when it is full, and has a KVM to trust that is less often used. */
static bool ring_is_cheaper(const struct kvm *kvm, const struct vm_config *config)
{
	return kvm->ring_bytes && (!kvm->manual_protect || config->memory_bytes > RING_FROM);
}

int dirty_init(struct machine *machine, const struct vm_config *config, struct err *err)
{
	const struct kvm *kvm = &machine->kvm;
	bool ring = config->dirty_mode == DIRTY_RING ||
		    (config->dirty_mode == DIRTY_AUTO && ring_is_cheaper(kvm, config));
	if (ring && !kvm->ring_bytes)
		return err_set(err, ERR_USAGE,
			       "KVM on this host has no dirty ring (Linux 5.11); use the dirty bitmap");
	if (!ring && !kvm->manual_protect)
		return err_set(err, ERR_NO_KVM,
			       "KVM lacks KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2; Linux 5.0 or later is needed");
	machine->dirty.ops = ring ? &dirty_ring_ops : &dirty_bitmap_ops;
	if (ring)
		return dirty_ring_enable(machine, err);
	if (kvm_enable(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE))
		return err_sys(err, "KVM: cannot switch the dirty bitmap to manual protection");
	return 0;
}

void dirty_destroy(struct machine *machine)
{
	if (machine->dirty.set)
		machine_dirty_stop(machine);
}

void dirty_mark(struct machine *machine, uint64_t offset, uint64_t len)
{
	if (!len)
		return;
	uint64_t first = offset / MEMORY_PAGE, last = (offset + len - 1) / MEMORY_PAGE;
	pthread_mutex_lock(&machine->dirty.lock);
	if (machine->dirty.set)
		pageset_add_range(machine->dirty.set, first, last - first + 1);
	pthread_mutex_unlock(&machine->dirty.lock);
}

int dirty_set_logging(struct machine *machine, bool on)
{
	for (unsigned i = 0; i < SLOT_COUNT; i++) {
		if (!machine->slots[i].bytes)
			continue;
		if (machine_set_slot(machine, i, on ? KVM_MEM_LOG_DIRTY_PAGES : 0)) {
			while (on && i--)
				(void)machine_set_slot(machine, i, 0);
			return -1;
		}
	}
	return 0;
}

int machine_dirty_start(struct machine *machine, struct pageset *set, struct err *err)
{
	struct dirty *dirty = &machine->dirty;
	if (set->pages < machine->ram.size / MEMORY_PAGE)
		return err_set(err, ERR_INPUT,
			       "dirty tracking: a set for %llu pages is too small for this guest",
			       (unsigned long long)set->pages);
	pthread_mutex_lock(&dirty->lock);
	int failed = 0;
	if (dirty->set) {
		failed = err_set(err, ERR_STATE, "dirty tracking is on already");
	} else if (!(failed = dirty->ops->start(machine, err))) {
		if (dirty_set_logging(machine, true)) {
			failed = err_sys(err, "KVM: cannot log the pages that the guest writes");
			dirty->ops->stop(machine);
		} else {
			dirty->set = set;
		}
	}
	pthread_mutex_unlock(&dirty->lock);
	return failed;
}

static int harvest(struct machine *machine, struct err *err)
{
	struct dirty *dirty = &machine->dirty;
	pthread_mutex_lock(&dirty->lock);
	int failed = dirty->set ? dirty->ops->harvest(machine, err)
				: err_set(err, ERR_STATE, "dirty tracking is not on");
	pthread_mutex_unlock(&dirty->lock);
	return failed;
}

int machine_dirty_harvest(struct machine *machine, struct err *err)
{
	if (machine->dirty.ops == &dirty_bitmap_ops)
		return harvest(machine, err);
	/* The CPU itself may hold back what it logged (Intel's PML) until the vCPU leaves the guest.  KVM sees to
	 * that for the bitmap; for the ring it is ours. */
	machine_flush_vcpus(machine);
	bool pause = machine->running && dirty_ring_needs_pause(machine);
	if (pause)
		machine_pause(machine);
	int failed = harvest(machine, err);
	if (pause)
		machine_resume(machine);
	return failed;
}

void machine_dirty_stop(struct machine *machine)
{
	struct dirty *dirty = &machine->dirty;
	pthread_mutex_lock(&dirty->lock);
	if (dirty->set) {
		/* Cannot fail: the slots are there, and only lose a flag. */
		(void)dirty_set_logging(machine, false);
		dirty->set = NULL;
		dirty->ops->stop(machine);
	}
	pthread_mutex_unlock(&dirty->lock);
}

const char *machine_dirty_mode(const struct machine *machine)
{
	return machine->dirty.ops->name;
}
