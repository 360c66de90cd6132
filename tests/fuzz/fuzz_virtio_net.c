/* fuzz_virtio_net: hostile rings, headers and frames for a network device, on a tap in a network namespace of its own (as root):
 * no crash, no hang, nothing outside of guest RAM, and no header that the kernel should not see. */
#include "tests/fuzz/virtio.h"
#include "tests/lib/netns.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAMES = 3, LONGEST = 1514 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	uint8_t frame[12 + 100] = {0};
	unsigned queue = (seed >> 2) % 3;
	frame[0] = seed >> 6 & 1;
	frame[1] = (uint8_t)(seed >> 7 & 7);
	le16_put(frame + 2, 54);
	le16_put(frame + 4, 20);
	le16_put(frame + 6, 34);
	le16_put(frame + 8, 16);
	if (queue == 2)
		memset(frame, (int)(seed >> 6 & 3), 2);
	size_t longer = seed % 4 ? 0
				 : fuzz_virtio_request(data, size, max_size, queue, seed >> 10, frame,
						       queue ? sizeof(frame) : 0,
						       queue == 0 ? 100 << (seed >> 12 & 3) : queue == 2);
	return longer ? longer : LLVMFuzzerMutate(data, size, max_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine *machine;
	static int peer;
	const struct device_config config = {.kind = DEVICE_NET,
					     .net = {.tap = "tap0", .mac = {0x52, 0x54, 0, 1, 2, 3}}};
	static const uint8_t frame[NETNS_HEADER + LONGEST];
	if (geteuid() != 0)
		return 0; /* there is no tap to be had */
	if (!machine) {
		netns_enter();
		netns_tap("tap0");
		machine = fuzz_virtio_open(virtio_net_create, &config);
		netns_running("tap0");
		peer = netns_socket("tap0");
	}
	/* Where the guest does not take them they are dropped. */
	for (unsigned i = 0; i < FRAMES; i++)
		(void)send(peer, frame, NETNS_HEADER + 60 + size * (i + 1) % (LONGEST - 60), MSG_DONTWAIT);
	fuzz_virtio_run(machine, data, size);
	return 0;
}
