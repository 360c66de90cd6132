/* snapshot_take.c: see snapshot_take.h. */
#include "vmm/snapshot_take.h"
#include "common/fault.h"
#include "common/io.h"
#include "common/jobj.h"
#include "vmm/control.h"
#include "vmm/ledger.h"
#include "vmm/snapshot_delete.h"
#include "vmm/snapshot_ram.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* A guest may have to be filled first (begin), a disk may be slow to make its epoch durable (end). */
enum { BEGIN_TIMEOUT_MS = 3600000, END_TIMEOUT_MS = 600000 };

/* ---- the id: above all that any of the volumes ever had ------------------------------------------------------------ */

static void raise_to(struct dvol_id *most, struct dvol_id id)
{
	if (snapshot_id_compare(id, *most) > 0)
		*most = id;
}

static int raise_to_volume(struct dvol_id *most, const char *path, struct err *err)
{
	const struct dvol_open_options options = {.list = true};
	struct dvol_info info;
	struct stat st;
	if (stat(path, &st) && errno == ENOENT)
		return 0;
	struct dvol *vol = dvol_open(path, &options, err);
	if (!vol)
		return -1;
	int status = dvol_info(vol, &info, err);
	if (!status)
		raise_to(most, info.last_epoch);
	dvol_close(vol, NULL);
	return status;
}

static int next_id(const struct snapshot_store *store, const struct snapshot_volumes *volumes, uint64_t term,
		   struct dvol_id *id, struct err *err)
{
	static const char *const suffixes[] = {"json", "begun"};
	struct dvol_id most = {.term = term ? term : 1};
	char ram[PATHS_MAX];
	if (snapshot_store_ram(store, ram, err) || raise_to_volume(&most, ram, err))
		return -1;
	for (size_t i = 0; i < volumes->count; i++)
		if (raise_to_volume(&most, volumes->path[i], err))
			return -1;
	for (size_t i = 0; i < 2; i++) {
		struct dvol_id *list;
		size_t count;
		if (snapshot_store_ids(store, suffixes[i], &list, &count, err))
			return -1;
		if (count > 0)
			raise_to(&most, list[count - 1]);
		free(list);
	}
	*id = (struct dvol_id){.term = most.term, .number = most.number + 1};
	return 0;
}

/* ---- what both have ---------------------------------------------------------------------------------------------- */

static int begin(const struct snapshot_store *store, const struct snapshot_volumes *volumes, uint64_t term,
		 struct snapshot_take *take, struct err *err)
{
	if (next_id(store, volumes, term, &take->id, err) ||
	    snapshot_store_begin(store, take->id, volumes->path, volumes->count, err))
		return -1;
	return fault_point(FAULT_SNAPSHOT_BEGUN) ? err_set(err, ERR_SYSTEM, "injected failure") : 0;
}

/* commit: the snapshot is there once this has returned 0. */
static int commit(const struct snapshot_store *store, struct snapshot_record *record,
		  const struct snapshot_take *take, struct err *err)
{
	record->id = take->id;
	record->point = take->point;
	snprintf(record->made_by, sizeof(record->made_by), "%s", take->made_by);
	if (snapshot_store_save(store, record, err))
		return -1;
	fault_point(FAULT_SNAPSHOT_RECORDED);
	/* What fails here the next command does. */
	(void)snapshot_store_done(store, take->id, NULL);
	return 0;
}

int snapshot_take_stopped(const struct snapshot_store *store, const struct vm_config *config,
			  const struct snapshot_volumes *volumes, const char *note,
			  struct snapshot_take *take, struct err *err)
{
	struct snapshot_record record = {.time_ns = clock_real_ns()};
	struct ledger_record ledger;
	bool locked;
	if (volumes->count == 0)
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' does not run and has no volume that it writes to: there is nothing to "
		    "take a snapshot of",
		    store->vm);
	if (ledger_peek(store->vm, &ledger, &locked, err) || begin(store, volumes, ledger.term, take, err))
		return -1;
	int status = 0;
	for (size_t i = 0; i < volumes->count && !status; i++) {
		status = snapshot_disk_close(volumes->vol[i], take->id, store->vm, NULL, err);
		snapshot_record_add_disk(&record, volumes->path[i]);
	}
	json_t *json = config_to_json(config);
	snprintf(record.note, sizeof(record.note), "%s", note);
	if (!status)
		status = config_from_json(json, &record.config, err); /* a copy */
	if (!status)
		status = commit(store, &record, take, err);
	json_decref(json);
	snapshot_record_free(&record);
	take->disks = volumes->count;
	take->ram = false;
	return status;
}

/* ---- a VM with a process ------------------------------------------------------------------------------------------- */

