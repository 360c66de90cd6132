/* drover image map, changed: where a volume has data, and which of it differs between two epochs. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAP_AT_ONCE = 4096 };

static const char *const kind_words[] = {
    [DVOL_MAP_HOLE] = "hole",     [DVOL_MAP_ZERO] = "zero",       [DVOL_MAP_DATA] = "data",
    [DVOL_MAP_PACKED] = "packed", [DVOL_MAP_BACKING] = "backing",
};

static bool in_file(const struct dvol_map_extent *extent)
{
	return extent->kind == DVOL_MAP_DATA || extent->kind == DVOL_MAP_PACKED;
}

/* show(extent, array): array NULL: as text. */
static void show(const struct dvol_map_extent *extent, json_t *array)
{
	if (array)
		json_array_append_new(
		    array,
		    json_pack("{s:I, s:I, s:s, s:o}", "offset", (json_int_t)extent->offset, "length",
			      (json_int_t)extent->len, "kind", kind_words[extent->kind], "file_offset",
			      in_file(extent) ? json_integer((json_int_t)extent->file_offset) : json_null()));
	else if (in_file(extent))
		printf("%18" PRIu64 " %18" PRIu64 " %-8s %18" PRIu64 "\n", extent->offset, extent->len,
		       kind_words[extent->kind], extent->file_offset);
	else
		printf("%18" PRIu64 " %18" PRIu64 " %-8s\n", extent->offset, extent->len,
		       kind_words[extent->kind]);
}

/* Pieces of one kind that were asked for apart are one extent. */
static bool joins(const struct dvol_map_extent *a, const struct dvol_map_extent *b)
{
	return a->kind == b->kind && (a->kind != DVOL_MAP_DATA || a->file_offset + a->len == b->file_offset);
}

static int map_all(struct dvol *vol, json_t *array, struct err *err)
{
	uint64_t size = dvol_size(vol), at = 0;
	struct dvol_map_extent last = {0};

	while (at < size) {
		struct dvol_map_extent *list;
		size_t count;

		if (dvol_map(vol, at, size - at, MAP_AT_ONCE, &list, &count, err))
			return -1;
		for (size_t i = 0; i < count; i++) {
			at = list[i].offset + list[i].len;
			if (last.len && joins(&last, &list[i])) {
				last.len += list[i].len;
				continue;
			}
			if (last.len)
				show(&last, array);
			last = list[i];
		}
		free(list);
	}
	if (last.len)
		show(&last, array);
	return 0;
}

int cmd_image_map(const struct args *args, struct err *err)
{
	const char *path = args->operand[0];
	struct dvol *vol = image_open(path, args->epoch, err);
	json_t *array = args->json ? json_array() : NULL;
	int result = -1;

	if (vol && !args->json)
		printf("%18s %18s %-8s %18s\n", "offset", "length", "kind", "file offset");
	if (vol)
		result = image_close(vol, map_all(vol, array, err), err);
	if (!result && args->json)
		output_json(json_pack("{s:o, s:o, s:O}", "file", output_string(path), "epoch",
				      image_id_json(args->epoch), "extents", array));
	json_decref(array);
	return result;
}

int cmd_image_changed(const struct args *args, struct err *err)
{
	const char *path = args->operand[0];
	struct dvol_extent *list = NULL;
	struct dvol *vol;
	size_t count;

	if (args->to.number && image_id_compare(args->from, args->to) > 0)
		return err_set(err, ERR_USAGE,
			       "image changed: --from is later than --to; see 'drover help image changed'");
	vol = image_open(path, args->to, err);
	if (!vol || image_close(vol, dvol_changed(vol, args->from, args->to, &list, &count, err), err)) {
		free(list);
		return -1;
	}
	if (args->json)
		output_json(json_pack("{s:o, s:o, s:o, s:I, s:o}", "file", output_string(path), "from",
				      image_id_json(args->from), "to", image_id_json(args->to), "bytes",
				      (json_int_t)image_extents_bytes(list, count), "extents",
				      image_extents_json(list, count)));
	else
		image_say_extents(list, count);
	free(list);
	return 0;
}
