/* requests.c: what a VM process can be asked (docs/control.md): one table, one function a request. */
#include "common/jobj.h"
#include "common/log.h"
#include "vmm/vmproc.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATE_MAX = 16 << 20 };

/* ---- for everyone ------------------------------------------------------------------------------------------ */

static json_t *handover_json(const struct vmproc *vm)
{
	const struct ledger_record *now = &vm->ledger.now;
	uint64_t term = now->next_term ? now->next_term : now->term;

	if (vm->handover.phase == HANDOVER_NONE)
		return NULL;
	return json_pack("{s:s, s:s, s:I, s:s}", "phase", handover_state_name(&vm->handover), "peer",
			 now->peer, "term", (json_int_t)term, "session", now->session);
}

static json_t *balloon_json(const struct machine_balloon *balloon)
{
	return json_pack("{s:I, s:I}", "target_bytes", (json_int_t)balloon->target_bytes, "kept_bytes",
			 (json_int_t)balloon->kept_bytes);
}

static int do_status(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		     struct answer *answer, struct err *err)
{
	json_t *handover = handover_json(vm);
	struct machine_balloon balloon;

	(void)client, (void)request, (void)fd, (void)err;
	answer->ok = json_pack("{s:s, s:s, s:s, s:I, s:i, s:I, s:I, s:s}", "name", vm->config.name, "uuid",
			       vm->config.uuid, "state", handover_state_name(&vm->handover), "memory_bytes",
			       (json_int_t)vm->config.memory_bytes, "cpus", (int)vm->config.cpus, "term",
			       (json_int_t)vm->handover.term, "uptime_ms",
			       (json_int_t)((clock_mono_ns() - vm->started_ns) / 1000000), "dirty_mode",
			       machine_dirty_mode(vm->machine));
	if (handover)
		json_object_set_new(answer->ok, "handover", handover);
	if (vm->postcopy.on)
		json_object_set_new(answer->ok, "postcopy", requests_postcopy_json(vm));
	json_object_set_new(answer->ok, "isolation", jail_json(&vm->jail));
	json_object_set_new(answer->ok, "devices", config_devices_to_json(&vm->config));
	if (vm->limits)
		json_object_set(answer->ok, "limits", vm->limits);
	if (vm->handover.kept_until)
		json_object_set_new(answer->ok, "kept", requests_kept_json(vm));
	if (machine_balloon_get(vm->machine, &balloon))
		json_object_set_new(answer->ok, "balloon", balloon_json(&balloon));
	return 0;
}

static int do_subscribe(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			struct answer *answer, struct err *err)
{
	(void)vm, (void)request, (void)fd, (void)answer, (void)err;
	client->subscribed = true;
	return 0;
}

static int set_paused(struct vmproc *vm, bool paused, struct answer *answer, struct err *err)
{
	if (vm->handover.phase == HANDOVER_COMMITTED || vm->handover.phase == HANDOVER_PENDING)
		return err_set(err, ERR_STATE,
			       "VM '%s' waits to learn whether %s runs it; 'drover resolve %s' asks",
			       vm->config.name, vm->ledger.now.peer, vm->config.name);
	if (handover_lends(&vm->handover))
		return err_set(err, ERR_STATE, "VM '%s' runs on %s", vm->config.name, vm->ledger.now.peer);
	if (vm->handover.phase != HANDOVER_NONE)
		return err_set(err, ERR_STATE, "VM '%s' is %s; 'drover cancel %s' gives the migration up",
			       vm->config.name, handover_state_name(&vm->handover), vm->config.name);
	/* The other host was told something else. */
	handover_forget(&vm->handover);
	vm->handover.user_paused = paused;
	if (paused)
		machine_pause(vm->machine);
	else if (!vm->snapshot.standing) /* else it runs when the snapshot is made */
		machine_resume(vm->machine);
	answer->ok = json_pack("{s:s}", "state", handover_state_name(&vm->handover));
	return 0;
}

static int do_pause(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd;
	return set_paused(vm, true, answer, err);
}

static int do_resume(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		     struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd;
	return set_paused(vm, false, answer, err);
}

