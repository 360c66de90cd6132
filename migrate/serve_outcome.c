#include "migrate/serve_outcome.h"

#include "common/jobj.h"
#include "vmm/control.h"
#include "vmm/ledger.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

/* A VM process that is just starting or ending holds its lock for a moment without answering. */
enum { TRIES = 100, TRY_MS = 50, VM_MS = 5000 };

static int ask_process(const char *name, const char *uuid, uint64_t term, const char *session, bool *started,
		       uint64_t *owed, struct err *err)
{
	const char *outcome = "";
	struct control vm;
	json_t *reply;
	int failed;

	if (control_connect(&vm, name, err))
		return -1;
	failed = control_call(&vm,
			      json_pack("{s:s, s:s, s:I, s:s}", "cmd", "outcome", "uuid", uuid, "term",
					(json_int_t)term, "session", session),
			      VM_MS, &reply, NULL, NULL, err);
	control_close(&vm);
	if (failed)
		return -1;
	failed = jobj_string(reply, "outcome", true, 16, &outcome, err) ||
		 jobj_u64(reply, "owed", true, 0, INT64_MAX, owed, err);
	*started = !strcmp(outcome, "started");
	json_decref(reply);
	return failed ? -1 : 0;
}

/* The caller holds the VM's lock in *ledger.  The name may have gone to another VM since: then what was kept of the
 * one that is asked about decides. */
static int decide(struct ledger *ledger, const char *uuid, uint64_t term, const char *session, bool *started,
		  char *detail, size_t cap, struct err *err)
{
	struct ledger_record known = ledger->now, promise;
	bool ran, other = strcmp(known.uuid, uuid) != 0;

	if (other && ledger_buried(uuid, &known, err))
		return -1;
	if (other && known.state == LEDGER_NONE)
		known = ledger->now;
	ran = !strcmp(known.uuid, uuid) && known.ran_term >= term;
	*started = ledger_outcome(&known, uuid, term, session, &promise);
	snprintf(detail, cap, "%s",
		 *started ? "it ran there"
		 : ran    ? "it started there, but its process died; what it did since is lost"
			  : "it was not started there");
	if (promise.state == LEDGER_NONE)
		return 0;
	return other && ledger->now.state != LEDGER_NONE ? ledger_bury(&promise, err)
							 : ledger_write(ledger, &promise, err);
}

int serve_outcome(const char *name, const char *uuid, uint64_t term, const char *session, bool *started,
		  uint64_t *owed, char *detail, size_t cap, struct err *err)
{
	*owed = 0;
	for (int i = 0; i < TRIES; i++) {
		struct pollfd pause = {.fd = -1};
		struct ledger ledger;
		int failed;

		if (!ledger_open(&ledger, name, err)) {
			failed = decide(&ledger, uuid, term, session, started, detail, cap, err);
			ledger_close(&ledger);
			return failed;
		}
		if (err->kind != ERR_STATE)
			return -1;
		if (!ask_process(name, uuid, term, session, started, owed, err)) {
			snprintf(detail, cap, "%s", *started ? "it runs there" : "it was not started there");
			return 0;
		}
		poll(&pause, 1, TRY_MS);
	}
	return err_set(err, ERR_STATE,
		       "the process of VM '%s' there holds its lock but does not answer; ask again", name);
}
