/* requests_kept.c: a move whose mover dies while the guest is this host's, and another mover that goes on with it (docs/stream.md).
 *
 * What went over and what did not is known to movers alone: they keep it in memory that this process holds for them, and
 * that it never reads. */
#include "common/io.h"
#include "common/jobj.h"
#include "vmm/vmproc.h"

#include <string.h>

enum { NOTES_BYTES = 4096, KEEP_MAX_MS = 3600000 };
#define PAGES_MAX (1ull << 34)

static void let_go(struct kept_move *kept)
{
	pageset_close(&kept->due);
	io_close(&kept->notes_fd);
}

void requests_kept_tick(struct vmproc *vm)
{
	if (vm->kept.due.words && !vm->handover.keep_ns)
		let_go(&vm->kept);
}

json_t *requests_kept_json(const struct vmproc *vm)
{
	uint64_t now = clock_mono_ns(), until = vm->handover.kept_until;

	return json_pack("{s:s, s:I}", "peer", vm->kept.peer, "ms_left",
			 (json_int_t)(until > now ? (until - now) / 1000000 : 0));
}

int do_keep(struct vmproc *vm, struct client *client, const json_t *request, int fd, struct answer *answer,
	    struct err *err)
{
	struct kept_move made = {.notes_fd = -1};
	const char *session, *peer;
	uint64_t ms, pages;

	(void)client, (void)fd;
	if (jobj_u64(request, "ms", true, 0, KEEP_MAX_MS, &ms, err))
		return -1;
	if (ms == 0)
		return handover_keep(&vm->handover, 0, err);
	if (jobj_u64(request, "pages", true, 1, PAGES_MAX, &pages, err) ||
	    jobj_u64(request, "term", true, 1, INT64_MAX, &made.term, err) ||
	    jobj_string(request, "session", true, LEDGER_SESSION_LEN, &session, err) ||
	    jobj_string(request, "peer", true, LEDGER_PEER_MAX, &peer, err) ||
	    pageset_create(&made.due, pages, err))
		return -1;
	made.notes_fd = io_sealed_memfd("drover-notes", NOTES_BYTES);
	if (made.notes_fd < 0)
		err_sys(err, "cannot keep a mover's notes");
	if (made.notes_fd < 0 || handover_keep(&vm->handover, ms * 1000000, err)) {
		let_go(&made);
		return -1;
	}
	strcpy(made.session, session);
	strcpy(made.peer, peer);
	let_go(&vm->kept);
	vm->kept = made;
	answer->fds[0] = vm->kept.due.fd;
	answer->fds[1] = vm->kept.notes_fd;
	answer->nfds = 2;
	return 0;
}

int do_go_on(struct vmproc *vm, struct client *client, const json_t *request, int fd, struct answer *answer,
	     struct err *err)
{
	const struct kept_move *kept = &vm->kept;
	const char *peer;

	(void)fd;
	if (jobj_string(request, "peer", true, LEDGER_PEER_MAX, &peer, err))
		return -1;
	if (vm->handover.phase == HANDOVER_NONE && !vm->handover.kept_until)
		return err_set(err, ERR_STATE, "no move of VM '%s' was broken off that could be gone on with",
			       vm->config.name);
	if (vm->handover.kept_until && strcmp(peer, kept->peer))
		return err_set(err, ERR_REFUSED,
			       "the move of VM '%s' that was broken off went to %s, not to %s; without "
			       "--resume a new one begins",
			       vm->config.name, kept->peer, peer);
	if (handover_go_on(&vm->handover, err))
		return -1;
	client->is_mover = true;
	answer->ok = json_pack("{s:o, s:I, s:b, s:b, s:s}", "config", config_to_json(&vm->config), "term",
			       (json_int_t)kept->term, "paused", vm->handover.user_paused, "tracked",
			       vm->handover.tracking, "session", kept->session);
	answer->fds[0] = machine_ram_fd(vm->machine);
	answer->fds[1] = vm->handover.dirty.fd;
	answer->fds[2] = kept->due.fd;
	answer->fds[3] = kept->notes_fd;
	answer->nfds = 4;
	return 0;
}

int do_leave(struct vmproc *vm, struct client *client, const json_t *request, int fd, struct answer *answer,
	     struct err *err)
{
	enum handover_phase phase = vm->handover.phase;

	(void)request, (void)fd, (void)answer;
	if (phase != HANDOVER_ATTACHED && phase != HANDOVER_SWITCHING)
		return err_set(err, ERR_STATE, "cannot give the migration up while the VM is %s",
			       handover_state_name(&vm->handover));
	handover_leave(&vm->handover);
	client->is_mover = false;
	return 0;
}
