/* jail_id.c: user ids for VMs that root starts: two of them cannot touch each other's processes or files.
 *
 * The ids lie where systemd's list of user ids (UIDS-GIDS) has nothing, above those of users, containers and dynamic
 * services.  A lock on byte ID of one file for the whole host says that a VM has it.  It is chosen at random among so many
 * that a VM process which somebody took over, and which lets go of its lock, does not get a second VM under its id. */
#include "common/io.h"
#include "vmm/jail_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/random.h>

#define ID_FIRST 0x70000000u
#define ID_MASK  0x07ffffffu

/* Not in $DROVER_RUN: ids are the host's, whatever folders its VMs are in. */
#define FOLDER "/run/drover"
#define FILE   FOLDER "/ids"

enum { TRIES = 64 };

int jail_id_take(uid_t *id, struct err *err)
{
	if (io_mkdirs(FOLDER, 0700))
		return err_sys(err, "cannot make the folder " FOLDER);
	int fd = open(FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, "cannot open " FILE);
	for (int i = 0; i < TRIES; i++) {
		uint32_t random;
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			break;
		*id = ID_FIRST + (random & ID_MASK);
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = *id, .l_len = 1};
		if (!fcntl(fd, F_OFD_SETLK, &lock))
			return fd;
		if (errno != EAGAIN && errno != EACCES)
			break;
	}
	err_sys(err, "cannot take a user id from " FILE);
	io_close(&fd);
	return -1;
}
