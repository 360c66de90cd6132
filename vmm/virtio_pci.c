/* virtio_pci.c: the registers of a virtio device in its BAR, and its life: reset, ready, paused, broken. */
#include "vmm/machine_impl.h"
#include "vmm/virtio.h"
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	VENDOR = 0x1af4,
	DEVICE_BASE = 0x1040,
	BAR_REGISTERS = 0,
	BAR_MSIX = 1,
	BAR_BYTES = 0x4000,
	/* parts of BAR_REGISTERS */
	PART_COMMON = 0x0000,
	PART_ISR = 0x1000,
	PART_DEVICE = 0x2000,
	PART_NOTIFY = 0x3000,
	PART_BYTES = 0x1000,
	NOTIFY_MULTIPLIER = 4,
	COMMON_BYTES = 56,
	/* capabilities */
	CAPABILITY_VENDOR = 9,
	CAPABILITY_LEN = 16,
	TYPE_COMMON = 1,
	TYPE_NOTIFY = 2,
	TYPE_ISR = 3,
	TYPE_DEVICE = 4,
	TYPE_ACCESS = 5,
	ISR_QUEUE = 1,
	ISR_CONFIG = 2,
};

/* Fields of the common configuration structure (4.1.4.3). */
enum {
	DEVICE_FEATURE_SELECT = 0,
	DEVICE_FEATURE = 4,
	DRIVER_FEATURE_SELECT = 8,
	DRIVER_FEATURE = 12,
	CONFIG_VECTOR = 16,
	NUM_QUEUES = 18,
	DEVICE_STATUS = 20,
	CONFIG_GENERATION = 21,
	QUEUE_SELECT = 22,
	QUEUE_SIZE = 24,
	QUEUE_VECTOR = 26,
	QUEUE_ENABLE = 28,
	QUEUE_NOTIFY_OFF = 30,
	QUEUE_DESC = 32,
	QUEUE_DRIVER = 40,
	QUEUE_DEVICE = 48,
};

static struct virtio *of(struct pci_device *device)
{
	return (struct virtio *)device;
}

/* ---- interrupts ----------------------------------------------------------------------------------------------- */

static void interrupt(struct virtio *dev, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(&dev->pci)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_signal(&dev->pci, vector);
		return;
	}
	__atomic_or_fetch(&dev->isr, isr, __ATOMIC_SEQ_CST);
	pci_line(&dev->pci, true);
}

void virtio_signal(struct virtio *dev, unsigned queue)
{
	struct virtio_queue *q = &dev->queue[queue];
	if (virtqueue_should_signal(&q->vq))
		interrupt(dev, __atomic_load_n(&q->vector, __ATOMIC_RELAXED), ISR_QUEUE);
}

void virtio_config_changed(struct virtio *dev)
{
	__atomic_add_fetch(&dev->generation, 1, __ATOMIC_SEQ_CST);
	interrupt(dev, __atomic_load_n(&dev->config_vector, __ATOMIC_RELAXED), ISR_CONFIG);
}

bool virtio_is_broken(const struct virtio *dev)
{
	return __atomic_load_n(&dev->status, __ATOMIC_ACQUIRE) & VIRTIO_NEEDS_RESET;
}

void virtio_broken(struct virtio *dev)
{
	uint8_t before = __atomic_fetch_or(&dev->status, VIRTIO_NEEDS_RESET, __ATOMIC_SEQ_CST);
	if (!(before & VIRTIO_NEEDS_RESET) && before & VIRTIO_DRIVER_OK)
		virtio_config_changed(dev);
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

/* All under dev->lock. */
static void stop(struct virtio *dev)
{
	if (dev->started)
		dev->ops->stop(dev);
	dev->started = false;
}

static void start(struct virtio *dev)
{
	uint8_t status = __atomic_load_n(&dev->status, __ATOMIC_ACQUIRE);
	if (dev->started || dev->paused || !(status & VIRTIO_DRIVER_OK) || status & VIRTIO_NEEDS_RESET)
		return;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		struct virtqueue *vq = &dev->queue[i].vq;
		vq->event_idx = virtio_has(dev, VIRTIO_F_EVENT_IDX);
		vq->indirect = virtio_has(dev, VIRTIO_F_INDIRECT_DESC);
	}
	dev->started = true;
	dev->ops->start(dev);
}

