#include "vmm/vmproc.h"

#include "common/fault.h"
#include "common/jobj.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/unixsock.h"
#include "vmm/disk_record.h"
#include "vmm/ports.h"
#include "vmm/uffd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- clients ------------------------------------------------------------------------------------------------ */

static struct client *add_client(struct vmproc *vm, int fd)
{
	for (size_t i = 0; i < VMPROC_CLIENTS; i++) {
		if (vm->client[i].fd >= 0)
			continue;
		vm->client[i] = (struct client){.fd = fd, .serial = ++vm->next_serial};
		return &vm->client[i];
	}
	close(fd);
	return NULL;
}

/* One packet to a client.  A client that does not read its answers is not waited for: it is let go. */
static void tell(struct client *client, const json_t *message, const int *fds, size_t nfds)
{
	char *text = json_dumps(message, JSON_COMPACT);

	if (text && io_send(client->fd, text, strlen(text), fds, nfds) && errno != EPIPE &&
	    errno != ECONNRESET) {
		log_warning("a client of the control socket was dropped: %s", strerror(errno));
		shutdown(client->fd, SHUT_RDWR);
	}
	free(text);
}

static void tell_subscribers(struct vmproc *vm, json_t *event)
{
	for (size_t i = 0; i < VMPROC_CLIENTS; i++)
		if (vm->client[i].fd >= 0 && vm->client[i].subscribed)
			tell(&vm->client[i], event, NULL, 0);
	json_decref(event);
}

/* The answer to request `id`: the "ok" object (reference taken over; NULL: empty), or the error. */
static void answer_request(struct client *client, json_int_t id, json_t *ok, const struct err *err,
			   const int *fds, size_t nfds)
{
	json_t *message;

	if (err)
		message = json_pack("{s:I, s:{s:s, s:s}}", "id", id, "error", "kind",
				    err_kind_name(err->kind), "message", err->text);
	else
		message = json_pack("{s:I, s:o}", "id", id, "ok", ok ? ok : json_object());
	tell(client, message, fds, nfds);
	json_decref(message);
}

/* The ledger's last word about this process; its files stay for leftovers.h. */
static void write_end(struct vmproc *vm, bool never_was)
{
	struct ledger_record record = vm->ledger.now;
	struct err err;

	if (never_was)
		record = (struct ledger_record){.state = LEDGER_NONE};
	else if (record.state == LEDGER_RUNNING)
		record.state = LEDGER_STOPPED;
	else if (record.state == LEDGER_INCOMING)
		record.state = LEDGER_REFUSED;
	if (vm->ledger_mine && record.state != vm->ledger.now.state &&
	    ledger_write(&vm->ledger, &record, &err))
		log_error("%s", err.text);
}

static void tell_ended(struct vmproc *vm)
{
	tell_subscribers(vm, json_pack("{s:s, s:s, s:s}", "event", "ended", "why", vm->quit_why, "detail",
				       vm->quit_detail));
}

/* Pages of RAM cannot be had: whoever waits for one waits for ever, and nobody may wait for them.  `stopped`: in order, or else as in a
 * crash of the host, which leaves the ledger as it is. */
static _Noreturn void leave_at_once(struct vmproc *vm, bool stopped)
{
	console_flush(&vm->console);
	tell_ended(vm);
	if (stopped)
		write_end(vm, false);
	_exit(vm->exit_status);
}

/* A guest that runs on what it has, and serve, which was to bring the rest, is gone.  The ledger must not say that it was stopped: the
 * source, where it does not know yet that the guest runs here, can go on with it. */
static _Noreturn void lose_ram(struct vmproc *vm)
{
	log_error("%s", postcopy_lost);
	vmproc_quit(vm, "crash", postcopy_lost, 1);
	leave_at_once(vm, false);
}

static void drop_client(struct vmproc *vm, struct client *client)
{
	bool was_mover = client->is_mover, was_parent = client->is_parent;
	struct err err;

	/* Serve, and who waits behind it for the VM's lock, takes that socket's end for this process's. */
	if (!was_parent)
		close(client->fd);
	client->fd = -1;
	json_decref(client->parked);
	client->parked = NULL;
	if (was_mover)
		handover_mover_gone(&vm->handover);
	if (vm->snapshot.active && vm->snapshot.client_serial == client->serial)
		requests_snapshot_gone(vm);
	if (was_parent && vm->postcopy.on && vm->handover.phase == HANDOVER_NONE)
		lose_ram(vm);
	if (was_parent &&
	    (vm->handover.phase == HANDOVER_INCOMING || vm->handover.phase == HANDOVER_PREPARED)) {
		if (handover_give_up(&vm->handover, &err))
			log_error("%s", err.text);
		vmproc_quit(vm, "abandoned", "the sender went away before it committed the hand-over", 1);
	}
}

