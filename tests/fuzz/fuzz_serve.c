/* fuzz_serve.c: a whole session of a sender's, any messages in any order, over any of its links, to the real receiver.
 *
 * Input: steps of one byte each and what belongs to them (step()).  A message is sent in a frame that is sound (fuzz_frame is about others), with a
 * payload that is the input's; or it is one that fits where the session stands, so that few bytes go deep.  What the sender is told is read
 * and dropped.  In the end it gives up, then the VM process ends, and by then the session has to. */
#include "common/io.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/thread.h"
#include "common/unixsock.h"
#include "migrate/message.h"
#include "migrate/serve.h"
#include "tests/fuzz/vmprocess.h"

#include <errno.h>
#include <ftw.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VM     "g"
#define UUID   "0f0e0d0c-0b0a-4908-8706-050403020100"
#define NUMBER "00112233445566778899aabbccddeeff"

enum {
	MEMORY = 4 << 20,
	LINKS = 4,
	PATIENCE_NS = 2000000000,
	END_NS = 10000000, /* a session whose sender gave up has this time before its VM process ends, too */
	STEP_HELLO = 64,
	STEP_BEGIN,
	STEP_EPOCH,
	STEP_PAGES,
	STEP_OWED,
	STEP_SEAL,
	STEP_COMMIT,
	STEP_JOIN,
	STEP_CUT,
	STEP_CHOOSE, /* the link of the following steps */
	STEP_AWAIT,
};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/fuzz-serve.XXXXXX"; /* where syncing volumes takes no time */
static int messages = -1;                            /* what stderr was */

/* The sender's side. */
static struct link *links[LINKS];
static int joined_fds[LINKS] = {-1, -1, -1, -1}; /* the session's way to the processes that they came from */
static unsigned at;
static uint64_t epoch, term;
static struct reader input;

/* ---- the receiver ---------------------------------------------------------------------------------------------------- */

static int serve_fd;

static void *receive(void *arg)
{
	static const char *const images[] = {"/proc/version"};
	const struct permit permit = {.actions = PERMIT_ALL, .images = images, .nimages = 1};
	struct err err = {.kind = ERR_NONE};

	(void)arg;
	if (serve_run(serve_fd, serve_fd, &permit, &err) && (err.kind == ERR_NONE || !err.text[0]))
		abort();
	return NULL;
}

/* ---- the sender ------------------------------------------------------------------------------------------------------ */

static void drop(unsigned i)
{
	link_close(links[i]);
	links[i] = NULL;
}

/* A link that the receiver has closed is none any more. */
static void send_frame(uint16_t type, uint16_t flags)
{
	struct err err;

	if (link_send(links[at], type, flags, &err) || link_flush(links[at], &err))
		drop(at);
}

static void send_json(enum message_type type, json_t *json)
{
	struct err err;

	if (message_send_json(links[at], type, json, &err) || link_flush(links[at], &err))
		drop(at);
}

/* Whatever comes, until this type does, or nothing any more. */
static void await(unsigned i, uint16_t type)
{
	uint64_t until = clock_mono_ns() + (type ? PATIENCE_NS : 0);
	struct frame frame = {.type = 0};
	struct err err;
	int got;

	if (!links[i])
		return;
	do
		got = link_receive(links[i], until, &frame, &err);
	while (got > 0 && (!type || (frame.type != type && frame.type != MESSAGE_REFUSE &&
				     frame.type != MESSAGE_ABORT)));
	if (got < 0)
		drop(i);
}

static size_t some(size_t most)
{
	size_t len = reader_u16(&input);

	len = len < most ? len : most;
	return len < input.left ? len : input.left;
}

static void put_some(struct buf *out)
{
	size_t len = some(FRAME_MAX);

	buf_put(out, reader_bytes(&input, len), len);
}

static json_t *hello(const char *purpose)
{
	return json_pack("{s:i, s:i, s:s, s:s, s:s, s:{s:s, s:s}}", "protocol", STREAM_PROTOCOL,
			 "protocol_min", STREAM_PROTOCOL_MIN, "drover", "x", "purpose", purpose, "session",
			 NUMBER, "vm", "name", VM, "uuid", UUID);
}

