/* drover image export, apply: what changed between two epochs, as a file, and made an epoch of elsewhere. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/work.h"
#include "common/units.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

int cmd_image_export(const struct args *args, struct err *err)
{
	const char *path = args->operand[0], *out = args->operand[1];
	struct dvol_id to = args->to;
	char first[IMAGE_ID], last[IMAGE_ID], size[16];
	struct stat st = {0};
	struct work work;
	struct dvol *vol;
	int result;

	if (image_is_free(out, err))
		return -1;
	vol = image_open_newest(path, &to, err);
	if (!vol)
		return -1;
	image_id(args->from, first);
	image_id(to, last);
	if (image_id_compare(args->from, to) >= 0) {
		result =
		    err_set(err, ERR_USAGE, "image export: epoch %s does not come before %s", first, last);
	} else {
		work_begin(&work, vol, "exporting epoch %s", last);
		result = work_end(&work, dvol_export(vol, args->from, out, err), "nothing was written", err);
	}
	if (image_close(vol, result, err))
		return -1;
	(void)stat(out, &st);
	if (args->json)
		output_json(json_pack("{s:o, s:o, s:o, s:o, s:I}", "file", output_string(path), "from",
				      image_id_json(args->from), "to", image_id_json(to), "delta",
				      output_string(out), "delta_bytes", (json_int_t)st.st_size));
	else
		output_say("'%s': epoch %s from %s, %s", out, last, first,
			   units_format_size((uint64_t)st.st_size, size));
	return 0;
}

/* make(args, delta, err): the volume of a seed, empty. */
static int make(const struct args *args, const struct dvol_delta_info *delta, struct err *err)
{
	struct dvol_create_options create = {
	    .size_bytes = delta->size_bytes, .compress = (unsigned)args->compress, .lineage = delta->lineage};

	if (delta->from.number)
		return err_set(err, ERR_STATE,
			       "'%.200s' is not there, and only a delta from none (a seed) makes a volume",
			       args->operand[0]);
	return dvol_create(args->operand[0], &create, err);
}

static int apply(const char *path, const char *file, const struct dvol_delta_info *delta, bool made,
		 struct err *err)
{
	struct dvol *vol = image_open_writable(path, err);
	char text[IMAGE_ID];
	struct work work;
	int result;

	if (!vol)
		return -1;
	work_begin(&work, vol, "applying epoch %s", image_id(delta->to, text));
	result = work_end(&work, dvol_apply(vol, file, err),
			  made ? "no volume was made" : "the volume holds what it held before", err);
	return image_close(vol, result, err);
}

int cmd_image_apply(const struct args *args, struct err *err)
{
	const char *path = args->operand[0], *file = args->operand[1];
	struct dvol_delta_info delta;
	char first[IMAGE_ID], last[IMAGE_ID];
	bool made = access(path, F_OK) && errno == ENOENT;

	if (args->compress && !made)
		return err_set(err, ERR_USAGE,
			       "image apply: --compress is for a volume that a seed makes, and "
			       "'%.200s' is there already",
			       path);
	if (image_is_file(file, err) || dvol_delta_info(file, &delta, err) ||
	    (made && make(args, &delta, err)))
		return -1;
	if (apply(path, file, &delta, made, err)) {
		if (made)
			unlink(path);
		return -1;
	}
	if (args->json)
		output_json(json_pack("{s:o, s:o, s:o, s:b}", "file", output_string(path), "from",
				      image_id_json(delta.from), "epoch", image_id_json(delta.to), "created",
				      made));
	else
		output_say("epoch %s from %s", image_id(delta.to, last), image_id(delta.from, first));
	return 0;
}