void vmproc_answer(struct vmproc *vm, size_t slot, uint64_t serial, uint64_t request_id, json_t *ok,
		   const struct err *err)
{
	struct client *client = &vm->client[slot];

	if (client->fd >= 0 && client->serial == serial)
		answer_request(client, (json_int_t)request_id, ok, err, NULL, 0);
	else
		json_decref(ok);
}

/* A request, NULL with *err when it could not be read; fd: what came with it, or -1. */
static void handle(struct vmproc *vm, struct client *client, const json_t *request, int fd, struct err *err)
{
	struct answer answer = {0};
	json_int_t id = json_integer_value(json_object_get(request, "id"));
	int status = request ? requests_handle(vm, client, request, fd, &answer, err) : -1;

	if (!answer.later)
		answer_request(client, id, answer.ok, status ? err : NULL, answer.fds, answer.nfds);
	for (size_t i = 0; answer.close_fds && i < answer.nfds; i++)
		close(answer.fds[i]);
	handover_settle(&vm->handover);
}

static void serve_client(struct vmproc *vm, struct client *client)
{
	char text[CONTROL_MAX + 1];
	int fds[IO_MAX_FDS];
	size_t nfds = IO_MAX_FDS;
	struct err err = {0};
	json_t *request;
	ssize_t len;

	if (client->parked) {
		drop_client(vm, client); /* it is heard only when it hangs up */
		return;
	}
	len = io_receive(client->fd, text, sizeof(text) - 1, fds, &nfds);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len <= 0) {
		drop_client(vm, client);
		return;
	}
	request = jobj_parse(text, (size_t)len, &err);
	handle(vm, client, request, nfds > 0 ? fds[0] : -1, &err);
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	json_decref(request);
}

/* How users look who have no id in this process's user namespace. */
enum { NO_ID_HERE = 65534 };

static bool may_ask(const struct vmproc *vm, uid_t uid)
{
	/* In a starter's own user namespace root has no id; nobody else without one gets past the socket's permissions. */
	return uid == 0 || uid == vm->starter || (vm->starter != 0 && uid == NO_ID_HERE);
}

static void accept_client(struct vmproc *vm)
{
	int fd = accept4(vm->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || !may_ask(vm, peer.uid)) {
		close(fd);
		return;
	}
	add_client(vm, fd);
}

/* ---- the machine's side --------------------------------------------------------------------------------------- */

static void on_console(void *arg, const uint8_t *data, size_t len)
{
	struct vmproc *vm = arg;

	console_put(&vm->console, data, len);
}

static void on_ended(void *arg, enum machine_end why, const char *detail)
{
	struct vmproc *vm = arg;

	vm->end_why = why;
	snprintf(vm->end_detail, sizeof(vm->end_detail), "%s", detail);
	(void)eventfd_write(vm->end_fd, 1);
}

void vmproc_quit(struct vmproc *vm, const char *why, const char *detail, int status)
{
	vm->quit = true;
	vm->quit_why = why;
	snprintf(vm->quit_detail, sizeof(vm->quit_detail), "%s", detail);
	vm->exit_status = status;
}

void vmproc_end_rate(struct vmproc *vm)
{
	struct rate_sample *rate = &vm->rate;
	uint64_t ns = clock_mono_ns() - rate->started, pages;
	struct err err;
	int status = machine_dirty_harvest(vm->machine, &err);

	machine_dirty_stop(vm->machine);
	rate->active = false;
	pages = pageset_count(&rate->pages);
	vmproc_answer(vm, rate->client, rate->client_serial, rate->request_id,
		      json_pack("{s:I, s:I, s:I}", "pages", (json_int_t)pages, "bytes_per_s",
				(json_int_t)((double)pages * 4096 * 1e9 / (double)ns), "interval_ms",
				(json_int_t)(ns / 1000000)),
		      status ? &err : NULL);
	pageset_close(&rate->pages);
}

enum { INPUT_RETRY_NS = 10000000 };

/* What a watcher types goes to the guest as far as its receive queue takes it; the rest stays in the socket. */
static void console_input(struct vmproc *vm, size_t i)
{
	char typed[256];
	ssize_t len = recv(vm->console.stream[i], typed, sizeof(typed), MSG_PEEK | MSG_DONTWAIT);
	size_t taken;

	if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR)) {
		console_detach(&vm->console, i);
		return;
	}
	if (len < 0)
		return;
	taken = machine_console_input(vm->machine, typed, (size_t)len);
	if (taken > 0)
		(void)recv(vm->console.stream[i], typed, taken, MSG_DONTWAIT);
	else
		vm->input_retry_ns = clock_mono_ns() + INPUT_RETRY_NS;
}

