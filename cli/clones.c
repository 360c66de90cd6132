#include "cli/clones.h"

#include "cli/image.h"
#include "cli/output.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prefix[] = "clone ";
enum { PREFIX = sizeof(prefix) - 1 };

/* pin_name(path, name, err): of a clone that need not exist yet. */
static int pin_name(const char *path, char name[DVOL_NAME_MAX + 1], struct err *err)
{
	char *copy = strdup(path), *other = strdup(path), folder[PATH_MAX];
	int result = 0;

	if (!copy || !other)
		abort();
	if (!realpath(dirname(copy), folder))
		result = err_sys(err, "cannot create '%.300s'", path);
	else if (snprintf(name, DVOL_NAME_MAX + 1, "%s%s/%s", prefix, strcmp(folder, "/") ? folder : "",
			  basename(other)) > DVOL_NAME_MAX)
		result =
		    err_set(err, ERR_USAGE,
			    "'%.200s': with its folders a clone's name has at most %d bytes, for the pin "
			    "on its base; choose a shorter one",
			    path, DVOL_NAME_MAX - PREFIX);
	free(copy);
	free(other);
	return result;
}

static bool has_pin(struct dvol *vol, struct dvol_id id, const char *name)
{
	struct dvol_pinned *pins;
	size_t count;
	bool found = false;

	if (dvol_pins(vol, &pins, &count, NULL))
		return false;
	for (size_t i = 0; i < count; i++)
		found = found || (!image_id_compare(pins[i].id, id) && !strcmp(pins[i].name, name));
	free(pins);
	return found;
}

/* pin(base, id, name, pinned, why, err): *pinned false, with why, when the base cannot be written now. */
static int pin(const char *base, struct dvol_id id, const char *name, bool *pinned, struct err *why,
	       struct err *err)
{
	struct dvol *vol;
	int result = 0;

	*pinned = false;
	if (access(base, W_OK) && (errno == EACCES || errno == EROFS)) {
		err_sys(why, "'%.200s' cannot be written", base);
		return 0;
	}
	vol = image_open_writable(base, why);
	if (!vol && why->kind == ERR_STATE)
		return 0;
	if (!vol) {
		*err = *why;
		return -1;
	}
	/* One that an earlier clone of this name left, which is gone, serves as well. */
	if (!has_pin(vol, id, name))
		result = dvol_pin(vol, id, name, err);
	*pinned = !result;
	return image_close(vol, result, err);
}

static void unpin(const char *base, struct dvol_id id, const char *name)
{
	/* What fails here leaves a pin that is dropped when the epoch is deleted. */
	struct dvol *vol = image_open_writable(base, NULL);

	if (!vol)
		return;
	(void)dvol_unpin(vol, id, name, NULL);
	(void)dvol_close(vol, NULL);
}

int clones_create(const char *path, const struct dvol_create_options *options, bool *pinned, struct err *err)
{
	struct dvol_create_options create = *options;
	char base[PATH_MAX], name[DVOL_NAME_MAX + 1], id[IMAGE_ID];
	struct err why = {0};

	if (image_is_free(path, err) || pin_name(path, name, err))
		return -1;
	if (!realpath(options->backing_path, base))
		return err_sys(err, "cannot open '%.300s'", options->backing_path);
	if (pin(base, create.backing_epoch, name, pinned, &why, err))
		return -1;
	create.backing_path = base;
	if (dvol_create(path, &create, err)) {
		if (*pinned)
			unpin(base, create.backing_epoch, name);
		return -1;
	}
	if (!*pinned)
		output_note("epoch %s of '%s' could not be pinned (%s): it can be deleted, and then '%s' "
			    "cannot be read any more",
			    image_id(create.backing_epoch, id), base, why.text, path);
	return 0;
}

/* same_file(clone, backing, base): whether the clone's backing, whose relative path is seen from its folder, is base.
 * Taken for the same where that cannot be told. */
static bool same_file(const char *clone, const char *backing, const char *base)
{
	int folder = backing[0] == '/' ? 0 : (int)(strrchr(clone, '/') - clone + 1);
	char path[2 * PATH_MAX];
	struct stat a, b;

	snprintf(path, sizeof(path), "%.*s%s", folder, clone, backing);
	if (stat(path, &a) || stat(base, &b))
		return true;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

const char *clones_absent(const char *pin)
{
	struct stat st;

	if (strncmp(pin, prefix, PREFIX) || pin[PREFIX] != '/' || !stat(pin + PREFIX, &st))
		return NULL;
	return errno == ENOENT || errno == ENOTDIR ? pin + PREFIX : NULL;
}

/* gone(clone, base, id, absent_too): why the clone needs its pin no longer; NULL when it may need it. */
static const char *gone(const char *clone, const char *base, struct dvol_id id, bool absent_too)
{
	struct image_list list;
	struct err why = {0};
	enum dvol_file_kind kind;
	struct stat st;
	bool upon;

	if (clone[0] != '/')
		return NULL; /* not a pin of clones_create */
	if (stat(clone, &st))
		return absent_too && (errno == ENOENT || errno == ENOTDIR) ? "does not exist any more" : NULL;
	if (!image_is_file(clone, NULL) && !dvol_probe(clone, &kind, NULL) && kind != DVOL_FILE_VOLUME)
		return "is no volume any more";
	if (image_list(clone, &list, &why))
		return NULL;
	upon = list.info.backing_kind == DVOL_BACKING_DVOL &&
	       !image_id_compare(list.info.backing_epoch, id) &&
	       same_file(clone, list.info.backing_path, base);
	image_list_free(&list);
	return upon ? NULL : "is no clone of this epoch any more";
}

int clones_release(struct dvol *vol, const char *path, struct dvol_id id, bool absent_too, json_t *dropped,
		   struct err *err)
{
	struct dvol_pinned *pins;
	size_t count;
	int result = 0;

	if (dvol_pins(vol, &pins, &count, err))
		return -1;
	for (size_t i = 0; i < count && !result; i++) {
		const char *clone = pins[i].name + PREFIX, *why;

		if (image_id_compare(pins[i].id, id) || strncmp(pins[i].name, prefix, PREFIX))
			continue;
		why = gone(clone, path, id, absent_too);
		if (!why)
			continue;
		result = dvol_unpin(vol, id, pins[i].name, err);
		if (!result)
			json_array_append_new(
			    dropped, json_pack("{s:o, s:s}", "path", output_string(clone), "reason", why));
	}
	free(pins);
	return result;
}
