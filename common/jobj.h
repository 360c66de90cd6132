/* jobj.h: reading fields of JSON objects that are not trusted, over jansson.
 * Each returns 0, or -1 with *err (ERR_INPUT) naming the field and what it should have been.  With `required`
 * false an absent field (or null) leaves *value as it is. */
#ifndef COMMON_JOBJ_H
#define COMMON_JOBJ_H

#include "common/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* jobj_parse(text, len, err): one object and nothing else, depth and duplicates limited by jansson; a new
 * reference, or NULL. */
json_t *jobj_parse(const char *text, size_t len, struct err *err);
/* The string stays owned by the object; at most max_len bytes, no NUL inside. */
int jobj_string(const json_t *object, const char *key, bool required, size_t max_len, const char **value,
		struct err *err);
/* jobj_copy: a string that must be there, into to[size]. */
int jobj_copy(const json_t *object, const char *key, char *to, size_t size, struct err *err);
int jobj_u64(const json_t *object, const char *key, bool required, uint64_t min, uint64_t max,
	     uint64_t *value, struct err *err);
int jobj_bool(const json_t *object, const char *key, bool required, bool *value, struct err *err);
/* jobj_hex64: 64-bit values that JSON numbers cannot hold, as "0x…" strings. */
int jobj_hex64(const json_t *object, const char *key, bool required, uint64_t *value, struct err *err);
json_t *jobj_make_hex64(uint64_t value);
/* jobj_object/array: borrowed. */
int jobj_object(const json_t *object, const char *key, bool required, json_t **value, struct err *err);
int jobj_array(const json_t *object, const char *key, bool required, json_t **value, struct err *err);

#endif