/* ---- beginning and end ----------------------------------------------------------------------------------- */

/* The first packet on the inherited socket: what to be.  Answered when the machine is made, or with why not. */
static int take_start(struct vmproc *vm, int fd)
{
	const struct machine_owner owner = {.arg = vm, .ended = on_ended, .console = on_console};
	struct client *parent = add_client(vm, fd);
	char text[CONTROL_MAX + 1];
	int fds[IO_MAX_FDS], status;
	size_t nfds = IO_MAX_FDS;
	struct err err = {0};
	json_t *start;
	ssize_t len;

	parent->is_parent = true;
	len = io_receive(fd, text, sizeof(text) - 1, fds, &nfds);
	if (len <= 0)
		return -1;
	start = jobj_parse(text, (size_t)len, &err);
	vm->taps = fds;
	vm->ntaps = nfds;
	status = start ? vmproc_make(vm, start, nfds > 0 ? fds[0] : -1, &owner, &err) : -1;
	/* A new guest may end before its starter can ask for events; how it ended waits in the socket then. */
	parent->subscribed = start && !json_object_get(start, "incoming");
	vm->taps = NULL;
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	answer_request(parent, json_integer_value(json_object_get(start, "id")),
		       json_pack("{s:s}", "ram_read_first", vm->pager.err.text), status ? &err : NULL, NULL,
		       0);
	json_decref(start);
	return status;
}

static void end(struct vmproc *vm, bool never_was)
{
	snapshot_destroy(&vm->snapshot);
	disk_jobs_destroy(&vm->move_epoch.jobs);
	pager_stop(&vm->pager);
	postcopy_end(&vm->postcopy);
	machine_destroy(vm->machine);
	write_end(vm, never_was);
	console_close(&vm->console);
	ledger_close(&vm->ledger);
	json_decref(vm->limits);
	config_free(&vm->config);
	io_close(&vm->uffd_device);
}

/* A page of RAM cannot be read. */
static _Noreturn void perish(struct vmproc *vm)
{
	log_error("%s", vm->pager.err.text);
	vmproc_quit(vm, "crash", vm->pager.err.text, 1);
	leave_at_once(vm, true);
}

static void pager_is_done(struct vmproc *vm)
{
	if (pager_has_failed(&vm->pager))
		perish(vm);
	pager_stop(&vm->pager);
	vmproc_ram_is_there(vm);
}

void vmproc_ram_is_there(struct vmproc *vm)
{
	machine_keep_ram(vm->machine, false);
	for (size_t i = 0; i < VMPROC_CLIENTS && !vm->quit; i++) {
		struct client *client = &vm->client[i];
		json_t *request = client->parked;
		struct err err = {0};

		client->parked = NULL;
		if (request && client->fd >= 0)
			handle(vm, client, request, -1, &err);
		json_decref(request);
	}
}

/* ---- the loop ------------------------------------------------------------------------------------------------- */

static void tell_state(struct vmproc *vm)
{
	const char *state = handover_state_name(&vm->handover);

	if (!strcmp(state, vm->state_told))
		return;
	snprintf(vm->state_told, sizeof(vm->state_told), "%s", state);
	tell_subscribers(vm, json_pack("{s:s, s:s}", "event", "state", "state", state));
}

static int wait_ms(const struct vmproc *vm)
{
	uint64_t now = clock_mono_ns(), next = UINT64_MAX;

	if (vm->handover.phase == HANDOVER_SWITCHING)
		next = vm->handover.lease_end;
	if (vm->handover.kept_until && vm->handover.kept_until < next)
		next = vm->handover.kept_until;
	if (vm->rate.active && vm->rate.ends < next)
		next = vm->rate.ends;
	if (vm->input_retry_ns && vm->input_retry_ns < next)
		next = vm->input_retry_ns;
	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : (int)((next - now + 999999) / 1000000);
}

