#include "clock.h"
#include "arch.h"
#include "stop.h"
#include <stddef.h>

#define KVM_LEAF        0x40000000
#define KVM_FEATURES    0x40000001
#define KVM_CLOCKSOURCE 0x00000008 /* CLOCKSOURCE2: the MSR below */
#define KVM_MSR_CLOCK   0x4b564d01
#define KVM_MSR_ENABLE  1

#define PIT_HZ          1193182
#define PIT_CHANNEL2    0x42
#define PIT_MODE        0x43
#define PIT_ONE_SHOT    0xb0 /* channel 2, low and high byte, mode 0 */
#define PORT_B          0x61
#define PORT_B_GATE2    0x01
#define PORT_B_OUT2     0x20
#define PIT_MS          10
#define PIT_GIVE_UP     20000000000u /* cycles: seconds on any machine */

static uint64_t khz;

bool clock_enable_pv(struct pvclock *pv)
{
	struct cpuid id = cpuid(KVM_LEAF);

	if (id.ebx != 0x4b4d564b || id.ecx != 0x564b4d56 || id.edx != 0x4d || id.eax < KVM_FEATURES)
		return false; /* not "KVMKVMKVM" */
	if (!(cpuid(KVM_FEATURES).eax & KVM_CLOCKSOURCE))
		return false;
	return write_msr(KVM_MSR_CLOCK, (uintptr_t)pv | KVM_MSR_ENABLE) && pv->version != 0;
}

static uint64_t khz_of_pvclock(const struct pvclock *pv)
{
	uint64_t result = (1000000ull << 32) / pv->mul;

	return pv->shift < 0 ? result << -pv->shift : result >> pv->shift;
}

/* Lets channel 2 of the PIT count down once, and reads the TSC before and after. */
static uint64_t khz_of_pit(void)
{
	unsigned count = PIT_HZ * PIT_MS / 1000;
	uint64_t start, now;

	outb(PORT_B, PORT_B_GATE2);
	outb(PIT_MODE, PIT_ONE_SHOT);
	outb(PIT_CHANNEL2, count & 0xff);
	outb(PIT_CHANNEL2, count >> 8);
	start = rdtsc();
	do {
		now = rdtsc();
		if (now - start > PIT_GIVE_UP)
			stop_error("no kvmclock and no PIT, give tsc_khz=", NULL);
	} while (!(inb(PORT_B) & PORT_B_OUT2));
	return (now - start) / PIT_MS;
}

const char *clock_init(uint64_t tsc_khz, const struct pvclock *pv)
{
	if (tsc_khz) {
		khz = tsc_khz;
		return "given";
	}
	if (pv && pv->mul) {
		khz = khz_of_pvclock(pv);
		return "kvmclock";
	}
	khz = khz_of_pit();
	return "pit";
}

uint64_t clock_khz(void)
{
	return khz;
}

uint64_t clock_us(uint64_t cycles)
{
	return cycles / khz * 1000 + cycles % khz * 1000 / khz;
}

uint64_t clock_ms(uint64_t cycles)
{
	return cycles / khz;
}

uint64_t clock_cycles_of_ms(uint64_t ms)
{
	return ms * khz;
}

uint64_t clock_pv_ns(const struct pvclock *pv)
{
	const volatile struct pvclock *v = pv;
	uint32_t version;
	uint64_t delta, ns;

	do {
		version = v->version;
		delta = rdtsc() - v->tsc;
		delta = v->shift < 0 ? delta >> -v->shift : delta << v->shift;
		ns = v->ns + (uint64_t)((unsigned __int128)delta * v->mul >> 32);
	} while (version & 1 || version != v->version);
	return ns;
}
