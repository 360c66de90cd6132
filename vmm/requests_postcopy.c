/* requests_postcopy.c: the requests of post-copy (docs/control.md): on the destination serve's, about RAM that is not all there; on the
 * source the mover's, when no page is needed from here any more. */
#include "common/fault.h"
#include "common/jobj.h"
#include "vmm/vmproc.h"

bool requests_ram_is_coming(const struct vmproc *vm)
{
	return vm->pager.volume || vm->postcopy.on;
}

json_t *requests_postcopy_json(const struct vmproc *vm)
{
	return json_pack("{s:I}", "pages_left", (json_int_t)postcopy_left(&vm->postcopy));
}

int do_postcopy_begin(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		      struct answer *answer, struct err *err)
{
	uint64_t bytes;
	void *base = machine_ram(vm->machine, &bytes);

	(void)request;
	if (vm->handover.phase != HANDOVER_INCOMING || vm->postcopy.on)
		return err_set(err, ERR_STATE, "the RAM of VM '%s' cannot come later: it is %s",
			       vm->config.name, handover_state_name(&vm->handover));
	if (postcopy_begin(&vm->postcopy, base, bytes, vm->uffd_device, fd, client->fd, err))
		return -1;
	machine_keep_ram(vm->machine, true);
	fault_point(FAULT_POSTCOPY_DEST_WATCHED);
	answer->ok = json_pack("{s:o}", "ram_base", jobj_make_hex64((uintptr_t)base));
	answer->fds[0] = vm->postcopy.uffd;
	answer->nfds = 1;
	return 0;
}

int do_postcopy_end(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		    struct answer *answer, struct err *err)
{
	uint64_t left = postcopy_left(&vm->postcopy);

	(void)client, (void)request, (void)fd, (void)answer;
	if (left > 0)
		return err_set(err, ERR_STATE, "VM '%s' still lacks %llu pages of its RAM", vm->config.name,
			       (unsigned long long)left);
	postcopy_end(&vm->postcopy);
	if (vm->config.huge_pages)
		machine_use_huge_pages(vm->machine);
	fault_point(FAULT_POSTCOPY_DEST_WHOLE);
	vmproc_ram_is_there(vm);
	return 0;
}

int do_handover_lent(struct vmproc *vm, struct client *client, const json_t *request, int fd,
		     struct answer *answer, struct err *err)
{
	(void)client, (void)request, (void)fd, (void)answer;
	if (handover_lent(&vm->handover, err))
		return -1;
	vmproc_quit(vm, "handed-over", vm->ledger.now.peer, 0);
	return 0;
}