static void reset(struct virtio *dev)
{
	stop(dev);
	__atomic_store_n(&dev->status, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&dev->isr, 0, __ATOMIC_RELEASE);
	dev->features = 0;
	dev->offered_select = dev->features_select = 0;
	dev->queue_select = 0;
	dev->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		eventfd_t kicks;
		virtqueue_reset(&dev->queue[i].vq);
		dev->queue[i].vector = VIRTIO_NO_VECTOR;
		(void)eventfd_read(dev->queue[i].kick_fd, &kicks);
	}
	if (dev->ops->reset)
		dev->ops->reset(dev);
	pci_line(&dev->pci, false);
}

static void set_status(struct virtio *dev, uint8_t wanted)
{
	uint8_t now = __atomic_load_n(&dev->status, __ATOMIC_ACQUIRE);
	if (wanted == 0) {
		reset(dev);
		return;
	}
	/* Features that were not offered, or not the modern interface: FEATURES_OK does not stay. */
	if (wanted & ~now & VIRTIO_FEATURES_OK &&
	    (dev->features & ~dev->offered || !virtio_has(dev, VIRTIO_F_VERSION_1)))
		wanted &= (uint8_t)~VIRTIO_FEATURES_OK;
	if (!((wanted | now) & VIRTIO_FEATURES_OK))
		wanted &= (uint8_t)~VIRTIO_DRIVER_OK;
	/* Bits are only added, and this one by the device. */
	__atomic_or_fetch(&dev->status, wanted & ~VIRTIO_NEEDS_RESET, __ATOMIC_SEQ_CST);
	start(dev);
}

