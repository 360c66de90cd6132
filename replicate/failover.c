/* failover.c: see failover.h. */
#include "replicate/failover.h"

#include "common/buf.h"
#include "common/io.h"
#include "migrate/serve.h"
#include "vmm/definition_store.h"
#include "vmm/definition_text.h"
#include "vmm/disk_record.h"
#include "vmm/ledger.h"
#include "vmm/snapshot_restore.h"
#include "vmm/snapshot_store.h"

#include <stdlib.h>
#include <string.h>

/* A cycle that is under way ends: its point has come whole, or not at all. */
static int take_lock(const char *vm, struct ledger *ledger, struct err *err)
{
	struct ledger_record record;
	bool locked;

	if (ledger_peek(vm, &record, &locked, err))
		return -1;
	if (record.state == LEDGER_NONE)
		return err_set(err, ERR_STATE,
			       "this host has no points of a VM '%s'; 'drover list' shows what it has", vm);
	if (locked) {
		serve_supersede(vm, record.uuid);
		if (ledger_peek_settled(vm, &record, &locked, err))
			return -1;
	}
	if (locked)
		return err_set(err, ERR_STATE, "VM '%s' lives on this host already", vm);
	return ledger_open(ledger, vm, err);
}

/* The point, if this host may go on from it: it is a standby, or has begun this before. */
static int choose(const struct ledger *ledger, const struct snapshot_store *store, struct dvol_id point,
		  struct failover *failover, struct err *err)
{
	struct snapshot_record *record = &failover->record;
	struct dvol_id *ids;
	size_t count;

	if (snapshot_store_load(store, point, record, err))
		return -1;
	if (ledger->now.state != LEDGER_STANDBY &&
	    (ledger->now.state != LEDGER_STOPPED || !record->point.is || record->point.arrived_ns == 0))
		return err_set(err, ERR_STATE, "this host is no standby of VM '%s' (%s)", store->vm,
			       ledger_state_name(ledger->now.state));
	if (!record->point.is)
		return err_set(err, ERR_STATE,
			       "%llu.%llu of VM '%s' is a snapshot, not a recovery point: 'drover restore'",
			       (unsigned long long)record->id.term, (unsigned long long)record->id.number,
			       store->vm);
	if (strcmp(record->config.uuid, ledger->now.uuid))
		return err_set(err, ERR_INPUT, "the point is of another VM (%s)", record->config.uuid);
	if (snapshot_store_ids(store, "json", &ids, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++)
		failover->later += snapshot_id_compare(ids[i], record->id) > 0;
	free(ids);
	return 0;
}

/* From here on the old primary's cycles are refused, and it learns why. */
static int take_term(struct ledger *ledger, struct failover *failover, struct err *err)
{
	struct ledger_record record = {.state = LEDGER_STOPPED};

	record.term = record.ran_term = ledger_start_term(&ledger->now, ledger->now.uuid);
	strcpy(record.uuid, ledger->now.uuid);
	strcpy(record.peer, ledger->now.peer);
	failover->term = record.term;
	return ledger->now.state == LEDGER_STANDBY ? ledger_write(ledger, &record, err) : 0;
}

static int define(const struct vm_config *config, struct err *err)
{
	struct buf text = {0};
	int status;

	definition_text(config, &text);
	const struct definition definition = {.yaml = (char *)text.data, .config = *config};
	status = definition_save(&definition, err);
	buf_free(&text);
	return status;
}

static int become(const struct snapshot_store *store, struct failover *failover, struct err *err)
{
	struct snapshot_take none = {.made_by = "drover " DROVER_VERSION};
	const struct snapshot_record *record = &failover->record;

	if (snapshot_restore_disks(store, record, false, &none, err) ||
	    disk_record_save(&record->config, err))
		return -1;
	return define(&record->config, err);
}

int failover_take(const char *vm, struct dvol_id point, struct failover *failover, struct err *err)
{
	struct ledger ledger;
	struct snapshot_store store;
	uint64_t now;
	int status;

	*failover = (struct failover){0};
	if (take_lock(vm, &ledger, err))
		return -1;
	status = snapshot_store_open(&store, vm, err);
	if (!status) {
		status = choose(&ledger, &store, point, failover, err) || take_term(&ledger, failover, err) ||
			 become(&store, failover, err);
		snapshot_store_close(&store);
	}
	ledger_close(&ledger);
	now = clock_real_ns();
	failover->age_ns = now > failover->record.time_ns ? now - failover->record.time_ns : 0;
	return status ? -1 : 0;
}
