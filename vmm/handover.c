#include "vmm/handover.h"

#include "common/fault.h"
#include "common/io.h"
#include "common/log.h"

#include <string.h>

void handover_init(struct handover *handover, struct machine *machine, uint64_t pages,
		   struct console *console, struct ledger *ledger, enum handover_phase phase, uint64_t term)
{
	*handover = (struct handover){.phase = phase,
				      .machine = machine,
				      .pages = pages,
				      .console = console,
				      .ledger = ledger,
				      .term = term};
}

static int wrong_phase(const struct handover *handover, const char *what, struct err *err)
{
	return err_set(err, ERR_STATE, "cannot %s while the VM is %s", what, handover_state_name(handover));
}

static struct ledger_record record_of(const struct handover *handover, enum ledger_state state, uint64_t term)
{
	struct ledger_record record = handover->ledger->now;

	record.state = state;
	record.term = term;
	record.next_term = 0;
	if (state == LEDGER_RUNNING && record.ran_term < term)
		record.ran_term = term;
	return record;
}

/* A ledger that cannot be written after the fact (a full or failing disk) still holds the older, more careful
 * record; the guest's fate here does not depend on the write. */
static void write_later(struct handover *handover, const struct ledger_record *record)
{
	struct err err;

	if (ledger_write(handover->ledger, record, &err))
		log_error("%s", err.text);
}

/* ---- source ---------------------------------------------------------------------------------------------- */

static void let_run(struct handover *handover)
{
	if (!handover->user_paused)
		machine_resume(handover->machine);
}

static void detach(struct handover *handover)
{
	machine_throttle(handover->machine, 0);
	if (handover->tracking)
		machine_dirty_stop(handover->machine);
	handover->tracking = false;
	handover->keep_ns = handover->kept_until = 0;
	pageset_close(&handover->dirty);
}

void handover_forget(struct handover *handover)
{
	if (handover->kept_until)
		detach(handover);
}

int handover_attach(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_NONE)
		return wrong_phase(handover, "start a migration", err);
	handover_forget(handover);
	if (pageset_create(&handover->dirty, handover->pages, err))
		return -1;
	handover->phase = HANDOVER_ATTACHED;
	fault_point(FAULT_SOURCE_ATTACHED);
	return 0;
}

int handover_track(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_ATTACHED || handover->tracking)
		return wrong_phase(handover, "start dirty tracking", err);
	if (machine_dirty_start(handover->machine, &handover->dirty, err))
		return -1;
	handover->tracking = true;
	return 0;
}

int handover_harvest(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_ATTACHED || !handover->tracking)
		return wrong_phase(handover, "harvest dirty pages", err);
	return machine_dirty_harvest(handover->machine, err);
}

int handover_throttle(struct handover *handover, unsigned percent, struct err *err)
{
	if (handover->phase != HANDOVER_ATTACHED)
		return wrong_phase(handover, "throttle the guest", err);
	machine_throttle(handover->machine, percent);
	return 0;
}

static void run_here(struct handover *handover)
{
	struct ledger_record record = record_of(handover, LEDGER_RUNNING, handover->term);

	let_run(handover);
	handover->phase = HANDOVER_NONE;
	write_later(handover, &record);
}

static void abandon_switch(struct handover *handover)
{
	detach(handover);
	run_here(handover);
}

int handover_keep(struct handover *handover, uint64_t ns, struct err *err)
{
	if (handover->phase != HANDOVER_ATTACHED)
		return wrong_phase(handover, "keep what a mover does", err);
	handover->keep_ns = ns;
	return 0;
}

int handover_go_on(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_NONE || !handover->kept_until)
		return wrong_phase(handover, "go on with a migration", err);
	handover->kept_until = 0;
	handover->phase = HANDOVER_ATTACHED;
	return 0;
}

/* The guest runs on; what it writes is known on, too. */
static void keep(struct handover *handover)
{
	machine_throttle(handover->machine, 0);
	handover->kept_until = clock_mono_ns() + handover->keep_ns;
	if (handover->phase == HANDOVER_SWITCHING)
		run_here(handover);
	handover->phase = HANDOVER_NONE;
}

