/* drover image info: what a volume is, how much it holds, and what it is made upon; also beside a writer. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "common/text.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

static const char *const backing_words[] = {
    [DVOL_BACKING_NONE] = "none", [DVOL_BACKING_RAW] = "raw", [DVOL_BACKING_DVOL] = "volume"};

static uint64_t disk_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static void say_size(const char *key, uint64_t bytes)
{
	char size[16];

	output_say("%-10s %s (%" PRIu64 " bytes)", key, units_format_size(bytes, size), bytes);
}

static void print_text(const char *path, const struct image_list *list, struct dvol_id newest)
{
	const struct dvol_info *info = &list->info;
	char text[IMAGE_HEX], id[IMAGE_ID];

	output_say("%-10s %s", "file", path);
	say_size("size", info->size_bytes);
	say_size("in use", info->used_bytes);
	say_size("on disk", disk_bytes(path));
	output_say("%-10s %zu, newest %s", "epochs", list->nepochs, image_id(newest, id));
	if (info->compress)
		output_say("%-10s zstd, level %u", "compress", info->compress);
	if (info->backing_kind == DVOL_BACKING_DVOL)
		output_say("%-10s epoch %s of %s", "backing", image_id(info->backing_epoch, id),
			   info->backing_path);
	else if (info->backing_kind == DVOL_BACKING_RAW)
		output_say("%-10s %s", "backing", info->backing_path);
	output_say("%-10s %s", "uuid", text_hex(info->uuid, sizeof(info->uuid), text));
	output_say("%-10s %s", "lineage", text_hex(info->lineage, sizeof(info->lineage), text));
}

static void print_json(const char *path, const struct image_list *list, struct dvol_id newest)
{
	const struct dvol_info *info = &list->info;
	bool has = info->backing_kind != DVOL_BACKING_NONE;
	char uuid[IMAGE_HEX], lineage[IMAGE_HEX];

	output_json(json_pack(
	    "{s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:i, s:s, s:o, s:o, s:s, s:s, s:I}", "file",
	    output_string(path), "size_bytes", (json_int_t)info->size_bytes, "used_bytes",
	    (json_int_t)info->used_bytes, "file_bytes", (json_int_t)info->file_bytes, "disk_bytes",
	    (json_int_t)disk_bytes(path), "epochs", (json_int_t)list->nepochs, "newest_epoch",
	    image_id_json(newest), "compress", (int)info->compress, "backing_kind",
	    backing_words[info->backing_kind], "backing",
	    has ? output_string(info->backing_path) : json_null(), "backing_epoch",
	    image_id_json(info->backing_epoch), "uuid", text_hex(info->uuid, sizeof(info->uuid), uuid),
	    "lineage", text_hex(info->lineage, sizeof(info->lineage), lineage), "generation",
	    (json_int_t)info->generation));
}

int cmd_image_info(const struct args *args, struct err *err)
{
	struct image_list list;
	struct dvol_id newest = {0};

	if (image_list(args->operand[0], &list, err))
		return -1;
	if (list.nepochs)
		newest = list.epochs[list.nepochs - 1].id;
	if (args->json)
		print_json(args->operand[0], &list, newest);
	else
		print_text(args->operand[0], &list, newest);
	image_list_free(&list);
	return 0;
}
