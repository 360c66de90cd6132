/* move_epochs.c: see move_epochs.h. */
#include "vmm/move_epochs.h"
#include "vmm/snapshot_store.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A VM goes to and fro between few hosts, and what is kept for each of them costs space. */
enum { COMMONS_MAX = 3 };

static void pin_name(const char *prefix, const char *what, char name[DVOL_NAME_MAX + 1])
{
	snprintf(name, DVOL_NAME_MAX + 1, "%s%s", prefix, what);
}

static bool begins(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

static int pin(struct dvol *vol, struct dvol_id id, const char *name, struct err *err)
{
	struct dvol_pinned *pins;
	size_t count;
	bool has = false;
	if (dvol_pins(vol, &pins, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++)
		has = has || (!snapshot_id_compare(pins[i].id, id) && !strcmp(pins[i].name, name));
	free(pins);
	return has ? 0 : dvol_pin(vol, id, name, err);
}

int move_epochs_mark(struct dvol *vol, struct dvol_id id, const char *vm, struct err *err)
{
	char name[DVOL_NAME_MAX + 1];
	pin_name(MOVE_EPOCHS_PIN, vm, name);
	return pin(vol, id, name, err);
}

/* Without this pin nobody may want it any more; one that is read just now keeps the pin, so that it goes later. */
static void release(struct dvol *vol, struct dvol_id id, const char *name)
{
	if (!dvol_unpin(vol, id, name, NULL) && dvol_epoch_delete(vol, id, NULL)) {
		struct dvol_pinned *pins = NULL;
		size_t count = 0;
		bool held = false;
		(void)dvol_pins(vol, &pins, &count, NULL);
		for (size_t i = 0; i < count; i++)
			held = held || !snapshot_id_compare(pins[i].id, id);
		free(pins);
		if (!held)
			(void)dvol_pin(vol, id, name, NULL);
	}
}

void move_epochs_drop(struct dvol *vol, struct dvol_id keep, bool before, const char *vm)
{
	char name[DVOL_NAME_MAX + 1];
	struct dvol_pinned *pins;
	size_t count;
	pin_name(MOVE_EPOCHS_PIN, vm, name);
	if (dvol_pins(vol, &pins, &count, NULL))
		return;
	for (size_t i = 0; i < count; i++) {
		int order = snapshot_id_compare(pins[i].id, keep);
		if (order != 0 && (order < 0 || !before) && !strcmp(pins[i].name, name))
			release(vol, pins[i].id, name);
	}
	free(pins);
}

/* Only the newest ones stay. */
static int drop_commons(struct dvol *vol, struct err *err)
{
	struct dvol_pinned *pins;
	size_t count, commons = 0;
	if (dvol_pins(vol, &pins, &count, err))
		return -1;
	for (size_t i = count; i-- > 0;)
		if (begins(pins[i].name, MOVE_EPOCHS_COMMON) && ++commons > COMMONS_MAX)
			release(vol, pins[i].id, pins[i].name);
	free(pins);
	return 0;
}

int move_epochs_settle(struct dvol *vol, struct dvol_id id, const char *vm, const char *host, struct err *err)
{
	char name[DVOL_NAME_MAX + 1], mark[DVOL_NAME_MAX + 1];
	pin_name(MOVE_EPOCHS_COMMON, host, name);
	pin_name(MOVE_EPOCHS_PIN, vm, mark);
	if (pin(vol, id, name, err))
		return -1;
	(void)dvol_unpin(vol, id, mark, NULL);
	move_epochs_drop(vol, id, false, vm);
	return drop_commons(vol, err);
}
