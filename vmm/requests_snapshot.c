/* requests_snapshot.c: the requests by which snapshots are made and deleted (docs/control.md, docs/snapshots.md). */
#include "common/fault.h"
#include "common/jobj.h"
#include "common/log.h"
#include "vmm/vmproc.h"
#include <unistd.h>

static int take_id(const json_t *request, struct dvol_id *id, struct err *err)
{
	return jobj_u64(request, "term", true, 1, INT64_MAX, &id->term, err) ||
		       jobj_u64(request, "epoch", true, 1, INT64_MAX, &id->number, err)
		   ? -1
		   : 0;
}

/* The disks that got the epoch. */
static json_t *disks_json(const struct vmproc *vm)
{
	struct dvol *volumes[CONFIG_MAX_DEVICES];
	unsigned slots[CONFIG_MAX_DEVICES], count = machine_volumes(vm->machine, volumes, slots);
	json_t *list = json_array();

	for (unsigned n = 0; n < count; n++)
		for (unsigned i = 0; i < vm->config.ndevices; i++)
			if (vm->config.devices[i].slot == slots[n])
				json_array_append_new(list, json_string(vm->config.devices[i].disk.path));
	return list;
}

/* Descriptors: state, touched ranges, RAM, and, where RAM is protected, the userfaultfd.  Only the client keeps that one: when it
 * dies, the kernel lifts the protection, whatever this process is doing then. */
static int answer_boundary(struct vmproc *vm, struct snapshot_boundary *boundary, struct answer *answer,
			   struct err *err)
{
	uint64_t bytes;
	uintptr_t base = (uintptr_t)machine_ram(vm->machine, &bytes);

	answer->close_fds = true;
	answer->fds[0] = vmproc_memfd("drover-state", boundary->state.data, boundary->state.len, err);
	answer->fds[1] = answer->fds[0] < 0 ? -1
					    : vmproc_memfd("drover-touched", boundary->touched.data,
							   boundary->touched.len, err);
	answer->fds[2] = answer->fds[1] < 0 ? -1 : dup(machine_ram_fd(vm->machine));
	answer->fds[3] = boundary->uffd;
	if (answer->fds[2] < 0) {
		for (size_t i = 0; i < 4; i++)
			io_close(&answer->fds[i]);
		return -1;
	}
	answer->nfds = boundary->uffd >= 0 ? 4 : 3;
	json_object_set_new(answer->ok, "ram_base", jobj_make_hex64(base));
	json_object_set_new(answer->ok, "why_standing", json_string(boundary->why_standing.text));
	return 0;
}

int do_snapshot_begin(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	struct snapshot_boundary boundary;
	bool disks_only = false;
	struct dvol_id id;
	json_t *cpu;

	(void)fd;
	if (take_id(request, &id, err) || jobj_bool(request, "disks_only", false, &disks_only, err) ||
	    requests_check_idle(vm, err))
		return -1;
	cpu = machine_cpu_json(vm->machine, err);
	if (!cpu)
		return -1;
	handover_forget(&vm->handover);
	console_flush(&vm->console);
	if (snapshot_begin(&vm->snapshot, id, !disks_only, vm->uffd_device, !vm->handover.user_paused,
			   &boundary, err)) {
		json_decref(cpu);
		return -1;
	}
	vm->snapshot.client = (size_t)(client - vm->client);
	vm->snapshot.client_serial = client->serial;
	answer->ok = json_pack("{s:o, s:o, s:o, s:b, s:I}", "config", config_to_json(&vm->config), "cpu", cpu,
			       "disks", disks_json(vm), "paused", vm->handover.user_paused, "paused_ns",
			       (json_int_t)boundary.paused_ns);
	int status = disks_only ? 0 : answer_boundary(vm, &boundary, answer, err);
	if (status) {
		(void)snapshot_end(&vm->snapshot, !vm->handover.user_paused, NULL);
		json_decref(answer->ok);
		answer->ok = NULL;
	}
	buf_free(&boundary.state);
	buf_free(&boundary.touched);
	return status;
}

int do_snapshot_end(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err)
{
	(void)request, (void)fd, (void)answer;
	if (vm->snapshot.active && vm->snapshot.client_serial != client->serial)
		return err_set(err, ERR_STATE, "'snapshot-end' is for whoever makes the snapshot");
	return snapshot_end(&vm->snapshot, !vm->handover.user_paused, err);
}

void requests_snapshot_gone(struct vmproc *vm)
{
	struct err err;

	log_warning("the snapshot under way was given up: whoever made it is gone");
	if (snapshot_end(&vm->snapshot, !vm->handover.user_paused, &err))
		log_warning("%s", err.text);
}

int do_epoch_delete(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err)
{
	struct dvol_id id;

	(void)fd;
	if (take_id(request, &id, err) || snapshot_delete(&vm->snapshot, id, err))
		return -1;
	vm->snapshot.delete_client = (size_t)(client - vm->client);
	vm->snapshot.delete_serial = client->serial;
	vm->snapshot.delete_request = (uint64_t)json_integer_value(json_object_get(request, "id"));
	answer->later = true;
	return 0;
}

void requests_epoch_deleted(struct vmproc *vm)
{
	const struct snapshot *snapshot = &vm->snapshot;
	struct err err;
	int status = snapshot_delete_end(&vm->snapshot, &err);

	vmproc_answer(vm, snapshot->delete_client, snapshot->delete_serial, snapshot->delete_request, NULL,
		      status ? &err : NULL);
}
