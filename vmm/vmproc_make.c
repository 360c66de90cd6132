/* vmproc_make.c: the `start` request: a machine, and all that it needs of the host, before the process gives up its rights. */
#include "common/fault.h"
#include "common/jobj.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/unixsock.h"
#include "vmm/disk_record.h"
#include "vmm/ports.h"
#include "vmm/vmproc.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_socket(struct vmproc *vm, struct err *err)
{
	enum { BACKLOG = 16 };
	char path[PATHS_MAX];

	if (paths_vm_socket(vm->config.name, path, err))
		return -1;
	/* The lock says that nobody else answers on this path: what stands there was left by a killed process. */
	vm->listen_fd = unixsock_listen(path, SOCK_SEQPACKET, BACKLOG);
	return vm->listen_fd >= 0 ? 0 : err_sys(err, "cannot open the control socket %s", path);
}

static int on_port(void *arg, const char *name, struct err *err)
{
	const struct vmproc *vm = arg;

	return ports_listen(vm->config.name, name, err);
}

static int check_incoming(struct vmproc *vm, const json_t *incoming, struct ledger_record *record,
			  struct err *err)
{
	const char *session, *peer = "";

	if (jobj_u64(incoming, "term", true, 1, INT64_MAX, &record->term, err) ||
	    jobj_string(incoming, "session", true, LEDGER_SESSION_LEN, &session, err) ||
	    jobj_string(incoming, "peer", false, LEDGER_PEER_MAX, &peer, err) ||
	    jobj_bool(incoming, "paused", false, &vm->handover.user_paused, err))
		return -1;
	strcpy(record->session, session);
	strcpy(record->peer, peer);
	return ledger_may_receive(&vm->ledger.now, vm->config.name, vm->config.uuid, record->term, err);
}

static int check_cpu(const struct vmproc *vm, const json_t *guest, struct err *err)
{
	json_t *host = machine_cpu_json(vm->machine, err);
	int unfit = host ? machine_cpu_fits(guest, host, err) : -1;

	json_decref(host);
	return unfit;
}

/* A new VM must not take the name of one that this host has given, or may have given, to another. */
static int check_new(const struct vmproc *vm, struct err *err)
{
	const struct ledger_record *now = &vm->ledger.now;

	if (now->state == LEDGER_HANDED_OVER)
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' was moved to %s and must not start here; take another name, or 'drover forget "
		    "%s' if that VM is over",
		    vm->config.name, now->peer, vm->config.name);
	if (now->state == LEDGER_STANDBY)
		return err_set(err, ERR_STATE,
			       "VM '%s' runs on %s, and this host keeps copies of it: 'drover failover %s' "
			       "starts it here "
			       "when that host is lost",
			       vm->config.name, now->peer, vm->config.name);
	if (now->state == LEDGER_INTENT)
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' may be running on %s: its process here died in the hand-over; look there, then "
		    "'drover forget --force %s'",
		    vm->config.name, now->peer, vm->config.name);
	return 0;
}

/* What a restored guest needs of the host's files, while they are there. */
static int restore_open(struct vmproc *vm, const json_t *restore, struct err *err)
{
	struct dvol_id id;
	const char *path;
	uint64_t bytes;
	void *ram = machine_ram(vm->machine, &bytes);

	if (jobj_string(restore, "ram", true, PATHS_MAX, &path, err) ||
	    jobj_u64(restore, "term", true, 1, INT64_MAX, &id.term, err) ||
	    jobj_u64(restore, "epoch", true, 1, INT64_MAX, &id.number, err) ||
	    jobj_bool(restore, "paused", false, &vm->handover.user_paused, err) ||
	    check_cpu(vm, json_object_get(restore, "cpu"), err))
		return -1;
	return pager_open(&vm->pager, path, id, ram, bytes, vm->uffd_device, err);
}

/* The guest as the snapshot has it, about to run: its state in state_fd, its RAM coming in. */
static int restore_load(struct vmproc *vm, int state_fd, struct err *err)
{
	struct buf state = {0};
	int status = -1;

	/* From here on the machine may touch its RAM. */
	if (pager_run(&vm->pager, err))
		return -1;
	machine_keep_ram(vm->machine, vm->pager.volume != NULL);
	if (!vmproc_read_state(state_fd, &state, err) &&
	    !machine_load(vm->machine, state.data, state.len, err))
		status = machine_new_generation(vm->machine, err);
	buf_free(&state);
	return status;
}