static int do_stop(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		   struct answer *answer, struct err *err)
{
	enum handover_phase phase = vm->handover.phase;
	bool force = false;

	(void)client, (void)fd, (void)answer;
	if (jobj_bool(request, "force", false, &force, err))
		return -1;
	if (phase == HANDOVER_ATTACHED || phase == HANDOVER_SWITCHING)
		return err_set(err, ERR_STATE, "VM '%s' is being migrated; 'drover cancel %s' first",
			       vm->config.name, vm->config.name);
	if (handover_lends(&vm->handover) && !force)
		return err_set(err, ERR_STATE,
			       "VM '%s' runs on %s, and some of its memory is only here; 'drover resolve %s' "
			       "sends it on, "
			       "'kill --force' drops it and ends the guest there",
			       vm->config.name, vm->ledger.now.peer, vm->config.name);
	if (phase != HANDOVER_NONE && !force)
		return err_set(
		    err, ERR_STATE,
		    "VM '%s' is %s, and this copy may be the only one; 'drover resolve %s' finds out, 'kill "
		    "--force' drops it",
		    vm->config.name, handover_state_name(&vm->handover), vm->config.name);
	vmproc_quit(vm, "stopped", "stopped by request", 0);
	return 0;
}

/* check_runs: orders that only a guest which runs, and is this host's, can take. */
static int check_runs(const struct vmproc *vm, struct err *err)
{
	if (vm->handover.phase != HANDOVER_NONE)
		return err_set(err, ERR_STATE, "VM '%s' is %s; wait until that is over", vm->config.name,
			       handover_state_name(&vm->handover));
	if (vm->handover.user_paused)
		return err_set(err, ERR_STATE, "VM '%s' is paused; 'drover resume %s' first", vm->config.name,
			       vm->config.name);
	if (vm->snapshot.standing)
		return err_set(err, ERR_STATE, "VM '%s' stands still for a snapshot; wait until that is over",
			       vm->config.name);
	return 0;
}

int requests_check_idle(const struct vmproc *vm, struct err *err)
{
	if (vm->handover.phase != HANDOVER_NONE)
		return err_set(err, ERR_STATE, "VM '%s' is %s; wait until that is over", vm->config.name,
			       handover_state_name(&vm->handover));
	if (vm->snapshot.active || vm->rate.active)
		return err_set(err, ERR_STATE, "%s; try again when that is over",
			       vm->rate.active ? "the dirty pages of this VM are being counted"
					       : "a snapshot of this VM is being made");
	return 0;
}

static int do_power_button(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			   struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd, (void)answer;
	if (check_runs(vm, err))
		return -1;
	machine_power_button(vm->machine);
	return 0;
}

static int do_reset(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd, (void)answer;
	if (check_runs(vm, err))
		return -1;
	handover_forget(&vm->handover);
	return machine_reset(vm->machine, err);
}

static int do_balloon(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	uint64_t target;

	(void)client, (void)fd, (void)answer;
	if (jobj_u64(request, "target_bytes", true, 0, INT64_MAX, &target, err))
		return -1;
	return machine_balloon_set(vm->machine, target, err);
}

static int do_console(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	uint64_t backlog = 0;

	(void)client, (void)fd;
	if (jobj_u64(request, "backlog", false, 0, CONSOLE_BACKLOG, &backlog, err))
		return -1;
	answer->fds[0] = console_attach(&vm->console, backlog, err);
	if (answer->fds[0] < 0)
		return -1;
	answer->nfds = 1;
	answer->close_fds = true;
	return 0;
}

static int do_dirty_rate(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			 struct answer *answer, struct err *err)
{
	struct rate_sample *rate = &vm->rate;
	uint64_t ms = 0;

	(void)fd;
	if (jobj_u64(request, "ms", true, 1, 60000, &ms, err))
		return -1;
	if (requests_check_idle(vm, err))
		return -1;
	handover_forget(&vm->handover);
	if (pageset_create(&rate->pages, vm->config.memory_bytes / 4096, err))
		return -1;
	if (machine_dirty_start(vm->machine, &rate->pages, err)) {
		pageset_close(&rate->pages);
		return -1;
	}
	rate->active = true;
	rate->client = (size_t)(client - vm->client);
	rate->client_serial = client->serial;
	rate->request_id = (uint64_t)json_integer_value(json_object_get(request, "id"));
	rate->started = clock_mono_ns();
	rate->ends = rate->started + ms * 1000000;
	answer->later = true;
	return 0;
}

