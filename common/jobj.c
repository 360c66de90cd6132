/* jobj.c: reading fields of JSON objects that are not trusted. */
#include "common/jobj.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

json_t *jobj_parse(const char *text, size_t len, struct err *err)
{
	json_error_t problem;
	/* Without JSON_ALLOW_NUL a string with an escaped NUL is an error already. */
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);

	if (!root) {
		err_set(err, ERR_INPUT, "not a JSON object: %s (line %d, byte %d)", problem.text,
			problem.line, problem.position);
		return NULL;
	}
	if (!json_is_object(root)) {
		json_decref(root);
		err_set(err, ERR_INPUT, "not a JSON object but another JSON value");
		return NULL;
	}
	return root;
}

/* The field, NULL when it is absent or null; *missing tells that it had to be there (*err is set then). */
static json_t *field_of(const json_t *object, const char *key, bool required, bool *missing, struct err *err)
{
	json_t *field = json_object_get(object, key);

	if (json_is_null(field))
		field = NULL;
	*missing = !field && required;
	if (*missing)
		err_set(err, ERR_INPUT, "the field \"%s\" is missing", key);
	return field;
}

static int wrong(const char *key, const char *wanted, struct err *err)
{
	return err_set(err, ERR_INPUT, "the field \"%s\" should be %s", key, wanted);
}

int jobj_string(const json_t *object, const char *key, bool required, size_t max_len, const char **value,
		struct err *err)
{
	bool missing;
	json_t *field = field_of(object, key, required, &missing, err);

	if (!field)
		return missing ? -1 : 0;
	if (!json_is_string(field) || json_string_length(field) > max_len ||
	    strlen(json_string_value(field)) != json_string_length(field))
		return err_set(err, ERR_INPUT, "the field \"%s\" should be a string of at most %zu bytes",
			       key, max_len);
	*value = json_string_value(field);
	return 0;
}

int jobj_copy(const json_t *object, const char *key, char *to, size_t size, struct err *err)
{
	const char *text;

	if (jobj_string(object, key, true, size - 1, &text, err))
		return -1;
	memcpy(to, text, strlen(text) + 1);
	return 0;
}

int jobj_u64(const json_t *object, const char *key, bool required, uint64_t min, uint64_t max,
	     uint64_t *value, struct err *err)
{
	bool missing;
	json_t *field = field_of(object, key, required, &missing, err);

	if (!field)
		return missing ? -1 : 0;
	if (!json_is_integer(field) || json_integer_value(field) < 0 ||
	    (uint64_t)json_integer_value(field) < min || (uint64_t)json_integer_value(field) > max)
		return err_set(err, ERR_INPUT,
			       "the field \"%s\" should be a whole number from %" PRIu64 " to %" PRIu64, key,
			       min, max);
	*value = (uint64_t)json_integer_value(field);
	return 0;
}

int jobj_bool(const json_t *object, const char *key, bool required, bool *value, struct err *err)
{
	bool missing;
	json_t *field = field_of(object, key, required, &missing, err);

	if (!field)
		return missing ? -1 : 0;
	if (!json_is_boolean(field))
		return wrong(key, "true or false", err);
	*value = json_is_true(field);
	return 0;
}

/* "0x" and 1 to 16 hexadecimal digits. */
static bool parse_hex64(const char *text, size_t len, uint64_t *value)
{
	uint64_t sum = 0;

	if (len < 3 || len > 18 || text[0] != '0' || text[1] != 'x')
		return false;
	for (size_t i = 2; i < len; i++) {
		char c = text[i];

		sum <<= 4;
		if (c >= '0' && c <= '9')
			sum |= (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			sum |= (uint64_t)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			sum |= (uint64_t)(c - 'A' + 10);
		else
			return false;
	}
	*value = sum;
	return true;
}

int jobj_hex64(const json_t *object, const char *key, bool required, uint64_t *value, struct err *err)
{
	bool missing;
	json_t *field = field_of(object, key, required, &missing, err);

	if (!field)
		return missing ? -1 : 0;
	if (!json_is_string(field) ||
	    !parse_hex64(json_string_value(field), json_string_length(field), value))
		return wrong(key, "a string of 0x and 1 to 16 hexadecimal digits", err);
	return 0;
}

json_t *jobj_make_hex64(uint64_t value)
{
	char text[sizeof("0x0123456789abcdef")];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

int jobj_object(const json_t *object, const char *key, bool required, json_t **value, struct err *err)
{
	bool missing;
	json_t *field = field_of(object, key, required, &missing, err);

	if (!field)
		return missing ? -1 : 0;
	if (!json_is_object(field))
		return wrong(key, "an object", err);
	*value = field;
	return 0;
}

int jobj_array(const json_t *object, const char *key, bool required, json_t **value, struct err *err)
{
	bool missing;
	json_t *field = field_of(object, key, required, &missing, err);

	if (!field)
		return missing ? -1 : 0;
	if (!json_is_array(field))
		return wrong(key, "an array", err);
	*value = field;
	return 0;
}
