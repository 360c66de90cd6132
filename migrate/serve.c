#include "migrate/serve.h"

#include "common/fault.h"
#include "common/io.h"
#include "common/jobj.h"
#include "common/units.h"
#include "migrate/link.h"
#include "migrate/message.h"
#include "migrate/pages.h"
#include "migrate/serve_outcome.h"
#include "vmm/control.h"
#include "vmm/ledger.h"
#include "vmm/memory.h"
#include "vmm/spawn.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	HELLO_MS = 30000,
	QUIET_MS = 120000, /* a sender that says nothing for so long is gone */
	VM_MS = 20000,
};

/* Where a session stands; what may come next follows from it. */
enum serve_state {
	SERVE_IDLE,     /* between epochs: EPOCH */
	SERVE_EPOCH,    /* inside one: PAGES, STATE, SEAL */
	SERVE_PREPARED, /* COMMIT */
	SERVE_STARTED,  /* nothing: the session is over */
};

struct serve {
	struct link *link;
	struct vm_config config;
	uint64_t term;
	char session[LEDGER_SESSION_LEN + 1];
	struct control vm; /* the VM process around the received RAM */
	struct pages_target ram;
	struct pages_decoder *decoder;
	int ram_fd;
	int state_fd; /* memfd; machine state of the consistent epoch */
	uint64_t state_len;

	enum serve_state state;
	struct message_epoch epoch;
	uint64_t frames, pages; /* of this epoch so far */
};

/* ---- greeting ------------------------------------------------------------------------------------------------ */

static int read_hello(struct serve *serve, const json_t *hello, const char **purpose, struct err *err)
{
	uint64_t newest, oldest;
	const char *session, *name, *uuid;
	json_t *vm;

	if (jobj_u64(hello, "protocol", true, 1, UINT32_MAX, &newest, err) ||
	    jobj_u64(hello, "protocol_min", true, 1, UINT32_MAX, &oldest, err))
		return -1;
	if (newest < STREAM_PROTOCOL_MIN || oldest > STREAM_PROTOCOL)
		return err_set(err, ERR_REFUSED,
			       "it speaks versions %d to %d of the stream, the sender %llu to %llu; upgrade "
			       "the older side",
			       STREAM_PROTOCOL_MIN, STREAM_PROTOCOL, (unsigned long long)oldest,
			       (unsigned long long)newest);
	if (jobj_string(hello, "purpose", true, 16, purpose, err) ||
	    jobj_string(hello, "session", true, LEDGER_SESSION_LEN, &session, err) ||
	    jobj_object(hello, "vm", true, &vm, err) ||
	    jobj_string(vm, "name", true, CONFIG_NAME_MAX, &name, err) ||
	    jobj_string(vm, "uuid", true, CONFIG_UUID_LEN, &uuid, err))
		return -1;
	if (!units_name_valid(name) || !config_uuid_valid(uuid) ||
	    strspn(session, "0123456789abcdef") != LEDGER_SESSION_LEN)
		return err_set(err, ERR_INPUT, "the sender's HELLO names no valid VM and session");
	strcpy(serve->config.name, name);
	strcpy(serve->config.uuid, uuid);
	strcpy(serve->session, session);
	return 0;
}

static int welcome(struct serve *serve, struct err *err)
{
	struct ledger_record record;
	bool locked;

	if (ledger_peek(serve->config.name, &record, &locked, err))
		return -1;
	if (locked)
		return err_set(err, ERR_REFUSED, "a VM '%s' lives on that host already", serve->config.name);
	return message_send_json(serve->link, MESSAGE_WELCOME,
				 json_pack("{s:i, s:s, s:I}", "protocol", STREAM_PROTOCOL, "drover",
					   DROVER_VERSION, "promised_term",
					   (json_int_t)ledger_promised_term(&record, serve->config.uuid)),
				 err);
}

static uint64_t available_memory(void)
{
	unsigned long long kib = UINT64_MAX >> 10;
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib << 10;
}

static int read_begin(struct serve *serve, const json_t *begin, struct spawn_incoming *incoming,
		      struct err *err)
{
	struct vm_config config = {0};
	json_t *cpu;
	uint64_t touched, available = available_memory();

	if (jobj_u64(begin, "term", true, 1, INT64_MAX, &serve->term, err) ||
	    jobj_u64(begin, "touched_bytes", true, 0, CONFIG_MAX_MEMORY, &touched, err) ||
	    jobj_bool(begin, "paused", true, &incoming->paused, err) ||
	    jobj_string(begin, "from", true, LEDGER_PEER_MAX, &incoming->peer, err) ||
	    jobj_object(begin, "cpu", true, &cpu, err) ||
	    config_from_json(json_object_get(begin, "config"), &config, err))
		return -1;
	if (strcmp(config.name, serve->config.name) || strcmp(config.uuid, serve->config.uuid)) {
		config_free(&config);
		return err_set(err, ERR_INPUT, "BEGIN is about another VM than HELLO");
	}
	config_free(&serve->config);
	serve->config = config;
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

