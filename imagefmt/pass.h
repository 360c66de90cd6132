/* pass.h: passes over the digest tree; for this library only.
 *
 * `digesting` is held for all of these, and `commit`, which the passes release while they read and hash. */
#ifndef IMAGEFMT_PASS_H
#define IMAGEFMT_PASS_H

#include "imagefmt/vol.h"

/* Who wants the pass.  PASS_ASKED: somebody who waits for it: progress is told, and may cancel it.  PASS_BACKGROUND: it ends
 * with ERR_CANCELLED when somebody else claims the tree.  PASS_MUST: nothing ends it but its end, or a failure. */
enum pass_for { PASS_ASKED, PASS_BACKGROUND, PASS_MUST };

/* pass_mark: where the tree stands, durably; root (may be NULL) is that of the epoch there.
 * pass_give_up: no tree any more; the next one is built anew. */
int pass_mark(struct dvol *vol, const struct tree_state *state, const uint8_t *root, struct err *err);
int pass_give_up(struct dvol *vol, struct err *err);
/* pass_extend: build the rest of a first tree.
 * pass_move: take the tree to the epoch `to`, or finish a move under way at one of its two ends.
 * On failure the tree is where it was, or on its way, and the same or another pass may follow. */
int pass_extend(struct dvol *vol, enum pass_for who, struct err *err);
int pass_move(struct dvol *vol, uint32_t to, enum pass_for who, struct err *err);

#endif