/* Bits of `how`: a disk, a second one, post-copy. */
static void send_begin(uint8_t how)
{
	json_t *devices = json_array(), *disks = json_array();

	for (int slot = 1; slot <= 2; slot++) {
		if (!(how & slot))
			continue;
		json_array_append_new(
		    devices, json_pack("{s:s, s:i, s:s}", "kind", "disk", "slot", slot, "path", "/nowhere"));
		json_array_append_new(disks, json_pack("{s:i, s:i, s:i, s:s, s:[]}", "slot", slot,
						       "size_bytes", MEMORY - 4096 + 512, "seed_bytes", 0,
						       "lineage", NUMBER, "epochs"));
	}
	term = 2;
	send_json(MESSAGE_BEGIN,
		  json_pack("{s:i, s:{s:s, s:s, s:i, s:i, s:o}, s:{}, s:i, s:b, s:s, s:i, s:b, s:o}", "term",
			    2, "config", "name", VM, "uuid", UUID, "memory_bytes", MEMORY, "cpus", 1,
			    "devices", devices, "cpu", "touched_bytes", 0, "paused", 0, "from", "",
			    "reconnect_ms", how & 8 ? 5 : 0, "postcopy", how & 4, "disks", disks));
	await(at, MESSAGE_READY);
}

/* Bit 0: consistent; bit 1: the disks get one. */
static void send_epoch(uint8_t how)
{
	struct message_epoch next = {.term = term, .epoch = epoch + 1, .parent = epoch, .flags = how & 1};
	struct err err;

	epoch++;
	if (how & 2)
		next.disks = (struct dvol_id){term, epoch};
	if (message_send_epoch(links[at], &next, &err) || link_flush(links[at], &err))
		drop(at);
}

/* One run of a volume: data of a few different bytes, or zeroes. */
static void send_pages(void)
{
	struct buf *out = link_begin(links[at]);
	uint8_t how = reader_u8(&input), byte = reader_u8(&input);
	uint64_t first = reader_u16(&input), count = how & 15;
	bool zero = how & 16;

	buf_put_u64(out, epoch);
	buf_put_u16(out, how >> 5);
	buf_put_u16(out, PAGES_RAW);
	buf_put_u32(out, 1);
	buf_put_u32(out, zero ? 0 : (uint32_t)count * PAGES_SIZE);
	buf_put_u64(out, first % (MEMORY / PAGES_SIZE));
	buf_put_u32(out, (uint32_t)count);
	buf_put_u32(out, zero);
	if (!zero) {
		memset(buf_reserve(out, count * PAGES_SIZE), byte, count * PAGES_SIZE);
		out->len += count * PAGES_SIZE;
	}
	send_frame(MESSAGE_PAGES, 0);
}

static void send_owed(void)
{
	struct buf *out = link_begin(links[at]);

	buf_put_u64(out, epoch);
	buf_put_u32(out, 1);
	buf_put_u32(out, 0);
	buf_put_u64(out, reader_u16(&input) % (MEMORY / PAGES_SIZE));
	buf_put_u64(out, reader_u8(&input));
	send_frame(MESSAGE_OWED, 0);
}

/* Of so many bytes of machine state; and two bits a link: how many frames it is said to have brought. */
static void send_seal(uint16_t how)
{
	struct message_seal seal = {.epoch = epoch, .state_bytes = how & 255};
	uint8_t frames = (uint8_t)(how >> 8);
	struct err err;

	for (unsigned i = 0; i < LINKS; i++) {
		if (!(frames >> (2 * i) & 3))
			continue;
		seal.link[seal.links].id = i;
		seal.link[seal.links++].frames = frames >> (2 * i) & 3;
	}
	if (message_send_seal(links[at], &seal, &err) || link_flush(links[at], &err))
		drop(at);
	else if (links[0])
		await(0, 0);
}

static void send_commit(void)
{
	const struct message_commit commit = {.term = term, .session = NUMBER};
	struct err err;

	if (message_send_commit(links[at], &commit, &err) || link_flush(links[at], &err))
		drop(at);
	else
		await(at, MESSAGE_STARTED);
}

