#include "migrate/serve.h"

#include "common/fault.h"
#include "common/io.h"
#include "common/jobj.h"
#include "common/units.h"
#include "migrate/facts.h"
#include "migrate/serve_internal.h"
#include "migrate/serve_outcome.h"
#include "vmm/memory.h"
#include "vmm/spawn.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELLO_MS = 30000, RECONNECT_MAX_MS = 3600000 };

/* ---- greeting ------------------------------------------------------------------------------------------------ */

static int read_hello(struct serve *serve, const json_t *hello, const char **purpose, struct err *err)
{
	const char *session = "", *name, *uuid;
	json_t *vm;
	bool check;

	if (message_choose(hello, &serve->protocol, err) ||
	    jobj_string(hello, "purpose", true, 16, purpose, err))
		return -1;
	check = !strcmp(*purpose, "check");
	if (check && !json_object_get(hello, "vm"))
		return 0; /* of no VM */
	if ((!check && jobj_string(hello, "session", true, LEDGER_SESSION_LEN, &session, err)) ||
	    jobj_object(hello, "vm", true, &vm, err) ||
	    jobj_string(vm, "name", true, CONFIG_NAME_MAX, &name, err) ||
	    jobj_string(vm, "uuid", true, CONFIG_UUID_LEN, &uuid, err))
		return -1;
	if (!units_name_valid(name) || !config_uuid_valid(uuid) ||
	    (!check && strspn(session, "0123456789abcdef") != LEDGER_SESSION_LEN))
		return err_set(err, ERR_INPUT, "the sender's HELLO names no valid VM and session");
	strcpy(serve->config.name, name);
	strcpy(serve->config.uuid, uuid);
	strcpy(serve->session, session);
	return 0;
}

int serve_free_name(const struct serve *serve, struct ledger_record *record, bool *locked, struct err *err)
{
	const char *name = serve->config.name;

	if (ledger_peek(name, record, locked, err))
		return -1;
	if (!*locked)
		return 0;
	serve_supersede(name, serve->config.uuid);
	return ledger_peek_settled(name, record, locked, err);
}

static int welcome(struct serve *serve, struct err *err)
{
	struct ledger_record record;
	bool locked;

	if (serve_free_name(serve, &record, &locked, err))
		return -1;
	if (locked)
		return err_set(err, ERR_REFUSED, "a VM '%s' lives on that host already", serve->config.name);
	if (serve_bounds_name(serve, err))
		return -1;
	return message_send_json(serve->control.link, MESSAGE_WELCOME,
				 json_pack("{s:i, s:s, s:b, s:I}", "protocol", (int)serve->protocol, "drover",
					   DROVER_VERSION, "deltas", true, "promised_term",
					   (json_int_t)ledger_promised_term(&record, serve->config.uuid)),
				 err);
}

int serve_take_config(struct serve *serve, const json_t *begin, struct err *err)
{
	struct vm_config config = {0};

	if (config_from_json(json_object_get(begin, "config"), &config, err))
		return -1;
	if (strcmp(config.name, serve->config.name) || strcmp(config.uuid, serve->config.uuid)) {
		config_free(&config);
		return err_set(err, ERR_INPUT, "BEGIN is about another VM than HELLO");
	}
	config_free(&serve->config);
	serve->config = config;
	return serve_bounds_config(serve, err);
}

static int read_begin(struct serve *serve, const json_t *begin, struct spawn_incoming *incoming,
		      struct err *err)
{
	bool postcopy = false;
	json_t *cpu;
	uint64_t touched, available = facts_available_memory();

	if (jobj_u64(begin, "term", true, 1, INT64_MAX, &serve->term, err) ||
	    jobj_u64(begin, "touched_bytes", true, 0, CONFIG_MAX_MEMORY, &touched, err) ||
	    jobj_bool(begin, "paused", true, &incoming->paused, err) ||
	    jobj_string(begin, "from", true, LEDGER_PEER_MAX, &incoming->peer, err) ||
	    jobj_u64(begin, "reconnect_ms", true, 0, RECONNECT_MAX_MS, &serve->reconnect_ms, err) ||
	    jobj_bool(begin, "postcopy", false, &postcopy, err) ||
	    jobj_object(begin, "cpu", true, &cpu, err) || serve_take_config(serve, begin, err))
		return -1;
	serve->owed.on = postcopy;
	if (touched > available)
		return err_set(
		    err, ERR_REFUSED,
		    "the guest uses %llu MiB of memory, and that host has %llu MiB to give; free some there",
		    (unsigned long long)(touched >> 20), (unsigned long long)(available >> 20));
	incoming->cpu = cpu;
	incoming->term = serve->term;
	incoming->session = serve->session;
	incoming->ram_fd = serve->ram_fd;
	return 0;
}

