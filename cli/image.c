#include "cli/image.h"

#include "cli/output.h"
#include "common/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int image_is_file(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st))
		return err_sys(err, "cannot open '%.300s'", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, ERR_INPUT, "'%.300s' is neither a regular file nor a block device", path);
	return 0;
}

int image_is_free(const char *path, struct err *err)
{
	struct stat st;

	if (!lstat(path, &st))
		return err_set(err, ERR_STATE,
			       "'%.300s' is there already: give another name, or remove it first", path);
	/* Whatever else is wrong with the name, making the file says best. */
	return 0;
}

static struct dvol *open_with(const char *path, const struct dvol_open_options *options, struct err *err)
{
	return image_is_file(path, err) ? NULL : dvol_open(path, options, err);
}

struct dvol *image_open(const char *path, struct dvol_id epoch, struct err *err)
{
	return open_with(path, &(struct dvol_open_options){.epoch = epoch}, err);
}

struct dvol *image_open_newest(const char *path, struct dvol_id *epoch, struct err *err)
{
	struct image_list list;
	const struct dvol_epoch *found;

	if (image_list(path, &list, err))
		return NULL;
	found = image_find(&list, path, *epoch, err);
	if (found)
		*epoch = found->id;
	image_list_free(&list);
	return found ? image_open(path, *epoch, err) : NULL;
}

struct dvol *image_open_writable(const char *path, struct err *err)
{
	return open_with(path, &(struct dvol_open_options){.writable = true}, err);
}

int image_close(struct dvol *vol, int result, struct err *err)
{
	/* What failed first is what there is to say. */
	return dvol_close(vol, result ? NULL : err) < 0 ? -1 : result;
}

int image_list(const char *path, struct image_list *list, struct err *err)
{
	struct dvol *vol = open_with(path, &(struct dvol_open_options){.list = true}, err);
	int result;

	*list = (struct image_list){0};
	if (!vol)
		return -1;
	result = dvol_info(vol, &list->info, err) || dvol_epochs(vol, &list->epochs, &list->nepochs, err) ||
			 dvol_pins(vol, &list->pins, &list->npins, err)
		     ? -1
		     : 0;
	if (result)
		image_list_free(list);
	return image_close(vol, result, err);
}

void image_list_free(struct image_list *list)
{
	free(list->epochs);
	free(list->pins);
	*list = (struct image_list){0};
}

int image_id_compare(struct dvol_id a, struct dvol_id b)
{
	if (a.term != b.term)
		return a.term < b.term ? -1 : 1;
	return a.number < b.number ? -1 : a.number > b.number;
}

const struct dvol_epoch *image_find(const struct image_list *list, const char *path, struct dvol_id id,
				    struct err *err)
{
	char text[IMAGE_ID];

	if (!id.number && list->nepochs)
		return &list->epochs[list->nepochs - 1];
	for (size_t i = 0; i < list->nepochs; i++)
		if (!image_id_compare(list->epochs[i].id, id))
			return &list->epochs[i];
	if (id.number)
		err_set(err, ERR_STATE, "'%.300s' has no epoch %s; 'drover image epochs' lists them", path,
			image_id(id, text));
	else
		err_set(err, ERR_STATE, "'%.300s' has no closed epoch; 'drover image close' makes one", path);
	return NULL;
}

const char *image_id(struct dvol_id id, char text[IMAGE_ID])
{
	if (id.number)
		snprintf(text, IMAGE_ID, "%" PRIu64 ".%" PRIu64, id.term, id.number);
	else
		snprintf(text, IMAGE_ID, "none");
	return text;
}

json_t *image_id_json(struct dvol_id id)
{
	char text[IMAGE_ID];

	return id.number ? json_string(image_id(id, text)) : json_null();
}

uint64_t image_extents_bytes(const struct dvol_extent *list, size_t count)
{
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += list[i].len;
	return total;
}

void image_say_extents(const struct dvol_extent *list, size_t count)
{
	char size[16];
	uint64_t total = image_extents_bytes(list, count);

	if (count)
		printf("%18s %18s\n", "offset", "length");
	for (size_t i = 0; i < count; i++)
		printf("%18" PRIu64 " %18" PRIu64 "\n", list[i].offset, list[i].len);
	output_say("%" PRIu64 " bytes (%s) in %zu extent%s", total, units_format_size(total, size), count,
		   count == 1 ? "" : "s");
}

json_t *image_extents_json(const struct dvol_extent *list, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, json_pack("{s:I, s:I}", "offset", (json_int_t)list[i].offset,
						       "length", (json_int_t)list[i].len));
	return array;
}
