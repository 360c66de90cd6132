/* virtio.h: a virtio device under a fuzzer: a machine without KVM, as far as a device needs one, and a driver without manners.
 *
 * An input is a little program: its bytes say what to negotiate, where the rings are and what else is done to registers;
 * what is left of it becomes guest RAM, rings and descriptors included, so that a fuzzer changes them freely.  The
 * device's threads are the real ones. */
#ifndef TESTS_FUZZ_VIRTIO_H
#define TESTS_FUZZ_VIRTIO_H

#include "vmm/devices.h"
#include "vmm/machine_impl.h"

enum {
	FUZZ_RAM = 64 << 10,
	/* Where the rings are put, unless the input says otherwise: descriptors, then available and used ring. */
	FUZZ_QUEUE_SIZE = 16,
	FUZZ_RINGS = 0x1000, /* of queue q at FUZZ_RINGS * (q + 1) */
	FUZZ_AVAIL = 0x100,
	FUZZ_USED = 0x180,
	FUZZ_QUEUES = 6, /* that are set up, at most */
	/* So many zeroes at the beginning of an input mean that everything is set up as it should be. */
	FUZZ_PLAIN = 2 + 4 * FUZZ_QUEUES,
};

typedef struct virtio *fuzz_create(struct machine *machine, const struct device_config *config,
				   struct err *err);

/* fuzz_virtio_open: a machine with the one device; ends the process when it cannot be made.  Once. */
struct machine *fuzz_virtio_open(fuzz_create *create, const struct device_config *config);
/* fuzz_virtio_run: one input: reset, set up, run; paused, saved, loaded and resumed in between; reset.  Nothing of the device
 * is under way on return. */
void fuzz_virtio_run(struct machine *machine, const uint8_t *data, size_t len);

/* fuzz_virtio_request: for a mutator: behind an input of `size` bytes put a request that makes sense, for the fuzzer to spoil: in
 * the queue, as one of four there (place), the device reads the len (at most 256) bytes at data, and may write `in` bytes
 * more.  Returns the new size, or 0 when it would be more than max_size. */
size_t fuzz_virtio_request(uint8_t *input, size_t size, size_t max_size, unsigned queue, unsigned place,
			   const void *data, size_t len, uint32_t in);

#endif
