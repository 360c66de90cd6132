/* image.h: volumes for tests of `drover image`. */
#ifndef TESTS_LIB_IMAGE_H
#define TESTS_LIB_IMAGE_H

#include "tests/lib/cli.h"
#include <jansson.h>
#include <stdint.h>

/* image_setup, image_teardown: as set-up and tear-down of a test: a folder of its own, which is the working folder meanwhile;
 * drover's own folders are below it. */
int image_setup(void **state);
int image_teardown(void **state);

/* image_fill(path, offset, len, seed): write to the head of a volume: bytes that compress little. */
void image_fill(const char *path, uint64_t offset, uint64_t len, unsigned seed);
/* image_put(path, offset, text): bytes of any file, which is made where it is not there. */
void image_put(const char *path, uint64_t offset, const char *text);

/* image_do(cli, words): a command that succeeds without a word on stderr.  image_json(cli, status, words): with --json behind
 * them, ending with status; the object, which is the caller's. */
void image_do(struct cli *cli, const char *words);
json_t *image_json(struct cli *cli, int status, const char *words);
/* image_is(object, key, text): the member key, as JSON, is text. */
void image_is(const json_t *object, const char *key, const char *text);

#endif