int handover_pause(struct handover *handover, uint64_t next_term, const char *session, const char *peer,
		   bool postcopy, struct err *err)
{
	struct ledger_record intent = record_of(handover, LEDGER_INTENT, handover->term);

	if (handover->phase != HANDOVER_ATTACHED || !handover->tracking)
		return wrong_phase(handover, "switch over", err);
	if (next_term <= handover->term)
		return err_set(err, ERR_INPUT, "the hand-over's term %llu does not follow the VM's term %llu",
			       (unsigned long long)next_term, (unsigned long long)handover->term);
	intent.next_term = next_term;
	strcpy(intent.session, session);
	strcpy(intent.peer, peer);
	/* On disk while the guest still runs: its downtime has no disk write in it. */
	if (ledger_write(handover->ledger, &intent, err))
		return -1;
	handover->phase = HANDOVER_SWITCHING;
	handover->postcopy = postcopy;
	machine_throttle(handover->machine, 0);
	handover->paused_ns = clock_mono_ns();
	handover->lease_end = handover->paused_ns + HANDOVER_LEASE_NS;
	machine_pause(handover->machine);
	if (fault_point(FAULT_SOURCE_PAUSED) || machine_dirty_harvest(handover->machine, err)) {
		abandon_switch(handover);
		return -1;
	}
	return 0;
}

int handover_save(struct handover *handover, struct buf *state, struct err *err)
{
	if (handover->phase != HANDOVER_SWITCHING)
		return wrong_phase(handover, "take the machine state", err);
	/* What the guest said before the pause belongs into this host's log. */
	console_flush(handover->console);
	if (machine_save(handover->machine, state, err))
		return -1;
	fault_point(FAULT_SOURCE_STATE_SAVED);
	return 0;
}

int handover_resume(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_SWITCHING)
		return wrong_phase(handover, "take the pause back", err);
	let_run(handover);
	handover->phase = HANDOVER_ATTACHED;
	handover->postcopy = false;
	handover->ledger_due = true;
	return 0;
}

int handover_commit(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_SWITCHING)
		return wrong_phase(handover, "allow the commit", err);
	handover->phase = HANDOVER_COMMITTED;
	fault_point(FAULT_SOURCE_COMMIT_ALLOWED);
	return 0;
}

int handover_outcome(struct handover *handover, bool started, struct err *err)
{
	struct ledger_record record;

	if (handover->phase != HANDOVER_COMMITTED)
		return wrong_phase(handover, "take an outcome", err);
	if (!started) {
		abandon_switch(handover);
		return 0;
	}
	record = record_of(handover, LEDGER_HANDED_OVER, handover->ledger->now.next_term);
	handover->phase = handover->postcopy ? HANDOVER_LENDING : HANDOVER_RELEASED;
	fault_point(FAULT_SOURCE_RELEASED);
	write_later(handover, &record);
	if (handover->postcopy) {
		detach(handover);
		fault_point(FAULT_POSTCOPY_SOURCE_LENDING);
	}
	return 0;
}

int handover_lent(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_LENDING)
		return wrong_phase(handover, "end the lending of memory", err);
	handover->phase = HANDOVER_RELEASED;
	return 0;
}

bool handover_lends(const struct handover *handover)
{
	return handover->phase == HANDOVER_LENDING || handover->phase == HANDOVER_STRANDED;
}

int handover_adopt(struct handover *handover, struct err *err)
{
	if (handover->phase != HANDOVER_PENDING && handover->phase != HANDOVER_STRANDED)
		return err_set(err, ERR_STATE, "no hand-over of this VM is pending: it is %s%s",
			       handover_state_name(handover),
			       handover->phase == HANDOVER_LENDING ? ", and somebody sends its memory" : "");
	handover->phase = handover->phase == HANDOVER_PENDING ? HANDOVER_COMMITTED : HANDOVER_LENDING;
	return 0;
}

void handover_leave(struct handover *handover)
{
	if (handover->phase == HANDOVER_ATTACHED || handover->phase == HANDOVER_SWITCHING)
		handover->keep_ns = 0;
	handover_mover_gone(handover);
}

void handover_mover_gone(struct handover *handover)
{
	switch (handover->phase) {
	case HANDOVER_ATTACHED:
		if (handover->keep_ns) {
			keep(handover);
			break;
		}
		detach(handover);
		handover->phase = HANDOVER_NONE;
		break;
	case HANDOVER_SWITCHING:
		if (handover->keep_ns)
			keep(handover);
		else
			abandon_switch(handover);
		break;
	case HANDOVER_COMMITTED:
		handover->phase = HANDOVER_PENDING;
		break;
	case HANDOVER_LENDING:
		handover->phase = HANDOVER_STRANDED;
		break;
	default:
		break;
	}
}

