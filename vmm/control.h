/* control.h: the client's side of a VM process's control socket (docs/control.md).
 *
 * SOCK_SEQPACKET: one JSON object a packet, at most CONTROL_MAX bytes.  A request {"id", "cmd", …} is
 * answered by {"id", "ok": {…}} or {"id", "error": {"kind", "message"}}; descriptors travel with the packet
 * that names them.  After "subscribe" events {"event", …} come between answers. */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "common/err.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CONTROL_MAX = 65536, CONTROL_MAX_FDS = 4 };

struct control {
	int fd;
	uint64_t next_id;
	json_t *events; /* array: events that arrived while an answer was awaited */
};

/* control_connect(control, name, err): ERR_STATE with a remedy when no VM of that name runs here. */
int control_connect(struct control *control, const char *name, struct err *err);
/* control_pid(control): the VM process's number as this process sees it (it knows only its own, in its own pid namespace);
 * 0 when it is out of sight.  For sockets of control_connect. */
pid_t control_pid(const struct control *control);
/* control_adopt(control, fd): speak over a connected socket (serve and the VM process that it started). */
void control_adopt(struct control *control, int fd);
void control_close(struct control *control);

/* control_call(control, request, timeout_ms, reply, fds, &nfds, err): send request (reference stolen; "id" is
 * added) and wait for its answer.  On 0 *reply is a new reference to the "ok" object (reply may be NULL); fds
 * received with it go to fds[CONTROL_MAX_FDS] (NULL: closed).  The VM's own refusal gives -1 with its kind
 * and words; a closed socket gives ERR_LINK "the VM process ended".  timeout_ms -1 waits for ever. */
int control_call(struct control *control, json_t *request, int timeout_ms, json_t **reply, int *fds,
		 size_t *nfds, struct err *err);
/* control_expect_fds(fds, nfds, want, err): so many came; else all are closed, and ERR_INPUT. */
int control_expect_fds(int fds[CONTROL_MAX_FDS], size_t nfds, size_t want, struct err *err);
/* control_call_fds: the same with descriptors sent along (borrowed), and none taken. */
int control_call_fds(struct control *control, json_t *request, const int *fds, size_t nfds, int timeout_ms,
		     json_t **reply, struct err *err);
/* The two halves of control_call, for work that overlaps the answer: control_start sends (fd -1: none) and gives
 * the id that control_finish then waits for.  Answers must be finished in the order of the requests. */
int control_start(struct control *control, json_t *request, int fd, uint64_t *id, struct err *err);
int control_finish(struct control *control, uint64_t id, int timeout_ms, json_t **reply, int *fds,
		   size_t *nfds, struct err *err);
/* control_event(control, timeout_ms, err): the next event, a new reference; NULL with ERR_NONE on timeout, or
 * with ERR_LINK when the VM process ended. */
json_t *control_event(struct control *control, int timeout_ms, struct err *err);

#endif