struct boundary {
	struct control control;
	struct snapshot_record record;
	struct snapshot_ram ram;
	int fds[CONTROL_MAX_FDS]; /* state, touched ranges, RAM, userfaultfd */
	size_t nfds;
	void *touched; /* mapped */
};

static int take_disks(const json_t *status, struct vm_config *config, struct err *err)
{
	json_t *list;
	return jobj_array(status, "devices", true, &list, err) ? -1
							       : config_devices_from_json(list, config, err);
}

/* ask_disks: which volumes it has, and its term. */
static int ask(struct boundary *boundary, struct vm_config *config, uint64_t *term, struct err *err)
{
	json_t *status;
	if (control_call(&boundary->control, json_pack("{s:s}", "cmd", "status"), END_TIMEOUT_MS, &status,
			 NULL, NULL, err))
		return -1;
	int failed =
	    jobj_u64(status, "term", true, 1, INT64_MAX, term, err) || take_disks(status, config, err);
	json_decref(status);
	return failed ? err_context(err, "answer of the VM process") : 0;
}

static int take_config(const json_t *reply, struct snapshot_record *record, struct err *err)
{
	json_t *config, *cpu;
	if (jobj_object(reply, "config", true, &config, err) ||
	    config_from_json(config, &record->config, err) || jobj_object(reply, "cpu", true, &cpu, err) ||
	    jobj_bool(reply, "paused", true, &record->paused, err) ||
	    snapshot_disks_from_json(json_object_get(reply, "disks"), &record->disks, &record->ndisks, err))
		return -1;
	record->cpu = json_incref(cpu);
	return 0;
}

/* take_ram: what came of RAM: its descriptors, looked at before anything relies on them. */
static int take_ram(struct boundary *boundary, const json_t *reply, struct err *err)
{
	struct snapshot_ram *ram = &boundary->ram;
	struct stat st;
	if (boundary->nfds < 3 || jobj_hex64(reply, "ram_base", true, &ram->base, err))
		return err_set(err, ERR_INPUT, "the VM process's answer comes without the guest's RAM");
	ram->ram_fd = boundary->fds[2];
	ram->uffd = boundary->nfds > 3 ? boundary->fds[3] : -1;
	ram->bytes = boundary->record.config.memory_bytes;
	if (fstat(boundary->fds[1], &st))
		return err_sys(err, "the list of the guest's pages");
	ram->touched_len = (size_t)st.st_size;
	if (ram->touched_len == 0)
		return 0;
	boundary->touched = mmap(NULL, ram->touched_len, PROT_READ, MAP_PRIVATE, boundary->fds[1], 0);
	if (boundary->touched == MAP_FAILED) {
		boundary->touched = NULL;
		return err_sys(err, "the list of the guest's pages");
	}
	ram->touched = boundary->touched;
	return 0;
}

static int cross(struct boundary *boundary, struct snapshot_take *take, struct err *err)
{
	const char *why = "";
	json_t *reply;
	if (control_call(&boundary->control,
			 json_pack("{s:s, s:I, s:I, s:b}", "cmd", "snapshot-begin", "term",
				   (json_int_t)take->id.term, "epoch", (json_int_t)take->id.number,
				   "disks_only", take->disks_only),
			 BEGIN_TIMEOUT_MS, &reply, boundary->fds, &boundary->nfds, err))
		return -1;
	boundary->record.time_ns = clock_real_ns();
	boundary->record.ram = take->ram = !take->disks_only;
	int status = take_config(reply, &boundary->record, err) ||
		     jobj_u64(reply, "paused_ns", true, 0, INT64_MAX, &take->paused_ns, err) ||
		     (take->ram && take_ram(boundary, reply, err)) ||
		     jobj_string(reply, "why_standing", false, ERR_TEXT, &why, err);
	if (!status && take->ram && boundary->ram.uffd < 0 && !boundary->record.paused && take->standing)
		take->standing(take->tick_context, why);
	json_decref(reply);
	if (status)
		return err_context(err, "answer of the VM process");
	return fault_point(FAULT_SNAPSHOT_BOUNDARY) ? err_set(err, ERR_SYSTEM, "injected failure") : 0;
}

static struct dvol *open_ram(const struct snapshot_store *store, uint64_t bytes, struct err *err)
{
	const struct dvol_create_options create = {.size_bytes = bytes};
	const struct dvol_open_options options = {.writable = true};
	char path[PATHS_MAX];
	struct stat st;
	if (snapshot_store_ram(store, path, err) ||
	    (stat(path, &st) && errno == ENOENT && dvol_create(path, &create, err)))
		return NULL;
	struct dvol *vol = dvol_open(path, &options, err);
	if (!vol || dvol_size(vol) >= bytes || !dvol_resize(vol, bytes, err))
		return vol;
	dvol_close(vol, NULL);
	return NULL;
}