/* As serve_hand_over does it in a process of its own, which has read HELLO.  Bits of `how`: control, requests. */
static void join(unsigned i, uint8_t how)
{
	json_t *json = hello("join");
	char path[PATHS_MAX], *text, frame[1024];
	int pair[2], fd;
	struct err err;

	json_object_set_new(json, "link", json_integer(1 + i));
	json_object_set_new(json, "control", json_boolean(how & 1));
	json_object_set_new(json, "requests", json_boolean(how & 2));
	text = json_dumps(json, JSON_COMPACT);
	drop(i);
	at = i;
	if (paths_incoming(VM, path, &err) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	links[i] = link_open_fds(pair[0], pair[0], "the receiver", &err);
	if (!links[i])
		abort();
	send_json(MESSAGE_HELLO, json);
	if (read(pair[1], frame, sizeof(frame)) <= 0)
		abort();
	fd = unixsock_connect(path, SOCK_SEQPACKET, 1000);
	if (fd < 0 || io_send(fd, text, strlen(text), (int[]){pair[1], pair[1]}, 2))
		drop(i);
	close(pair[1]);
	io_close(&joined_fds[i]);
	joined_fds[i] = fd;
	free(text);
}

static void step(uint8_t what)
{
	if (what == STEP_CHOOSE)
		at = reader_u8(&input) % LINKS;
	else if (what == STEP_JOIN)
		join(at, reader_u8(&input));
	else if (!links[at])
		return;
	else if (what == STEP_CUT)
		drop(at);
	else if (what == STEP_AWAIT)
		await(at, 0);
	else if (what == STEP_HELLO)
		send_json(MESSAGE_HELLO, hello("move"));
	else if (what == STEP_BEGIN)
		send_begin(reader_u8(&input));
	else if (what == STEP_EPOCH)
		send_epoch(reader_u8(&input));
	else if (what == STEP_PAGES)
		send_pages();
	else if (what == STEP_OWED)
		send_owed();
	else if (what == STEP_SEAL)
		send_seal(reader_u16(&input));
	else if (what == STEP_COMMIT)
		send_commit();
	else {
		put_some(link_begin(links[at]));
		send_frame(what % 32, what < 32 ? 0 : what);
	}
}

/* ---- a run ------------------------------------------------------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type;
	return ftw->level > 0 ? remove(path) : 0;
}

static void tidy_up(void)
{
	nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	(void)rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	/* A session that waits for its sender lets go of stderr: reports have a way of their own. */
	messages = dup(STDERR_FILENO);
	__sanitizer_set_report_fd((void *)(intptr_t)messages);
	signal(SIGPIPE, SIG_IGN);
	if (messages < 0 || !mkdtemp(folder))
		abort();
	atexit(tidy_up);
	setenv("DROVER_STATE", folder, 1);
	setenv("DROVER_RUN", folder, 1);
	setenv("DROVER_LOG", "error", 1);
	log_open("fuzz_serve");
	return 0;
}

/* The sender gives up; a session that waits for it all the same ends with its VM process. */
static void finish(pthread_t session)
{
	const struct err why = {.kind = ERR_CANCELLED, .text = "the end of the input"};
	struct timespec until;

	if (links[0])
		message_send_error(links[0], MESSAGE_ABORT, &why);
	for (unsigned i = 0; i < LINKS; i++) {
		drop(i);
		io_close(&joined_fds[i]);
	}
	until = clock_timespec(clock_mono_ns() + END_NS);
	if (pthread_clockjoin_np(session, NULL, CLOCK_MONOTONIC, &until)) {
		vmprocess_end();
		pthread_join(session, NULL);
	}
	vmprocess_reap();
	dup2(messages, STDERR_FILENO);
	nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	pthread_t session;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	serve_fd = pair[1];
	links[0] = link_open_fds(pair[0], pair[0], "the receiver", NULL);
	if (!links[0] || thread_start(&session, receive, NULL))
		abort();
	at = 0;
	epoch = term = 0;
	input = reader_of(data, size);
	while (input.left > 0)
		step(reader_u8(&input));
	finish(session);
	return 0;
}
