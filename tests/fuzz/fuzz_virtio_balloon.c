/* fuzz_virtio_balloon: hostile rings, page numbers, reports and statistics: no crash, no hang, no hole outside of RAM. */
#include "tests/fuzz/virtio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	uint8_t numbers[32] = {0};
	unsigned queue = (seed >> 2) % 5;
	for (unsigned i = 0; i < 8; i++)
		le32_put(numbers + 4 * i, (seed >> 8) % 20 + i * (seed >> 16 & 3));
	size_t longer = seed % 4 ? 0
				 : fuzz_virtio_request(data, size, max_size, queue, seed >> 5, numbers,
						       queue < 3 ? sizeof(numbers) : 0, queue < 3 ? 0 : 9000);
	return longer ? longer : LLVMFuzzerMutate(data, size, max_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine *machine;
	const struct device_config config = {.kind = DEVICE_BALLOON};
	struct machine_balloon balloon;
	if (!machine)
		machine = fuzz_virtio_open(virtio_balloon_create, &config);
	machine_balloon_get(machine, &balloon);
	fuzz_virtio_run(machine, data, size);
	return 0;
}
