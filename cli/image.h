/* image.h: what the commands of volumes share. */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include "cli/options.h"
#include "common/err.h"
#include "imagefmt/dvol.h"
#include <jansson.h>
#include <stddef.h>

/* What a volume says of itself, at one moment; also beside a writer. */
struct image_list {
	struct dvol_info info;
	struct dvol_epoch *epochs; /* oldest first */
	size_t nepochs;
	struct dvol_pinned *pins;
	size_t npins;
};
int image_list(const char *path, struct image_list *list, struct err *err);
void image_list_free(struct image_list *list); /* of a zeroed one nothing */
/* image_find(list, path, id, err): the epoch, of number 0 the newest one; NULL with ERR_STATE when it is not there. */
const struct dvol_epoch *image_find(const struct image_list *list, const char *path, struct dvol_id id,
				    struct err *err);

/* image_open(path, epoch, err): to read, that epoch, or the head (number 0).  image_open_newest: with number 0 the newest
 * epoch; *epoch is it.  image_open_writable: the head, excluding everybody else from it. */
struct dvol *image_open(const char *path, struct dvol_id epoch, struct err *err);
struct dvol *image_open_newest(const char *path, struct dvol_id *epoch, struct err *err);
struct dvol *image_open_writable(const char *path, struct err *err);
/* image_close(vol, result, err): closes it.  Returns result; of a result 0 -1 with *err when the close failed. */
int image_close(struct dvol *vol, int result, struct err *err);

/* image_is_file(path, err): ERR_SYSTEM or ERR_INPUT unless it is a file or block device that can be looked at.
 * image_is_free(path, err): ERR_STATE when there is a file of that name. */
int image_is_file(const char *path, struct err *err);
int image_is_free(const char *path, struct err *err);

enum { IMAGE_ID = 44, IMAGE_HEX = 2 * DVOL_ROOT + 1 };
/* image_id: "1.5", of number 0 "none"; image_id_json: the same as a string, of number 0 null.  */
const char *image_id(struct dvol_id id, char text[IMAGE_ID]);
json_t *image_id_json(struct dvol_id id);
int image_id_compare(struct dvol_id a, struct dvol_id b);

/* image_say_extents: a line for each, and one with what they come to.  image_extents_json: an array.  image_extents_bytes:
 * what they come to. */
void image_say_extents(const struct dvol_extent *list, size_t count);
json_t *image_extents_json(const struct dvol_extent *list, size_t count);
uint64_t image_extents_bytes(const struct dvol_extent *list, size_t count);

#endif
