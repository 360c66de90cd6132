/* The instructions that C has no word for.  All of it runs in ring 3. */
#ifndef GUEST_ARCH_H
#define GUEST_ARCH_H

#include "layout.h"
#include <stdbool.h>
#include <stdint.h>

#define PAGE_SIZE 4096u

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
	return r;
}

/* Writes an MSR through ring 0 (entry.S).  Returns false where the machine refuses it. */
static inline bool write_msr(uint32_t msr, uint64_t value)
{
	uint32_t result;

	__asm__ volatile("ud2"
			 : "=a"(result)
			 : "a"(SERVICE_WRMSR), "D"(msr), "S"(value)
			 : "rcx", "rdx", "cc", "memory");
	return result == 0;
}

/* Sleeps until an interrupt of VECTOR_WAKE, also one that came before.  It is the caller's to acknowledge. */
static inline void wait_interrupt(void)
{
	uint32_t result;

	__asm__ volatile("ud2" : "=a"(result) : "a"(SERVICE_WAIT) : "cc", "memory");
}

#endif
