/* ports.c: see ports.h. */
#include "vmm/ports.h"
#include "common/io.h"
#include "common/paths.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4 }; /* clients that wait for their turn */

int ports_listen(const char *vm, const char *port, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char path[PATHS_MAX], folder[PATHS_MAX];
	if (paths_vm_ports(vm, NULL, folder, err) || paths_vm_ports(vm, port, path, err))
		return -1;
	if (io_mkdirs(folder, 0700))
		return err_sys(err, "cannot make the folder %s", folder);
	memcpy(address.sun_path, path, strlen(path) + 1); /* paths_vm_ports sees to it that it fits */
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)) && !listen(fd, BACKLOG))
		return fd;
	err_sys(err, "cannot open the socket %s of port %s", path, port);
	io_close(&fd);
	return -1;
}
