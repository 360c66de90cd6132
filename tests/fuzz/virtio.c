/* virtio.c: see virtio.h. */
#include "tests/fuzz/virtio.h"
#include "common/io.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLOT = 1,
	/* In the registers of the device (VIRTIO 1.2, 4.1.4.3), which begin at its BAR 0. */
	DRIVER_FEATURE_SELECT = 8,
	DRIVER_FEATURE = 12,
	STATUS = 20,
	QUEUE_SELECT = 22,
	QUEUE_SIZE = 24,
	QUEUE_ENABLE = 28,
	QUEUE_DESC = 32,
	PART_NOTIFY = 0x3000,
	BAR_BYTES = 0x4000,
	/* How often the fuzzer looks whether the device is done, and no longer: requests may write to the rings that
	 * they come from, and go on for ever. */
	LOOKS = 2000,
	POKES = 4,
};

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static void must(int failed)
{
	if (failed)
		abort();
}

struct machine *fuzz_virtio_open(fuzz_create *create, const struct device_config *config)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	struct device_config device = *config;
	struct err err = {0};
	must(!machine);
	machine->kvm = (struct kvm){.dev = -1, .vm = -1};
	pthread_mutex_init(&machine->lock, NULL);
	pthread_mutex_init(&machine->devices, NULL);
	pthread_mutex_init(&machine->dirty.lock, NULL);
	pci_init(&machine->pci, &machine->kvm, &machine->irq);
	must(irq_init(&machine->irq, &machine->kvm, &err));
	int fd = memory_create_fd(FUZZ_RAM, "fuzz", &err);
	must(fd < 0 || memory_map(&machine->ram, fd, FUZZ_RAM, &err));
	device.slot = SLOT;
	machine->virtio[SLOT] = create(machine, &device, &err);
	must(!machine->virtio[SLOT] || pci_assign(&machine->pci, &err));
	devices_resume(machine);
	return machine;
}

static void put(struct machine *machine, uint32_t offset, uint64_t value, unsigned len)
{
	uint8_t bytes[8];
	le64_put(bytes, value);
	(void)pci_memory_access(&machine->pci, machine->virtio[SLOT]->pci.bar[0].gpa + offset, bytes, len,
				true);
}

/* odd: now and then the input wants another value than the one that makes sense. */
static uint64_t odd(struct input *in, uint64_t value)
{
	uint8_t choice = next(in);
	if (choice < 0xf0)
		return value;
	return value + (int8_t)next(in) * (choice & 1 ? 1ll : 0x1000ll) + (choice & 2 ? 1ull << 60 : 0);
}

static void negotiate(struct machine *machine, struct input *in)
{
	/* Half of the inputs without what is offered beside VERSION_1. */
	uint64_t features = machine->virtio[SLOT]->offered;
	if (next(in) & 1)
		features = VIRTIO_BIT(VIRTIO_F_VERSION_1) | (features & odd(in, 0) & 0xffffffff);
	for (unsigned half = 0; half < 2; half++) {
		put(machine, DRIVER_FEATURE_SELECT, half, 4);
		put(machine, DRIVER_FEATURE, features >> 32 * half & 0xffffffff, 4);
	}
	put(machine, STATUS, 1 | 2 | 8, 1);
}

static void set_up(struct machine *machine, struct input *in)
{
	/* The registers take no notice of queues that are not there. */
	for (unsigned q = 0; q < FUZZ_QUEUES; q++) {
		uint64_t rings = FUZZ_RINGS * (q + 1);
		const uint64_t parts[3] = {rings, rings + FUZZ_AVAIL, rings + FUZZ_USED};
		put(machine, QUEUE_SELECT, q, 2);
		put(machine, QUEUE_SIZE, odd(in, FUZZ_QUEUE_SIZE), 2);
		for (unsigned i = 0; i < 3; i++) {
			uint64_t gpa = odd(in, parts[i]);
			put(machine, QUEUE_DESC + 8 * i, gpa & 0xffffffff, 4);
			put(machine, QUEUE_DESC + 8 * i + 4, gpa >> 32, 4);
		}
		put(machine, QUEUE_ENABLE, 1, 2);
	}
}

