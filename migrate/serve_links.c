/* serve_links.c: the links that join a session.
 *
 * sshd starts a process for each of them.  It hands its two descriptors to the session's process, which has a socket for that,
 * and only lives on because sshd closes the channel when it ends. */
#include "common/io.h"
#include "common/jobj.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/thread.h"
#include "common/unixsock.h"
#include "migrate/serve.h"
#include "migrate/serve_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOK_MS = 1000, STALL_MS = 10000 /* of a joined link */ };
enum { HELLO_MAX = 4096, HAND_OVER_MS = 10000, SUPERSEDE_MS = 10000 };

/* ---- a joined link's thread ------------------------------------------------------------------------------------ */

/* The epoch is sealed, and waits for frames of this link. */
static bool is_awaited_for(struct serve_link *of)
{
	struct serve *serve = of->serve;
	bool awaited = false;

	pthread_mutex_lock(&serve->lock);
	for (unsigned i = 0; serve->state == SERVE_SEALED && i < serve->seal.links; i++)
		awaited =
		    awaited || (serve->seal.link[i].id == of->id && serve->seal.link[i].frames > of->applied);
	pthread_mutex_unlock(&serve->lock);
	return awaited;
}

/* The next frame: 1, or -1.  All that the sender wrote is on its way when he seals the epoch: a link over which nothing comes for long then has
 * lost it (an SSH packet whose length was damaged waits for bytes that never come), and he sends it again over the others. */
static int next_frame(struct serve_link *of, struct frame *frame, struct err *err)
{
	uint64_t bytes = link_bytes_received(of->link), since = clock_mono_ns();

	for (;;) {
		uint64_t now = clock_mono_ns();
		int got = link_receive(of->link, now + LOOK_MS * 1000000ull, frame, err);

		if (got != 0)
			return got;
		if (link_bytes_received(of->link) != bytes || !is_awaited_for(of)) {
			bytes = link_bytes_received(of->link);
			since = now;
		} else if (now - since > STALL_MS * 1000000ull) {
			link_cut(of->link);
			return err_set(err, ERR_LINK, "what the sender wrote to this link does not arrive");
		}
	}
}

static void *joined_thread(void *arg)
{
	struct serve_link *of = arg;
	struct serve *serve = of->serve;
	struct err err = {.kind = ERR_NONE};
	struct frame frame;

	while (next_frame(of, &frame, &err) > 0) {
		if (frame.type != MESSAGE_PAGES || frame.flags) {
			message_unexpected(of->link, &frame, &err);
			break;
		}
		if (serve_pages(of, &frame, &err))
			break;
	}
	pthread_mutex_lock(&serve->lock);
	of->broken = true;
	if (!serve->quit && err.kind != ERR_LINK && serve->failed.kind == ERR_NONE)
		serve->failed = err;
	pthread_mutex_unlock(&serve->lock);
	(void)eventfd_write(serve->wake_fd, 1);
	return NULL;
}

/* Wakes a joined link's thread when the session ends. */
static int on_quit(void *arg, short revents, struct err *err)
{
	(void)arg, (void)revents;
	return err_set(err, ERR_LINK, "the session is over");
}

void serve_link_end(struct serve_link *of)
{
	link_close(of->link);
	pages_decoder_close(of->decoder);
	io_close(&of->process_fd);
	*of = (struct serve_link){.process_fd = -1};
}

/* A place for a new link; those whose threads have ended make room. */
static struct serve_link *free_place(struct serve *serve)
{
	struct serve_link *place = NULL;

	for (size_t i = 0; i < SERVE_LINKS; i++) {
		struct serve_link *of = &serve->joined[i];
		bool broken;

		pthread_mutex_lock(&serve->lock);
		broken = of->used && of->broken;
		pthread_mutex_unlock(&serve->lock);
		if (broken) {
			pthread_join(of->thread, NULL);
			serve_link_end(of);
		}
		if (!of->used)
			place = of;
	}
	return place;
}

static json_t *welcome_json(const struct serve *serve)
{
	json_t *lost = json_array();

	for (unsigned i = 0; i < serve->acked.links; i++)
		json_array_append_new(lost, json_integer(serve->acked.lost[i]));
	return json_pack("{s:i, s:s, s:I, s:I, s:o}", "protocol", (int)serve->protocol, "drover",
			 DROVER_VERSION, "epoch", (json_int_t)serve->epoch.epoch, "complete",
			 (json_int_t)serve->acked.epoch, "lost", lost);
}

static int welcome(const struct serve *serve, struct link *link, struct err *err)
{
	return message_send_json(link, MESSAGE_WELCOME, welcome_json(serve), err) || link_flush(link, err)
		   ? -1
		   : 0;
}

/* ---- joining --------------------------------------------------------------------------------------------------- */

struct joining {
	uint64_t id;
	bool control;  /* in place of the control link */
	bool requests; /* for what the guest waits for */
};