	if (message_await(serve->link, MESSAGE_BEGIN, QUIET_MS, &frame, err))
		return -1;
	json = message_json(&frame, err);
	if (!json)
		return -1;
	failed = read_begin(serve, json, &incoming, err);
	if (!failed) {
		serve->ram_fd = memory_create_fd(serve->config.memory_bytes, serve->config.name, err);
		incoming.ram_fd = serve->ram_fd;
		failed = serve->ram_fd < 0 || spawn_vm(&serve->config, &incoming, &serve->vm, &pid, err);
	}
	json_decref(json);
	if (failed || link_fault(serve->link, FAULT_SERVE_VM_SPAWNED, err) ||
	    pages_target_open(&serve->ram, 0, serve->ram_fd, serve->config.memory_bytes / PAGES_SIZE, err))
		return -1;
	serve->decoder = pages_decoder_open(err);
	if (!serve->decoder ||
	    message_send_json(serve->link, MESSAGE_READY, json_pack("{s:i}", "pid", (int)pid), err) ||
	    link_flush(serve->link, err))
		return -1;
	return link_fault(serve->link, FAULT_SERVE_ACCEPTED, err);
}

/* ---- epochs -------------------------------------------------------------------------------------------------- */

static int on_epoch(struct serve *serve, const struct frame *frame, struct err *err)
{
	struct message_epoch epoch;

	if (serve->state != SERVE_IDLE)
		return message_unexpected(serve->link, frame, err);
	if (message_epoch(frame, &epoch, err))
		return -1;
	if (epoch.term != serve->term || epoch.parent != serve->epoch.epoch ||
	    epoch.epoch != epoch.parent + 1)
		return err_set(err, ERR_INPUT,
			       "epoch %llu of term %llu does not follow epoch %llu of term %llu",
			       (unsigned long long)epoch.epoch, (unsigned long long)epoch.term,
			       (unsigned long long)serve->epoch.epoch, (unsigned long long)serve->term);
	serve->epoch = epoch;
	serve->frames = serve->pages = 0;
	serve->state = SERVE_EPOCH;
	return 0;
}

static int on_pages(struct serve *serve, const struct frame *frame, struct err *err)
{
	int64_t pages;

	if (serve->state != SERVE_EPOCH)
		return message_unexpected(serve->link, frame, err);
	pages = pages_decode(serve->decoder, &serve->ram, 1, frame->payload, frame->len, err);
	if (pages < 0)
		return -1;
	serve->pages += (uint64_t)pages;
	serve->frames++;
	return serve->frames == 4 && serve->epoch.epoch == 1
		   ? link_fault(serve->link, FAULT_SERVE_ROUND_MIDDLE, err)
		   : 0;
}

static int on_state(struct serve *serve, const struct frame *frame, struct err *err)
{
	if (serve->state != SERVE_EPOCH || !(serve->epoch.flags & EPOCH_CONSISTENT))
		return message_unexpected(serve->link, frame, err);
	if (serve->state_len + frame->len > STREAM_STATE_MAX)
		return err_set(err, ERR_INPUT, "the machine state is larger than %d MiB",
			       STREAM_STATE_MAX >> 20);
	if (serve->state_fd < 0)
		serve->state_fd = memfd_create("drover-state", MFD_CLOEXEC);
	if (serve->state_fd < 0 || io_write_full(serve->state_fd, frame->payload, frame->len))
		return err_sys(err, "cannot keep the machine state");
	serve->state_len += frame->len;
	serve->frames++;
	return 0;
}

static int prepare(struct serve *serve, struct err *err)
{
	if (serve->state_len == 0)
		return err_set(err, ERR_INPUT, "the consistent epoch came without a machine state");
	if (link_fault(serve->link, FAULT_SERVE_STATE, err) ||
	    control_call_fd(&serve->vm, json_pack("{s:s}", "cmd", "load-state"), serve->state_fd, VM_MS, NULL,
			    err) ||
	    link_fault(serve->link, FAULT_SERVE_PREPARED, err))
		return -1;
	serve->state = SERVE_PREPARED;
	return message_send_number(serve->link, MESSAGE_PREPARED, serve->epoch.epoch, err);
}

static int on_seal(struct serve *serve, const struct frame *frame, struct err *err)
{
	struct message_seal seal;

	if (serve->state != SERVE_EPOCH)
		return message_unexpected(serve->link, frame, err);
	if (message_seal(frame, &seal, err))
		return -1;
	if (seal.epoch != serve->epoch.epoch || seal.frames != serve->frames || seal.pages != serve->pages)
		return err_set(
		    err, ERR_INPUT,
		    "the seal of epoch %llu speaks of %llu frames and %llu pages, %llu and %llu came",
		    (unsigned long long)seal.epoch, (unsigned long long)seal.frames,
		    (unsigned long long)seal.pages, (unsigned long long)serve->frames,
		    (unsigned long long)serve->pages);
	if (serve->epoch.flags & EPOCH_CONSISTENT)
		return prepare(serve, err);
	if (seal.epoch == 1 && link_fault(serve->link, FAULT_SERVE_ROUND_ACK, err))
		return -1;
	serve->state = SERVE_IDLE;
	return message_send_number(serve->link, MESSAGE_ACK, seal.epoch, err);
}

