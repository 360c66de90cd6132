/* drover image check: the metadata of a volume against itself and, with --verify, its closed epochs against their digests. */
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"
#include "cli/work.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct check {
	const struct args *args;
	const char *path;
	bool metadata; /* was looked at */
	struct dvol_info info;
	json_t *errors;     /* sentences */
	json_t *bad;        /* blocks */
	json_t *verified;   /* epochs */
	json_t *unverified; /* epochs without a digest */
	uint64_t healed;
};

static void take_error(void *context, const char *text)
{
	struct check *check = context;

	json_array_append_new(check->errors, output_string(text));
	if (!check->args->json)
		output_say("%s", text);
}

/* take_damage(check, result, err): what is damaged too much to be gone through is a finding as well.  Returns result, or 0
 * where it was that. */
static int take_damage(struct check *check, int result, struct err *err)
{
	if (!result || err->kind != ERR_INPUT)
		return result;
	check->info.errors++;
	take_error(check, err->text);
	*err = (struct err){0};
	return 0;
}

/* check_metadata: beside a writer there is nothing that can be checked; then --verify goes on without it. */
static int check_metadata(struct check *check, struct err *err)
{
	struct dvol *vol = image_open(check->path, (struct dvol_id){0}, err);
	struct work work;
	int result;

	if (!vol && err->kind == ERR_STATE && check->args->verify) {
		output_note("the metadata is not checked: %s", err->text);
		return 0;
	}
	if (!vol)
		return -1;
	work_begin(&work, vol, "checking");
	result = take_damage(check,
			     work_end(&work, dvol_check(vol, &check->info, take_error, check, err),
				      "nothing was concluded", err),
			     err);
	check->metadata = !result;
	return image_close(vol, result, err);
}

static void take_bad(struct check *check, const struct dvol_bad_block *bad, size_t count)
{
	char text[IMAGE_ID];

	for (size_t i = 0; i < count; i++) {
		json_array_append_new(check->bad, json_pack("{s:I, s:o}", "offset", (json_int_t)bad[i].offset,
							    "epoch", image_id_json(bad[i].epoch)));
		if (!check->args->json)
			output_say("the block at byte %" PRIu64 " of epoch %s is damaged", bad[i].offset,
				   image_id(bad[i].epoch, text));
	}
}

/* open_healer(check, id, err): the other volume at the same epoch, or a raw image; NULL without err where it has none. */
static struct dvol *open_healer(const struct check *check, struct dvol_id id, struct err *err)
{
	const char *path = check->args->heal;
	enum dvol_file_kind kind;
	struct image_list list;
	bool has;

	if (!path || image_is_file(path, err) || dvol_probe(path, &kind, err))
		return NULL;
	if (kind != DVOL_FILE_VOLUME)
		return dvol_open_raw(path, NULL, NULL, err);
	if (image_list(path, &list, err))
		return NULL;
	has = image_find(&list, path, id, NULL) != NULL;
	image_list_free(&list);
	return has ? image_open(path, id, err) : NULL;
}

static int verify_epoch(struct check *check, struct dvol_id id, struct err *err)
{
	struct dvol *vol = image_open(check->path, id, err), *healer = NULL;
	struct dvol_bad_block *bad = NULL;
	char text[IMAGE_ID];
	struct work work;
	size_t count = 0;
	uint64_t healed = 0;
	int result = vol ? 0 : -1;

	if (!result) {
		healer = open_healer(check, id, err);
		result = healer || err->kind == ERR_NONE ? 0 : -1;
	}
	if (!result) {
		work_begin(&work, vol, "verifying epoch %s", image_id(id, text));
		result = take_damage(check,
				     work_end(&work, dvol_verify(vol, healer, &bad, &count, &healed, err),
					      "nothing was concluded", err),
				     err);
	}
	if (!result) {
		take_bad(check, bad, count);
		check->healed += healed;
		json_array_append_new(check->verified, image_id_json(id));
	}
	free(bad);
	(void)dvol_close(healer, NULL);
	return image_close(vol, result, err);
}

