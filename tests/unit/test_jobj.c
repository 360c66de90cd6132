/* test_jobj.c: fields of JSON from outside are what they should be, or the error names them. */
#include "common/jobj.h"
#include "tests/lib/random.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text)
{
	struct err err = {0};
	json_t *object = jobj_parse(text, strlen(text), &err);

	if (!object)
		fail_msg("%s: %s", text, err.text);
	return object;
}

static void refuse(const char *text, size_t len)
{
	struct err err = {0};

	assert_null(jobj_parse(text, len, &err));
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(err.text, "not a JSON object"));
}

static void only_one_whole_object_is_taken(void **state)
{
	static const char *const bad[] = {
	    "",
	    " ",
	    "[]",
	    "1",
	    "null",
	    "\"x\"",
	    "{",
	    "}",
	    "{}{}",
	    "{} x",
	    "{\"a\":1,\"a\":2}",
	    "{\"a\":1,}",
	    "{a:1}",
	    "{\"a\":01}",
	    "{\"a\":18446744073709551616}",
	    "{\"a\":1e999}",
	    "{\"a\":\"\\u0000\"}",
	    "{\"a\\u0000b\":1}",
	    "{\"a\":\"\\ud800\"}",
	    "{\"a\":\"\xff\"}",
	    "{\"a\":\"\n\"}",
	    "{\"a\":nan}",
	};
	json_t *object;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i], strlen(bad[i]));
	refuse("{\"a\":1}\0", 8);
	refuse("{\"a\":1}", 6);
	object = parse(" {\"a\": {\"b\": []}} \n");
	json_decref(object);
}

static void endless_nesting_is_refused(void **state)
{
	enum { DEEP = 1000000 };
	char *text = malloc(DEEP + 5);

	(void)state;
	assert_non_null(text);
	memcpy(text, "{\"a\":", 5);
	memset(text + 5, '[', DEEP);
	refuse(text, DEEP + 5);
	free(text);
}

static void strings(void **state)
{
	json_t *object = parse("{\"s\":\"four\",\"e\":\"\",\"n\":null,\"i\":4,\"o\":{}}");
	const char *value = "before";
	struct err err = {0};

	(void)state;
	assert_int_equal(jobj_string(object, "s", true, 3, &value, &err), -1);
	assert_non_null(strstr(err.text, "\"s\" should be a string of at most 3 bytes"));
	assert_int_equal(jobj_string(object, "i", true, 9, &value, &err), -1);
	assert_int_equal(jobj_string(object, "o", false, 9, &value, &err), -1);
	assert_int_equal(jobj_string(object, "absent", true, 9, &value, &err), -1);
	assert_non_null(strstr(err.text, "\"absent\" is missing"));
	assert_int_equal(jobj_string(object, "n", true, 9, &value, &err), -1);
	assert_int_equal(jobj_string(object, "absent", false, 9, &value, &err), 0);
	assert_int_equal(jobj_string(object, "n", false, 9, &value, &err), 0);
	assert_string_equal(value, "before");
	assert_int_equal(jobj_string(object, "s", true, 4, &value, &err), 0);
	assert_string_equal(value, "four");
	assert_int_equal(jobj_string(object, "e", true, 0, &value, &err), 0);
	assert_string_equal(value, "");
	json_decref(object);
}

/* A JSON string made in this process can hold a NUL, which a C string would hide. */
static void a_string_with_a_nul_is_refused(void **state)
{
	json_t *object = json_object();
	const char *value = NULL;

	(void)state;
	json_object_set_new(object, "s", json_stringn("a\0b", 3));
	assert_int_equal(jobj_string(object, "s", true, 9, &value, NULL), -1);
	assert_null(value);
	json_object_set_new(object, "h", json_stringn("0x1\0", 4));
	assert_int_equal(jobj_hex64(object, "h", true, &(uint64_t){0}, NULL), -1);
	json_decref(object);
}

static void numbers(void **state)
{
	json_t *object = parse("{\"a\":5,\"neg\":-1,\"real\":5.0,\"exp\":1e3,\"text\":\"5\",\"yes\":true,"
			       "\"max\":9223372036854775807,\"zero\":0,\"min\":-9223372036854775808}");
	static const char *const bad[] = {"neg", "real", "exp", "text", "yes", "min"};
	struct err err = {0};
	uint64_t value = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(jobj_u64(object, bad[i], false, 0, UINT64_MAX, &value, &err), -1);
		assert_non_null(strstr(err.text, bad[i]));
	}
	assert_int_equal(jobj_u64(object, "a", true, 6, 9, &value, &err), -1);
	assert_non_null(strstr(err.text, "\"a\" should be a whole number from 6 to 9"));
	assert_int_equal(jobj_u64(object, "a", true, 1, 4, &value, &err), -1);
	assert_int_equal(jobj_u64(object, "absent", true, 0, 9, &value, &err), -1);
	assert_int_equal(jobj_u64(object, "absent", false, 0, 9, &value, &err), 0);
	assert_int_equal(value, 77);
	assert_int_equal(jobj_u64(object, "a", true, 5, 5, &value, &err), 0);
	assert_int_equal(value, 5);
	assert_int_equal(jobj_u64(object, "max", true, 0, UINT64_MAX, &value, &err), 0);
	assert_true(value == INT64_MAX);
	assert_int_equal(jobj_u64(object, "zero", true, 0, 0, &value, &err), 0);
	assert_int_equal(value, 0);
	json_decref(object);
}

