/* vm.h: a machine in a test, with small code in it and its console caught.
 *
 * Guest code is written in the test as assembly for 32 or 64 bits, GUEST_CODE(name, 32, "..."), runs at
 * KERNEL_ADDRESS in ring 0 with interrupts off, and must be position-independent. */
#ifndef TESTS_LIB_VM_H
#define TESTS_LIB_VM_H

#include "tests/lib/kernel.h"
#include "vmm/machine.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_CODE(name, bits, text)                                                                         \
	extern const uint8_t guest_##name[], guest_##name##_end[];                                           \
	__asm__(".pushsection .rodata\n.code" #bits "\n.globl guest_" #name ", guest_" #name                 \
		"_end\nguest_" #name ":\n" text "guest_" #name "_end:\n.code64\n.popsection\n")

enum { VM_CONSOLE = 1 << 20, VM_PATIENCE_S = 150 };

/* Whose fields a test reads with the lock held, or once the machine is paused. */
struct vm {
	struct machine *machine;
	struct vm_config config;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint8_t *console;
	size_t console_len;
	size_t longest; /* the most bytes that came in one call */
	bool ended;
	unsigned ends;
	enum machine_end why;
	char detail[256];
};

/* vm_make(vm, mib, cpus, mode): a machine of that size.  vm_boot32, vm_boot64: with the code, not yet running.
 * Each fails the test if it cannot.  vm_free: all of it; harmless on one that is free. */
void vm_make(struct vm *vm, uint64_t mib, unsigned cpus, enum dirty_mode mode);
void vm_boot32(struct vm *vm, const uint8_t *code, const uint8_t *end);
void vm_boot64(struct vm *vm, const uint8_t *code, const uint8_t *end);
void vm_free(struct vm *vm);

/* vm_wait_console: until at least len bytes have come since the test began; vm_wait_end: until the guest has ended.
 * They fail the test after VM_PATIENCE_S. */
void vm_wait_console(struct vm *vm, size_t len);
/* vm_wait_text(vm, text, from): until that has come, in the console without its control sequences: firmware puts the cursor where it
 * belongs whenever it finds the time, also in the middle of a word.  Searches from `from` on; returns where the text ends; both count in
 * that console. */
size_t vm_wait_text(struct vm *vm, const char *text, size_t from);
void vm_wait_end(struct vm *vm);
/* vm_type: the bytes, as fast as the guest takes them. */
void vm_type(struct vm *vm, const void *data, size_t len);
/* vm_console_len: how many bytes have come. */
size_t vm_console_len(struct vm *vm);

/* vm_save: pause it and append its state to *state.  vm_load: a new machine in its place, on the same RAM, with that
 * state, not yet running.  vm_move: both.  They fail the test if they cannot. */
void vm_save(struct vm *vm, struct buf *state);
void vm_load(struct vm *vm, const struct buf *state);
void vm_move(struct vm *vm);
/* vm_replace: a new machine in its place, on the same RAM, that never ran. */
void vm_replace(struct vm *vm);

#endif
