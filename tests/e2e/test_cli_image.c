/* test_cli_image.c: a volume's life as a user leads it: made, looked at, closed, cloned, rolled back, cut down. */
#include "imagefmt/dvol.h"
#include "tests/lib/image.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * KIB };

static struct cli cli; /* too large for a stack */

static void a_volume_is_made_and_told_of(void **state)
{
	struct stat st;
	json_t *object;

	(void)state;
	object = image_json(&cli, 0, "image create v 64M --compress 3");
	image_is(object, "file", "\"v\"");
	image_is(object, "size_bytes", "67108864");
	json_decref(object);
	assert_int_equal(stat("v", &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
	assert_true(st.st_blocks * 512 < 6 * MIB);
	object = image_json(&cli, 0, "image info v");
	image_is(object, "size_bytes", "67108864");
	image_is(object, "compress", "3");
	image_is(object, "epochs", "0");
	image_is(object, "newest_epoch", "null");
	image_is(object, "backing_kind", "\"none\"");
	image_is(object, "backing", "null");
	json_decref(object);
	image_do(&cli, "image info v");
	assert_non_null(strstr(cli.out, "size       64 MiB (67108864 bytes)\n"));
	image_do(&cli, "image resize v 100M");
	object = image_json(&cli, 0, "image resize v 128M");
	image_is(object, "size_bytes", "134217728");
	json_decref(object);
	object = image_json(&cli, 0, "image check v");
	image_is(object, "sound", "true");
	json_decref(object);
}

static void epochs_are_closed_and_listed(void **state)
{
	json_t *object, *list;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image epochs v");
	assert_string_equal(cli.out, "no closed epochs\n");
	image_do(&cli, "image close v");
	assert_string_equal(cli.out, "epoch 1.1\n");
	object = image_json(&cli, 0, "image close v --epoch 3.7");
	image_is(object, "epoch", "\"3.7\"");
	json_decref(object);
	image_do(&cli, "image close v");
	assert_string_equal(cli.out, "epoch 3.8\n");
	image_do(&cli, "image digest v --epoch 1.1");
	object = image_json(&cli, 0, "image epochs v");
	list = json_object_get(object, "epochs");
	assert_int_equal(json_array_size(list), 3);
	image_is(json_array_get(list, 0), "epoch", "\"1.1\"");
	image_is(json_array_get(list, 0), "parent", "null");
	image_is(json_array_get(list, 0), "size_bytes", "1048576");
	assert_int_equal(json_string_length(json_object_get(json_array_get(list, 0), "digest")), 64);
	image_is(json_array_get(list, 1), "parent", "\"1.1\"");
	image_is(json_array_get(list, 1), "digest", "null");
	image_is(json_array_get(list, 2), "epoch", "\"3.8\"");
	image_is(json_array_get(list, 2), "pins", "[]");
	json_decref(object);
	image_do(&cli, "image epochs v");
	assert_memory_equal(cli.out, "EPOCH ", 6);
}

static void a_map_covers_the_volume(void **state)
{
	json_t *object, *list;

	(void)state;
	image_put("raw", 4 * KIB, "raw image");
	image_do(&cli, "image create v 1M --backing raw --backing-raw");
	image_fill("v", 0, 4 * KIB, 1);
	image_fill("v", 512 * KIB, 8 * KIB, 2);
	object = image_json(&cli, 0, "image map v");
	list = json_object_get(object, "extents");
	assert_int_equal(json_array_size(list), 5);
	image_is(json_array_get(list, 0), "kind", "\"data\"");
	image_is(json_array_get(list, 0), "length", "4096");
	image_is(json_array_get(list, 1), "kind", "\"backing\"");
	image_is(json_array_get(list, 1), "file_offset", "null");
	image_is(json_array_get(list, 2), "kind", "\"hole\"");
	image_is(json_array_get(list, 3), "kind", "\"data\"");
	image_is(json_array_get(list, 3), "offset", "524288");
	image_is(json_array_get(list, 3), "length", "8192");
	assert_true(json_integer_value(json_object_get(json_array_get(list, 3), "file_offset")) >= 4 * MIB);
	image_is(json_array_get(list, 4), "kind", "\"hole\"");
	image_is(json_array_get(list, 4), "length", "516096");
	json_decref(object);
	image_do(&cli, "image map v");
	assert_non_null(strstr(cli.out, "            524288               8192 data"));
	/* An epoch has its own. */
	image_do(&cli, "image close v");
	image_fill("v", 256 * KIB, 4 * KIB, 3);
	object = image_json(&cli, 0, "image map v --epoch 1.1");
	image_is(object, "epoch", "\"1.1\"");
	assert_int_equal(json_array_size(json_object_get(object, "extents")), 5);
	json_decref(object);
}

static void changes_are_told_between_epochs_and_the_head(void **state)
{
	json_t *object;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_fill("v", 0, 8 * KIB, 1);
	image_do(&cli, "image close v");
	image_fill("v", 4 * KIB, 8 * KIB, 2);
	image_do(&cli, "image close v");
	image_fill("v", 64 * KIB, 4 * KIB, 3);
	object = image_json(&cli, 0, "image changed v --from 1.1 --to 1.2");
	image_is(object, "extents", "[{\"offset\": 4096, \"length\": 8192}]");
	image_is(object, "bytes", "8192");
	json_decref(object);
	object = image_json(&cli, 0, "image changed v --from 1.1");
	image_is(object, "to", "null");
	image_is(object, "extents",
		 "[{\"offset\": 4096, \"length\": 8192}, {\"offset\": 65536, \"length\": 4096}]");
	json_decref(object);
	object = image_json(&cli, 0, "image changed v --from none --to 1.1");
	image_is(object, "from", "null");
	image_is(object, "extents", "[{\"offset\": 0, \"length\": 8192}]");
	json_decref(object);
	image_do(&cli, "image changed v --from 1.2 --to 1.2");
	assert_string_equal(cli.out, "0 bytes (0 B) in 0 extents\n");
	image_do(&cli, "image changed v --from 1.2");
	assert_string_equal(cli.out, "            offset             length\n"
				     "             65536               4096\n"
				     "4096 bytes (4 KiB) in 1 extent\n");
}

/* ---- clones and pins ---- */
static void a_clone_holds_its_epoch_until_it_is_gone(void **state)
{
	char words[4200], sentence[4200];
	json_t *object, *list;

	image_do(&cli, "image create v 1M");
	image_fill("v", 0, 4 * KIB, 1);
	image_do(&cli, "image close v");
	image_fill("v", 0, 4 * KIB, 2);
	image_do(&cli, "image close v");
	assert_int_equal(mkdir("sub", 0700), 0);
	object = image_json(&cli, 0, "image clone v sub/c --epoch 1.1");
	image_is(object, "backing_epoch", "\"1.1\"");
	image_is(object, "pinned", "true");
	json_decref(object);
	/* It finds its base from anywhere, and reads as the epoch does. */
	snprintf(words, sizeof(words), "image compare v %s/sub/c --epoch-a 1.1", (const char *)*state);
	image_do(&cli, words);
	cli_run_words(&cli, "image delete v 1.2 1.1");
	snprintf(sentence, sizeof(sentence), "epoch 1.1 of 'v' is pinned by \"clone %s/sub/c\"",
		 (const char *)*state);
	cli_expect(&cli, 1, sentence);
	cli_run_words(&cli, "image rollback v --epoch 1.1 --delete-later");
	assert_int_equal(cli.status, 0);
	assert_int_equal(unlink("sub/c"), 0);
	/* With its folder, too. */
	assert_int_equal(rmdir("sub"), 0);
	/* Its disk may only be away. */
	cli_run_words(&cli, "image delete v 1.1");
	snprintf(sentence, sizeof(sentence),
		 "epoch 1.1 of 'v' is held by its clone '%s/sub/c', which is not there: bring its disk back "
		 "or, if it is "
		 "gone for good, say --forget-clones",
		 (const char *)*state);
	cli_expect(&cli, 1, sentence);
	object = image_json(&cli, 0, "image delete v 1.1 --forget-clones");
	image_is(object, "deleted", "[\"1.1\"]");
	list = json_object_get(object, "dropped_pins");
	assert_int_equal(json_array_size(list), 1);
	image_is(json_array_get(list, 0), "reason", "\"does not exist any more\"");
	json_decref(object);
}

static void another_file_in_the_place_of_a_clone_holds_nothing(void **state)
{
	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	image_do(&cli, "image clone v c");
	image_do(&cli, "image close v");
	assert_int_equal(unlink("c"), 0);
	image_put("c", 0, "notes");
	image_do(&cli, "image delete v 1.1");
	assert_non_null(strstr(cli.out, "/c', which is no volume any more\ndeleted epoch 1.1\n"));
	assert_int_equal(unlink("c"), 0);
	/* A clone of another epoch, of another volume. */
	image_do(&cli, "image clone v c");
	image_do(&cli, "image create w 1M");
	image_do(&cli, "image close w --epoch 1.2");
	assert_int_equal(unlink("c"), 0);
	image_do(&cli, "image clone w c");
	image_do(&cli, "image delete v 1.2");
	assert_non_null(strstr(cli.out, "/c', which is no clone of this epoch any more\n"));
	cli_run_words(&cli, "image delete w 1.2");
	cli_expect(&cli, 1, "is pinned by");
}

static void a_clone_that_cannot_be_looked_at_keeps_its_pin(void **state)
{
	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	image_do(&cli, "image clone v c");
	image_put("c", 100, "damage in one superblock");
	image_put("c", 4096 + 100, "and in the other");
	cli_run_words(&cli, "image delete v 1.1");
	cli_expect(&cli, 1, "is pinned by");
}

static void a_clone_that_failed_leaves_no_pin(void **state)
{
	char words[256];
	json_t *object;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	snprintf(words, sizeof(words), "image clone v %0230d", 0);
	cli_run_words(&cli, words);
	cli_expect(&cli, 2, "with its folders a clone's name has at most 249 bytes, for the pin on its base");
	assert_string_equal(cli.out, "");
	cli_run_words(&cli, "image create c 100 --backing v");
	cli_expect(&cli, 2, "c: a volume has 4096 bytes to 64 TiB, in multiples of 512");
	assert_int_equal(access("c", F_OK), -1);
	object = image_json(&cli, 0, "image epochs v");
	image_is(json_array_get(json_object_get(object, "epochs"), 0), "pins", "[]");
	json_decref(object);
}

static void upon_a_volume_in_use_a_clone_has_no_pin_and_says_so(void **state)
{
	struct dvol *writer;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	writer = dvol_open("v", &(struct dvol_open_options){.writable = true}, NULL);
	assert_non_null(writer);
	cli_run_words(&cli, "image clone v c");
	cli_expect(&cli, 0, "could not be pinned");
	assert_non_null(strstr(cli.err,
			       "is in use: one process at a time may write it): it can be deleted, and "
			       "then 'c' cannot be read any more"));
	image_do(&cli, "image info v");
	image_do(&cli, "image epochs v");
	image_do(&cli, "image map v --epoch 1.1");
	assert_int_equal(dvol_close(writer, NULL), 0);
	image_do(&cli, "image compare c v --epoch-b 1.1");
}

/* ---- going back ---- */
static void the_head_goes_back_to_an_epoch(void **state)
{
	json_t *object;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_fill("v", 0, 4 * KIB, 1);
	image_do(&cli, "image close v");
	image_fill("v", 0, 64 * KIB, 2);
	image_do(&cli, "image close v");
	image_do(&cli, "image close v");
	image_fill("v", 128 * KIB, 4 * KIB, 3);
	image_do(&cli, "image rollback v --epoch 1.3");
	assert_string_equal(cli.out, "the head reads as epoch 1.3\n");
	image_do(&cli, "image compare v v --epoch-b 1.3");
	cli_run_words(&cli, "image rollback v --epoch 1.1");
	cli_expect(&cli, 1, "'v': 2 epochs are later than 1.1; --delete-later deletes them");
	object = image_json(&cli, 0, "image rollback v --epoch 1.1 --delete-later");
	image_is(object, "deleted", "[\"1.3\", \"1.2\"]");
	image_is(object, "epoch", "\"1.1\"");
	json_decref(object);
	image_do(&cli, "image compare v v --epoch-b 1.1");
	object = image_json(&cli, 0, "image check v");
	image_is(object, "sound", "true");
	image_is(object, "data_bytes", "4096");
	json_decref(object);
}

static void epochs_are_deleted_in_any_order_and_all_or_none(void **state)
{
	json_t *object;

	(void)state;
	image_do(&cli, "image create v 1M");
	for (int i = 0; i < 4; i++)
		image_do(&cli, "image close v");
	cli_run_words(&cli, "image delete v 1.1 1.9");
	cli_expect(&cli, 1, "'v' has no epoch 1.9; 'drover image epochs' lists them");
	object = image_json(&cli, 0, "image delete v 1.3 1.1");
	image_is(object, "deleted", "[\"1.3\", \"1.1\"]");
	image_is(object, "dropped_pins", "[]");
	json_decref(object);
	image_do(&cli, "image delete v 1.4");
	assert_string_equal(cli.out, "deleted epoch 1.4\n");
	object = image_json(&cli, 0, "image info v");
	image_is(object, "epochs", "1");
	image_is(object, "newest_epoch", "\"1.2\"");
	json_decref(object);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, image_setup, image_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_volume_is_made_and_told_of),
	    TEST(epochs_are_closed_and_listed),
	    TEST(a_map_covers_the_volume),
	    TEST(changes_are_told_between_epochs_and_the_head),
	    TEST(a_clone_holds_its_epoch_until_it_is_gone),
	    TEST(another_file_in_the_place_of_a_clone_holds_nothing),
	    TEST(a_clone_that_cannot_be_looked_at_keeps_its_pin),
	    TEST(a_clone_that_failed_leaves_no_pin),
	    TEST(upon_a_volume_in_use_a_clone_has_no_pin_and_says_so),
	    TEST(the_head_goes_back_to_an_epoch),
	    TEST(epochs_are_deleted_in_any_order_and_all_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