static int on_commit(struct serve *serve, const struct frame *frame, struct err *err)
{
	struct message_commit commit;

	if (serve->state != SERVE_PREPARED)
		return message_unexpected(serve->link, frame, err);
	if (message_commit(frame, &commit, err) || link_fault(serve->link, FAULT_SERVE_COMMIT, err) ||
	    control_call(&serve->vm,
			 json_pack("{s:s, s:I, s:s}", "cmd", "commit", "term", (json_int_t)commit.term,
				   "session", commit.session),
			 VM_MS, NULL, NULL, NULL, err))
		return -1;
	serve->state = SERVE_STARTED;
	if (link_fault(serve->link, FAULT_SERVE_STARTED, err) ||
	    message_send_number(serve->link, MESSAGE_STARTED, serve->term, err) ||
	    link_flush(serve->link, err))
		return -1;
	return link_fault(serve->link, FAULT_SERVE_STARTED_SENT, err);
}

static const struct {
	enum message_type type;
	int (*handle)(struct serve *serve, const struct frame *frame, struct err *err);
} handlers[] = {
    {MESSAGE_PAGES, on_pages}, {MESSAGE_EPOCH, on_epoch},   {MESSAGE_SEAL, on_seal},
    {MESSAGE_STATE, on_state}, {MESSAGE_COMMIT, on_commit},
};

static int on_vm_gone(void *arg, short revents, struct err *err)
{
	struct serve *serve = arg;

	(void)revents;
	return err_set(err, ERR_LINK, "the VM process of '%s' there has ended", serve->config.name);
}

static int receive(struct serve *serve, struct err *err)
{
	/* The VM process says nothing unasked: anything to read is the end of the socket. */
	struct link_watch watch = {.fd = serve->vm.fd, .events = POLLIN, .ready = on_vm_gone, .arg = serve};

	link_watch(serve->link, &watch, 1);
	while (serve->state != SERVE_STARTED) {
		struct frame frame;
		size_t i;
		int got = link_receive(serve->link, clock_mono_ns() + QUIET_MS * 1000000ull, &frame, err);

		if (got < 0)
			return -1;
		if (got == 0)
			return err_set(err, ERR_LINK, "the sender said nothing for %d s", QUIET_MS / 1000);
		for (i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
			if (handlers[i].type == frame.type)
				break;
		if (i == sizeof(handlers) / sizeof(handlers[0]))
			return message_unexpected(serve->link, &frame, err);
		if (handlers[i].handle(serve, &frame, err))
			return -1;
	}
	return 0;
}

/* ---- a session ------------------------------------------------------------------------------------------------ */

static int answer_outcome(struct serve *serve, const json_t *hello, struct err *err)
{
	char detail[256];
	uint64_t term;
	bool started;

	if (jobj_u64(hello, "term", true, 1, INT64_MAX, &term, err) ||
	    serve_outcome(serve->config.name, serve->config.uuid, term, serve->session, &started, detail,
			  sizeof(detail), err) ||
	    message_send_json(
		serve->link, MESSAGE_OUTCOME,
		json_pack("{s:s, s:s}", "outcome", started ? "started" : "never", "detail", detail), err))
		return -1;
	return link_flush(serve->link, err);
}

/* *refusal: the sender is to be told REFUSE, since nothing was made yet, rather than ABORT. */
static int session(struct serve *serve, bool *refusal, struct err *err)
{
	const char *purpose = "";
	struct frame frame;
	json_t *hello;
	int failed;

	*refusal = true;
	if (message_await(serve->link, MESSAGE_HELLO, HELLO_MS, &frame, err))
		return -1;
	hello = message_json(&frame, err);
	if (!hello)
		return -1;
	failed = link_fault(serve->link, FAULT_SERVE_HELLO, err) || read_hello(serve, hello, &purpose, err);
	if (!failed && !strcmp(purpose, "outcome")) {
		failed = answer_outcome(serve, hello, err);
		json_decref(hello);
		return failed ? -1 : 0;
	}
	if (!failed && strcmp(purpose, "move"))
		failed = err_set(err, ERR_REFUSED, "it knows no session purpose '%s'", purpose);
	if (!failed)
		failed = welcome(serve, err);
	json_decref(hello);
	if (failed || begin(serve, err))
		return -1;
	*refusal = false;
	return receive(serve, err);
}

int serve_run(int in, int out, struct err *err)
{
	struct serve serve = {.vm.fd = -1, .ram_fd = -1, .state_fd = -1};
	bool refusal;
	int status;

	serve.link = link_open_fds(in, out, "the sender", err);
	if (!serve.link)
		return -1;
	status = session(&serve, &refusal, err);
	if (status && serve.state != SERVE_STARTED)
		message_send_error(serve.link, refusal ? MESSAGE_REFUSE : MESSAGE_ABORT, err);
	if (serve.vm.fd >= 0)
		control_close(&serve.vm);
	link_close(serve.link);
	pages_decoder_close(serve.decoder);
	pages_target_close(&serve.ram);
	io_close(&serve.ram_fd);
	io_close(&serve.state_fd);
	config_free(&serve.config);
	return status;
}
