/* mover_images.c: files that a VM only reads do not move: the other host has them under the same paths, and is told which (mover.h). */
#include "common/jobj.h"
#include "common/paths.h"
#include "migrate/mover.h"

#include <string.h>

/* As one word of a shell. */
static void put_quoted(struct buf *out, const char *text)
{
	buf_put(out, "'", 1);
	for (; *text; text++) {
		if (*text == '\'')
			buf_put(out, "'\\''", 4);
		else
			buf_put(out, text, 1);
	}
	buf_put(out, "'", 1);
}

static bool is_only_read(const json_t *device, const char **path)
{
	const char *kind = "";
	bool read_only = false;

	return !jobj_string(device, "kind", true, 16, &kind, NULL) && !strcmp(kind, "disk") &&
	       !jobj_bool(device, "read_only", false, &read_only, NULL) && read_only &&
	       !jobj_string(device, "path", true, PATHS_MAX - 1, path, NULL);
}

void mover_name_images(struct mover *mover, const json_t *status)
{
	static const char option[] = " --images ";
	struct buf *out = &mover->command;
	json_t *devices = NULL, *device;
	const char *path;
	size_t i;

	if (!mover->target.command || jobj_array(status, "devices", false, &devices, NULL))
		return;
	buf_clear(out);
	buf_put(out, mover->target.command, strlen(mover->target.command));
	json_array_foreach(devices, i, device)
	{
		if (!is_only_read(device, &path))
			continue;
		buf_put(out, option, sizeof(option) - 1);
		put_quoted(out, path);
	}
	buf_put(out, "", 1);
	mover->target.command = (const char *)out->data;
}
