/* drover image epochs: the closed epochs of a volume and the pins on them; also beside a writer. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "common/text.h"
#include "common/units.h"

#include <stdio.h>
#include <time.h>

enum { ROOT_SHOWN = 16 };

static void say_pins(const struct image_list *list, struct dvol_id id)
{
	for (size_t i = 0; i < list->npins; i++)
		if (!image_id_compare(list->pins[i].id, id))
			output_say("%8s pinned by \"%s\"", "", list->pins[i].name);
}

static void print_text(const struct image_list *list)
{
	char id[IMAGE_ID], parent[IMAGE_ID], size[16], root[IMAGE_HEX], when[32];

	if (!list->nepochs) {
		output_say("no closed epochs");
		return;
	}
	printf("%-8s %-8s %-19s %10s  %s\n", "EPOCH", "PARENT", "CLOSED", "SIZE", "DIGEST");
	for (size_t i = 0; i < list->nepochs; i++) {
		const struct dvol_epoch *epoch = &list->epochs[i];
		time_t seconds = (time_t)(epoch->time_ns / 1000000000);
		struct tm tm = {0};

		if (!localtime_r(&seconds, &tm) || !strftime(when, sizeof(when), "%F %T", &tm))
			snprintf(when, sizeof(when), "?");
		text_hex(epoch->root, DVOL_ROOT, root);
		printf("%-8s %-8s %-19s %10s  %.*s\n", image_id(epoch->id, id),
		       image_id(epoch->parent, parent), when, units_format_size(epoch->size_bytes, size),
		       ROOT_SHOWN, epoch->has_root ? root : "-");
		say_pins(list, epoch->id);
	}
}

static json_t *pins_json(const struct image_list *list, struct dvol_id id)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->npins; i++)
		if (!image_id_compare(list->pins[i].id, id))
			json_array_append_new(array, output_string(list->pins[i].name));
	return array;
}

static void print_json(const char *path, const struct image_list *list)
{
	json_t *array = json_array();
	char root[IMAGE_HEX];

	for (size_t i = 0; i < list->nepochs; i++) {
		const struct dvol_epoch *epoch = &list->epochs[i];

		text_hex(epoch->root, DVOL_ROOT, root);
		json_array_append_new(
		    array, json_pack("{s:o, s:o, s:I, s:I, s:o, s:o}", "epoch", image_id_json(epoch->id),
				     "parent", image_id_json(epoch->parent), "time_ns",
				     (json_int_t)epoch->time_ns, "size_bytes", (json_int_t)epoch->size_bytes,
				     "digest", epoch->has_root ? json_string(root) : json_null(), "pins",
				     pins_json(list, epoch->id)));
	}
	output_json(json_pack("{s:o, s:o}", "file", output_string(path), "epochs", array));
}

int cmd_image_epochs(const struct args *args, struct err *err)
{
	struct image_list list;

	if (image_list(args->operand[0], &list, err))
		return -1;
	if (args->json)
		print_json(args->operand[0], &list);
	else
		print_text(&list);
	image_list_free(&list);
	return 0;
}
