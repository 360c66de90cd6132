/* drover image compare: whether two volumes hold the same, and where they differ. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/work.h"

#include <stdio.h>
#include <stdlib.h>

enum { EQUAL, DIFFERENT, TROUBLE }; /* exit status, as of cmp(1) */

static int compare(const struct args *args, struct dvol_extent **list, size_t *count, struct err *err)
{
	struct dvol *a = image_open(args->operand[0], args->epoch_a, err);
	struct dvol *b = a ? image_open(args->operand[1], args->epoch_b, err) : NULL;
	struct work work;
	int result = -1;

	if (b) {
		work_begin(&work, a, "comparing");
		result = work_end(&work, dvol_compare(a, b, list, count, err), "nothing was concluded", err);
	}
	(void)dvol_close(a, NULL);
	(void)dvol_close(b, NULL);
	return result;
}

int cmd_image_compare(const struct args *args, struct err *err)
{
	struct dvol_extent *list = NULL;
	size_t count = 0;

	if (compare(args, &list, &count, err)) {
		/* 1, as of other failures, would mean that they differ. */
		output_error(err, args->json);
		return TROUBLE;
	}
	if (args->json)
		output_json(json_pack("{s:b, s:I, s:o}", "equal", !count, "bytes",
				      (json_int_t)image_extents_bytes(list, count), "extents",
				      image_extents_json(list, count)));
	else if (count)
		image_say_extents(list, count);
	free(list);
	return count ? DIFFERENT : EQUAL;
}