static void take_signal(struct vmproc *vm)
{
	struct signalfd_siginfo info;

	if (read(vm->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	/* A hand-over whose outcome is open keeps its ledger entry: stopping the process must not decide it. */
	vmproc_quit(vm, "stopped", "stopped by a signal", 0);
}

static void machine_ended(struct vmproc *vm)
{
	bool crash = vm->end_why == MACHINE_END_CRASH;

	if (vm->handover.phase == HANDOVER_ATTACHED || vm->handover.phase == HANDOVER_SWITCHING)
		handover_leave(&vm->handover);
	vmproc_quit(vm, crash ? "crash" : "reset", vm->end_detail, crash ? 1 : 0);
}

enum { SLOT_END, SLOT_CONSOLE, SLOT_LISTEN, SLOT_SIGNAL, SLOT_RAM, SLOT_DELETED, SLOT_CLOSED, SLOT_CLIENT };
enum { SLOT_STREAM = SLOT_CLIENT + VMPROC_CLIENTS, SLOTS = SLOT_STREAM + CONSOLE_STREAMS };

static void turn(struct vmproc *vm)
{
	struct pollfd fds[SLOTS];

	fds[SLOT_END] = (struct pollfd){.fd = vm->end_fd, .events = POLLIN};
	fds[SLOT_CONSOLE] = (struct pollfd){.fd = vm->console.wake_fd, .events = POLLIN};
	fds[SLOT_LISTEN] = (struct pollfd){.fd = vm->listen_fd, .events = POLLIN};
	fds[SLOT_SIGNAL] = (struct pollfd){.fd = vm->signal_fd, .events = POLLIN};
	fds[SLOT_RAM] = (struct pollfd){.fd = vm->pager.volume ? vm->pager.done_fd : -1, .events = POLLIN};
	fds[SLOT_DELETED] = (struct pollfd){.fd = vm->snapshot.done_fd, .events = POLLIN};
	fds[SLOT_CLOSED] = (struct pollfd){.fd = vm->move_epoch.jobs.done_fd, .events = POLLIN};
	for (size_t i = 0; i < VMPROC_CLIENTS; i++)
		fds[SLOT_CLIENT + i] =
		    (struct pollfd){.fd = vm->client[i].fd, .events = vm->client[i].parked ? 0 : POLLIN};
	if (vm->input_retry_ns && clock_mono_ns() >= vm->input_retry_ns)
		vm->input_retry_ns = 0;
	for (size_t i = 0; i < CONSOLE_STREAMS; i++)
		fds[SLOT_STREAM + i] =
		    (struct pollfd){.fd = vm->input_retry_ns ? -1 : vm->console.stream[i], .events = POLLIN};
	if (poll(fds, SLOTS, wait_ms(vm)) < 0)
		return;
	if (fds[SLOT_CONSOLE].revents)
		console_flush(&vm->console);
	if (fds[SLOT_RAM].revents)
		pager_is_done(vm);
	if (fds[SLOT_DELETED].revents)
		requests_epoch_deleted(vm);
	if (fds[SLOT_CLOSED].revents)
		requests_epoch_closed(vm);
	for (size_t i = 0; i < VMPROC_CLIENTS && !vm->quit; i++)
		if (fds[SLOT_CLIENT + i].revents && vm->client[i].fd == fds[SLOT_CLIENT + i].fd)
			serve_client(vm, &vm->client[i]);
	for (size_t i = 0; i < CONSOLE_STREAMS; i++)
		if (fds[SLOT_STREAM + i].revents && vm->console.stream[i] == fds[SLOT_STREAM + i].fd)
			console_input(vm, i);
	if (fds[SLOT_LISTEN].revents)
		accept_client(vm);
	if (fds[SLOT_SIGNAL].revents)
		take_signal(vm);
	if (fds[SLOT_END].revents)
		machine_ended(vm);
	if (vm->rate.active && clock_mono_ns() >= vm->rate.ends)
		vmproc_end_rate(vm);
	handover_tick(&vm->handover, clock_mono_ns());
	requests_kept_tick(vm);
	tell_state(vm);
}

int vmproc_run(int fd)
{
	struct vmproc vm = {.listen_fd = -1,
			    .kept = {.due.fd = -1, .notes_fd = -1},
			    .uffd_device = uffd_device(),
			    .ledger = {.fd = -1, .lock_fd = -1, .dir_fd = -1}};
	sigset_t signals;

	for (size_t i = 0; i < VMPROC_CLIENTS; i++)
		vm.client[i].fd = -1;
	vm.console.log_fd = vm.console.wake_fd = -1;
	for (size_t i = 0; i < CONSOLE_STREAMS; i++)
		vm.console.stream[i] = -1;
	vm.started_ns = clock_mono_ns();
	vm.starter = geteuid();
	vm.end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Blocked before any vCPU thread is made: they inherit the mask, and signals come here only. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	vm.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (take_start(&vm, fd)) {
		end(&vm, !vm.known_before);
		return 1;
	}
	while (!vm.quit)
		turn(&vm);
	/* A vCPU that waits for a page which may never come cannot be stopped. */
	if (vm.postcopy.on && vm.handover.phase == HANDOVER_NONE)
		leave_at_once(&vm, true);
	machine_pause(vm.machine);
	console_flush(&vm.console);
	tell_ended(&vm);
	end(&vm, false);
	for (size_t i = 0; i < VMPROC_CLIENTS; i++)
		io_close(&vm.client[i].fd);
	return vm.exit_status;
}