bool handover_tick(struct handover *handover, uint64_t now_ns)
{
	if (handover->kept_until && now_ns >= handover->kept_until)
		handover_forget(handover);
	if (handover->phase != HANDOVER_SWITCHING || now_ns < handover->lease_end)
		return false;
	log_warning("the mover was silent for %llu s in the switch-over; the guest resumes here",
		    HANDOVER_LEASE_NS / 1000000000);
	abandon_switch(handover);
	return true;
}

/* ---- destination ------------------------------------------------------------------------------------------ */

int handover_load(struct handover *handover, const void *state, size_t len, struct err *err)
{
	if (handover->phase != HANDOVER_INCOMING)
		return wrong_phase(handover, "load a machine state", err);
	if (machine_attach_disks(handover->machine, err))
		return -1;
	if (fault_point(FAULT_DISKS_ATTACHED))
		return err_set(err, ERR_SYSTEM, "injected failure");
	if (machine_load(handover->machine, state, len, err))
		return -1;
	if (fault_point(FAULT_DEST_STATE_LOADED))
		return err_set(err, ERR_SYSTEM, "injected failure");
	handover->phase = HANDOVER_PREPARED;
	return 0;
}

int handover_start(struct handover *handover, uint64_t term, const char *session, struct err *err)
{
	if (handover->phase != HANDOVER_PREPARED)
		return wrong_phase(handover, "start the guest on commit", err);
	if (term != handover->term || strcmp(session, handover->ledger->now.session))
		return err_set(err, ERR_REFUSED,
			       "the commit is of another hand-over than the one prepared here");
	fault_point(FAULT_DEST_COMMIT);
	let_run(handover);
	handover->phase = HANDOVER_NONE;
	handover->ledger_due = true;
	fault_point(FAULT_DEST_RUNNING);
	return 0;
}

int handover_give_up(struct handover *handover, struct err *err)
{
	struct ledger_record record = record_of(handover, LEDGER_REFUSED, handover->term);

	if (handover->phase != HANDOVER_INCOMING && handover->phase != HANDOVER_PREPARED)
		return wrong_phase(handover, "give the copy up", err);
	/* Whatever the disk says, this process will not start the guest: the phase goes first. */
	handover->phase = HANDOVER_RELEASED;
	return ledger_write(handover->ledger, &record, err);
}

int handover_answer(struct handover *handover, const char *uuid, uint64_t term, const char *session,
		    bool *started, struct err *err)
{
	const struct ledger_record *now = &handover->ledger->now;
	struct ledger_record view = *now, promise;

	*started = false;
	if (handover->phase == HANDOVER_INCOMING || handover->phase == HANDOVER_PREPARED) {
		if (!strcmp(now->uuid, uuid) && term == handover->term && !strcmp(now->session, session))
			return handover_give_up(handover, err);
	} else if (!strcmp(now->uuid, uuid) && term <= handover->term) {
		*started = true;
		return 0;
	}
	/* Another attempt than the one that this process is about: what the ledger knows decides. */
	view.state = LEDGER_STOPPED;
	*started = ledger_outcome(&view, uuid, term, session, &promise);
	return 0;
}

void handover_settle(struct handover *handover)
{
	struct ledger_record record = record_of(handover, LEDGER_RUNNING, handover->term);

	if (!handover->ledger_due)
		return;
	handover->ledger_due = false;
	write_later(handover, &record);
}

const char *handover_state_name(const struct handover *handover)
{
	switch (handover->phase) {
	case HANDOVER_NONE:
		return handover->user_paused ? "paused" : "running";
	case HANDOVER_ATTACHED:
		return "migrating";
	case HANDOVER_SWITCHING:
		return "switching";
	case HANDOVER_COMMITTED:
	case HANDOVER_PENDING:
		return "pending";
	case HANDOVER_INCOMING:
		return "incoming";
	case HANDOVER_PREPARED:
		return "prepared";
	case HANDOVER_LENDING:
	case HANDOVER_STRANDED:
		return "lending";
	case HANDOVER_RELEASED:
		return "ending";
	}
	return "unknown";
}
