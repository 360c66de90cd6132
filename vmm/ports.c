/* ports.c: see ports.h. */
#include "vmm/ports.h"
#include "common/paths.h"
#include "common/unixsock.h"
#include <sys/socket.h>

enum { BACKLOG = 4 }; /* clients that wait for their turn */

int ports_listen(const char *vm, const char *port, struct err *err)
{
	char path[PATHS_MAX];
	if (paths_vm_ports(vm, port, path, err))
		return -1;
	int fd = unixsock_listen(path, SOCK_STREAM, BACKLOG);
	return fd >= 0 ? fd : err_sys(err, "cannot open the socket %s of port %s", path, port);
}
