/* drover image pack: compress what closed epochs hold. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/work.h"
#include "common/units.h"

#include <inttypes.h>

int cmd_image_pack(const struct args *args, struct err *err)
{
	const char *path = args->operand[0];
	struct dvol *vol = image_open_writable(path, err);
	struct dvol_pack_result packed = {0};
	struct work work;
	char size[16];
	int result;

	if (!vol)
		return -1;
	work_begin(&work, vol, "packing");
	result = work_end(&work, dvol_pack(vol, (unsigned)args->level, &packed, err),
			  "what was packed before stays so", err);
	if (image_close(vol, result, err))
		return -1;
	if (args->json)
		output_json(json_pack("{s:o, s:I, s:I}", "file", output_string(path), "packed_bytes",
				      (json_int_t)packed.packed_blocks * DVOL_BLOCK, "freed_bytes",
				      (json_int_t)packed.freed_blocks * DVOL_BLOCK));
	else
		output_say("packed %" PRIu64 " blocks, freed %s", packed.packed_blocks,
			   units_format_size(packed.freed_blocks * DVOL_BLOCK, size));
	return 0;
}
