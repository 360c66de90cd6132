/* cpu_names.h: what people call a CPUID feature bit. */
#ifndef VMM_CPU_NAMES_H
#define VMM_CPU_NAMES_H

#include <stddef.h>

/* cpu_bit_name(key, bit, text, len): the name of a bit of register "<leaf>.<subleaf>.<register>" as Linux shows it
 * in /proc/cpuinfo, or "CPUID <key> bit N".  Returns text. */
const char *cpu_bit_name(const char *key, unsigned bit, char *text, size_t len);

#endif
