/* dirty_bitmap.c: KVM_GET_DIRTY_LOG with KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (api.rst, sections 4.8 and 4.117).
 *
 * Reading the bitmap changes nothing; KVM_CLEAR_DIRTY_LOG then protects again just the stretches that had dirty
 * pages.  Reading is a copy of one bit a page, so the cost has a small part that grows with the size of the guest:
 * 2 MiB of bits for 64 GiB. */
#include "vmm/dirty.h"
#include "vmm/machine_impl.h"
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Words without dirty pages between two stretches that are cheaper passed along than another system call. */
enum { GAP_WORDS = 1024, WORD_PAGES = 64 };

/* Words that one clearing covers: KVM keeps its lock for so long, and a vCPU that faults waits for it. */
enum { CLEAR_WORDS = 64 };

static void stop(struct machine *machine)
{
	struct dirty *dirty = &machine->dirty;
	for (unsigned i = 0; i < SLOT_COUNT; i++) {
		if (dirty->bitmap[i])
			munmap(dirty->bitmap[i], dirty->bitmap_len[i]);
		dirty->bitmap[i] = NULL;
	}
}

static int start(struct machine *machine, struct err *err)
{
	struct dirty *dirty = &machine->dirty;
	for (unsigned i = 0; i < SLOT_COUNT; i++) {
		uint64_t pages = machine->slots[i].bytes / MEMORY_PAGE;
		if (!pages)
			continue;
		dirty->bitmap_len[i] = (pages + WORD_PAGES - 1) / WORD_PAGES * sizeof(uint64_t);
		void *map = mmap(NULL, dirty->bitmap_len[i], PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map == MAP_FAILED) {
			err_sys(err, "dirty tracking: no memory for a bitmap of %llu bytes",
				(unsigned long long)dirty->bitmap_len[i]);
			stop(machine);
			return -1;
		}
		dirty->bitmap[i] = map;
	}
	return 0;
}

static int clear(struct machine *machine, unsigned slot, uint64_t first_word, uint64_t end_word)
{
	uint64_t pages = machine->slots[slot].bytes / MEMORY_PAGE;
	while (first_word < end_word) {
		/* The number of pages must be a multiple of 64 or reach the end of the slot. */
		uint64_t end = end_word - first_word > CLEAR_WORDS ? first_word + CLEAR_WORDS : end_word;
		uint64_t first_page = first_word * WORD_PAGES;
		uint64_t end_page = end * WORD_PAGES < pages ? end * WORD_PAGES : pages;
		struct kvm_clear_dirty_log log = {.slot = slot,
						  .first_page = first_page,
						  .num_pages = (uint32_t)(end_page - first_page),
						  .dirty_bitmap = machine->dirty.bitmap[slot] + first_word};
		while (ioctl(machine->kvm.vm, KVM_CLEAR_DIRTY_LOG, &log))
			if (errno != EINTR)
				return -1;
		first_word = end;
	}
	return 0;
}

static void hand_over(struct machine *machine, unsigned slot, uint64_t first_word, uint64_t end_word)
{
	const uint64_t *bits = machine->dirty.bitmap[slot];
	for (uint64_t i = first_word; i < end_word; i++)
		for (uint64_t word = bits[i]; word; word &= word - 1)
			pageset_add(machine->dirty.set, machine->slots[slot].first_page + i * WORD_PAGES +
							    (uint64_t)__builtin_ctzll(word));
}

static int harvest_slot(struct machine *machine, unsigned slot)
{
	struct dirty *dirty = &machine->dirty;
	struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = dirty->bitmap[slot]};
	if (ioctl(machine->kvm.vm, KVM_GET_DIRTY_LOG, &log))
		return -1;
	const uint64_t *bits = dirty->bitmap[slot];
	uint64_t words = dirty->bitmap_len[slot] / sizeof(uint64_t), i = 0;
	while (i < words) {
		if (!bits[i]) {
			i++;
			continue;
		}
		uint64_t first = i, end = ++i;
		for (; i < words && i - end < GAP_WORDS; i++)
			if (bits[i])
				end = i + 1;
		if (clear(machine, slot, first, end))
			return -1;
		hand_over(machine, slot, first, end);
	}
	return 0;
}

static int harvest(struct machine *machine, struct err *err)
{
	for (unsigned i = 0; i < SLOT_COUNT; i++)
		if (machine->slots[i].bytes && harvest_slot(machine, i))
			return err_sys(err, "KVM: cannot read the dirty bitmap");
	return 0;
}

const struct dirty_ops dirty_bitmap_ops = {
    .name = "bitmap", .start = start, .harvest = harvest, .stop = stop};
