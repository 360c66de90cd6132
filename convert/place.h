/* place.h: a file that appears at its place when it is complete. */
#ifndef CONVERT_PLACE_H
#define CONVERT_PLACE_H

#include "common/err.h"
#include <limits.h>
#include <stdbool.h>

struct place {
	char path[PATH_MAX]; /* where it will be; absolute */
	char folder
	    [PATH_MAX]; /* ours alone, beside path: what is being made has its last name already, which some
				* formats keep a copy of */
	char file[PATH_MAX]; /* to be made, in folder */
	bool replace;
};

/* place_open(place, path, replace, err): choose where to work.  ERR_STATE when there is something at path, unless
 * replace: then it must be a file that nobody has locked, as the users of disk images do. */
int place_open(struct place *place, const char *path, bool replace, struct err *err);
/* place_commit(place, err): place->file is made durable and put at path, in one step. */
int place_commit(struct place *place, struct err *err);
/* place_close(place): what is in the folder, and the folder, are removed.  Harmless on a zeroed one, and twice. */
void place_close(struct place *place);

#endif
