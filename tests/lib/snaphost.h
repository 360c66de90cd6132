/* snaphost.h: a VM with the test guest and a disk, and its snapshots, on a simulated host (tests/lib/host.h).  Everything fails the
 * running test on a surprise. */
#ifndef TESTS_LIB_SNAPHOST_H
#define TESTS_LIB_SNAPHOST_H

#include "imagefmt/dvol.h"
#include "tests/lib/host.h"
#include "tests/lib/temp.h"

enum { SNAP_DISK = 4 << 20 };

/* snap_disk(host, path): where the VM's disk is.  snap_start: define VM `vm` with that disk, which is made, start it, and wait for its
 * first report.  snap_end: kill it, and move its console log aside, so that the next one is all that a restored guest says. */
void snap_disk(const struct host *host, char path[HOST_PATH + 32]);
void snap_define(const struct host *host, const char *vm, const char *parameters);
void snap_start(const struct host *host, const char *vm, const char *parameters);
void snap_end(const struct host *host, const char *vm);
/* snap_forget: everything of the VM but its disk, which goes too. */
void snap_forget(const struct host *host, const char *vm);

/* snap_json(host, …): `drover … --json` (NULL at the end), which must end with 0: what it printed. */
json_t *snap_json(const struct host *host, ...) __attribute__((sentinel));
/* snap_take: a snapshot; its id in text, as in "1.2".  snap_refused: the command must end with 1 or 2, and say the sentence. */
void snap_take(const struct host *host, const char *vm, char id[32]);
void snap_refused(const struct host *host, const char *sentence, ...) __attribute__((sentinel));

/* snap_settled: the store lists so many snapshots; of each there is all, and of no other anything: state, record, epochs of the
 * disk and of RAM. */
void snap_settled(const struct host *host, const char *vm, size_t count);
/* snap_reports: the guest's reports in its present log follow each other without a gap, until there are n; the first one's number. */
uint64_t snap_reports(const struct host *host, const char *vm, size_t n);
uint64_t snap_last(const struct host *host, const char *vm);
/* snap_store(host, vm, file, path): a file of the store. */
void snap_store(const struct host *host, const char *vm, const char *file, char path[HOST_PATH + 96]);

/* snap_open(host, folder): a host in a folder of its own; needs KVM.  snap_close: 0 when the test left nothing in the folder. */
int snap_open(struct host *host, char folder[TEMP_MAX]);
int snap_close(struct host *host, const char *folder);

#endif
