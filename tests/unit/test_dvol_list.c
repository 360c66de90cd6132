/* test_dvol_list.c: what a volume tells of itself beside a writer and without its backing: epochs and pins; and what a
 * file is, by its first bytes. */
#include "imagefmt/dvol.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 1 << 20 };

static char volume[TEMP_MAX + 16], raw[TEMP_MAX + 16], delta[TEMP_MAX + 16];

static void put(const char *path, const void *data, size_t len, off_t at)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_int_equal(pwrite(fd, data, len, at), len);
	close(fd);
}

static int set_up(void **state)
{
	if (temp_setup(state))
		return -1;
	snprintf(volume, sizeof(volume), "%s/v", (const char *)*state);
	snprintf(raw, sizeof(raw), "%s/raw", (const char *)*state);
	snprintf(delta, sizeof(delta), "%s/delta", (const char *)*state);
	put(raw, "raw", 3, 0);
	return dvol_create(volume,
			   &(struct dvol_create_options){
			       .size_bytes = SIZE, .backing_kind = DVOL_BACKING_RAW, .backing_path = raw},
			   NULL);
}

static struct dvol *open_as(struct dvol_open_options options)
{
	struct err err = {0};
	struct dvol *vol = dvol_open(volume, &options, &err);

	if (!vol)
		fail_msg("%s", err.text);
	return vol;
}

