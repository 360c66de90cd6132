/* drover image create, clone: new volumes, empty, or upon an image or an epoch of a volume. */
#include "cli/clones.h"
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void report(const struct args *args, const char *path, const struct dvol_create_options *options,
		   bool pinned)
{
	char size[16], id[IMAGE_ID];
	json_t *object;

	units_format_size(options->size_bytes, size);
	if (args->json) {
		object = json_pack("{s:o, s:I}", "file", output_string(path), "size_bytes",
				   (json_int_t)options->size_bytes);
		if (options->backing_kind != DVOL_BACKING_NONE)
			json_object_set_new(object, "backing", output_string(options->backing_path));
		if (options->backing_kind == DVOL_BACKING_DVOL) {
			json_object_set_new(object, "backing_epoch", image_id_json(options->backing_epoch));
			json_object_set_new(object, "pinned", json_boolean(pinned));
		}
		output_json(object);
	} else if (options->backing_kind == DVOL_BACKING_DVOL) {
		output_say("'%s', %s, upon epoch %s of '%s'", path, size,
			   image_id(options->backing_epoch, id), options->backing_path);
	} else if (options->backing_kind == DVOL_BACKING_RAW) {
		output_say("'%s', %s, upon '%s'", path, size, options->backing_path);
	} else {
		output_say("'%s', %s", path, size);
	}
}

static int create_raw(const char *path, struct dvol_create_options *options, struct err *err)
{
	char *absolute = realpath(options->backing_path, NULL);
	const char *given = options->backing_path;
	int result;

	if (!absolute)
		return err_sys(err, "cannot open '%.300s'", given);
	options->backing_path = absolute;
	result = image_is_file(absolute, err) ? -1 : dvol_create(path, options, err);
	options->backing_path = given;
	free(absolute);
	return result;
}

/* base(path, epoch, list, err): the volume and the epoch that a new one is made upon. */
static int base(const char *path, struct dvol_id epoch, struct image_list *list,
		struct dvol_create_options *options, struct err *err)
{
	const struct dvol_epoch *found;

	if (image_list(path, list, err))
		return -1;
	found = image_find(list, path, epoch, err);
	if (!found)
		return -1;
	options->backing_kind = DVOL_BACKING_DVOL;
	options->backing_path = path;
	options->backing_epoch = found->id;
	if (!options->size_bytes)
		options->size_bytes = found->size_bytes;
	return 0;
}

int cmd_image_create(const struct args *args, struct err *err)
{
	const char *path = args->operand[0];
	struct dvol_create_options options = {.size_bytes = args->size_bytes,
					      .compress = (unsigned)args->compress,
					      .backing_path = args->backing};
	struct image_list list = {0};
	bool pinned = false;
	int result;

	if (!args->backing && (args->backing_raw || args->backing_epoch.number))
		return err_set(err, ERR_USAGE,
			       "image create: %s goes with --backing; see 'drover help image create'",
			       args->backing_raw ? "--backing-raw" : "--backing-epoch");
	if (args->backing_raw && args->backing_epoch.number)
		return err_set(err, ERR_USAGE,
			       "image create: a raw backing has no epochs; see 'drover help image create'");
	/* 0 would mean "as the base" below. */
	if (!options.size_bytes)
		return err_set(err, ERR_USAGE,
			       "image create: SIZE: a volume has 4096 bytes to 64 TiB; "
			       "see 'drover help image create'");
	if (image_is_free(path, err))
		return -1;
	if (!args->backing) {
		result = dvol_create(path, &options, err);
	} else if (args->backing_raw) {
		options.backing_kind = DVOL_BACKING_RAW;
		result = create_raw(path, &options, err);
	} else {
		result = base(args->backing, args->backing_epoch, &list, &options, err);
		if (!result)
			result = clones_create(path, &options, &pinned, err);
	}
	if (!result)
		report(args, path, &options, pinned);
	image_list_free(&list);
	return result;
}

int cmd_image_clone(const struct args *args, struct err *err)
{
	struct dvol_create_options options = {0};
	struct image_list list = {0};
	bool pinned = false;
	int result = base(args->operand[0], args->epoch, &list, &options, err);

	options.compress = list.info.compress;
	if (!result)
		result = clones_create(args->operand[1], &options, &pinned, err);
	if (!result)
		report(args, args->operand[1], &options, pinned);
	image_list_free(&list);
	return result;
}
