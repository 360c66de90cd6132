/* test_compare.c: digests of blocks, and the messages that carry them: what goes in comes out, and nothing else is taken. */
#define ERR_STATE OPENSSL_ERR_STATE /* OpenSSL has a type of that name */
#include <openssl/evp.h>
#undef ERR_STATE

#include "imagefmt/dvol.h"
#include "migrate/compare.h"
#include "migrate/message.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCKS = 100, BLOCK = 4096, ODD = 512 };

static char path[TEMP_MAX + 16];
static uint8_t (*digests)[DVOL_BLOCK_DIGEST];

/* A raw image in which every third block is zeroes, and the last one is short. */
static struct dvol *open_image(void)
{
	static uint8_t data[BLOCK];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct err err = {0};
	struct dvol *vol;

	assert_true(fd >= 0);
	for (int i = 0; i < BLOCKS; i++) {
		memset(data, i % 3 ? i : 0, BLOCK);
		assert_int_equal(write(fd, data, i == BLOCKS - 1 ? ODD : BLOCK),
				 i == BLOCKS - 1 ? ODD : BLOCK);
	}
	close(fd);
	vol = dvol_open_raw(path, NULL, NULL, &err);
	if (!vol)
		fail_msg("%s", err.text);
	return vol;
}

static void expect(int block, bool zero)
{
	uint8_t data[BLOCK] = {0}, full[EVP_MAX_MD_SIZE] = {0};

	memset(data, block, block == BLOCKS - 1 ? ODD : BLOCK);
	if (!zero)
		assert_int_equal(EVP_Digest(data, BLOCK, full, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(digests[block], full, DVOL_BLOCK_DIGEST);
}

static void digests_are_those_of_the_tree(void **state)
{
	struct dvol *vol = open_image();
	uint8_t wanted[(BLOCKS + 7) / 8] = {0};
	struct err err = {0};

	(void)state;
	assert_int_equal(dvol_block_digests(vol, 0, BLOCKS, NULL, digests, &err), 0);
	for (int i = 0; i < BLOCKS; i++)
		expect(i, i % 3 == 0);
	memset(digests, 0xff, BLOCKS * DVOL_BLOCK_DIGEST);
	wanted[10] = 1 << 2; /* block 82 alone, in the second piece */
	assert_int_equal(dvol_block_digests(vol, 0, BLOCKS, wanted, digests, &err), 0);
	for (int i = 0; i < BLOCKS; i++)
		expect(i, i != 82);
	assert_int_equal(dvol_block_digests(vol, BLOCK, BLOCKS, NULL, digests, &err), -1);
	assert_int_equal(dvol_block_digests(vol, 1, 1, NULL, digests, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
	dvol_close(vol, NULL);
}

static void open_links(struct link *links[2])
{
	struct err err = {0};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++) {
		links[i] = link_open_fds(fds[i], fds[i], "the other end", &err);
		assert_non_null(links[i]);
	}
}

static void what_is_sent_is_read(void **state)
{
	const struct compare_range range = {.volume = 3, .blocks = BLOCKS, .first = 7 * COMPARE_BLOCKS};
	struct compare_digests got;
	struct compare_range asked;
	struct dvol *vol = open_image();
	struct link *links[2];
	struct err err = {0};
	struct frame frame;

	(void)state;
	open_links(links);
	assert_int_equal(dvol_block_digests(vol, 0, BLOCKS, NULL, digests, &err), 0);
	assert_int_equal(compare_send(links[0], &range, &err), 0);
	assert_int_equal(message_await(links[1], MESSAGE_COMPARE, 10000, &frame, &err), 0);
	assert_int_equal(compare_read(&frame, &asked, &err), 0);
	assert_int_equal(asked.volume, 3);
	assert_int_equal(asked.blocks, BLOCKS);
	assert_int_equal(asked.first, range.first);
	assert_int_equal(
	    compare_send_digests(links[1], &asked, (const uint8_t(*)[DVOL_BLOCK_DIGEST])digests, &err), 0);
	assert_int_equal(message_await(links[0], MESSAGE_DIGESTS, 10000, &frame, &err), 0);
	assert_int_equal(compare_read_digests(&frame, &got, &err), 0);
	assert_int_equal(got.range.first, range.first);
	for (size_t i = 0, n = 0; i < BLOCKS; i++) {
		bool present = got.present[i / 8] >> i % 8 & 1;

		assert_int_equal(present, i % 3 != 0);
		if (present)
			assert_memory_equal(got.digest[n++], digests[i], DVOL_BLOCK_DIGEST);
	}
	link_close(links[0]);
	link_close(links[1]);
	dvol_close(vol, NULL);
}

static void what_is_not_valid_is_refused(void **state)
{
	/* volume, reserved, blocks 9, first 64: present: block 0 and 8: two digests */
	uint8_t good[16 + 2 + 32] = {1, 0, 0, 0, 9, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 1, 1};
	struct frame frame = {.type = MESSAGE_DIGESTS, .payload = good, .len = sizeof(good)};
	struct compare_digests got;
	struct compare_range range;
	struct err err = {0};

	(void)state;
	assert_int_equal(compare_read_digests(&frame, &got, &err), 0);
	for (frame.len = 0; frame.len < sizeof(good); frame.len++)
		assert_int_equal(compare_read_digests(&frame, &got, &err), -1);
	frame.len = sizeof(good);
	good[17] = 0; /* a digest too many */
	assert_int_equal(compare_read_digests(&frame, &got, &err), -1);
	good[17] = 1;
	good[2] = 1; /* reserved */
	assert_int_equal(compare_read_digests(&frame, &got, &err), -1);
	good[2] = 0;
	good[4] = 0; /* no blocks */
	assert_int_equal(compare_read_digests(&frame, &got, &err), -1);
	good[6] = 1; /* 65,536 */
	assert_int_equal(compare_read_digests(&frame, &got, &err), -1);
	frame.len = 16;
	assert_int_equal(compare_read(&frame, &range, &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	good[4] = 9, good[6] = 0;
	assert_int_equal(compare_read(&frame, &range, &err), 0);
	frame.len = 17;
	assert_int_equal(compare_read(&frame, &range, &err), -1);
}

static int set_up(void **state)
{
	if (temp_setup(state))
		return -1;
	snprintf(path, sizeof(path), "%s/image", (const char *)*state);
	digests = calloc(BLOCKS, DVOL_BLOCK_DIGEST);
	return digests ? 0 : -1;
}

static int tear_down(void **state)
{
	free(digests);
	return temp_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(digests_are_those_of_the_tree, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_is_sent_is_read, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_is_not_valid_is_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
