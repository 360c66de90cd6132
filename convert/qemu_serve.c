/* qemu_serve.c: qemu-nbd as a child, and our connections to it.
 *
 * The child is given a socket that listens already, so that nobody has to wait until one is there; its name is in a
 * folder of ours alone, and is gone as soon as we are connected. */
#include "common/io.h"
#include "convert/qemu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Its buffers are as large as our requests: to get memory for each of them from the kernel, and give it back, costs more
 * than copying it. */
static const char keep_memory[] =
    "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=268435456";

struct meeting {
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path) - 8];
	struct sockaddr_un address;
	int listener;
};

static int meeting_open(struct meeting *meeting, unsigned lanes, struct err *err)
{
	const char *parent = getenv("XDG_RUNTIME_DIR");
	int len;

	meeting->listener = -1;
	if (!parent || access(parent, W_OK | X_OK))
		parent = getenv("TMPDIR");
	if (!parent || access(parent, W_OK | X_OK))
		parent = "/tmp";
	len = snprintf(meeting->folder, sizeof(meeting->folder), "%s/drover-XXXXXX", parent);
	if (len < 0 || (size_t)len >= sizeof(meeting->folder))
		snprintf(meeting->folder, sizeof(meeting->folder), "/tmp/drover-XXXXXX");
	if (!mkdtemp(meeting->folder)) {
		err_sys(err, "cannot make a folder %s for a socket", meeting->folder);
		*meeting->folder = '\0';
		return -1;
	}
	meeting->address.sun_family = AF_UNIX;
	snprintf(meeting->address.sun_path, sizeof(meeting->address.sun_path), "%s/nbd", meeting->folder);
	meeting->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (meeting->listener < 0 ||
	    bind(meeting->listener, (struct sockaddr *)&meeting->address, sizeof(meeting->address)) ||
	    listen(meeting->listener, (int)lanes))
		return err_sys(err, "cannot listen on %s", meeting->address.sun_path);
	return 0;
}

static void meeting_close(struct meeting *meeting)
{
	io_close(&meeting->listener);
	if (*meeting->folder) {
		unlink(meeting->address.sun_path);
		rmdir(meeting->folder);
	}
}

int qemu_failed(const char *what, uint64_t offset, struct err *err)
{
	return err_set(err, ERR_INPUT, "%s at byte %llu failed: %s", what, (unsigned long long)offset,
		       nbd_get_error());
}

static int connect_lane(struct nbd_handle *nbd, const char *path, const struct watch *watch, struct err *err)
{
	if (nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) || nbd_aio_connect_unix(nbd, path))
		return err_set(err, ERR_SYSTEM, "cannot connect to qemu-nbd: %s", nbd_get_error());
	while (nbd_aio_is_connecting(nbd) == 1) {
		if (nbd_poll(nbd, WATCH_MS) < 0)
			break;
		if (watch_go_on(watch, err))
			return -1;
	}
	if (nbd_aio_is_ready(nbd) != 1)
		return err_set(err, ERR_SYSTEM, "cannot connect to qemu-nbd: %s", nbd_get_error());
	return 0;
}

static int connect_lanes(struct qemu_server *server, const char *path, unsigned lanes,
			 const struct watch *watch, struct err *err)
{
	int64_t size;

	while (server->lanes < lanes) {
		struct nbd_handle *nbd = nbd_create();

		if (!nbd)
			return err_set(err, ERR_SYSTEM, "cannot use libnbd: %s", nbd_get_error());
		server->lane[server->lanes++] = nbd;
		if (connect_lane(nbd, path, watch, err))
			return -1;
	}
	size = nbd_get_size(server->lane[0]);
	if (size < 0)
		return err_set(err, ERR_INPUT, "qemu-nbd tells no size: %s", nbd_get_error());
	server->size_bytes = (uint64_t)size;
	return 0;
}

/* forget(server): no connections any more.  What is still to be read from them is not. */
static void forget(struct qemu_server *server)
{
	while (server->lanes > 0)
		nbd_close(server->lane[--server->lanes]);
}

int qemu_serve(struct qemu_server *server, const char *path, const char *driver, bool writable,
	       unsigned lanes, const struct watch *watch, struct err *err)
{
	/* The image of a target is synced as a whole at its end, so flushes on the way are lost time. */
	const char *const writer[] = {"qemu-nbd", "-f", driver, "-e", "0", "--cache=unsafe", path, NULL};
	const char *const reader[] = {"qemu-nbd", "-f", driver, "-e", "0", "-r", path, NULL};
	struct meeting meeting = {0};
	int result;

	*server = (struct qemu_server){0};
	result = meeting_open(&meeting, lanes, err);
	if (!result)
		result = child_start(
		    &server->child, writable ? writer : reader,
		    &(struct child_options){.listener = meeting.listener, .env = keep_memory}, err);
	/* Only the child listens now: when it ends, connecting fails at once. */
	io_close(&meeting.listener);
	if (!result)
		result = connect_lanes(server, meeting.address.sun_path, lanes, watch, err);
	meeting_close(&meeting);
	if (!result)
		return 0;
	forget(server);
	if (server->child.name && err->kind != ERR_CANCELLED)
		child_failed(&server->child, err);
	qemu_drop(server);
	return -1;
}

int qemu_stop(struct qemu_server *server, const struct watch *watch, struct err *err)
{
	int result = 0;

	/* It ends by itself after the last client. */
	for (unsigned i = 0; i < server->lanes && !result; i++)
		if (nbd_shutdown(server->lane[i], 0))
			result = err_set(err, ERR_INPUT, "qemu-nbd: %s", nbd_get_error());
	forget(server);
	if (!result)
		result = child_wait(&server->child, watch, err);
	child_end(&server->child);
	return result;
}

void qemu_drop(struct qemu_server *server)
{
	forget(server);
	child_end(&server->child);
}