static void booleans(void **state)
{
	json_t *object = parse("{\"t\":true,\"f\":false,\"one\":1,\"s\":\"true\"}");
	struct err err = {0};
	bool value = false;

	(void)state;
	assert_int_equal(jobj_bool(object, "one", true, &value, &err), -1);
	assert_non_null(strstr(err.text, "\"one\" should be true or false"));
	assert_int_equal(jobj_bool(object, "s", true, &value, &err), -1);
	assert_int_equal(jobj_bool(object, "absent", true, &value, &err), -1);
	assert_int_equal(jobj_bool(object, "t", true, &value, &err), 0);
	assert_true(value);
	assert_int_equal(jobj_bool(object, "absent", false, &value, &err), 0);
	assert_true(value);
	assert_int_equal(jobj_bool(object, "f", true, &value, &err), 0);
	assert_false(value);
	json_decref(object);
}

static void hex_strings(void **state)
{
	static const uint64_t values[] = {0, 1, 0xabcdef, 1ull << 63, UINT64_MAX};
	static const char *const bad[] = {"\"\"",
					  "\"0x\"",
					  "\"12\"",
					  "\"0X12\"",
					  "\"0x12g\"",
					  "\"0x 1\"",
					  "\"-0x1\"",
					  "18",
					  "\"0x1 \"",
					  "true",
					  "\"0x12345678901234567\""};
	struct err err = {0};
	uint64_t value = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[64];
		json_t *object;

		snprintf(text, sizeof(text), "{\"h\":%s}", bad[i]);
		object = parse(text);
		assert_int_equal(jobj_hex64(object, "h", false, &value, &err), -1);
		json_decref(object);
	}
	assert_int_equal(value, 77);
	assert_non_null(strstr(err.text, "\"h\" should be a string of 0x"));
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		json_t *object = json_object();

		json_object_set_new(object, "h", jobj_make_hex64(values[i]));
		assert_int_equal(jobj_hex64(object, "h", true, &value, &err), 0);
		assert_true(value == values[i]);
		assert_int_equal(jobj_hex64(object, "absent", true, &value, &err), -1);
		assert_int_equal(jobj_hex64(object, "absent", false, &value, &err), 0);
		json_decref(object);
	}
}

static void objects_and_arrays(void **state)
{
	json_t *object = parse("{\"o\":{\"x\":1},\"a\":[1],\"n\":null}");
	json_t *value = NULL;
	struct err err = {0};

	(void)state;
	assert_int_equal(jobj_object(object, "a", true, &value, &err), -1);
	assert_int_equal(jobj_array(object, "o", true, &value, &err), -1);
	assert_int_equal(jobj_object(object, "n", true, &value, &err), -1);
	assert_int_equal(jobj_array(object, "absent", true, &value, &err), -1);
	assert_int_equal(jobj_object(object, "n", false, &value, &err), 0);
	assert_int_equal(jobj_array(object, "absent", false, &value, &err), 0);
	assert_null(value);
	assert_int_equal(jobj_object(object, "o", true, &value, &err), 0);
	assert_int_equal(json_object_size(value), 1);
	assert_int_equal(jobj_array(object, "a", true, &value, &err), 0);
	assert_int_equal(json_array_size(value), 1);
	json_decref(object);
	/* Something that is no object has no fields. */
	object = json_array();
	assert_int_equal(jobj_object(object, "o", true, &value, &err), -1);
	assert_int_equal(jobj_object(NULL, "o", true, &value, &err), -1);
	json_decref(object);
}

/* A valid message with some bytes changed: any result will do but a crash (the sanitizers watch). */
static void damaged_messages_are_survived(void **state)
{
	static const char whole[] =
	    "{\"s\":\"caf\xc3\xa9\\u00e9\",\"u\":12,\"b\":true,\"h\":\"0xff\",\"o\":{\"a\":[1,{}]}}";
	uint64_t random = random_begin();
	unsigned int taken = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char text[sizeof(whole)];
		json_t *object;
		const char *string;
		uint64_t number;
		bool boolean;

		memcpy(text, whole, sizeof(whole));
		for (uint64_t changes = random_next(&random) % 4 + 1; changes; changes--)
			text[random_next(&random) % (sizeof(whole) - 1)] = (char)random_next(&random);
		object = jobj_parse(text, sizeof(whole) - 1, NULL);
		if (!object)
			continue;
		taken++;
		jobj_string(object, "s", true, 8, &string, NULL);
		jobj_u64(object, "u", true, 0, 99, &number, NULL);
		jobj_bool(object, "b", true, &boolean, NULL);
		jobj_hex64(object, "h", true, &number, NULL);
		json_decref(object);
	}
	assert_int_not_equal(taken, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_one_whole_object_is_taken),
	    cmocka_unit_test(endless_nesting_is_refused),
	    cmocka_unit_test(strings),
	    cmocka_unit_test(a_string_with_a_nul_is_refused),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(booleans),
	    cmocka_unit_test(hex_strings),
	    cmocka_unit_test(objects_and_arrays),
	    cmocka_unit_test(damaged_messages_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
