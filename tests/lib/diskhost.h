/* diskhost.h: VMs on simulated hosts (tests/lib/host.h) whose guest keeps a log of numbered records on its disk (tests/guest,
 * disk-log), and what of it must be there.  Everything fails the running test on a surprise. */
#ifndef TESTS_LIB_DISKHOST_H
#define TESTS_LIB_DISKHOST_H

#include "imagefmt/dvol.h"
#include "tests/lib/host.h"

enum { DISKHOST_PATH = HOST_PATH + 64 };

/* diskhost_start(host, vm, fault, disk, words): a guest with that volume as its disk, at 0x… slot 1, that logs to it; words: further ones of
 * its command line, or "". */
void diskhost_start(const struct host *host, const char *vm, const char *fault, const char *disk,
		    const char *words);
/* diskhost_make(host, disk, size, filled): a volume of so many bytes, of which `filled` do not compress, behind what the guest's log takes.
 * diskhost_write(disk, at, bytes, content, arg): of a volume that nobody has open so many MiB from byte `at` on become what content makes of
 * each one; at: behind the first. */
enum { DISKHOST_LOG = 8 << 20, DISKHOST_PIECE = 1 << 20 };
void diskhost_make(const struct host *host, const char *disk, const char *size, uint64_t filled);
void diskhost_write(const char *disk, uint64_t at, uint64_t bytes,
		    void (*content)(void *arg, uint64_t at, uint8_t data[DISKHOST_PIECE]), void *arg);
/* diskhost_copy(host, vm, path): where a copy of its disk is on a host that it moved to. */
void diskhost_copy(const struct host *host, const char *vm, char path[DISKHOST_PATH]);

/* diskhost_flushed(host, vm): the last record that the guest said there was flushed, without an error (of memory, where words has `dirty`); 0: none.  diskhost_wait(host, vm, least): until it says
 * so much; the number that it says. */
uint64_t diskhost_flushed(const struct host *host, const char *vm);
uint64_t diskhost_wait(const struct host *host, const char *vm, uint64_t least);

/* diskhost_verify(host, disk, flushed): no VM has the disk: every record up to that one is on it, and the volume is in order.
 * diskhost_same(a, b): two volumes' newest common epochs hold the same bytes: by their root digests. */
void diskhost_verify(const struct host *host, const char *disk, uint64_t flushed);
void diskhost_same(const char *a, const char *b);
/* diskhost_whole(from, to, vm, disk): the VM has moved: its log goes on there; it is ended, and the copy there is what its disk here was when it
 * moved, and has every record since. */
void diskhost_whole(const struct host *from, const struct host *to, const char *vm, const char *disk);
/* diskhost_epochs(path): how many epochs a volume has; nobody needs it. */
size_t diskhost_epochs(const char *path);

#endif