/* The last descriptors of the packet are taps, for the network devices in the slots that "taps" names. */
static int adopt_taps(struct vmproc *vm, const json_t *start, struct err *err)
{
	json_t *slots = NULL, *slot;
	size_t i;

	if (jobj_array(start, "taps", false, &slots, err))
		return -1;
	if (json_array_size(slots) > vm->ntaps)
		return err_set(err, ERR_INPUT, "a VM's taps did not come with its start");
	json_array_foreach(slots, i, slot)
	{
		struct device_config *net = NULL;

		for (unsigned k = 0; k < vm->config.ndevices; k++)
			if (vm->config.devices[k].kind == DEVICE_NET &&
			    vm->config.devices[k].slot == (unsigned)json_integer_value(slot))
				net = &vm->config.devices[k];
		if (!net)
			return err_set(err, ERR_INPUT, "a tap came for a network device that is not there");
		net->net.inherited = true;
		net->net.fd = vm->taps[vm->ntaps - json_array_size(slots) + i];
	}
	return 0;
}

/* The disks of a VM that comes are still being written by who receives them. */
static void let_disks_wait(struct vmproc *vm)
{
	for (unsigned i = 0; i < vm->config.ndevices; i++)
		if (config_moves_disk(&vm->config.devices[i]))
			vm->config.devices[i].disk.later = true;
}

/* Without the record a move back here sends all of the disks again. */
static void note_disks(const struct vmproc *vm)
{
	struct err err;

	if (disk_record_save(&vm->config, &err))
		log_warning("%s", err.text);
}

/* The VM's lock, and what this process is to the VM, on disk. */
static int promise(struct vmproc *vm, const json_t *incoming, struct ledger_record *record, struct err *err)
{
	if (ledger_open(&vm->ledger, vm->config.name, err))
		return -1;
	vm->known_before = vm->ledger.now.state != LEDGER_NONE;
	strcpy(record->uuid, vm->config.uuid);
	if (!strcmp(vm->ledger.now.uuid, vm->config.uuid))
		record->ran_term = vm->ledger.now.ran_term;
	if (incoming) {
		record->state = LEDGER_INCOMING;
		if (check_incoming(vm, incoming, record, err))
			return -1;
	} else {
		record->state = LEDGER_RUNNING;
		record->term = record->ran_term = ledger_start_term(&vm->ledger.now, vm->config.uuid);
		if (check_new(vm, err))
			return -1;
	}
	if (strcmp(vm->ledger.now.uuid, vm->config.uuid) && ledger_bury(&vm->ledger.now, err))
		return -1;
	if (ledger_write(&vm->ledger, record, err))
		return -1;
	vm->ledger_mine = true;
	return 0;
}

int vmproc_make(struct vmproc *vm, const json_t *start, int start_fd, const struct machine_owner *owner,
		struct err *err)
{
	struct machine_owner with_ports = *owner;
	struct ledger_record record = {0};
	const json_t *incoming = json_object_get(start, "incoming");
	const json_t *snapshot = json_object_get(start, "restore");
	bool paused;

	with_ports.port = on_port;
	if (config_from_json(json_object_get(start, "config"), &vm->config, err) ||
	    adopt_taps(vm, start, err))
		return -1;
	vm->limits = json_incref(json_object_get(start, "limits"));
	if (incoming && start_fd < 0)
		return err_set(err, ERR_INPUT, "an incoming VM comes without its RAM");
	if (incoming)
		let_disks_wait(vm);
	if (promise(vm, incoming, &record, err))
		return -1;
	if (incoming)
		fault_point(FAULT_DEST_PROMISED);
	if (console_open(&vm->console, vm->ledger.dir_fd, err))
		return -1;
	vm->machine = machine_create(&vm->config, incoming ? dup(start_fd) : -1, &with_ports, err);
	if (!vm->machine)
		return -1;
	if (incoming && check_cpu(vm, json_object_get(incoming, "cpu"), err))
		return -1;
	if (incoming)
		fault_point(FAULT_DEST_MACHINE);
	paused = vm->handover.user_paused;
	handover_init(&vm->handover, vm->machine, vm->config.memory_bytes / 4096, &vm->console, &vm->ledger,
		      incoming ? HANDOVER_INCOMING : HANDOVER_NONE, record.term);
	vm->handover.user_paused = paused;
	if (snapshot_init(&vm->snapshot, vm->machine, vm->config.name, err) ||
	    disk_jobs_init(&vm->move_epoch.jobs, err))
		return -1;
	note_disks(vm);
	if (!incoming &&
	    (snapshot ? restore_open(vm, snapshot, err) : machine_boot(vm->machine, &vm->config, err)))
		return -1;
	if (open_socket(vm, err))
		return -1;
	/* A folder leads to all others, also from an empty root; it was for making what is open by now. */
	io_close(&vm->ledger.dir_fd);
	if (jail_enter(&vm->jail, err) || machine_start(vm->machine, err))
		return -1;
	if (snapshot && restore_load(vm, start_fd, err))
		return -1;
	if (!incoming && !vm->handover.user_paused)
		machine_resume(vm->machine);
	return 0;
}
