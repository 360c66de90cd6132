#include "tests/fuzz/vmprocess.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/thread.h"
#include "vmm/spawn.h"
#include "vmm/uffd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAGE = 4096, TOUCHED = 16 };

static struct {
	pthread_t thread, guest;
	bool alive, runs;
	int socket;
	uint8_t *ram;
	uint64_t bytes;
} vm;

/* A guest that reads a page here and there, and waits for those that are missing. */
static void *guest(void *arg)
{
	uint64_t pages = vm.bytes / PAGE;

	(void)arg;
	for (uint64_t i = 0; i < TOUCHED; i++)
		(void)*(volatile uint8_t *)(vm.ram + i * 37 % pages * PAGE);
	return NULL;
}

static void answer(const json_t *request, json_t *ok, int fd)
{
	json_t *reply = json_pack("{s:O, s:o}", "id", json_object_get(request, "id"), "ok", ok);
	char *text = json_dumps(reply, JSON_COMPACT);

	(void)io_send(vm.socket, text, strlen(text), &fd, fd >= 0);
	free(text);
	json_decref(reply);
}

static void refuse(const json_t *request, const struct err *why)
{
	json_t *reply = json_pack("{s:O, s:{s:s, s:s}}", "id", json_object_get(request, "id"), "error",
				  "kind", err_kind_name(why->kind), "message", why->text);
	char *text = json_dumps(reply, JSON_COMPACT);

	(void)io_send(vm.socket, text, strlen(text), NULL, 0);
	free(text);
	json_decref(reply);
}

static void begin_postcopy(const json_t *request)
{
	struct err err;
	int device = uffd_device(), uffd = uffd_open(device, vm.ram, vm.bytes, UFFD_MISSING, &err);

	io_close(&device);
	if (uffd < 0) {
		refuse(request, &err);
		return;
	}
	answer(request, json_pack("{s:o}", "ram_base", jobj_make_hex64((uintptr_t)vm.ram)), uffd);
	io_close(&uffd);
}

static void handle(const json_t *request)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	if (!strcmp(cmd, "postcopy-begin")) {
		begin_postcopy(request);
		return;
	}
	if (!strcmp(cmd, "commit") && !vm.runs)
		vm.runs = !thread_start(&vm.guest, guest, NULL);
	answer(request, json_object(), -1);
}

static void *process(void *arg)
{
	static char text[CONTROL_MAX + 1];
	int fds[IO_MAX_FDS];
	size_t nfds;
	ssize_t len;

	(void)arg;
	while ((len = io_receive(vm.socket, text, CONTROL_MAX, fds, &nfds)) > 0) {
		json_t *request = json_loadb(text, (size_t)len, 0, NULL);

		if (!request)
			abort(); /* serve's own words */
		handle(request);
		json_decref(request);
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
	}
	shutdown(vm.socket, SHUT_RDWR);
	return NULL;
}

int spawn_vm(const struct vm_config *config, const struct spawn_incoming *incoming, struct control *control,
	     pid_t *pid, struct err *err)
{
	int pair[2];
	void *ram;

	if (vm.alive || config_check(config, err))
		abort(); /* a session makes one, of a configuration that was checked */
	ram = mmap(NULL, config->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		   incoming->ram_fd, 0);
	if (ram == MAP_FAILED)
		return err_sys(err, "guest RAM");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	vm.socket = pair[1];
	vm.ram = ram;
	vm.bytes = config->memory_bytes;
	if (thread_start(&vm.thread, process, NULL))
		abort();
	vm.alive = true;
	control_adopt(control, pair[0]);
	*pid = getpid();
	return 0;
}

void vmprocess_end(void)
{
	if (vm.alive)
		shutdown(vm.socket, SHUT_RDWR);
}

void vmprocess_reap(void)
{
	if (!vm.alive)
		return;
	vmprocess_end();
	pthread_join(vm.thread, NULL);
	if (vm.runs)
		pthread_join(vm.guest, NULL);
	munmap(vm.ram, vm.bytes);
	close(vm.socket);
	vm.alive = vm.runs = false;
}
