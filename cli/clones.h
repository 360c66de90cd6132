/* clones.h: clones hold the epochs that they are made upon by pins, "clone " and the clone's absolute path. */
#ifndef CLI_CLONES_H
#define CLI_CLONES_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <jansson.h>
#include <stdbool.h>

/* clones_create(path, options, &pinned, err): dvol_create upon options->backing_epoch of the volume options->backing_path,
 * whose epoch is pinned; options->backing_path, as seen from the working folder, becomes absolute in the new volume.
 * Where the base cannot be written (another process does, or its file is read-only), the clone is made all the same,
 * a note on stderr says what that means, and *pinned is false. */
int clones_create(const char *path, const struct dvol_create_options *options, bool *pinned, struct err *err);

/* clones_release(vol, path, id, absent_too, dropped, err): vol is the volume path, open for writing.  Drops the pins on epoch id
 * whose clones are gone: in their place is a file that is no volume upon that epoch or, absent_too, none at all.  What
 * cannot be looked at keeps its pin.  dropped, an array: an object {path, reason} is added for each. */
int clones_release(struct dvol *vol, const char *path, struct dvol_id id, bool absent_too, json_t *dropped,
		   struct err *err);
/* clones_absent(pin): the path of the clone that a pin's name means, when there is no such file; else NULL. */
const char *clones_absent(const char *pin);

#endif
