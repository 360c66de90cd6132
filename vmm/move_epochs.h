/* move_epochs.h: the epochs that a move makes on a VM's disks, on both hosts (docs/stream.md, Disks): which of them stay, and for
 * whom.  By the volume's one writer. */
#ifndef VMM_MOVE_EPOCHS_H
#define VMM_MOVE_EPOCHS_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <stdbool.h>

/* What the pins' names begin with: of an epoch of a move that is not over, or came to nothing; of one that another host has too. */
#define MOVE_EPOCHS_PIN    "move of VM "
#define MOVE_EPOCHS_COMMON "last common epoch with "

/* move_epochs_mark(vol, id, vm, err): the epoch is one of a move's; it may be marked already.
 * move_epochs_drop(vol, keep, before, vm): marked epochs, but for `keep`, go, as far as nobody reads or holds them: all, or with `before`
 * only those that come before it. */
int move_epochs_mark(struct dvol *vol, struct dvol_id id, const char *vm, struct err *err);
void move_epochs_drop(struct dvol *vol, struct dvol_id keep, bool before, const char *vm);

/* move_epochs_settle(vol, id, vm, host, err): the move is over, and the epoch is the last one that both hosts have: it is kept as common with
 * `host`, and so are the newest others that were kept like that before; all others that moves made go. */
int move_epochs_settle(struct dvol *vol, struct dvol_id id, const char *vm, const char *host,
		       struct err *err);

#endif
