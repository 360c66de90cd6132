/* drover-vm: one VM.  Started by drover with a socket pair on descriptor 3 (vmm/spawn.h); not for people. */
#include "common/fault.h"
#include "common/log.h"
#include "vmm/vmproc.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

int main(void)
{
	socklen_t len = sizeof(int);
	int type;

	if (getsockopt(SPAWN_FD, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_SEQPACKET) {
		fprintf(stderr, "drover-vm: started by hand; use 'drover run'\n");
		return 2;
	}
	umask(077);
	log_open("drover-vm");
	fault_open();
	return vmproc_run(SPAWN_FD);
}
