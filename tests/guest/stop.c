#include "stop.h"
#include "arch.h"
#include "console.h"

#define KBD_COMMAND  0x64
#define KBD_RESET    0xfe
#define RESET_CYCLES 500000000u /* what a VMM may take to stop this CPU; a fraction of a second */

extern uint8_t idt[IDT_VECTORS * 16];

_Noreturn void stop_machine(void)
{
	uint64_t start = rdtsc();

	outb(KBD_COMMAND, KBD_RESET);
	while (rdtsc() - start < RESET_CYCLES)
		cpu_relax();
	for (unsigned i = 0; i < sizeof(idt); i++)
		((volatile uint8_t *)idt)[i] = 0;
	for (;;)
		__asm__ volatile("ud2"); /* no handler, nor one for the double fault */
}

_Noreturn void stop_error(const char *what, const char *detail)
{
	struct text line = {0};

	text_str(&line, "guest: ");
	text_str(&line, what);
	if (detail) {
		text_str(&line, " '");
		text_str(&line, detail);
		text_str(&line, "'");
	}
	console_seize();
	console_now(&line);
	stop_machine();
}

_Noreturn void fault_report(uint64_t vector, uint64_t error, uint64_t rip, uint64_t cr2, uint64_t cs)
{
	struct text line = {0};

	text_str(&line, "drover-guest: EXCEPTION");
	text_field(&line, "vector", vector);
	text_str(&line, " error=");
	text_hex(&line, error);
	text_str(&line, " rip=");
	text_hex(&line, rip);
	text_str(&line, " cr2=");
	text_hex(&line, cr2);
	text_str(&line, " cs=");
	text_hex(&line, cs);
	console_seize();
	console_now(&line);
	stop_machine();
}
