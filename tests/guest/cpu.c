#include "cpu.h"
#include "arch.h"
#include "clock.h"
#include "ram.h"
#include "stop.h"
#include "text.h"
#include <stddef.h>

_Static_assert(offsetof(struct cpu_hw, gdt_limit) == HW_GDTR, "layout.h");
_Static_assert(offsetof(struct cpu_hw, stack3) == HW_STACK3, "layout.h");
_Static_assert(offsetof(struct cpu_hw, entry3) == HW_ENTRY3, "layout.h");
_Static_assert(offsetof(struct cpu_hw, arg) == HW_ARG, "layout.h");
_Static_assert(offsetof(struct cpu_hw, gdt) == HW_GDT, "layout.h");
_Static_assert(offsetof(struct cpu_hw, tss) == HW_TSS, "layout.h");
_Static_assert(offsetof(struct cpu_hw, tss.bitmap) == HW_TSS + 102, "the architecture");
_Static_assert(offsetof(struct cpu_hw, tss.end) == HW_BYTES - 1, "layout.h");

#define LAPIC_BASE     0xfee00000
#define LAPIC_SVR      0x0f0
#define SVR_ENABLE     0x1ff
#define LAPIC_EOI      0x0b0
#define LAPIC_TIMER    0x320
#define TIMER_PERIODIC 0x20000
#define LAPIC_COUNT    0x380
#define LAPIC_DIVIDE   0x3e0
#define DIVIDE_BY_1    0xb
#define COUNTS_PER_MS  1000000 /* KVM's; elsewhere it wakes more rarely */
#define LAPIC_ICR_LOW  0x300
#define LAPIC_ICR_HIGH 0x310
#define ICR_INIT       0x4500
#define ICR_STARTUP    0x4600

#define STACK_BYTES    16384
#define START_TRIES    10
#define START_RETRY_MS 100

extern struct cpu_hw boot_hw;
extern uint32_t ap_hw;
extern const char trampoline[];
extern const uint32_t trampoline_bytes;

static void lapic_put(unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)(LAPIC_BASE + offset) = value;
}

static void send_ipi(unsigned apic_id, uint32_t command)
{
	lapic_put(LAPIC_ICR_HIGH, apic_id << 24);
	lapic_put(LAPIC_ICR_LOW, command);
}

void cpu_wakeable(unsigned ms)
{
	lapic_put(LAPIC_SVR, SVR_ENABLE);
	lapic_put(LAPIC_DIVIDE, DIVIDE_BY_1);
	lapic_put(LAPIC_TIMER, TIMER_PERIODIC | VECTOR_WAKE);
	lapic_put(LAPIC_COUNT, ms * COUNTS_PER_MS);
}

void cpu_sleep(void)
{
	wait_interrupt();
	lapic_put(LAPIC_EOI, 0);
}

static struct cpu_hw *make_hw(void (*entry)(void *arg), void *arg)
{
	struct cpu_hw *hw = ram_alloc(sizeof(*hw));
	uint64_t tss = (uintptr_t)&hw->tss;
	uint64_t *stack3 = ram_alloc(STACK_BYTES);

	hw->gdt_limit = GDT_BYTES - 1;
	hw->gdt_base = (uintptr_t)hw->gdt;
	hw->stack3 = (uintptr_t)(stack3 + STACK_BYTES / 8 - 1); /* as after a call; nothing returns */
	hw->entry3 = (uintptr_t)entry;
	hw->arg = (uintptr_t)arg;
	for (unsigned i = 0; i < SEL_TSS / 8; i++)
		hw->gdt[i] = boot_hw.gdt[i];
	hw->gdt[SEL_TSS / 8] =
	    (TSS_BYTES - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
	hw->tss.rsp0 = (uintptr_t)ram_alloc(PAGE_SIZE) + PAGE_SIZE;
	hw->tss.bitmap = TSS_BITMAP;
	hw->tss.end = 0xff;
	return hw;
}

static bool wait_for(const _Atomic uint32_t *online)
{
	uint64_t start = rdtsc();

	while (!*online) {
		if (rdtsc() - start > clock_cycles_of_ms(START_RETRY_MS))
			return false;
		cpu_relax();
	}
	return true;
}

/* One CPU at a time, so that the trampoline need not find out which one it runs on: CPUID may not tell. */
void cpu_start(unsigned apic_id, void (*entry)(void *arg), void *arg, const _Atomic uint32_t *online)
{
	struct text name = {0};

	__builtin_memcpy((void *)GUEST_TRAMPOLINE, trampoline, trampoline_bytes);
	*(volatile uint32_t *)&ap_hw = (uint32_t)(uintptr_t)make_hw(entry, arg);
	lapic_put(LAPIC_SVR, SVR_ENABLE); /* without firmware, nobody has yet */
	for (unsigned i = 0; i < START_TRIES; i++) {
		send_ipi(apic_id, ICR_INIT);
		send_ipi(apic_id, ICR_STARTUP | GUEST_TRAMPOLINE / PAGE_SIZE);
		if (wait_for(online))
			return;
	}
	text_u64(&name, apic_id);
	text_bytes(&name, "", 1);
	stop_error("CPU did not start", name.buf);
}