/* An empty guest RAM, the promise on disk, and a VM process that waits around it.  Whatever is unfit for this VM (KVM, its
 * CPU, memory, the name) is found out here, before a byte of it is sent. */
static int begin(struct serve *serve, struct err *err)
{
	struct spawn_incoming incoming = {0};
	struct frame frame;
	json_t *json;
	pid_t pid;
	int failed;

	if (message_await(serve->control.link, MESSAGE_BEGIN, SERVE_QUIET_MS, &frame, err))
		return -1;
	json = message_json(&frame, err);
	if (!json)
		return -1;
	failed = read_begin(serve, json, &incoming, err) || serve_disks_find(serve, json, err);
	if (!failed) {
		serve->ram_fd = memory_create_fd(serve->config.memory_bytes, serve->config.name, err);
		incoming.ram_fd = serve->ram_fd;
		failed = serve->ram_fd < 0 || spawn_vm(&serve->config, &incoming, &serve->vm, &pid, err);
	}
	json_decref(json);
	if (failed || link_fault(serve->control.link, FAULT_SERVE_VM_SPAWNED, err) ||
	    pages_target_open(&serve->target[0], 0, serve->ram_fd, serve->config.memory_bytes / PAGES_SIZE,
			      err))
		return -1;
	serve->targets = 1;
	if (serve_disks_prepare(serve, err))
		return -1;
	serve->control.decoder = pages_decoder_open(err);
	if (!serve->control.decoder || (serve->owed.on && serve_postcopy_open(serve, err)) ||
	    serve_links_open(serve, err) ||
	    message_send_json(serve->control.link, MESSAGE_READY,
			      json_pack("{s:i, s:b, s:o}", "pid", (int)pid, "postcopy", serve->owed.on,
					"disks", serve_disks_ready(serve)),
			      err) ||
	    link_flush(serve->control.link, err))
		return -1;
	return link_fault(serve->control.link, FAULT_SERVE_ACCEPTED, err);
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

static int on_vm_gone(void *arg, short revents, struct err *err)
{
	struct serve *serve = arg;

	(void)revents;
	return err_set(err, ERR_LINK, "the VM process of '%s' there has ended", serve->config.name);
}

/* Something other than the control link has a word: look at it, in receive(). */
static int on_wake(void *arg, short revents, struct err *err)
{
	bool *woken = arg;

	(void)revents;
	*woken = true;
	return err_set(err, ERR_STATE, "woken");
}

static int on_join(void *arg, short revents, struct err *err)
{
	struct serve *serve = arg;

	(void)revents;
	serve_links_accept(serve);
	/* A sender that comes back knows better than this host that the old link is dead. */
	return serve->replacement.link ? err_set(err, ERR_LINK, "the sender connected again") : 0;
}

static int failure_of_others(struct serve *serve, struct err *err)
{
	eventfd_t ignored;
	int status = 0;

	(void)eventfd_read(serve->wake_fd, &ignored);
	pthread_mutex_lock(&serve->lock);
	if (serve->failed.kind != ERR_NONE)
		status = err_set(err, serve->failed.kind, "%s", serve->failed.text);
	pthread_mutex_unlock(&serve->lock);
	return status;
}

static void watch(struct serve *serve, bool *woken)
{
	/* The VM process says nothing unasked: anything to read is the end of the socket. */
	const struct link_watch watches[] = {
	    {.fd = serve->vm.fd, .events = POLLIN, .ready = on_vm_gone, .arg = serve},
	    {.fd = serve->listen_fd, .events = POLLIN, .ready = on_join, .arg = serve},
	    {.fd = serve->wake_fd, .events = POLLIN, .ready = on_wake, .arg = woken},
	};

	link_watch(serve->control.link, watches, sizeof(watches) / sizeof(watches[0]));
}

/* One message, or one wake-up, of the control link. */
static int step(struct serve *serve, bool *woken, struct err *err)
{
	struct frame frame;
	int got;

	*woken = false;
	/* Only here: a wake-up must not end the sending of an answer. */
	watch(serve, woken);
	got = link_receive(serve->control.link, clock_mono_ns() + SERVE_QUIET_MS * 1000000ull, &frame, err);
	link_watch(serve->control.link, NULL, 0);
	if (got < 0 && *woken)
		return failure_of_others(serve, err) ? -1 : serve_settle(serve, err);
	if (got < 0)
		return -1;
	if (got == 0) {
		link_cut(serve->control.link);
		return err_set(err, ERR_LINK, "the sender said nothing for %d s", SERVE_QUIET_MS / 1000);
	}
	return serve_frame(serve, &frame, err);
}

static int receive(struct serve *serve, struct err *err)
{
	bool woken;

	while (serve->state != SERVE_STARTED) {
		struct err why = {.kind = ERR_NONE};

		if (!step(serve, &woken, &why))
			continue;
		/* Until the guest could start the sender may come back, over another control link. */
		if (!serve->replacement.link) {
			if (!link_broken(serve->control.link) || serve->state >= SERVE_PREPARED)
				return err_set(err, why.kind, "%s", why.text);
			if (serve_links_await(serve, &why, err))
				return -1;
		}
		if (serve_links_adopt(serve, err) && !link_broken(serve->control.link))
			return -1;
	}
	return 0;
}

/* ---- a session ------------------------------------------------------------------------------------------------ */

static int answer_outcome(struct serve *serve, const json_t *hello, struct err *err)
{
	char detail[256];
	uint64_t term;
	uint64_t owed;
	bool started;

	if (jobj_u64(hello, "term", true, 1, INT64_MAX, &term, err) ||
	    serve_outcome(serve->config.name, serve->config.uuid, term, serve->session, &started, &owed,
			  detail, sizeof(detail), err) ||
	    message_send_json(serve->control.link, MESSAGE_OUTCOME,
			      json_pack("{s:s, s:s, s:I}", "outcome", started ? "started" : "never", "detail",
					detail, "owed", (json_int_t)owed),
			      err))
		return -1;
	return link_flush(serve->control.link, err);
}

/* Whether the VM that was named could come here, as far as it can be said without it: "" or why not. */
static json_t *there_json(const struct serve *serve)
{
	const char *name = serve->config.name, *uuid = serve->config.uuid;
	struct err why = {.kind = ERR_NONE};
	struct ledger_record record = {.state = LEDGER_NONE};
	bool locked;

	if (!permit_check(serve->permit, PERMIT_MOVE | PERMIT_REPLICATE, name, &why) &&
	    !ledger_peek_settled(name, &record, &locked, &why)) {
		if (locked)
			err_set(&why, ERR_REFUSED, "a VM '%s' lives on that host already", name);
		else if (!serve_bounds_name(serve, &why))
			(void)ledger_may_receive(&record, name, uuid, ledger_promised_term(&record, uuid) + 1,
						 &why);
	}
	return json_pack("{s:s, s:I}", "refusal", why.kind == ERR_NONE ? "" : why.text, "ran_term",
			 (json_int_t)(strcmp(record.uuid, uuid) ? 0 : record.ran_term));
}

/* What this host is like, and how fast the link is. */
static int answer_check(struct serve *serve, struct err *err)
{
	struct link *link = serve->control.link;
	json_t *facts = facts_json(err), *welcome;
	uint64_t bytes = 0;
	struct frame frame;

	if (!facts)
		return -1;
	welcome = json_pack("{s:i, s:s, s:o}", "protocol", (int)serve->protocol, "drover", DROVER_VERSION,
			    "facts", facts);
	if (welcome && *serve->config.name)
		json_object_set_new(welcome, "there", there_json(serve));
	if (message_send_json(link, MESSAGE_WELCOME, welcome, err))
		return -1;
	do {
		if (message_await(link, MESSAGE_PROBE, SERVE_QUIET_MS, &frame, err))
			return -1;
		bytes += frame.len;
	} while (frame.len > 0);
	return message_send_number(link, MESSAGE_RECEIVED, bytes, err) || link_flush(link, err) ? -1 : 0;
}

static int may(const struct serve *serve, const char *purpose, struct err *err)
{
	const char *vm = serve->config.name;

	/* A link joins a session that was let in. */
	if (!strcmp(purpose, "join"))
		return permit_check(serve->permit, PERMIT_MOVE | PERMIT_REPLICATE, vm, err);
	if (!strcmp(purpose, "move"))
		return permit_check(serve->permit, PERMIT_MOVE, vm, err);
	if (!strcmp(purpose, "replicate"))
		return permit_check(serve->permit, PERMIT_REPLICATE, vm, err);
	if (!strcmp(purpose, "outcome"))
		return permit_check(serve->permit, PERMIT_OUTCOME, vm, err);
	if (!strcmp(purpose, "check"))
		return permit_check(serve->permit, PERMIT_CHECK, NULL, err);
	return err_set(err, ERR_REFUSED, "it knows no session purpose '%s'", purpose);
}

/* *refusal: the sender is to be told REFUSE, since nothing was made yet, rather than ABORT. */
static int session(struct serve *serve, int in, int out, bool *refusal, struct err *err)
{
	const char *purpose = "";
	struct frame frame;
	json_t *hello;
	int failed;

	*refusal = true;
	if (message_await(serve->control.link, MESSAGE_HELLO, HELLO_MS, &frame, err))
		return -1;
	hello = message_json(&frame, err);
	if (!hello)
		return -1;
	failed = link_fault(serve->control.link, FAULT_SERVE_HELLO, err) ||
		 read_hello(serve, hello, &purpose, err) || may(serve, purpose, err);
	if (!failed && !strcmp(purpose, "check")) {
		json_decref(hello);
		return answer_check(serve, err);
	}
	if (!failed && !strcmp(purpose, "join")) {
		/* On success nothing more may go out from here: the other process speaks. */
		failed = serve_hand_over(serve->config.name, hello, in, out, err);
		json_decref(hello);
		return failed ? -1 : 0;
	}
	if (!failed && !strcmp(purpose, "outcome")) {
		failed = answer_outcome(serve, hello, err);
		json_decref(hello);
		return failed ? -1 : 0;
	}
	serve->points.on = !failed && !strcmp(purpose, "replicate");
	if (!failed)
		failed = serve->points.on ? serve_points_welcome(serve, err) : welcome(serve, err);
	json_decref(hello);
	if (failed || (serve->points.on ? serve_points_begin(serve, err) : begin(serve, err)))
		return -1;
	*refusal = false;
	return receive(serve, err);
}

/* The VM process drops a copy that was not committed when its socket closes; who waits for the VM waits for that. */
static void let_go(struct serve *serve)
{
	struct pollfd end = {.fd = serve->vm.fd, .events = POLLIN};

	if (serve->vm.fd < 0)
		return;
	if (serve->waiter_fd >= 0 && !shutdown(serve->vm.fd, SHUT_WR))
		(void)poll(&end, 1, SERVE_VM_MS);
	control_close(&serve->vm);
}

static int open_session(struct serve *serve, int in, int out, struct err *err)
{
	*serve = (struct serve){
	    .vm.fd = -1,
	    .ram_fd = -1,
	    .state_fd = -1,
	    .listen_fd = -1,
	    .waiter_fd = -1,
	    .wake_fd = -1,
	    .quit_fd = -1,
	    .owed = {.uffd = -1, .offer_fd = -1, .pages.fd = -1},
	    .points = {.ledger = {.dir_fd = -1, .lock_fd = -1, .fd = -1}, .store = {.lock_fd = -1}},
	    .control = {.serve = serve, .process_fd = -1}};
	pthread_mutex_init(&serve->lock, NULL);
	pthread_cond_init(&serve->change, NULL);
	serve->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	serve->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (serve->wake_fd < 0 || serve->quit_fd < 0)
		return err_sys(err, "cannot make an eventfd");
	serve->control.link = link_open_fds(in, out, "the sender", err);
	return serve->control.link ? 0 : -1;
}

static void close_session(struct serve *serve)
{
	serve_links_close(serve);
	serve_postcopy_close(serve);
	let_go(serve);
	serve_disks_close(serve);
	serve_points_close(serve);
	link_close(serve->control.link);
	pages_decoder_close(serve->control.decoder);
	pages_target_close(&serve->target[0]);
	io_close(&serve->control.process_fd);
	io_close(&serve->ram_fd);
	io_close(&serve->state_fd);
	io_close(&serve->wake_fd);
	io_close(&serve->quit_fd);
	io_close(&serve->waiter_fd);
	config_free(&serve->config);
	pthread_cond_destroy(&serve->change);
	pthread_mutex_destroy(&serve->lock);
}

int serve_run(int in, int out, const struct permit *permit, struct err *err)
{
	static struct serve serve; /* large, and there is one in a process */
	bool refusal;
	int status = open_session(&serve, in, out, err);

	if (!status) {
		serve.permit = permit;
		status = session(&serve, in, out, &refusal, err);
		if (status && serve.state != SERVE_STARTED)
			message_send_error(serve.control.link, refusal ? MESSAGE_REFUSE : MESSAGE_ABORT, err);
	}
	close_session(&serve);
	return status;
}
