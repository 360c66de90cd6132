/* drover image delete, rollback: epochs are given up. */
#include "cli/clones.h"
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/output.h"

#include <stdio.h>
#include <stdlib.h>

/* What was done, also when something failed in the middle of it. */
struct done {
	const char *path;
	bool json, forget_clones;
	json_t *deleted, *pins;
};

static struct done begin(const struct args *args)
{
	return (struct done){.path = args->operand[0],
			     .json = args->json,
			     .forget_clones = args->forget_clones,
			     .deleted = json_array(),
			     .pins = json_array()};
}

/* check_all(vol, done, ids, count, err): nothing is deleted when one of them is not there. */
static int check_all(struct dvol *vol, const struct done *done, const struct dvol_id *ids, size_t count,
		     struct err *err)
{
	struct image_list list = {0};
	int result = 0;

	if (dvol_epochs(vol, &list.epochs, &list.nepochs, err))
		return -1;
	for (size_t i = 0; i < count && !result; i++)
		result = image_find(&list, done->path, ids[i], err) ? 0 : -1;
	image_list_free(&list);
	return result;
}

static void say_pins(const struct done *done, size_t from)
{
	const char *path, *reason;

	for (size_t i = from; !done->json && i < json_array_size(done->pins); i++)
		if (!json_unpack(json_array_get(done->pins, i), "{s:s, s:s}", "path", &path, "reason",
				 &reason))
			output_say("dropped the pin of the clone '%s', which %s", path, reason);
}

static int refuse_pinned(const struct done *done, struct dvol_id id, const char *pin, struct err *err)
{
	char text[IMAGE_ID];
	const char *absent = clones_absent(pin);

	if (absent)
		return err_set(
		    err, ERR_STATE,
		    "epoch %s of '%.100s' is held by its clone '%s', which is not there: bring its disk "
		    "back or, if it is gone for good, say --forget-clones",
		    image_id(id, text), done->path, absent);
	return err_set(err, ERR_STATE, "epoch %s of '%.150s' is pinned by \"%s\"", image_id(id, text),
		       done->path, pin);
}

/* delete_all(vol, done, ids, count, err): pins of clones first, so that one which stays is met before anything is deleted. */
static int delete_all(struct dvol *vol, struct done *done, const struct dvol_id *ids, size_t count,
		      struct err *err)
{
	char text[IMAGE_ID];
	struct dvol_pinned *pins;
	size_t npins;
	int result = check_all(vol, done, ids, count, err);

	for (size_t i = 0; i < count && !result; i++) {
		size_t before = json_array_size(done->pins);

		result = clones_release(vol, done->path, ids[i], done->forget_clones, done->pins, err);
		say_pins(done, before);
	}
	if (result || dvol_pins(vol, &pins, &npins, err))
		return -1;
	for (size_t i = 0; i < count && !result; i++)
		for (size_t p = 0; p < npins && !result; p++)
			if (!image_id_compare(pins[p].id, ids[i]))
				result = refuse_pinned(done, ids[i], pins[p].name, err);
	free(pins);
	for (size_t i = 0; i < count && !result; i++) {
		result = dvol_epoch_delete(vol, ids[i], err);
		if (!result && !done->json)
			output_say("deleted epoch %s", image_id(ids[i], text));
		if (!result)
			json_array_append_new(done->deleted, image_id_json(ids[i]));
	}
	return result;
}

static int finish(struct done *done, int result, const char *key, json_t *value)
{
	json_t *object;

	if (done->json && !result) {
		object = json_pack("{s:o, s:O, s:O}", "file", output_string(done->path), "deleted",
				   done->deleted, "dropped_pins", done->pins);
		if (key)
			json_object_set(object, key, value);
		output_json(object);
	}
	json_decref(done->deleted);
	json_decref(done->pins);
	json_decref(value);
	return result;
}

int cmd_image_delete(const struct args *args, struct err *err)
{
	struct dvol_id *ids = calloc(args->many_count, sizeof(*ids));
	struct done done = begin(args);
	struct dvol *vol = NULL;
	int result = 0;

	if (!ids)
		abort();
	for (size_t i = 0; i < args->many_count && !result; i++)
		result = dvol_id_parse(args->many[i], &ids[i], err);
	if (!result)
		vol = image_open_writable(done.path, err);
	if (vol)
		result = image_close(vol, delete_all(vol, &done, ids, args->many_count, err), err);
	free(ids);
	return finish(&done, vol ? result : -1, NULL, NULL);
}

/* delete_later(vol, done, list, allowed, err): what is in the way of a rollback to its epoch at; the newest one first, as each
 * then gives back all that it holds. */
static int delete_later(struct dvol *vol, struct done *done, const struct image_list *list, size_t at,
			bool allowed, struct err *err)
{
	size_t count = list->nepochs - at - 1;
	struct dvol_id *ids = calloc(count + 1, sizeof(*ids));
	char text[IMAGE_ID];
	int result = 0;

	if (!ids)
		abort();
	for (size_t i = 0; i < count; i++)
		ids[i] = list->epochs[list->nepochs - 1 - i].id;
	if (count && !allowed)
		result = err_set(err, ERR_STATE,
				 "'%.200s': %zu epochs are later than %s; --delete-later deletes them, "
				 "'drover image clone' leaves them alone",
				 done->path, count, image_id(list->epochs[at].id, text));
	else
		result = delete_all(vol, done, ids, count, err);
	free(ids);
	return result;
}

static int roll(struct dvol *vol, struct done *done, const struct args *args, struct err *err)
{
	struct image_list list = {0};
	const struct dvol_epoch *found;
	int result;

	if (dvol_epochs(vol, &list.epochs, &list.nepochs, err))
		return -1;
	found = image_find(&list, done->path, args->epoch, err);
	result = found
		     ? delete_later(vol, done, &list, (size_t)(found - list.epochs), args->delete_later, err)
		     : -1;
	if (!result)
		result = dvol_rollback(vol, args->epoch, err);
	image_list_free(&list);
	return result;
}

int cmd_image_rollback(const struct args *args, struct err *err)
{
	struct done done = begin(args);
	struct dvol *vol = image_open_writable(done.path, err);
	int result = vol ? image_close(vol, roll(vol, &done, args, err), err) : -1;
	char text[IMAGE_ID];

	if (!result && !args->json)
		output_say("the head reads as epoch %s", image_id(args->epoch, text));
	return finish(&done, result, "epoch", image_id_json(args->epoch));
}