static int do_cancel(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		     struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd, (void)answer;
	if (vm->handover.phase == HANDOVER_COMMITTED || vm->handover.phase == HANDOVER_PENDING)
		return err_set(err, ERR_STATE,
			       "too late: %s may run VM '%s' already; 'drover resolve %s' finds out",
			       vm->ledger.now.peer, vm->config.name, vm->config.name);
	if (handover_lends(&vm->handover))
		return err_set(err, ERR_STATE, "too late: VM '%s' runs on %s", vm->config.name,
			       vm->ledger.now.peer);
	if (vm->handover.kept_until) {
		handover_forget(&vm->handover);
		return 0;
	}
	if (vm->handover.phase != HANDOVER_ATTACHED && vm->handover.phase != HANDOVER_SWITCHING)
		return err_set(err, ERR_STATE, "VM '%s' is not being migrated", vm->config.name);
	handover_leave(&vm->handover);
	for (size_t i = 0; i < VMPROC_CLIENTS; i++) {
		static const char event[] = "{\"event\": \"cancel\"}";

		if (vm->client[i].fd >= 0 && vm->client[i].is_mover)
			(void)io_send(vm->client[i].fd, event, sizeof(event) - 1, NULL, 0);
	}
	return 0;
}

static int do_outcome(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	const char *uuid, *session;
	bool started;
	uint64_t term;

	(void)client, (void)fd;
	if (jobj_string(request, "uuid", true, CONFIG_UUID_LEN, &uuid, err) ||
	    jobj_u64(request, "term", true, 1, INT64_MAX, &term, err) ||
	    jobj_string(request, "session", true, LEDGER_SESSION_LEN, &session, err) ||
	    handover_answer(&vm->handover, uuid, term, session, &started, err))
		return -1;
	answer->ok = json_pack("{s:s, s:I}", "outcome", started ? "started" : "never", "owed",
			       (json_int_t)postcopy_left(&vm->postcopy));
	if (vm->handover.phase == HANDOVER_RELEASED)
		vmproc_quit(vm, "abandoned", "the hand-over was given up before it was committed", 1);
	return 0;
}

/* ---- for a mover -------------------------------------------------------------------------------------------- */

static int do_migrate(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	json_t *cpu;

	(void)request, (void)fd;
	if (vm->rate.active)
		vmproc_end_rate(vm);
	if (requests_check_idle(vm, err))
		return -1;
	cpu = machine_cpu_json(vm->machine, err);
	if (!cpu || handover_attach(&vm->handover, err)) {
		json_decref(cpu);
		return -1;
	}
	client->is_mover = true;
	answer->ok = json_pack("{s:o, s:o, s:I, s:b}", "config", config_to_json(&vm->config), "cpu", cpu,
			       "term", (json_int_t)vm->handover.term, "paused", vm->handover.user_paused);
	answer->fds[0] = machine_ram_fd(vm->machine);
	answer->fds[1] = vm->handover.dirty.fd;
	answer->nfds = 2;
	return 0;
}

static int do_pending(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	const struct ledger_record *now = &vm->ledger.now;

	(void)request, (void)fd;
	if (handover_adopt(&vm->handover, err))
		return -1;
	client->is_mover = true;
	answer->ok = json_pack(
	    "{s:o, s:s, s:I, s:s, s:b, s:b}", "config", config_to_json(&vm->config), "peer", now->peer,
	    "term", (json_int_t)(now->next_term ? now->next_term : now->term), "session", now->session,
	    "postcopy", vm->handover.postcopy, "lending", handover_lends(&vm->handover));
	answer->fds[0] = machine_ram_fd(vm->machine);
	answer->nfds = 1;
	return 0;
}