/* fill: pieces of the input go to where they say; the rest of RAM is zero. */
static void fill(struct machine *machine, struct input *in)
{
	memset(machine->ram.base, 0, FUZZ_RAM);
	while (in->left > 3) {
		uint32_t at = (uint32_t)(next(in) << 8 | next(in)) & (FUZZ_RAM - 1);
		size_t len = next(in) + 1u;
		len = len < in->left ? len : in->left;
		len = len < FUZZ_RAM - at ? len : FUZZ_RAM - at;
		memcpy(machine->ram.base + at, in->at, len);
		in->at += len;
		in->left -= len;
	}
}

static bool done(const struct virtio *dev)
{
	for (unsigned i = 0; i < dev->nqueues; i++)
		if (!virtqueue_empty(&dev->queue[i].vq))
			return false;
	return true;
}

static void run(struct machine *machine)
{
	struct virtio *dev = machine->virtio[SLOT];
	for (unsigned q = 0; q < FUZZ_QUEUES; q++)
		put(machine, PART_NOTIFY + 4 * q, q, 2);
	for (unsigned i = 0; i < LOOKS && !virtio_is_broken(dev) && !done(dev); i++)
		sched_yield();
}

/* again: as if the machine had moved; what a device saved it must take back. */
static void again(struct machine *machine)
{
	struct virtio *dev = machine->virtio[SLOT];
	struct buf saved = {0};
	struct err err = {0};
	virtio_pause(dev);
	virtio_save(dev, &saved);
	if (virtio_load(dev, saved.data, saved.len, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	buf_free(&saved);
	virtio_resume(dev);
}

void fuzz_virtio_run(struct machine *machine, const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	put(machine, STATUS, 0, 1);
	negotiate(machine, &in);
	set_up(machine, &in);
	uint32_t poke[POKES];
	uint64_t value[POKES];
	unsigned pokes = next(&in) % (POKES + 1);
	for (unsigned i = 0; i < pokes; i++) {
		poke[i] = (uint32_t)(next(&in) << 8 | next(&in)) % BAR_BYTES;
		value[i] = (uint64_t)next(&in) << 8 | next(&in);
	}
	fill(machine, &in);
	put(machine, STATUS, 1 | 2 | 8 | 4, 1);
	run(machine);
	for (unsigned i = 0; i < pokes; i++)
		put(machine, poke[i], value[i], 1u << (value[i] & 3));
	again(machine);
	run(machine);
	put(machine, STATUS, 0, 1);
}

/* ---- requests that make sense ------------------------------------------------------------------------------------- */

enum { REQUESTS = 4, PIECE_MAX = 3 + 256, DATA = 0x8000, DATA_STRIDE = 0x800 };

/* piece: put len bytes at `at` of RAM, in the form of an input. */
static size_t piece(uint8_t *to, uint32_t at, const void *data, size_t len)
{
	if (!len)
		return 0;
	to[0] = (uint8_t)(at >> 8);
	to[1] = (uint8_t)at;
	to[2] = (uint8_t)(len - 1);
	memcpy(to + 3, data, len);
	return len + 3;
}

static void desc(uint8_t *to, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t after)
{
	le64_put(to, gpa);
	le32_put(to + 8, len);
	le16_put(to + 12, flags);
	le16_put(to + 14, after);
}

size_t fuzz_virtio_request(uint8_t *input, size_t size, size_t max_size, unsigned queue, unsigned place,
			   const void *data, size_t len, uint32_t in)
{
	uint8_t table[32], avail[4 + 2 * REQUESTS] = {0};
	uint32_t rings = FUZZ_RINGS * (queue + 1),
		 at = DATA + DATA_STRIDE * (queue * REQUESTS + place % REQUESTS);
	unsigned head = 2 * (place % REQUESTS), parts = 0;
	if (size + 3 * PIECE_MAX + FUZZ_PLAIN > max_size)
		return 0;
	while (size < FUZZ_PLAIN)
		input[size++] = 0;
	if (len)
		desc(table + 16 * parts++, at, (uint32_t)len, in ? 1 : 0, (uint16_t)(head + 1));
	if (in)
		desc(table + 16 * parts++, at + 256, in, 2, 0);
	le16_put(avail + 2, REQUESTS);
	for (unsigned i = 0; i < REQUESTS; i++)
		le16_put(avail + 4 + 2 * i, (uint16_t)(2 * i));
	size += piece(input + size, at, data, len);
	size += piece(input + size, rings + 16 * head, table, 16u * parts);
	size += piece(input + size, rings + FUZZ_AVAIL, avail, sizeof(avail));
	return size;
}