static int check_join(const struct serve *serve, const json_t *hello, struct joining *as, struct err *err)
{
	const char *session, *uuid;
	json_t *vm;

	*as = (struct joining){0};
	if (jobj_string(hello, "session", true, LEDGER_SESSION_LEN, &session, err) ||
	    jobj_object(hello, "vm", true, &vm, err) ||
	    jobj_string(vm, "uuid", true, CONFIG_UUID_LEN, &uuid, err) ||
	    jobj_u64(hello, "link", true, 1, UINT32_MAX, &as->id, err) ||
	    jobj_bool(hello, "control", true, &as->control, err) ||
	    jobj_bool(hello, "requests", false, &as->requests, err))
		return -1;
	if (as->requests && (!serve->owed.on || as->control))
		return err_set(err, ERR_REFUSED, "the session has no use for a request link");
	if (strcmp(session, serve->session) || strcmp(uuid, serve->config.uuid))
		return err_set(err, ERR_REFUSED, "the session is over there");
	if (serve->state >= SERVE_PREPARED)
		return err_set(err, ERR_REFUSED, "the session takes no more links");
	return 0;
}

/* Its HELLO was read by the other process: the next frame is number 1. */
static int make_link(struct serve_link *of, struct serve *serve, int fds[2], int process_fd, struct err *err)
{
	*of = (struct serve_link){.serve = serve, .process_fd = process_fd};
	of->decoder = pages_decoder_open(err);
	of->link = of->decoder ? link_open_fds(fds[0], fds[1], "the sender", err) : NULL;
	if (!of->link) {
		pages_decoder_close(of->decoder);
		*of = (struct serve_link){.process_fd = -1};
		return -1;
	}
	link_expect(of->link, 1);
	return 0;
}

static int start_thread(struct serve *serve, struct serve_link *of, struct err *err)
{
	struct link_watch watch = {.fd = serve->quit_fd, .events = POLLIN, .ready = on_quit};

	if (welcome(serve, of->link, err))
		return -1;
	link_watch(of->link, &watch, 1);
	of->used = true;
	if (!thread_start(&of->thread, joined_thread, of))
		return 0;
	of->used = false;
	return err_set(err, ERR_SYSTEM, "cannot start a thread for a link");
}

/* fds and process_fd are taken over. */
static int join(struct serve *serve, const json_t *hello, int fds[2], int process_fd, struct err *err)
{
	struct serve_link made, *place;
	struct joining as;

	if (make_link(&made, serve, fds, process_fd, err)) {
		close(fds[0]);
		close(fds[1]);
		close(process_fd);
		return -1;
	}
	if (check_join(serve, hello, &as, err))
		goto refuse;
	made.id = (uint32_t)as.id;
	if (as.requests) {
		if (welcome(serve, made.link, err))
			goto refuse;
		serve_faults_offer(serve, &made);
		return 0;
	}
	if (as.control) {
		if (serve->replacement.link)
			serve_link_end(&serve->replacement);
		serve->replacement = made;
		return 0;
	}
	place = free_place(serve);
	if (!place) {
		err_set(err, ERR_REFUSED, "the session has %d links", SERVE_LINKS);
		goto refuse;
	}
	*place = made;
	if (!start_thread(serve, place, err))
		return 0;
	made = *place;
	*place = (struct serve_link){.process_fd = -1};
refuse:
	message_send_error(made.link, MESSAGE_REFUSE, err);
	serve_link_end(&made);
	return -1;
}

static bool wants_the_vm(const struct serve *serve, const json_t *hello)
{
	const char *purpose = json_string_value(json_object_get(hello, "purpose"));
	const char *uuid = json_string_value(json_object_get(hello, "uuid"));

	return purpose && uuid && !strcmp(purpose, "supersede") && !strcmp(uuid, serve->config.uuid);
}

/* One that gave up waiting counts no more: the session is the sender's again, and another one may ask. */
static bool is_awaited(struct serve *serve)
{
	struct pollfd gone = {.fd = serve->waiter_fd, .events = POLLIN};

	if (serve->waiter_fd >= 0 && poll(&gone, 1, 0) > 0)
		io_close(&serve->waiter_fd);
	return serve->waiter_fd >= 0;
}

void serve_links_accept(struct serve *serve)
{
	int fd = accept4(serve->listen_fd, NULL, NULL, SOCK_CLOEXEC), fds[IO_MAX_FDS];
	struct timeval limit = {.tv_sec = 5};
	size_t nfds = IO_MAX_FDS;
	char text[HELLO_MAX];
	struct err err;
	json_t *hello;
	ssize_t len;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	len = io_receive(fd, text, sizeof(text), fds, &nfds);
	hello = len > 0 ? jobj_parse(text, (size_t)len, &err) : NULL;
	if (hello && nfds == 2) {
		if (join(serve, hello, fds, fd, &err))
			log_warning("a link did not join: %s", err.text);
	} else {
		for (size_t i = 0; len > 0 && i < nfds; i++)
			close(fds[i]);
		/* A guest that runs already is nobody's to take. */
		if (hello && wants_the_vm(serve, hello) && !is_awaited(serve) && !serve->owed.running)
			serve->waiter_fd = fd;
		else
			close(fd);
	}
	json_decref(hello);
}

