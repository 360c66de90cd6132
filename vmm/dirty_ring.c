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
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum {
	RESET_GROUP = 64,
	RESET_TRIES = 10000, /* calls in a row that reset nothing */
};

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

static struct kvm_dirty_gfn *entry_at(const struct vcpu *vcpu, uint32_t ahead)
{
	return &vcpu->ring[(vcpu->ring_next + ahead) % vcpu->machine->dirty.ring_entries];
}

/* Acquire: KVM wrote slot and offset before the flag. */
static bool is_dirty(const struct kvm_dirty_gfn *gfn)
{
	return __atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY;
}

/* Release: we have read the entry. */
static void take(struct kvm_dirty_gfn *gfn)
{
	__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
}

/* ---- resets ---------------------------------------------------------------------------------------------
 *
 * KVM_RESET_DIRTY_RINGS gives the number of entries that it took back.  Since Linux 6.16 it stops early, without an
 * error, when a signal is pending, and then does not protect the pages of the last group that it has counted (pages
 * within 64 of each other, so 64 entries at most).  So the calling thread blocks signals; what cannot be blocked (a
 * stop, a debugger) shows as a voluntary context switch in the call.  The pages that may have stayed writable are
 * loose then: nothing will log them any more, and each harvest counts them as dirty. */

static long context_switches(void)
{
	struct rusage usage;
	return getrusage(RUSAGE_THREAD, &usage) ? -1 : usage.ru_nvcsw;
}

static int add_loose(struct dirty *dirty, const uint64_t *pages, size_t count)
{
	if (dirty->nloose + count > DIRTY_LOOSE_MAX) {
		errno = EOVERFLOW;
		return -1;
	}
	memcpy(dirty->loose + dirty->nloose, pages, count * sizeof(pages[0]));
	dirty->nloose += count;
	return 0;
}

/* Let KVM have back `count` entries that were taken, and protect their pages; `pages` are those, in the order of the
 * entries, or NULL when all of RAM will be protected anew. */
static int reset_blocked(struct machine *machine, const uint64_t *pages, size_t count)
{
	unsigned in_vain = 0;
	for (size_t done = 0; done < count;) {
		long before = context_switches();
		int now = ioctl(machine->kvm.vm, KVM_RESET_DIRTY_RINGS, 0);
		if (now < 0 && errno != EINTR)
			return -1;
		if (now <= 0) {
			errno = EIO;
			if (++in_vain > RESET_TRIES)
				return -1;
			continue;
		}
		if ((size_t)now > count - done) {
			errno = EIO;
			return -1;
		}
		size_t first = now > RESET_GROUP ? done + (size_t)now - RESET_GROUP : done;
		done += (size_t)now;
		bool disturbed = done < count || context_switches() != before;
		if (pages && disturbed && add_loose(&machine->dirty, pages + first, done - first))
			return -1;
	}
	return 0;
}

static int reset_rings(struct machine *machine, const uint64_t *pages, size_t count)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = reset_blocked(machine, pages, count);
	int why = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = why;
	return failed;
}

/* ---- rings that were overrun ----------------------------------------------------------------------------
 *
 * KVM stops a vCPU while its ring still has room for what may follow.  A software KVM that runs the guest's kernel by
 * emulation was seen to go on without stopping, and to write over the oldest entries.  Nothing must get lost then
 * either:
 *   - A ring of which the last entry is in use was overrun.  All pages count as dirty, and all are protected anew, since
 *     those whose entries are gone are writable and would never be logged again.
 *   - By how much it was overrun is not known, so neither is where KVM's next entry will be: the ring is adrift.  The
 *     first new entry shows it; the free ones before it are handed back as if they had been taken.
 * A vCPU must stand still for this; so it must for a harvest of a ring that is nearly full. */

static bool was_overrun(const struct vcpu *vcpu)
{
	return is_dirty(entry_at(vcpu, vcpu->machine->dirty.ring_entries - 1));
}

static bool nearly_full(const struct vcpu *vcpu)
{
	uint32_t entries = vcpu->machine->dirty.ring_entries;
	return is_dirty(entry_at(vcpu, entries - entries / 8));
}

static int hand_back(struct vcpu *vcpu, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		take(entry_at(vcpu, i));
	vcpu->ring_next += count;
	return reset_rings(vcpu->machine, NULL, count);
}

