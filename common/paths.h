/* paths.h: where drover keeps things on a host.
 *
 * state: $DROVER_STATE, else /var/lib/drover (root), else $XDG_STATE_HOME/drover, else ~/.local/state/drover
 * run:   $DROVER_RUN, else /run/drover (root), else $XDG_RUNTIME_DIR/drover, else /tmp/drover-UID
 *
 *   <state>/vms/NAME/           one folder a VM that this host knows
 *   <state>/vms/NAME/lock       locked (flock) by the VM process while it lives
 *   <state>/vms/NAME/handover   the hand-over ledger (vmm/ledger.h)
 *   <state>/vms/NAME/console.log
 *   <state>/vms/NAME/snapshots/ its snapshots (vmm/snapshot_store.h)
 *   <state>/vms/NAME/disks/     its disks: clones, of a VM that was made of a snapshot; copies, of one that came from another host
 *   <state>/vms/NAME/disks.json where its disks are, or were (vmm/disk_record.h)
 *   <state>/forgotten/UUID      what a dropped record said of a VM that another host may still ask about
 *   <state>/peers/NAME.json     another host, and how to reach it (migrate/peer.h)
 *   <run>/vms/NAME.sock         control socket of the VM process
 *   <run>/vms/NAME.ports/PORT   sockets of the ports of its console devices
 *   <run>/incoming/NAME.sock    where further links join the session that receives the VM
 *   <run>/vms/NAME.groups       the control groups that its process is in (vmm/cgroup.h)
 *
 * User ids of VMs are the host's, wherever its folders are: /run/drover/ids (vmm/jail_id.c). */
#ifndef COMMON_PATHS_H
#define COMMON_PATHS_H

#include "common/err.h"

enum { PATHS_MAX = 4096 };

/* Each fills path[PATHS_MAX] and returns 0, or -1 with *err (no home folder, too long; for the socket: longer
 * than a UNIX socket address holds, with the remedy; not a valid VM name; $DROVER_STATE or $DROVER_RUN relative;
 * /tmp/drover-UID made by somebody else).  They create nothing. */
int paths_state(char path[PATHS_MAX], struct err *err);
int paths_run(char path[PATHS_MAX], struct err *err);
int paths_vm_dir(const char *name, char path[PATHS_MAX], struct err *err);
int paths_vm_file(const char *name, const char *file, char path[PATHS_MAX], struct err *err);
int paths_vm_socket(const char *name, char path[PATHS_MAX], struct err *err);
/* paths_vm_ports: the folder; with port NULL.  Else that port's socket. */
int paths_vm_ports(const char *name, const char *port, char path[PATHS_MAX], struct err *err);

/* paths_incoming: the socket of the session that receives a VM of that name. */
int paths_incoming(const char *name, char path[PATHS_MAX], struct err *err);

int paths_peer(const char *name, char path[PATHS_MAX], struct err *err);
/* paths_job(name, suffix, path, err): a file of a replication job: its definition (".json"), its state (".state"), … */
int paths_job(const char *name, const char *suffix, char path[PATHS_MAX], struct err *err);
int paths_vm_groups(const char *name, char path[PATHS_MAX], struct err *err);

/* paths_helper(program, path, err): a program of drover's own (drover-vm): beside the running program, else
 * in
 * ../libexec/drover from it, else in the installed libexec folder. */
int paths_helper(const char *program, char path[PATHS_MAX], struct err *err);

#endif
