/* irq.h: interrupt numbers (GSIs) of the machine: which go to the chips, and which are messages.
 *
 * 0 to 23 are the inputs of the chips, as KVM wires them by itself: 0 to 15 to both 8259s and the IOAPIC, 16 to 23 to
 * the IOAPIC.  Above these each number stands for one message (MSI): an eventfd written by a device makes KVM send it,
 * without an exit and without a system call of ours beside that write.  Source: Linux, Documentation/virt/kvm/api.rst,
 * KVM_SET_GSI_ROUTING and KVM_IRQFD.
 *
 * All functions: any thread. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include "common/err.h"
#include "vmm/kvm.h"
#include <pthread.h>

enum { IRQ_CHIP_INPUTS = 24, IRQ_MESSAGES = 2048, IRQ_TIMER = IRQ_CHIP_INPUTS + IRQ_MESSAGES };

struct irq_message {
	bool routed;
	uint64_t address;
	uint32_t data;
};

struct irq {
	const struct kvm *kvm;
	pthread_mutex_t lock;
	struct irq_message *message; /* IRQ_MESSAGES */
	unsigned messages;           /* that were given out */
	bool timer_taken;
};

/* irq_init: irq keeps kvm.  irq_destroy: also of a zeroed struct. */
int irq_init(struct irq *irq, const struct kvm *kvm, struct err *err);
void irq_destroy(struct irq *irq);

/* irq_new_message(irq, &gsi, err): a number for a message, for good.  It goes nowhere yet. */
int irq_new_message(struct irq *irq, unsigned *gsi, struct err *err);
/* irq_route(irq, gsi, address, data): from now on the number means this message.  Returns 0, or -1 with errno and the
 * route that it had.  irq_attach: a write to the eventfd raises the number, until irq_detach. */
int irq_route(struct irq *irq, unsigned gsi, uint64_t address, uint32_t data);
int irq_attach(struct irq *irq, unsigned gsi, int event_fd);
void irq_detach(struct irq *irq, unsigned gsi, int event_fd);
/* irq_take_timer(irq, taken): KVM's timer chip is cut off from input 0 of the chips, and whoever raises IRQ_TIMER has that
 * input; or it has it again.  Returns 0, or -1 with errno and nothing changed. */
int irq_take_timer(struct irq *irq, bool taken);

#endif