static int recover(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	struct dirty *dirty = &machine->dirty;
	vcpu->ring_adrift = true;
	dirty->overruns++;
	if (hand_back(vcpu, dirty->ring_entries))
		return -1;
	if (!dirty->set)
		return 0;
	if (dirty_set_logging(machine, false) || dirty_set_logging(machine, true))
		return -1;
	pageset_add_range(dirty->set, 0, machine->ram.size / MEMORY_PAGE);
	return 0;
}

/* Look for the first new entry of a ring that is adrift.  KVM writes them in order: the first one that we see may
 * follow others which were not there yet when we passed. */
static int find_again(struct vcpu *vcpu)
{
	uint32_t entries = vcpu->machine->dirty.ring_entries, ahead = 0;
	while (ahead < entries && !is_dirty(entry_at(vcpu, ahead)))
		ahead++;
	if (ahead == entries)
		return 0;
	while (ahead && is_dirty(entry_at(vcpu, ahead - 1)))
		ahead--;
	vcpu->ring_adrift = false;
	return ahead ? hand_back(vcpu, ahead) : 0;
}

/* ---- harvest -------------------------------------------------------------------------------------------- */

/* Protect the pages of the batch again and hand them over. */
static int finish_batch(struct machine *machine, size_t *have)
{
	struct dirty *dirty = &machine->dirty;
	size_t count = *have;
	*have = 0;
	if (count && reset_rings(machine, dirty->batch, count))
		return -1;
	for (size_t i = 0; dirty->set && i < count; i++)
		if (dirty->batch[i] != UINT64_MAX)
			pageset_add(dirty->set, dirty->batch[i]);
	return 0;
}

/* One ring, to its end, by way of the batch: rings share it, since a reset costs a system call. */
static int harvest_ring(struct vcpu *vcpu, size_t *have)
{
	struct machine *machine = vcpu->machine;
	if (was_overrun(vcpu) && (finish_batch(machine, have) || recover(vcpu)))
		return -1;
	if (vcpu->ring_adrift && (finish_batch(machine, have) || find_again(vcpu)))
		return -1;
	while (is_dirty(entry_at(vcpu, 0))) {
		struct kvm_dirty_gfn *gfn = entry_at(vcpu, 0);
		machine->dirty.batch[(*have)++] = entry_page(machine, gfn->slot, gfn->offset);
		take(gfn);
		vcpu->ring_next++;
		if (*have == DIRTY_BATCH && finish_batch(machine, have))
			return -1;
	}
	return 0;
}

static int harvest(struct machine *machine, struct err *err)
{
	size_t have = 0;
	for (unsigned i = 0; i < machine->cpus; i++)
		if (harvest_ring(&machine->vcpus[i], &have))
			return err_sys(err, "KVM: cannot reset the dirty ring of vCPU %u", i);
	if (finish_batch(machine, &have))
		return err_sys(err, "KVM: cannot reset the dirty rings");
	const struct dirty *dirty = &machine->dirty;
	for (size_t i = 0; dirty->set && i < dirty->nloose; i++)
		if (dirty->loose[i] != UINT64_MAX)
			pageset_add(dirty->set, dirty->loose[i]);
	return 0;
}

bool dirty_ring_needs_pause(struct machine *machine)
{
	bool needs = false;
	pthread_mutex_lock(&machine->dirty.lock);
	for (unsigned i = 0; i < machine->cpus; i++)
		needs |= nearly_full(&machine->vcpus[i]);
	pthread_mutex_unlock(&machine->dirty.lock);
	return needs;
}

/* Entries that an earlier tracking left must not fill the rings: harvest drops them while there is no set. */
static int start(struct machine *machine, struct err *err)
{
	machine->dirty.nloose = 0;
	return harvest(machine, err);
}

static void stop(struct machine *machine)
{
	(void)harvest(machine, NULL);
}

void dirty_ring_full(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	size_t have = 0;
	pthread_mutex_lock(&machine->dirty.lock);
	bool adrift = vcpu->ring_adrift && !was_overrun(vcpu);
	int failed = harvest_ring(vcpu, &have) || finish_batch(machine, &have);
	/* Full, and nothing where we look: KVM is so far ahead that it can have half of its entries back. */
	if (!failed && adrift && vcpu->ring_adrift)
		failed = hand_back(vcpu, machine->dirty.ring_entries / 2);
	pthread_mutex_unlock(&machine->dirty.lock);
	if (failed)
		machine_end(machine, MACHINE_END_CRASH, "KVM cannot reset the dirty rings");
}

const struct dirty_ops dirty_ring_ops = {.name = "ring", .start = start, .harvest = harvest, .stop = stop};