static void it_is_had_beside_a_writer_and_without_the_backing(void **state)
{
	struct dvol *writer = open_as((struct dvol_open_options){.writable = true});
	struct dvol *seen;
	struct dvol_epoch *epochs;
	struct dvol_info info;
	struct err err = {0};
	size_t count;

	(void)state;
	assert_int_equal(dvol_epoch_close(writer, NULL, NULL, &err), 0);
	assert_int_equal(dvol_epoch_close(writer, NULL, NULL, &err), 0);
	assert_int_equal(unlink(raw), 0);
	seen = open_as((struct dvol_open_options){.list = true});
	assert_int_equal(dvol_epochs(seen, &epochs, &count, &err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(epochs[1].id.number, 2);
	free(epochs);
	assert_int_equal(dvol_info(seen, &info, &err), 0);
	assert_int_equal(info.size_bytes, SIZE);
	assert_int_equal(info.epochs, 2);
	assert_string_equal(info.backing_path, raw);
	assert_int_equal(dvol_close(seen, &err), 0);
	assert_int_equal(dvol_close(writer, &err), 0);
	put(raw, "raw", 3, 0);
}

static void it_gives_nothing_else(void **state)
{
	struct dvol *seen = open_as((struct dvol_open_options){.list = true});
	static const struct dvol_open_options senseless[] = {{.list = true, .writable = true},
							     {.list = true, .epoch = {1, 1}}};
	struct dvol_extent *extents;
	struct dvol_map_extent *map;
	struct dvol_bad_block *bad;
	struct dvol_info info;
	size_t count;
	char byte;

#define REFUSED(call)                                                                                        \
	do {                                                                                                 \
		struct err err = {0};                                                                        \
		assert_int_equal(call, -1);                                                                  \
		assert_true(err.kind == ERR_USAGE || err.kind == ERR_STATE);                                 \
	} while (0)
	(void)state;
	REFUSED(dvol_read(seen, &byte, 1, 0, &err));
	REFUSED(dvol_write(seen, &byte, 1, 0, &err));
	REFUSED(dvol_write_zeroes(seen, 0, 1, &err));
	REFUSED(dvol_flush(seen, &err));
	REFUSED(dvol_map(seen, 0, SIZE, 9, &map, &count, &err));
	REFUSED(dvol_changed(seen, (struct dvol_id){0}, (struct dvol_id){0}, &extents, &count, &err));
	REFUSED(dvol_check(seen, &info, NULL, NULL, &err));
	REFUSED(dvol_compare(seen, seen, &extents, &count, NULL, &err));
	REFUSED(dvol_verify(seen, NULL, &bad, &count, NULL, &err));
	REFUSED(dvol_export(seen, (struct dvol_id){0}, delta, &err));
	REFUSED(dvol_pack(seen, 3, NULL, &err));
	REFUSED(dvol_pin(seen, (struct dvol_id){1, 1}, "p", &err));
	assert_int_equal(dvol_close(seen, NULL), 0);
	for (size_t i = 0; i < 2; i++) {
		struct err err = {0};

		assert_null(dvol_open(volume, &senseless[i], &err));
		assert_int_equal(err.kind, ERR_USAGE);
	}
}

static void pins_are_listed_by_epoch_also_with_the_longest_name(void **state)
{
	struct dvol *vol = open_as((struct dvol_open_options){.writable = true});
	char longest[DVOL_NAME_MAX + 2];
	struct dvol_pinned *pins;
	struct err err = {0};
	size_t count;

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[DVOL_NAME_MAX + 1] = '\0';
	assert_int_equal(dvol_pin(vol, (struct dvol_id){1, 2}, "b", &err), 0);
	assert_int_equal(dvol_pin(vol, (struct dvol_id){1, 1}, longest, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	longest[DVOL_NAME_MAX] = '\0';
	assert_int_equal(dvol_pin(vol, (struct dvol_id){1, 1}, longest, &err), 0);
	/* Once from the journal, once from the catalog. */
	for (int i = 0; i < 2; i++) {
		struct dvol *seen = open_as((struct dvol_open_options){.list = true});

		assert_int_equal(dvol_pins(seen, &pins, &count, &err), 0);
		assert_int_equal(count, 2);
		assert_int_equal(pins[0].id.number, 1);
		assert_string_equal(pins[0].name, longest);
		assert_int_equal(pins[1].id.number, 2);
		assert_string_equal(pins[1].name, "b");
		free(pins);
		assert_int_equal(dvol_close(seen, NULL), 0);
		if (i == 0)
			assert_int_equal(dvol_close(vol, &err), 0);
	}
	vol = open_as((struct dvol_open_options){.writable = true});
	assert_int_equal(dvol_unpin(vol, (struct dvol_id){1, 1}, longest, &err), 0);
	assert_int_equal(dvol_unpin(vol, (struct dvol_id){1, 2}, "b", &err), 0);
	assert_int_equal(dvol_pins(vol, &pins, &count, &err), 0);
	assert_int_equal(count, 0);
	free(pins);
	assert_int_equal(dvol_close(vol, NULL), 0);
}

static void a_file_is_told_by_its_first_bytes(void **state)
{
	static const uint8_t zeroes[512];
	struct dvol *vol = open_as((struct dvol_open_options){.epoch = {1, 2}});
	struct dvol_delta_info info;
	enum dvol_file_kind kind;
	struct err err = {0};

	(void)state;
	assert_int_equal(dvol_export(vol, (struct dvol_id){1, 1}, delta, &err), 0);
	assert_int_equal(dvol_close(vol, NULL), 0);
	assert_int_equal(dvol_probe(delta, &kind, &err), 0);
	assert_int_equal(kind, DVOL_FILE_DELTA);
	assert_int_equal(dvol_delta_info(delta, &info, &err), 0);
	assert_int_equal(info.from.number, 1);
	assert_int_equal(info.to.number, 2);
	assert_int_equal(info.size_bytes, SIZE);
	assert_int_equal(dvol_probe(raw, &kind, &err), 0);
	assert_int_equal(kind, DVOL_FILE_OTHER);
	assert_int_equal(dvol_delta_info(raw, &info, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_int_equal(dvol_probe("/nonexistent/f", &kind, &err), -1);
	assert_int_equal(err.kind, ERR_SYSTEM);
	/* With one superblock gone it is a volume still, with both it is not. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(dvol_probe(volume, &kind, &err), 0);
		assert_int_equal(kind, DVOL_FILE_VOLUME);
		put(volume, zeroes, sizeof(zeroes), i * DVOL_BLOCK);
	}
	assert_int_equal(dvol_probe(volume, &kind, &err), 0);
	assert_int_equal(kind, DVOL_FILE_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_is_had_beside_a_writer_and_without_the_backing),
	    cmocka_unit_test(it_gives_nothing_else),
	    cmocka_unit_test(pins_are_listed_by_epoch_also_with_the_longest_name),
	    cmocka_unit_test(a_file_is_told_by_its_first_bytes),
	};

	return cmocka_run_group_tests(tests, set_up, temp_teardown);
}
