/* uffd.h: userfaultfd on guest RAM: its pages are copied, or come, while the guest runs.
 *
 * Needs a descriptor that also reports faults of the kernel's (KVM touches RAM in its own name).  The system call gives that to
 * root, and to all where vm.unprivileged_userfaultfd is 1; /dev/userfaultfd to whoever may open it. */
#ifndef VMM_UFFD_H
#define VMM_UFFD_H

#include "common/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum uffd_mode {
	UFFD_MISSING, /* pages that are not there */
	UFFD_PROTECT, /* pages that uffd_protect has protected, on their first write */
};

/* uffd_device: /dev/userfaultfd, or -1: for uffd_open, also later, where it can be opened no more. */
int uffd_device(void);
/* uffd_open(device, base, bytes, mode, err): a descriptor that watches [base, base + bytes) of this process, non-blocking and
 * close-on-exec; whoever has it may answer faults, also another process.  When the last one who has it closes it, nothing is
 * watched nor protected any longer and everybody who waits goes on.  -1 with ERR_SYSTEM and why. */
int uffd_open(int device, void *base, uint64_t bytes, enum uffd_mode mode, struct err *err);

/* uffd_fault(uffd, timeout_ms, stop_fd, &address): the page that somebody waits for.  1; 0: none within that time (-1: for ever),
 * or stop_fd is readable; -1 with errno. */
int uffd_fault(int uffd, int timeout_ms, int stop_fd, uint64_t *address);
/* What follows: addresses in the watched process, whole pages; 0, or -1 with errno (ESRCH: it has ended).
 * uffd_protect: writes to pages that are there wait from now on, or (on false) no longer, which wakes those that do.
 * uffd_place: fill pages that are not there and wake who waits for them; those that are there stay as they are.
 * uffd_unwatch: of the range nothing is watched nor waited for any longer. */
int uffd_protect(int uffd, uint64_t address, uint64_t bytes, bool on);
int uffd_place(int uffd, uint64_t address, const void *data, uint64_t bytes);
int uffd_unwatch(int uffd, void *base, uint64_t bytes);

#endif
