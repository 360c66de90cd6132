/* irq.c: the table of routes, which KVM takes as a whole. */
#include "vmm/irq.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { PIC_INPUTS = 16, CHIP_ROUTES = PIC_INPUTS + IRQ_CHIP_INPUTS };

int irq_init(struct irq *irq, const struct kvm *kvm, struct err *err)
{
	*irq = (struct irq){.kvm = kvm};
	pthread_mutex_init(&irq->lock, NULL);
	irq->message = calloc(IRQ_MESSAGES, sizeof(irq->message[0]));
	return irq->message ? 0 : err_sys(err, "cannot make the table of interrupts");
}

void irq_destroy(struct irq *irq)
{
	if (!irq->message)
		return;
	free(irq->message);
	irq->message = NULL;
	pthread_mutex_destroy(&irq->lock);
}

int irq_new_message(struct irq *irq, unsigned *gsi, struct err *err)
{
	pthread_mutex_lock(&irq->lock);
	bool room = irq->messages < IRQ_MESSAGES;
	if (room)
		*gsi = IRQ_CHIP_INPUTS + irq->messages++;
	pthread_mutex_unlock(&irq->lock);
	return room ? 0
		    : err_set(err, ERR_USAGE,
			      "a machine has at most %d message-signalled interrupts; give it "
			      "fewer devices or queues",
			      IRQ_MESSAGES);
}

static void chip_routes(const struct irq *irq, struct kvm_irq_routing_entry *entry)
{
	const unsigned first = irq->timer_taken ? IRQ_TIMER : 0;
	for (unsigned i = 0; i < PIC_INPUTS; i++, entry++) {
		entry->gsi = i ? i : first;
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.irqchip = i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
		entry->u.irqchip.pin = i % 8;
	}
	for (unsigned i = 0; i < IRQ_CHIP_INPUTS; i++, entry++) {
		entry->gsi = i ? i : first;
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entry->u.irqchip.pin = i;
	}
}

/* KVM takes the whole table each time. */
static int set_all(const struct irq *irq)
{
	size_t most = CHIP_ROUTES + irq->messages;
	struct kvm_irq_routing *table = calloc(1, sizeof(*table) + most * sizeof(table->entries[0]));
	if (!table)
		return -1;
	chip_routes(irq, table->entries);
	table->nr = CHIP_ROUTES;
	for (unsigned i = 0; i < irq->messages; i++) {
		const struct irq_message *message = &irq->message[i];
		if (!message->routed)
			continue;
		struct kvm_irq_routing_entry *entry = &table->entries[table->nr++];
		entry->gsi = IRQ_CHIP_INPUTS + i;
		entry->type = KVM_IRQ_ROUTING_MSI;
		entry->u.msi.address_lo = (uint32_t)message->address;
		entry->u.msi.address_hi = (uint32_t)(message->address >> 32);
		entry->u.msi.data = message->data;
	}
	int failed = ioctl(irq->kvm->vm, KVM_SET_GSI_ROUTING, table);
	int saved = errno;
	free(table);
	errno = saved;
	return failed;
}

int irq_route(struct irq *irq, unsigned gsi, uint64_t address, uint32_t data)
{
	struct irq_message *message = &irq->message[gsi - IRQ_CHIP_INPUTS];
	const struct irq_message wanted = {.routed = true, .address = address, .data = data};
	int failed = 0;
	pthread_mutex_lock(&irq->lock);
	const struct irq_message before = *message;
	if (!before.routed || before.address != address || before.data != data) {
		*message = wanted;
		failed = set_all(irq);
		if (failed)
			*message = before;
	}
	pthread_mutex_unlock(&irq->lock);
	return failed;
}

static int set_fd(const struct irq *irq, unsigned gsi, int event_fd, uint32_t flags)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)event_fd, .gsi = gsi, .flags = flags};
	return ioctl(irq->kvm->vm, KVM_IRQFD, &irqfd);
}

int irq_attach(struct irq *irq, unsigned gsi, int event_fd)
{
	return set_fd(irq, gsi, event_fd, 0);
}

void irq_detach(struct irq *irq, unsigned gsi, int event_fd)
{
	/* Fails for what is not attached only. */
	(void)set_fd(irq, gsi, event_fd, KVM_IRQFD_FLAG_DEASSIGN);
}

int irq_take_timer(struct irq *irq, bool taken)
{
	int failed = 0;
	pthread_mutex_lock(&irq->lock);
	const bool before = irq->timer_taken;
	if (before != taken) {
		irq->timer_taken = taken;
		failed = set_all(irq);
		if (failed)
			irq->timer_taken = before;
	}
	pthread_mutex_unlock(&irq->lock);
	return failed;
}
