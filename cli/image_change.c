/* drover image close, resize: small changes of a volume, each durable at once. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "common/units.h"

int cmd_image_close(const struct args *args, struct err *err)
{
	const char *path = args->operand[0];
	struct dvol *vol = image_open_writable(path, err);
	struct dvol_id made;
	char text[IMAGE_ID];

	if (!vol || image_close(vol, dvol_epoch_close(vol, &args->epoch, &made, err), err))
		return -1;
	if (args->json)
		output_json(
		    json_pack("{s:o, s:o}", "file", output_string(path), "epoch", image_id_json(made)));
	else
		output_say("epoch %s", image_id(made, text));
	return 0;
}

int cmd_image_resize(const struct args *args, struct err *err)
{
	const char *path = args->operand[0];
	struct dvol *vol = image_open_writable(path, err);
	char size[16];

	if (!vol || image_close(vol, dvol_resize(vol, args->size_bytes, err), err))
		return -1;
	if (args->json)
		output_json(json_pack("{s:o, s:I}", "file", output_string(path), "size_bytes",
				      (json_int_t)args->size_bytes));
	else
		output_say("'%s', %s", path, units_format_size(args->size_bytes, size));
	return 0;
}
