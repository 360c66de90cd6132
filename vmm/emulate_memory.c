/* emulate_memory.c: memory as the processor sees it, through the guest's page tables.
 *
 * Tables and data are the guest's: every address is looked up in RAM anew.  Reserved bits and protection keys are not
 * checked: an entry with a reserved bit leads out of RAM, or works where a real processor would fault. */
#include "vmm/emulate_impl.h"
#include "vmm/machine_impl.h"
#include <string.h>

enum {
	ENTRY_PRESENT = 1u << 0,
	ENTRY_WRITE = 1u << 1,
	ENTRY_USER = 1u << 2,
	ENTRY_ACCESSED = 1u << 5,
	ENTRY_DIRTY = 1u << 6,
	ENTRY_LARGE = 1u << 7,
	FAULT_PRESENT = 1u << 0, /* the error code: the page is there, the rights are not */
};
#define ENTRY_NO_EXECUTE (1ull << 63)
#define ENTRY_ADDRESS    0x000ffffffffff000ull

/* The kind of tables in use. */
struct tables {
	unsigned levels;
	unsigned index_bits;
	unsigned entry_bytes;
};

static struct tables tables_of(const struct emulation *e)
{
	if (e->sregs.efer & EFER_LMA)
		return (struct tables){e->sregs.cr4 & CR4_LA57 ? 5 : 4, 9, 8};
	if (e->sregs.cr4 & CR4_PAE)
		return (struct tables){3, 9, 8};
	return (struct tables){2, 10, 4};
}

static enum emulate page_fault(struct emulation *e, uint64_t linear, unsigned access, bool present)
{
	unsigned code = access | (present ? FAULT_PRESENT : 0);
	if (!(e->sregs.efer & EFER_NXE) && !(e->sregs.cr4 & CR4_SMEP))
		code &= ~(unsigned)ACCESS_FETCH;
	e->sregs.cr2 = linear;
	return emulate_fault_code(e, VECTOR_PAGE, code);
}

/* rights: the USER and WRITE that all levels give, and NO_EXECUTE of any. */
static bool allowed(const struct emulation *e, uint64_t rights, unsigned access)
{
	bool user_page = rights & ENTRY_USER;
	if (access & ACCESS_USER && !user_page)
		return false;
	if (access & ACCESS_WRITE && !(rights & ENTRY_WRITE) &&
	    (access & ACCESS_USER || e->sregs.cr0 & CR0_WP))
		return false;
	if (access & ACCESS_FETCH && rights & ENTRY_NO_EXECUTE && e->sregs.efer & EFER_NXE)
		return false;
	if (access & ACCESS_USER || !user_page)
		return true;
	if (access & ACCESS_FETCH)
		return !(e->sregs.cr4 & CR4_SMEP);
	return !(e->sregs.cr4 & CR4_SMAP) || e->regs.rflags & FLAGS_AC;
}

/* An entry's accessed and dirty bits are the guest's memory, and another vCPU may write there at the same time. */
static void mark_entry(struct emulation *e, uint64_t gpa, uint8_t *entry, uint8_t bits)
{
	if ((__atomic_load_n(entry, __ATOMIC_RELAXED) & bits) == bits)
		return;
	__atomic_fetch_or(entry, bits, __ATOMIC_SEQ_CST);
	dirty_mark(e->vcpu->machine, memory_offset(&e->vcpu->machine->ram, gpa), 1);
}

static uint64_t leaf_address(const struct tables *tables, uint64_t entry, unsigned shift, uint64_t linear)
{
	uint64_t inside = (1ull << shift) - 1, at = entry & ENTRY_ADDRESS & ~inside;
	if (tables->entry_bytes == 4 && shift > 12) /* 4 MiB: address bits 32 to 39 stand in 13 to 20 */
		at |= (entry >> 13 & 0xff) << 32;
	return at | (linear & inside);
}