static int verify_all(struct check *check, const struct image_list *list, struct err *err)
{
	struct dvol_id only = check->args->epoch;
	char text[IMAGE_ID];

	if (only.number && !image_find(list, check->path, only, err))
		return -1;
	for (size_t i = 0; i < list->nepochs; i++) {
		const struct dvol_epoch *epoch = &list->epochs[i];

		if (only.number && image_id_compare(only, epoch->id))
			continue;
		if (!epoch->has_root) {
			json_array_append_new(check->unverified, image_id_json(epoch->id));
			if (!check->args->json)
				output_say(
				    "epoch %s is not verified: 'drover image digest' gives it a digest",
				    image_id(epoch->id, text));
		} else if (verify_epoch(check, epoch->id, err)) {
			return -1;
		}
	}
	return 0;
}

static int verify(struct check *check, struct err *err)
{
	struct image_list list;
	int result;

	/* Also where the head could not be opened. */
	*err = (struct err){0};
	if (image_list(check->path, &list, err))
		return -1;
	result = verify_all(check, &list, err);
	image_list_free(&list);
	return result;
}

static void print_json(const struct check *check, bool sound)
{
	const struct dvol_info *info = &check->info;
	json_t *object =
	    json_pack("{s:o, s:b, s:b, s:I, s:O, s:I, s:O, s:O, s:O}", "file", output_string(check->path),
		      "sound", sound, "metadata_checked", check->metadata, "errors", (json_int_t)info->errors,
		      "messages", check->errors, "healed_blocks", (json_int_t)check->healed, "bad_blocks",
		      check->bad, "verified", check->verified, "unverified", check->unverified);

	if (check->metadata)
		json_object_update_new(object, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "used_bytes",
							 (json_int_t)info->used_bytes, "data_bytes",
							 (json_int_t)info->data_bytes, "metadata_bytes",
							 (json_int_t)info->metadata_bytes, "epochs",
							 (json_int_t)info->epochs, "undo_entries",
							 (json_int_t)info->undo_entries, "packed_blocks",
							 (json_int_t)info->packed_blocks));
	output_json(object);
}

static void print_text(const struct check *check)
{
	const struct dvol_info *info = &check->info;
	char data[16], metadata[16];

	if (check->metadata)
		output_say("metadata: %" PRIu64 " errors; %s of data, %s of metadata, %" PRIu64 " epochs",
			   info->errors, units_format_size(info->data_bytes, data),
			   units_format_size(info->metadata_bytes, metadata), info->epochs);
	if (check->args->verify)
		output_say("blocks: %zu damaged, %" PRIu64 " healed; %zu epochs verified, %zu not",
			   json_array_size(check->bad), check->healed, json_array_size(check->verified),
			   json_array_size(check->unverified));
}

int cmd_image_check(const struct args *args, struct err *err)
{
	struct check check = {.args = args,
			      .path = args->operand[0],
			      .errors = json_array(),
			      .bad = json_array(),
			      .verified = json_array(),
			      .unverified = json_array()};
	bool sound = false;
	int result;

	if (!args->verify && (args->heal || args->epoch.number))
		result = err_set(err, ERR_USAGE,
				 "image check: %s goes with --verify; see 'drover help image check'",
				 args->heal ? "--heal" : "--epoch");
	else
		result = check_metadata(&check, err);
	if (!result && args->verify)
		result = verify(&check, err);
	if (!result) {
		sound = !check.info.errors && !json_array_size(check.bad);
		if (args->json)
			print_json(&check, sound);
		else
			print_text(&check);
		result = sound ? 0 : 1;
	}
	json_decref(check.errors);
	json_decref(check.bad);
	json_decref(check.verified);
	json_decref(check.unverified);
	return result;
}