void virtio_pause(struct virtio *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->paused = true;
	stop(dev);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_resume(struct virtio *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->paused = false;
	start(dev);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_reset(struct virtio *dev)
{
	pthread_mutex_lock(&dev->lock);
	reset(dev);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- the common configuration structure ---------------------------------------------------------------------------- */

static struct virtio_queue *selected(struct virtio *dev)
{
	return dev->queue_select < dev->nqueues ? &dev->queue[dev->queue_select] : NULL;
}

static uint32_t half(uint64_t features, uint32_t select)
{
	return select == 0 ? (uint32_t)features : select == 1 ? (uint32_t)(features >> 32) : 0;
}

static void common_get(struct virtio *dev, uint8_t out[COMMON_BYTES])
{
	const struct virtio_queue *q = selected(dev);
	memset(out, 0, COMMON_BYTES);
	le32_put(out + DEVICE_FEATURE_SELECT, dev->offered_select);
	le32_put(out + DEVICE_FEATURE, half(dev->offered, dev->offered_select));
	le32_put(out + DRIVER_FEATURE_SELECT, dev->features_select);
	le32_put(out + DRIVER_FEATURE, half(dev->features, dev->features_select));
	le16_put(out + CONFIG_VECTOR, dev->config_vector);
	le16_put(out + NUM_QUEUES, (uint16_t)dev->nqueues);
	out[DEVICE_STATUS] = __atomic_load_n(&dev->status, __ATOMIC_ACQUIRE);
	out[CONFIG_GENERATION] = __atomic_load_n(&dev->generation, __ATOMIC_ACQUIRE);
	le16_put(out + QUEUE_SELECT, dev->queue_select);
	if (!q)
		return; /* size 0: there is no such queue */
	le16_put(out + QUEUE_SIZE, q->vq.size);
	le16_put(out + QUEUE_VECTOR, q->vector);
	le16_put(out + QUEUE_ENABLE, q->vq.enabled);
	le16_put(out + QUEUE_NOTIFY_OFF, dev->queue_select);
	le64_put(out + QUEUE_DESC, q->vq.desc);
	le64_put(out + QUEUE_DRIVER, q->vq.avail);
	le64_put(out + QUEUE_DEVICE, q->vq.used);
}

static uint16_t valid_vector(const struct virtio *dev, uint16_t vector)
{
	return vector < dev->pci.msix.count ? vector : VIRTIO_NO_VECTOR;
}

static void set_features(struct virtio *dev, uint32_t value)
{
	/* Once agreed they stay. */
	if (dev->features_select > 1 || __atomic_load_n(&dev->status, __ATOMIC_ACQUIRE) & VIRTIO_FEATURES_OK)
		return;
	unsigned shift = 32 * dev->features_select;
	dev->features = (dev->features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

static void enable_queue(struct virtio *dev, struct virtio_queue *q)
{
	if (virtqueue_usable(&q->vq))
		q->vq.enabled = true;
	else
		virtio_broken(dev);
}

/* A queue that works already keeps what it has. */
static void set_queue(struct virtio *dev, const uint8_t *now, unsigned first, unsigned last)
{
	struct virtio_queue *q = selected(dev);
	if (!q)
		return;
	if (first <= QUEUE_VECTOR && QUEUE_VECTOR <= last)
		__atomic_store_n(&q->vector, valid_vector(dev, le16_get(now + QUEUE_VECTOR)),
				 __ATOMIC_RELAXED);
	if (q->vq.enabled)
		return;
	if (first <= QUEUE_SIZE && QUEUE_SIZE <= last && le16_get(now + QUEUE_SIZE) <= q->vq.max_size)
		q->vq.size = le16_get(now + QUEUE_SIZE);
	if (last >= QUEUE_DESC) {
		q->vq.desc = le64_get(now + QUEUE_DESC);
		q->vq.avail = le64_get(now + QUEUE_DRIVER);
		q->vq.used = le64_get(now + QUEUE_DEVICE);
	}
	if (first <= QUEUE_ENABLE && QUEUE_ENABLE <= last && le16_get(now + QUEUE_ENABLE) == 1)
		enable_queue(dev, q);
}

static void common_write(struct virtio *dev, uint32_t offset, const void *data, unsigned len)
{
	uint8_t now[COMMON_BYTES];
	if (offset + len > COMMON_BYTES)
		return;
	common_get(dev, now);
	memcpy(now + offset, data, len);
	unsigned first = offset, last = offset + len - 1;
	if (first <= DEVICE_FEATURE_SELECT + 3)
		dev->offered_select = le32_get(now + DEVICE_FEATURE_SELECT);
	if (first <= DRIVER_FEATURE_SELECT && DRIVER_FEATURE_SELECT <= last)
		dev->features_select = le32_get(now + DRIVER_FEATURE_SELECT);
	if (first <= DRIVER_FEATURE && DRIVER_FEATURE <= last)
		set_features(dev, le32_get(now + DRIVER_FEATURE));
	if (first <= CONFIG_VECTOR && CONFIG_VECTOR <= last)
		__atomic_store_n(&dev->config_vector, valid_vector(dev, le16_get(now + CONFIG_VECTOR)),
				 __ATOMIC_RELAXED);
	if (first <= DEVICE_STATUS && DEVICE_STATUS <= last)
		set_status(dev, now[DEVICE_STATUS]);
	if (first <= QUEUE_SELECT && QUEUE_SELECT <= last)
		dev->queue_select = le16_get(now + QUEUE_SELECT);
	if (last >= QUEUE_SIZE)
		set_queue(dev, now, first, last);
}

/* ---- the BAR ------------------------------------------------------------------------------------------------------- */

static void common_read(struct virtio *dev, uint32_t offset, void *data, unsigned len)
{
	uint8_t now[COMMON_BYTES];
	if (offset + len > COMMON_BYTES)
		return;
	common_get(dev, now);
	memcpy(data, now + offset, len);
}

static void isr_read(struct virtio *dev, uint8_t *data)
{
	data[0] = __atomic_exchange_n(&dev->isr, 0, __ATOMIC_SEQ_CST);
	pci_line(&dev->pci, false);
	/* One that came in between must not be lost. */
	if (__atomic_load_n(&dev->isr, __ATOMIC_SEQ_CST))
		pci_line(&dev->pci, true);
}

void virtio_config_get(const void *config, unsigned size, unsigned offset, void *data, unsigned len)
{
	memset(data, 0, len);
	if (offset < size)
		memcpy(data, (const uint8_t *)config + offset, len < size - offset ? len : size - offset);
}

static void bar_read(struct pci_device *device, unsigned bar, uint32_t offset, void *data, unsigned len)
{
	struct virtio *dev = of(device);
	uint32_t part = offset & ~(uint32_t)(PART_BYTES - 1), at = offset % PART_BYTES;
	(void)bar;
	memset(data, 0, len);
	pthread_mutex_lock(&dev->lock);
	if (part == PART_COMMON)
		common_read(dev, at, data, len);
	else if (part == PART_ISR && at == 0)
		isr_read(dev, data);
	else if (part == PART_DEVICE)
		dev->ops->config_read(dev, at, data, len);
	pthread_mutex_unlock(&dev->lock);
}

static void bar_write(struct pci_device *device, unsigned bar, uint32_t offset, const void *data,
		      unsigned len)
{
	struct virtio *dev = of(device);
	uint32_t part = offset & ~(uint32_t)(PART_BYTES - 1), at = offset % PART_BYTES;
	(void)bar;
	if (part == PART_NOTIFY) {
		/* Mostly KVM catches these itself. */
		if (at / NOTIFY_MULTIPLIER < dev->nqueues)
			(void)eventfd_write(dev->queue[at / NOTIFY_MULTIPLIER].kick_fd, 1);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (part == PART_COMMON)
		common_write(dev, at, data, len);
	else if (part == PART_DEVICE && dev->ops->config_write)
		dev->ops->config_write(dev, at, data, len);
	pthread_mutex_unlock(&dev->lock);
}

/* Kicks at gpa become writes to the queue's eventfd, or no longer. */
static int catch_kicks(struct virtio *dev, struct virtio_queue *q, uint64_t gpa, bool on)
{
	struct kvm_ioeventfd kick = {
	    .addr = gpa, .len = 0, .fd = q->kick_fd, .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};
	return ioctl(dev->machine->kvm.vm, KVM_IOEVENTFD, &kick);
}

static void bar_mapped(struct pci_device *device, unsigned bar, uint64_t gpa)
{
	struct virtio *dev = of(device);
	if (bar != BAR_REGISTERS)
		return;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		struct virtio_queue *q = &dev->queue[i];
		if (q->kick_gpa)
			(void)catch_kicks(dev, q, q->kick_gpa, false);
		q->kick_gpa = gpa ? gpa + PART_NOTIFY + i * NOTIFY_MULTIPLIER : 0;
		/* Where KVM refuses, the write comes to bar_write. */
		if (q->kick_gpa && catch_kicks(dev, q, q->kick_gpa, true))
			q->kick_gpa = 0;
	}
}

/* ---- the BAR through configuration space (4.1.4.9) ------------------------------------------------------------------- */

static bool through(const struct virtio *dev, unsigned offset, unsigned len, uint32_t *at, uint32_t *bytes)
{
	const uint8_t *capability = dev->pci.config + dev->access_capability;
	unsigned data = dev->access_capability + CAPABILITY_LEN;
	if (offset + len <= data || offset >= data + 4)
		return false;
	*at = le32_get(capability + 8);
	*bytes = le32_get(capability + 12);
	return capability[4] == BAR_REGISTERS && (*bytes == 1 || *bytes == 2 || *bytes == 4) &&
	       *at % *bytes == 0 && *at < BAR_BYTES;
}

static void config_read(struct pci_device *device, unsigned offset, unsigned len)
{
	struct virtio *dev = of(device);
	uint32_t at, bytes;
	if (through(dev, offset, len, &at, &bytes))
		bar_read(device, BAR_REGISTERS, at, device->config + dev->access_capability + CAPABILITY_LEN,
			 bytes);
}

static void config_written(struct pci_device *device, unsigned offset, unsigned len)
{
	struct virtio *dev = of(device);
	uint32_t at, bytes;
	if (through(dev, offset, len, &at, &bytes))
		bar_write(device, BAR_REGISTERS, at, device->config + dev->access_capability + CAPABILITY_LEN,
			  bytes);
}

static const struct pci_ops pci_ops = {.read = bar_read,
				       .write = bar_write,
				       .mapped = bar_mapped,
				       .config_read = config_read,
				       .config_written = config_written};

/* ---- making it --------------------------------------------------------------------------------------------------------- */

static unsigned capability(struct virtio *dev, uint8_t type, uint32_t offset, uint32_t bytes, unsigned extra)
{
	unsigned at = pci_device_capability(&dev->pci, CAPABILITY_VENDOR, CAPABILITY_LEN + extra);
	uint8_t *config = dev->pci.config + at;
	config[2] = (uint8_t)(CAPABILITY_LEN + extra);
	config[3] = type;
	config[4] = BAR_REGISTERS;
	le32_put(config + 8, offset);
	le32_put(config + 12, bytes);
	return at;
}

static void capabilities(struct virtio *dev)
{
	capability(dev, TYPE_COMMON, PART_COMMON, COMMON_BYTES, 0);
	capability(dev, TYPE_ISR, PART_ISR, 1, 0);
	capability(dev, TYPE_DEVICE, PART_DEVICE, PART_BYTES, 0);
	unsigned notify = capability(dev, TYPE_NOTIFY, PART_NOTIFY, NOTIFY_MULTIPLIER * dev->nqueues, 4);
	le32_put(dev->pci.config + notify + CAPABILITY_LEN, NOTIFY_MULTIPLIER);
	unsigned at = dev->access_capability = capability(dev, TYPE_ACCESS, 0, 0, 4);
	dev->pci.writable[at + 4] = 0xff;
	memset(dev->pci.writable + at + 8, 0xff, CAPABILITY_LEN + 4 - 8);
}

static void wrote(void *arg, uint64_t offset, uint64_t len)
{
	dirty_mark(arg, offset, len);
}

int virtio_init(struct virtio *dev, const struct virtio_ops *ops, struct machine *machine, unsigned slot,
		uint64_t offered, unsigned queues, uint16_t queue_size, struct err *err)
{
	pci_device_init(&dev->pci, &pci_ops, VENDOR, (uint16_t)(DEVICE_BASE + ops->id),
			(uint16_t)(0x1100 + ops->id), ops->class_code);
	dev->ops = ops;
	dev->machine = machine;
	dev->offered = offered | VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) |
		       VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
	dev->config_vector = VIRTIO_NO_VECTOR;
	dev->paused = true;
	pthread_mutex_init(&dev->lock, NULL);
	for (unsigned i = 0; i < queues; i++)
		dev->queue[i].kick_fd = -1;
	dev->nqueues = queues;
	for (unsigned i = 0; i < queues; i++) {
		struct virtio_queue *q = &dev->queue[i];
		virtqueue_init(&q->vq, &machine->ram, queue_size, wrote, machine);
		q->vector = VIRTIO_NO_VECTOR;
		q->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (q->kick_fd < 0)
			return err_sys(err, "virtio-%s: cannot make its queues", ops->name);
	}
	pci_device_bar(&dev->pci, BAR_REGISTERS, BAR_BYTES);
	if (pci_device_msix(&dev->pci, &machine->irq, BAR_MSIX, queues + 1, err))
		return -1;
	capabilities(dev);
	return pci_add(&machine->pci, &dev->pci, slot, err);
}

void virtio_release(struct virtio *dev)
{
	if (!dev->ops)
		return;
	for (unsigned i = 0; i < dev->nqueues; i++)
		if (dev->queue[i].kick_fd >= 0)
			close(dev->queue[i].kick_fd);
	pci_device_destroy(&dev->pci);
	pthread_mutex_destroy(&dev->lock);
}

/* ---- state ------------------------------------------------------------------------------------------------------------- */

void virtio_save(struct virtio *dev, struct buf *out)
{
	pthread_mutex_lock(&dev->lock);
	buf_put_u16(out, dev->ops->id);
	buf_put_u64(out, dev->features);
	buf_put_u32(out, dev->offered_select);
	buf_put_u32(out, dev->features_select);
	buf_put_u16(out, dev->config_vector);
	buf_put_u16(out, dev->queue_select);
	buf_put_u8(out, dev->generation);
	buf_put_u8(out, dev->status);
	buf_put_u8(out, dev->isr);
	buf_put_u16(out, (uint16_t)dev->nqueues);
	for (unsigned i = 0; i < dev->nqueues; i++) {
		virtqueue_save(&dev->queue[i].vq, out);
		buf_put_u16(out, dev->queue[i].vector);
	}
	if (dev->ops->save)
		dev->ops->save(dev, out);
	pthread_mutex_unlock(&dev->lock);
	pci_device_save(&dev->pci, out);
}

static int load_queues(struct virtio *dev, struct reader *reader, struct err *err)
{
	unsigned count = reader_u16(reader);
	if (reader->bad || count != dev->nqueues)
		return err_set(err, ERR_INPUT,
			       "machine state: virtio-%s in slot %u has %u queues here, not %u",
			       dev->ops->name, dev->pci.slot, dev->nqueues, count);
	for (unsigned i = 0; i < count; i++) {
		if (virtqueue_load(&dev->queue[i].vq, reader, err))
			return -1;
		dev->queue[i].vector = valid_vector(dev, reader_u16(reader));
		/* What makes no sense now would only be found when the guest runs. */
		if (dev->queue[i].vq.enabled && !virtqueue_usable(&dev->queue[i].vq))
			return err_set(
			    err, ERR_INPUT,
			    "machine state: queue %u of virtio-%s in slot %u is not within the RAM", i,
			    dev->ops->name, dev->pci.slot);
	}
	return 0;
}

static int load_registers(struct virtio *dev, struct reader *reader, struct err *err)
{
	unsigned id = reader_u16(reader);
	uint64_t features = reader_u64(reader);
	dev->offered_select = reader_u32(reader);
	dev->features_select = reader_u32(reader);
	dev->config_vector = valid_vector(dev, reader_u16(reader));
	dev->queue_select = reader_u16(reader);
	dev->generation = reader_u8(reader);
	dev->status = reader_u8(reader);
	dev->isr = reader_u8(reader);
	if (reader->bad || id != dev->ops->id)
		return err_set(err, ERR_INPUT, "machine state: slot %u holds another device than virtio-%s",
			       dev->pci.slot, dev->ops->name);
	/* Before FEATURES_OK it may be anything, and is checked then. */
	if (dev->status & VIRTIO_FEATURES_OK && features & ~dev->offered)
		return err_set(
		    err, ERR_INPUT,
		    "machine state: virtio-%s in slot %u uses features 0x%llx that it does not have here",
		    dev->ops->name, dev->pci.slot, (unsigned long long)(features & ~dev->offered));
	dev->features = features;
	return 0;
}

int virtio_load(struct virtio *dev, const void *data, size_t len, struct err *err)
{
	struct reader reader = reader_of(data, len);
	pthread_mutex_lock(&dev->lock);
	int failed = load_registers(dev, &reader, err) || load_queues(dev, &reader, err) ||
		     (dev->ops->load && dev->ops->load(dev, &reader, err));
	pthread_mutex_unlock(&dev->lock);
	if (failed || pci_device_load(&dev->pci, &reader, err))
		return -1;
	if (reader.bad || reader.left)
		return err_set(err, ERR_INPUT, "machine state: virtio-%s in slot %u has a wrong length",
			       dev->ops->name, dev->pci.slot);
	return 0;
}
