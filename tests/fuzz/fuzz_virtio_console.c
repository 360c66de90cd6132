/* fuzz_virtio_console: hostile rings, messages and bytes for ports, at one of which a client reads and writes: no crash, no
 * hang, nothing outside of guest RAM. */
#include "common/io.h"
#include "tests/fuzz/virtio.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static struct sockaddr_un address; /* one without a name in the file system */
static socklen_t address_len;

static int listen_here(void *arg, const char *name, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)arg, (void)name, (void)err;
	address.sun_family = AF_UNIX;
	address_len = sizeof(address);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)) || listen(fd, 4) ||
	    getsockname(fd, (struct sockaddr *)&address, &address_len))
		abort();
	return fd;
}

static struct virtio *create(struct machine *machine, const struct device_config *config, struct err *err)
{
	machine->owner.port = listen_here;
	return virtio_console_create(machine, config, err);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	static const uint8_t events[] = {0, 3, 6, 6};
	uint8_t message[8] = {0};
	unsigned queue = (seed >> 2) % 6;
	le32_put(message, 1);
	le16_put(message + 4, events[seed >> 5 & 3]);
	le16_put(message + 6, (seed >> 7 & 7) != 0);
	bool out = queue & 1;
	size_t longer = seed % 4 ? 0
				 : fuzz_virtio_request(data, size, max_size, queue, seed >> 10, message,
						       out ? sizeof(message) : 0, out ? 0 : 128);
	return longer ? longer : LLVMFuzzerMutate(data, size, max_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine *machine;
	static int client = -1;
	struct device_config config = {.kind = DEVICE_CONSOLE, .console = {.ports = 1}};
	char text[TEXT] = "";
	strcpy(config.console.name[0], "port");
	if (!machine)
		machine = fuzz_virtio_open(create, &config);
	if (client < 0) {
		client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(client, (struct sockaddr *)&address, address_len))
			io_close(&client); /* too many wait already */
	}
	(void)send(client, text, sizeof(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	fuzz_virtio_run(machine, data, size);
	while (recv(client, text, sizeof(text), MSG_DONTWAIT) > 0)
		;
	/* Now and then it goes, and another comes. */
	if (size % 8 == 0)
		io_close(&client);
	return 0;
}
