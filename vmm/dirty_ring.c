/* dirty_ring.c: KVM_CAP_DIRTY_LOG_RING (Linux, Documentation/virt/kvm/api.rst, section 8.29).
 *
 * Each vCPU has a ring in memory shared with KVM.  KVM marks an entry DIRTY; we take it and mark it RESET;
 * KVM_RESET_DIRTY_RINGS write-protects those pages again and frees the entries.  When a ring has little room left,
 * KVM_RUN returns KVM_EXIT_DIRTY_RING_FULL instead of entering the guest, and the vCPU's thread makes room.
 * Between taking and resetting a page is still writable without being logged, so pages wait in a batch, and get
 * into the owner's set only after the reset. */
#include "vmm/dirty.h"
#include "vmm/machine_impl.h"
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int dirty_ring_enable(struct machine *machine, struct err *err)
{
	uint32_t most = machine->kvm.ring_bytes / sizeof(struct kvm_dirty_gfn);
	uint32_t entries = DIRTY_RING_ENTRIES;
	while (entries > most)
		entries /= 2;
	if (!entries ||
	    kvm_enable(&machine->kvm, KVM_CAP_DIRTY_LOG_RING, entries * sizeof(struct kvm_dirty_gfn)))
		return err_sys(err, "KVM: cannot switch the dirty ring on");
	machine->dirty.ring_entries = entries;
	return 0;
}

static size_t ring_bytes(const struct machine *machine)
{
	return machine->dirty.ring_entries * sizeof(struct kvm_dirty_gfn);
}

int dirty_ring_map(struct vcpu *vcpu, struct err *err)
{
	if (!vcpu->machine->dirty.ring_entries)
		return 0;
	void *ring = mmap(NULL, ring_bytes(vcpu->machine), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd,
			  KVM_DIRTY_LOG_PAGE_OFFSET * (off_t)MEMORY_PAGE);
	if (ring == MAP_FAILED)
		return err_sys(err, "vCPU %u: cannot map its dirty ring", vcpu->index);
	vcpu->ring = ring;
	return 0;
}

void dirty_ring_unmap(struct vcpu *vcpu)
{
	if (vcpu->ring)
		munmap(vcpu->ring, ring_bytes(vcpu->machine));
	vcpu->ring = NULL;
}

/* The memfd page of an entry, UINT64_MAX for what is not RAM. */
static uint64_t entry_page(const struct machine *machine, uint32_t slot, uint64_t offset)
{
	if (slot >= SLOT_COUNT || offset >= machine->slots[slot].bytes / MEMORY_PAGE)
		return UINT64_MAX;
	return machine->slots[slot].first_page + offset;
}

/* Take entries of one ring into the batch behind the `have` that are there.  Returns how many there are then. */
static size_t collect(struct vcpu *vcpu, size_t have)
{
	struct machine *machine = vcpu->machine;
	while (have < DIRTY_BATCH) {
		struct kvm_dirty_gfn *gfn = &vcpu->ring[vcpu->ring_next % machine->dirty.ring_entries];
		/* Acquire: KVM wrote slot and offset before the flag.  Release: we have read them. */
		if (!(__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
			break;
		machine->dirty.batch[have++] = entry_page(machine, gfn->slot, gfn->offset);
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		vcpu->ring_next++;
	}
	return have;
}

/* Protect the pages of the batch again and hand them over. */
static int reset_batch(struct machine *machine, size_t count)
{
	struct dirty *dirty = &machine->dirty;
	while (ioctl(machine->kvm.vm, KVM_RESET_DIRTY_RINGS, 0) < 0)
		if (errno != EINTR)
			return -1;
	for (size_t i = 0; dirty->set && i < count; i++)
		if (dirty->batch[i] != UINT64_MAX)
			pageset_add(dirty->set, dirty->batch[i]);
	return 0;
}

static int harvest(struct machine *machine, struct err *err)
{
	size_t have;
	unsigned at = 0;
	do {
		have = 0;
		for (; at < machine->cpus; at++) {
			have = collect(&machine->vcpus[at], have);
			if (have == DIRTY_BATCH)
				break; /* this ring may have more */
		}
		if (have && reset_batch(machine, have))
			return err_sys(err, "KVM: cannot reset the dirty rings");
	} while (have == DIRTY_BATCH);
	return 0;
}

/* Entries that an earlier tracking left must not fill the rings: harvest drops them while there is no set. */
static int start(struct machine *machine, struct err *err)
{
	return harvest(machine, err);
}

static void stop(struct machine *machine)
{
	(void)harvest(machine, NULL);
}

void dirty_ring_full(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	size_t have;
	int failed = 0;
	pthread_mutex_lock(&machine->dirty.lock);
	/* Its own ring only, in a bounded number of turns: it cannot fill meanwhile, since its vCPU is here. */
	do {
		have = collect(vcpu, 0);
		failed = have ? reset_batch(machine, have) : 0;
	} while (!failed && have == DIRTY_BATCH);
	pthread_mutex_unlock(&machine->dirty.lock);
	if (failed)
		machine_end(machine, MACHINE_END_CRASH, "KVM cannot reset the dirty rings");
}

const struct dirty_ops dirty_ring_ops = {.name = "ring", .start = start, .harvest = harvest, .stop = stop};
