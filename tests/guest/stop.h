/* The ends of the machine. */
#ifndef GUEST_STOP_H
#define GUEST_STOP_H

#include <stdint.h>

/* Resets the machine through the keyboard controller, by a triple fault where that does not help. */
_Noreturn void stop_machine(void);

/* Prints "guest: WHAT" or "guest: WHAT 'DETAIL'" (detail may be NULL) and stops the machine.  Any CPU. */
_Noreturn void stop_error(const char *what, const char *detail);

/* Where entry.S sends an unexpected exception. */
_Noreturn void fault_report(uint64_t vector, uint64_t error, uint64_t rip, uint64_t cr2, uint64_t cs);

#endif
