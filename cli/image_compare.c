/* drover image compare: whether two volumes hold the same, and where they differ. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/work.h"

#include <stdlib.h>

enum { EQUAL, DIFFERENT, TROUBLE }; /* exit status, as of cmp(1) */

struct difference {
	struct dvol_extent *list;
	size_t count;
	enum dvol_compared way;
};

static int with_tree(const struct args *args, struct difference *found, struct err *err)
{
	struct dvol_id epoch = args->epoch_a;
	struct dvol *a = image_open_newest(args->operand[0], &epoch, err);
	struct work work;
	int result;

	if (!a)
		return -1;
	found->way = DVOL_COMPARED_DIGESTS;
	work_begin(&work, a, "comparing");
	result = work_end(&work, dvol_tree_compare(a, args->operand[1], &found->list, &found->count, err),
			  "nothing was concluded", err);
	return image_close(a, result, err);
}

static int with_volume(const struct args *args, struct difference *found, struct err *err)
{
	struct dvol *a = image_open(args->operand[0], args->epoch_a, err);
	struct dvol *b = a ? image_open(args->operand[1], args->epoch_b, err) : NULL;
	struct work work;
	int result = -1;

	if (b) {
		work_begin(&work, a, "comparing");
		result = work_end(&work, dvol_compare(a, b, &found->list, &found->count, &found->way, err),
				  "nothing was concluded", err);
	}
	(void)dvol_close(a, NULL);
	(void)dvol_close(b, NULL);
	return result;
}

static int compare(const struct args *args, struct difference *found, struct err *err)
{
	enum dvol_file_kind kind;

	if (image_is_file(args->operand[1], err) || dvol_probe(args->operand[1], &kind, err))
		return -1;
	if (kind != DVOL_FILE_TREE)
		return with_volume(args, found, err);
	if (args->epoch_b.number)
		return err_set(err, ERR_USAGE,
			       "image compare: --epoch-b: '%.200s' is a digest tree, of one epoch",
			       args->operand[1]);
	return with_tree(args, found, err);
}

int cmd_image_compare(const struct args *args, struct err *err)
{
	struct difference found = {0};

	if (compare(args, &found, err)) {
		/* 1, as of other failures, would mean that they differ. */
		output_error(err, args->json);
		return TROUBLE;
	}
	if (args->json)
		output_json(json_pack("{s:b, s:s, s:I, s:o}", "equal", !found.count, "by",
				      found.way == DVOL_COMPARED_DIGESTS ? "digests" : "data", "bytes",
				      (json_int_t)image_extents_bytes(found.list, found.count), "extents",
				      image_extents_json(found.list, found.count)));
	else if (found.count)
		image_say_extents(found.list, found.count);
	free(found.list);
	return found.count ? DIFFERENT : EQUAL;
}