/* By its digests each page is checked when it is read again. */
static int digest(struct dvol *vol, const struct snapshot_take *take, struct err *err)
{
	uint8_t root[DVOL_ROOT];
	dvol_on_progress(vol, take->tick, take->tick_context);
	int status = dvol_digest(vol, take->id, root, err);
	dvol_on_progress(vol, NULL, NULL);
	return status;
}

/* copy_ram: into the volume, and its epoch closed; the guest waits for nobody when this returns, whatever it returns. */
static int copy_ram(const struct snapshot_store *store, struct boundary *boundary, struct snapshot_take *take,
		    struct err *err)
{
	struct snapshot_ram *ram = &boundary->ram;
	struct dvol *vol = open_ram(store, ram->bytes, err);
	ram->tick = take->tick;
	ram->tick_context = take->tick_context;
	int status = vol ? snapshot_ram_copy(ram, vol, err) : -1;
	io_close(&boundary->fds[3]);
	if (!status && fault_point(FAULT_SNAPSHOT_COPIED))
		status = err_set(err, ERR_SYSTEM, "injected failure");
	if (!status)
		status = snapshot_disk_close(vol, take->id, store->vm, NULL, err);
	if (!status)
		status = digest(vol, take, err);
	if (dvol_close(vol, status ? NULL : err))
		status = -1;
	take->copied_bytes = ram->copied_bytes;
	take->written_bytes = ram->written_bytes;
	take->faults = ram->faults;
	return status;
}

static int keep_state(const struct snapshot_store *store, struct boundary *boundary,
		      const struct snapshot_take *take, struct err *err)
{
	char path[PATHS_MAX];
	struct stat st;
	if (snapshot_store_path(store, take->id, "state", path, err))
		return -1;
	if (fstat(boundary->fds[0], &st) || st.st_size <= 0 || st.st_size > SNAPSHOT_STATE_MAX)
		return err_set(err, ERR_INPUT, "the VM process's machine state is empty, or too large");
	size_t len = (size_t)st.st_size;
	void *data = malloc(len);
	if (!data || pread(boundary->fds[0], data, len, 0) != (ssize_t)len) {
		free(data);
		return err_sys(err, "cannot read the machine state");
	}
	boundary->record.state_bytes = len;
	boundary->record.state_checksum = XXH3_64bits(data, len);
	int failed = io_replace_file(path, data, len);
	free(data);
	return failed ? err_sys(err, "cannot write %s", path) : 0;
}

static int take_it(const struct snapshot_store *store, struct boundary *boundary, struct snapshot_take *take,
		   struct err *err)
{
	uint64_t began = clock_mono_ns();
	if (cross(boundary, take, err))
		return -1;
	bool standing = take->ram && boundary->ram.uffd < 0 && !boundary->record.paused;
	if (take->ram && copy_ram(store, boundary, take, err))
		return -1;
	if (control_call(&boundary->control, json_pack("{s:s}", "cmd", "snapshot-end"), END_TIMEOUT_MS, NULL,
			 NULL, NULL, err))
		return -1;
	if (standing)
		take->paused_ns = clock_mono_ns() - began;
	if (fault_point(FAULT_SNAPSHOT_ENDED))
		return err_set(err, ERR_SYSTEM, "injected failure");
	if (take->ram && keep_state(store, boundary, take, err))
		return -1;
	if (fault_point(FAULT_SNAPSHOT_STATE))
		return err_set(err, ERR_SYSTEM, "injected failure");
	take->disks = boundary->record.ndisks;
	return commit(store, &boundary->record, take, err);
}

int snapshot_take_running(const struct snapshot_store *store, struct snapshot_take *take, struct err *err)
{
	struct boundary boundary = {.fds = {-1, -1, -1, -1}, .ram = {.uffd = -1}};
	struct vm_config config = {.devices = NULL};
	struct snapshot_volumes volumes;
	uint64_t term;
	if (control_connect(&boundary.control, store->vm, err))
		return -1;
	int status = ask(&boundary, &config, &term, err);
	snapshot_volumes_of(&config, &volumes);
	if (!status && take->disks_only && volumes.count == 0)
		status = err_set(err, ERR_STATE, "VM '%s' has no volume that it writes to", store->vm);
	bool begun = !status;
	if (!status)
		status = begin(store, &volumes, term, take, err) || take_it(store, &boundary, take, err);
	for (size_t i = 0; i < CONTROL_MAX_FDS; i++)
		io_close(&boundary.fds[i]);
	if (boundary.touched)
		munmap(boundary.touched, boundary.ram.touched_len);
	control_close(&boundary.control);
	snapshot_record_free(&boundary.record);
	config_free(&config);
	if (status && begun)
		(void)snapshot_clean(store, NULL);
	return status ? -1 : 0;
}