int serve_links_adopt(struct serve *serve, struct err *err)
{
	/* What the old one still holds must not be applied any more: it is closed before the sender is told anything. */
	serve_link_end(&serve->control);
	serve->control = serve->replacement;
	serve->replacement = (struct serve_link){.process_fd = -1};
	if (serve->state == SERVE_SEALED)
		serve_set_state(serve, SERVE_EPOCH); /* the sender seals it anew */
	serve_not_last(serve);
	if (welcome(serve, serve->control.link, err))
		return -1;
	return serve->owed.running ? serve_postcopy_rest(serve, err) : 0;
}

/* It leads to a connection that is gone; and were it this side that closed the channel, sshd would say so only when nobody
 * holds any of its pipes. */
static void let_go_of_stderr(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null >= 0)
		(void)dup2(null, STDERR_FILENO);
	io_close(&null);
}

int serve_links_await(struct serve *serve, const struct err *why, struct err *err)
{
	/* A guest that runs waits as long as it takes. */
	uint64_t until = serve->owed.running ? UINT64_MAX : clock_mono_ns() + serve->reconnect_ms * 1000000;
	struct pollfd fds[] = {{.fd = serve->listen_fd, .events = POLLIN}, {.fd = serve->vm.fd}};

	fds[1].events = POLLIN;
	let_go_of_stderr();
	while (!serve->replacement.link) {
		uint64_t now = clock_mono_ns();

		if (now >= until || is_awaited(serve)) {
			serve->disks.left = true;
			return err_set(err, ERR_LINK, "%s", why->text);
		}
		if (poll(fds, 2, serve->owed.running ? -1 : (int)((until - now) / 1000000) + 1) < 0 &&
		    errno != EINTR)
			return err_sys(err, "cannot wait for the sender");
		if (fds[1].revents)
			return err_set(err, ERR_LINK, "the VM process of '%s' there has ended",
				       serve->config.name);
		if (fds[0].revents)
			serve_links_accept(serve);
	}
	return 0;
}

/* ---- the socket -------------------------------------------------------------------------------------------------- */

int serve_links_open(struct serve *serve, struct err *err)
{
	char path[PATHS_MAX];

	if (paths_incoming(serve->config.name, path, err))
		return -1;
	/* The VM process holds the VM's lock: what stands there was left by a killed session. */
	serve->listen_fd = unixsock_listen(path, SOCK_SEQPACKET, STREAM_LINKS);
	return serve->listen_fd >= 0 ? 0 : err_sys(err, "cannot open the session's socket %s", path);
}

void serve_links_close(struct serve *serve)
{
	char path[PATHS_MAX];

	if (serve->listen_fd >= 0 && !paths_incoming(serve->config.name, path, NULL))
		unlink(path);
	io_close(&serve->listen_fd);
	pthread_mutex_lock(&serve->lock);
	serve->quit = true;
	pthread_cond_broadcast(&serve->change);
	pthread_mutex_unlock(&serve->lock);
	(void)eventfd_write(serve->quit_fd, 1);
	for (size_t i = 0; i < SERVE_LINKS; i++) {
		struct serve_link *of = &serve->joined[i];

		if (!of->used)
			continue;
		pthread_join(of->thread, NULL);
		serve_link_end(of);
	}
	if (serve->replacement.link)
		serve_link_end(&serve->replacement);
	serve_faults_stop(serve);
}

static int connect_to(const char *name, struct err *err)
{
	char path[PATHS_MAX];
	int fd;

	if (paths_incoming(name, path, err))
		return -1;
	fd = unixsock_connect(path, SOCK_SEQPACKET, HAND_OVER_MS);
	return fd >= 0 ? fd : err_set(err, ERR_REFUSED, "no session there receives VM '%s' (any more)", name);
}

int serve_hand_over(const char *name, const json_t *hello, int in, int out, struct err *err)
{
	int fd = connect_to(name, err), fds[] = {in, out};
	char *text = json_dumps(hello, JSON_COMPACT), byte;
	int status = -1;

	if (fd < 0 || !text)
		goto out;
	if (strlen(text) >= HELLO_MAX || io_send(fd, text, strlen(text), fds, 2)) {
		err_set(err, ERR_REFUSED, "the session for VM '%s' takes no link", name);
		goto out;
	}
	/* The channel is the session's now: nothing more is to come from here. */
	while (recv(fd, &byte, 1, 0) < 0 && errno == EINTR)
		;
	status = 0;
out:
	free(text);
	io_close(&fd);
	return status;
}

void serve_supersede(const char *name, const char *uuid)
{
	json_t *json = json_pack("{s:s, s:s}", "purpose", "supersede", "uuid", uuid);
	char *text = json_dumps(json, JSON_COMPACT), byte;
	struct err ignored;
	int fd = text ? connect_to(name, &ignored) : -1;
	struct timeval limit = {.tv_sec = SUPERSEDE_MS / 1000};

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		if (!io_send(fd, text, strlen(text), NULL, 0))
			(void)recv(fd, &byte, 1, 0);
	}
	io_close(&fd);
	free(text);
	json_decref(json);
}
