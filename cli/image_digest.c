/* drover image digest: the root digest of a closed epoch, and its digest tree as a file. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/work.h"
#include "common/text.h"

#include <string.h>

/* compute(path, id, root, err): what is known is told, also beside a writer; only what has to be computed needs the head. */
static int compute(const char *path, struct dvol_id *id, uint8_t root[DVOL_ROOT], struct err *err)
{
	struct image_list list;
	const struct dvol_epoch *found;
	struct dvol_epoch epoch = {0};
	char text[IMAGE_ID];
	struct work work;
	struct dvol *vol;
	int result;

	if (image_list(path, &list, err))
		return -1;
	found = image_find(&list, path, *id, err);
	if (found)
		epoch = *found;
	image_list_free(&list);
	if (!found)
		return -1;
	*id = epoch.id;
	memcpy(root, epoch.root, DVOL_ROOT);
	if (epoch.has_root)
		return 0;
	vol = image_open_writable(path, err);
	if (!vol)
		return -1;
	work_begin(&work, vol, "digest of epoch %s", image_id(*id, text));
	result = work_end(&work, dvol_digest(vol, *id, root, err), "the next one goes on from there", err);
	return image_close(vol, result, err);
}

static int export_tree(const struct args *args, struct dvol_id id, struct err *err)
{
	static const uint32_t bytes[] = {DVOL_TREE_FINE, DVOL_TREE_COARSE};
	struct dvol *vol = image_open(args->operand[0], id, err);
	char text[IMAGE_ID];
	struct work work;
	int result;

	if (!vol)
		return -1;
	work_begin(&work, vol, "digest tree of epoch %s", image_id(id, text));
	result = work_end(&work, dvol_tree_export(vol, id, bytes[args->granularity], args->tree, err),
			  "nothing was written", err);
	return image_close(vol, result, err);
}

int cmd_image_digest(const struct args *args, struct err *err)
{
	struct dvol_id id = args->epoch;
	uint8_t root[DVOL_ROOT];
	char text[IMAGE_ID], hex[IMAGE_HEX];
	json_t *object;

	if (!args->tree && args->granularity)
		return err_set(
		    err, ERR_USAGE,
		    "image digest: --granularity goes with --export; see 'drover help image digest'");
	if ((args->tree && image_is_free(args->tree, err)) || compute(args->operand[0], &id, root, err) ||
	    (args->tree && export_tree(args, id, err)))
		return -1;
	text_hex(root, DVOL_ROOT, hex);
	if (args->json) {
		object = json_pack("{s:o, s:o, s:s}", "file", output_string(args->operand[0]), "epoch",
				   image_id_json(id), "digest", hex);
		if (args->tree)
			json_object_set_new(object, "tree", output_string(args->tree));
		output_json(object);
	} else {
		output_say("%s  epoch %s", hex, image_id(id, text));
	}
	return 0;
}