static int do_track(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd;
	if (handover_track(&vm->handover, err))
		return -1;
	answer->ok = json_pack("{s:s}", "mode", machine_dirty_mode(vm->machine));
	return 0;
}

static int do_harvest(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd, (void)answer;
	return handover_harvest(&vm->handover, err);
}

static int do_throttle(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		       struct answer *answer, struct err *err)
{
	uint64_t percent;

	(void)client, (void)fd, (void)answer;
	if (jobj_u64(request, "percent", true, 0, 99, &percent, err))
		return -1;
	return handover_throttle(&vm->handover, (unsigned)percent, err);
}

static int do_handover_pause(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			     struct answer *answer, struct err *err)
{
	const char *session, *peer;
	bool postcopy = false;
	uint64_t term;

	(void)client, (void)fd;
	if (jobj_u64(request, "term", true, 1, INT64_MAX, &term, err) ||
	    jobj_string(request, "session", true, LEDGER_SESSION_LEN, &session, err) ||
	    jobj_string(request, "peer", true, LEDGER_PEER_MAX, &peer, err) ||
	    jobj_bool(request, "postcopy", false, &postcopy, err))
		return -1;
	if (handover_pause(&vm->handover, term, session, peer, postcopy, err) ||
	    requests_last_epoch(vm, request, err))
		return -1;
	answer->ok = json_pack("{s:I}", "paused_ns", (json_int_t)vm->handover.paused_ns);
	return 0;
}

int vmproc_memfd(const char *name, const void *data, size_t len, struct err *err)
{
	int memfd = memfd_create(name, MFD_CLOEXEC);

	if (memfd >= 0 && io_write_full(memfd, data, len))
		io_close(&memfd);
	return memfd >= 0 ? memfd : err_sys(err, "cannot hand over %s", name);
}

static int do_handover_state(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			     struct answer *answer, struct err *err)
{
	struct buf state = {0};
	int memfd = -1;

	(void)client, (void)request, (void)fd;
	if (!handover_save(&vm->handover, &state, err))
		memfd = vmproc_memfd("drover-state", state.data, state.len, err);
	if (memfd >= 0) {
		answer->ok = json_pack("{s:I}", "bytes", (json_int_t)state.len);
		answer->fds[0] = memfd;
		answer->nfds = 1;
		answer->close_fds = true;
	}
	buf_free(&state);
	return memfd >= 0 ? 0 : -1;
}

static int do_handover_resume(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			      struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd, (void)answer;
	return handover_resume(&vm->handover, err);
}

static int do_handover_commit(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			      struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd, (void)answer;
	return handover_commit(&vm->handover, err);
}

static int do_handover_outcome(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			       struct answer *answer, struct err *err)
{
	const char *outcome;
	bool started;

	(void)fd, (void)answer;
	if (jobj_string(request, "outcome", true, 16, &outcome, err))
		return -1;
	started = !strcmp(outcome, "started");
	if (!started && strcmp(outcome, "never"))
		return err_set(err, ERR_INPUT, "an outcome is 'started' or 'never'");
	if (handover_outcome(&vm->handover, started, err))
		return -1;
	if (handover_lends(&vm->handover))
		return 0;
	client->is_mover = false;
	if (started)
		vmproc_quit(vm, "handed-over", vm->ledger.now.peer, 0);
	return 0;
}

/* ---- for serve ---------------------------------------------------------------------------------------------- */

int vmproc_read_state(int fd, struct buf *state, struct err *err)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_size > STATE_MAX)
		return err_set(err, ERR_INPUT, "the machine state, of at most 16 MiB, does not come along");
	if (pread(fd, buf_reserve(state, (size_t)st.st_size), (size_t)st.st_size, 0) != st.st_size)
		return err_sys(err, "cannot read the machine state");
	state->len += (size_t)st.st_size;
	return 0;
}

static int do_load_state(struct vmproc *vm, struct client *client, const json_t *request, int fd,
			 struct answer *answer, struct err *err)
{
	struct buf state = {0};
	int status = -1;