/* translate: where the byte at `linear` is; the rest of its 4 KiB follows there. */
static enum emulate translate(struct emulation *e, uint64_t linear, unsigned access, uint64_t *gpa)
{
	const struct memory *ram = &e->vcpu->machine->ram;
	if (!(e->sregs.cr0 & CR0_PG)) {
		*gpa = linear & UINT32_MAX;
		return EMULATE_DONE;
	}
	const struct tables tables = tables_of(e);
	bool pae = tables.levels == 3;
	uint64_t table = e->sregs.cr3 & (pae ? 0xffffffe0ull : ENTRY_ADDRESS);
	uint64_t rights = ENTRY_USER | ENTRY_WRITE;
	if (!(e->sregs.efer & EFER_LMA))
		linear &= UINT32_MAX;
	for (unsigned level = tables.levels;; level--) {
		unsigned shift = 12 + (level - 1) * tables.index_bits;
		uint64_t index = linear >> shift & ((1u << tables.index_bits) - 1);
		uint64_t at = table + (pae && level == 3 ? index & 3 : index) * tables.entry_bytes;
		uint8_t *place = memory_at(ram, at, tables.entry_bytes);
		if (!place)
			return EMULATE_CANNOT;
		uint64_t entry = 0;
		memcpy(&entry, place, tables.entry_bytes);
		if (!(entry & ENTRY_PRESENT))
			return page_fault(e, linear, access, false);
		if (pae && level == 3) { /* has neither rights nor marks */
			table = entry & ENTRY_ADDRESS;
			continue;
		}
		rights = (rights & entry & (ENTRY_USER | ENTRY_WRITE)) |
			 ((rights | (tables.entry_bytes == 8 ? entry : 0)) & ENTRY_NO_EXECUTE);
		bool large = entry & ENTRY_LARGE && (level == 2 || level == 3) &&
			     (tables.entry_bytes == 8 || e->sregs.cr4 & CR4_PSE);
		bool leaf = level == 1 || large;
		if (leaf && !allowed(e, rights, access))
			return page_fault(e, linear, access, true);
		mark_entry(e, at, place,
			   leaf && access & ACCESS_WRITE ? ENTRY_ACCESSED | ENTRY_DIRTY : ENTRY_ACCESSED);
		if (leaf) {
			*gpa = leaf_address(&tables, entry, shift, linear);
			return EMULATE_DONE;
		}
		table = entry & ENTRY_ADDRESS;
	}
}

/* in_page: how much of len is in the page of `linear`. */
static size_t in_page(uint64_t linear, size_t len)
{
	size_t left = MEMORY_PAGE - (size_t)(linear % MEMORY_PAGE);
	return left < len ? left : len;
}

enum emulate emulate_read(struct emulation *e, uint64_t linear, void *data, size_t len, unsigned access)
{
	for (size_t done = 0, now; done < len; done += now) {
		uint64_t gpa;
		now = in_page(linear + done, len - done);
		enum emulate result = translate(e, linear + done, access, &gpa);
		if (result != EMULATE_DONE)
			return result;
		const void *at = memory_at(&e->vcpu->machine->ram, gpa, now);
		if (!at)
			return EMULATE_CANNOT;
		memcpy((uint8_t *)data + done, at, now);
	}
	return EMULATE_DONE;
}

enum emulate emulate_write(struct emulation *e, uint64_t linear, const void *data, size_t len,
			   unsigned access)
{
	struct machine *machine = e->vcpu->machine;
	uint64_t gpa = 0;
	/* First all pages, since one that is not there must not leave the first part written. */
	for (size_t done = 0, now; done < len; done += now) {
		now = in_page(linear + done, len - done);
		enum emulate result = translate(e, linear + done, access | ACCESS_WRITE, &gpa);
		if (result != EMULATE_DONE)
			return result;
		if (!memory_at(&machine->ram, gpa, now))
			return EMULATE_CANNOT;
	}
	for (size_t done = 0, now; done < len; done += now) {
		now = in_page(linear + done, len - done);
		/* Another vCPU may have changed the tables meanwhile. */
		if (translate(e, linear + done, access | ACCESS_WRITE, &gpa) != EMULATE_DONE ||
		    machine_write_ram(machine, gpa, (const uint8_t *)data + done, now))
			return EMULATE_CANNOT;
	}
	return EMULATE_DONE;
}