	(void)client, (void)request, (void)answer;
	if (!vmproc_read_state(fd, &state, err))
		status = handover_load(&vm->handover, state.data, state.len, err);
	buf_free(&state);
	return status;
}

static int do_commit(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		     struct answer *answer, struct err *err)
{
	const char *session;
	uint64_t term;

	(void)client, (void)fd, (void)answer;
	if (jobj_u64(request, "term", true, 1, INT64_MAX, &term, err) ||
	    jobj_string(request, "session", true, LEDGER_SESSION_LEN, &session, err))
		return -1;
	if (handover_start(&vm->handover, term, session, err))
		return -1;
	requests_settle_disks(vm);
	return 0;
}

/* ANYONE_WHOLE: anyone, once no page of the guest's is missing.  ANYONE_NEAR: anyone, once none is missing that another host has: a vCPU
 * that waits for one cannot be stopped. */
enum audience { ANYONE, ANYONE_WHOLE, ANYONE_NEAR, MOVER, PARENT };

static const struct {
	const char *cmd;
	enum audience audience;
	vmproc_handler *handle;
} requests[] = {
    {"status", ANYONE, do_status},
    {"subscribe", ANYONE, do_subscribe},
    {"pause", ANYONE_NEAR, do_pause},
    {"resume", ANYONE, do_resume},
    {"stop", ANYONE, do_stop},
    {"power-button", ANYONE, do_power_button},
    {"reset", ANYONE_NEAR, do_reset},
    {"balloon", ANYONE, do_balloon},
    {"console", ANYONE, do_console},
    {"dirty-rate", ANYONE_NEAR, do_dirty_rate},
    {"cancel", ANYONE, do_cancel},
    {"outcome", ANYONE, do_outcome},
    {"snapshot-begin", ANYONE_WHOLE, do_snapshot_begin},
    {"snapshot-end", ANYONE, do_snapshot_end},
    {"epoch-delete", ANYONE, do_epoch_delete},
    {"migrate", ANYONE_WHOLE, do_migrate},
    {"pending", ANYONE, do_pending},
    {"go-on", ANYONE_WHOLE, do_go_on},
    {"keep", MOVER, do_keep},
    {"leave", MOVER, do_leave},
    {"track", MOVER, do_track},
    {"harvest", MOVER, do_harvest},
    {"throttle", MOVER, do_throttle},
    {"epoch-close", MOVER, do_epoch_close},
    {"handover-pause", MOVER, do_handover_pause},
    {"handover-state", MOVER, do_handover_state},
    {"handover-resume", MOVER, do_handover_resume},
    {"handover-commit", MOVER, do_handover_commit},
    {"handover-outcome", MOVER, do_handover_outcome},
    {"handover-lent", MOVER, do_handover_lent},
    {"postcopy-begin", PARENT, do_postcopy_begin},
    {"postcopy-end", PARENT, do_postcopy_end},
    {"load-state", PARENT, do_load_state},
    {"commit", PARENT, do_commit},
};

/* Whether a request has to wait until RAM is there. */
static bool must_wait(const struct vmproc *vm, enum audience audience)
{
	return (audience == ANYONE_WHOLE && requests_ram_is_coming(vm)) ||
	       (audience == ANYONE_NEAR && vm->postcopy.on);
}

int requests_handle(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err)
{
	const char *cmd;

	if (jobj_string(request, "cmd", true, 32, &cmd, err))
		return -1;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (strcmp(cmd, requests[i].cmd))
			continue;
		if (requests[i].audience == MOVER && !client->is_mover)
			return err_set(err, ERR_STATE, "'%s' is for the mover of a migration under way", cmd);
		if (requests[i].audience == PARENT && !client->is_parent)
			return err_set(err, ERR_STATE, "'%s' is for the process that receives this VM", cmd);
		if (must_wait(vm, requests[i].audience)) {
			client->parked = json_deep_copy(request);
			answer->later = true;
			return 0;
		}
		return requests[i].handle(vm, client, request, fd, answer, err);
	}
	return err_set(err, ERR_INPUT, "the VM process knows no request '%s'", cmd);
}
