/* test_cli_image_copies.c: copies of a volume: exported and applied, proven equal by digest or byte, verified, healed from
 * one another, compressed; and what takes long is shown on a terminal, and can be cancelled. */
#include "imagefmt/dvol.h"
#include "tests/lib/image.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * KIB };

static struct cli cli; /* too large for a stack */

static char *digest_of(const char *words)
{
	json_t *object = image_json(&cli, 0, words);
	char *text = strdup(json_string_value(json_object_get(object, "digest")));

	assert_non_null(text);
	assert_int_equal(strlen(text), 64);
	json_decref(object);
	return text;
}

static void assert_same_digest(const char *a, const char *b)
{
	char *one = digest_of(a), *other = digest_of(b);

	assert_string_equal(one, other);
	free(one);
	free(other);
}

/* v: epochs 1.1 and 1.2, with data. */
static void make_volume(void)
{
	image_do(&cli, "image create v 4M");
	image_fill("v", 0, 256 * KIB, 1);
	image_do(&cli, "image close v");
	image_fill("v", 64 * KIB, 64 * KIB, 2);
	image_do(&cli, "image close v");
}

static void a_copy_is_made_and_brought_up_to_date(void **state)
{
	json_t *object;

	(void)state;
	make_volume();
	object = image_json(&cli, 0, "image export v --from none --to 1.1 seed");
	image_is(object, "from", "null");
	image_is(object, "to", "\"1.1\"");
	assert_true(json_integer_value(json_object_get(object, "delta_bytes")) > 256 * KIB);
	json_decref(object);
	image_do(&cli, "image export v --from 1.1 delta");
	object = image_json(&cli, 0, "image apply copy seed --compress 3");
	image_is(object, "created", "true");
	image_is(object, "epoch", "\"1.1\"");
	json_decref(object);
	object = image_json(&cli, 0, "image apply copy delta");
	image_is(object, "created", "false");
	image_is(object, "from", "\"1.1\"");
	image_is(object, "epoch", "\"1.2\"");
	json_decref(object);
	object = image_json(&cli, 0, "image info copy");
	image_is(object, "compress", "3");
	json_decref(object);
	image_do(&cli, "image compare v copy");
	image_do(&cli, "image compare v copy --epoch-a 1.1 --epoch-b 1.1");
	assert_same_digest("image digest v", "image digest copy --epoch 1.2");
	assert_same_digest("image digest v --epoch 1.1", "image digest copy --epoch 1.1");
	cli_run_words(&cli, "image apply copy delta");
	cli_expect(&cli, 1, "its base is not the volume's newest epoch");
	image_fill("copy", 0, 4 * KIB, 9);
	image_do(&cli, "image close v");
	image_do(&cli, "image export v --from 1.2 next");
	cli_run_words(&cli, "image apply copy next");
	cli_expect(&cli, 1, "copy was changed since epoch 1.2; roll it back to that first");
	image_do(&cli, "image rollback copy --epoch 1.2");
	image_do(&cli, "image apply copy next");
	assert_string_equal(cli.out, "epoch 1.3 from 1.2\n");
}

static void a_damaged_seed_makes_no_volume(void **state)
{
	(void)state;
	make_volume();
	image_do(&cli, "image export v --from none seed");
	image_put("seed", 100 * KIB, "damage");
	cli_run_words(&cli, "image apply copy seed");
	cli_expect(&cli, 1, "is damaged; fetch it again");
	assert_int_equal(access("copy", F_OK), -1);
}

static void compare_tells_where_volumes_differ(void **state)
{
	json_t *object;

	(void)state;
	make_volume();
	image_do(&cli, "image create w 2M");
	cli_run_words(&cli, "image compare w w");
	assert_int_equal(cli.status, 0);
	assert_string_equal(cli.out, "");
	object = image_json(&cli, 1, "image compare v v --epoch-a 1.1 --epoch-b 1.2");
	image_is(object, "equal", "false");
	image_is(object, "extents", "[{\"offset\": 65536, \"length\": 65536}]");
	image_is(object, "bytes", "65536");
	json_decref(object);
	cli_run_words(&cli, "image compare v w");
	assert_int_equal(cli.status, 1);
	assert_string_equal(cli.err, "");
	assert_non_null(strstr(cli.out, "262144 bytes (256 KiB) in 1 extent\n"));
	object = image_json(&cli, 0, "image compare v v --epoch-b 1.2");
	image_is(object, "equal", "true");
	json_decref(object);
}

static void a_digest_tree_tells_what_differs_elsewhere(void **state)
{
	static const struct {
		const char *words, *sentence;
	} mistakes[] = {
	    {"image compare v tree --epoch-b 1.1", "--epoch-b: 'tree' is a digest tree, of one epoch"},
	    {"image compare v damaged", "damaged"},
	    {"image compare absent tree", "cannot open 'absent'"},
	    {"image compare w tree", "'w' has no closed epoch"},
	};
	json_t *object;

	(void)state;
	make_volume();
	image_do(&cli, "image create w 2M");
	object = image_json(&cli, 0, "image digest v --export tree");
	image_is(object, "tree", "\"tree\"");
	json_decref(object);
	image_do(&cli, "image digest v --export coarse --granularity 1M");
	/* Where the newest epoch is another one it differs; the epoch of the tree does not. */
	image_fill("v", 128 * KIB, 4 * KIB, 5);
	image_do(&cli, "image close v");
	image_do(&cli, "image digest v");
	object = image_json(&cli, 0, "image compare v tree --epoch-a 1.2");
	image_is(object, "equal", "true");
	image_is(object, "by", "\"digests\"");
	json_decref(object);
	object = image_json(&cli, 1, "image compare v tree");
	image_is(object, "extents", "[{\"offset\": 131072, \"length\": 4096}]");
	json_decref(object);
	object = image_json(&cli, 1, "image compare v coarse");
	image_is(object, "extents", "[{\"offset\": 0, \"length\": 1048576}]");
	json_decref(object);
	object = image_json(&cli, 1, "image compare v v --epoch-a 1.2 --epoch-b 1.3");
	image_is(object, "by", "\"digests\"");
	json_decref(object);
	cli_run_words(&cli, "image digest v --export tree");
	cli_expect(&cli, 1, "'tree' is there already");
	cli_run_words(&cli, "image digest v --granularity 1M");
	cli_expect(&cli, 2, "--granularity goes with --export");
	cli_run_words(&cli, "image digest v --export t --granularity 2M");
	cli_expect(&cli, 2, "--granularity: '2M' is none of 4K, 1M");
	image_do(&cli, "image digest v --export damaged");
	image_put("damaged", 50, "x");
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		cli_run_words(&cli, mistakes[i].words);
		cli_expect(&cli, 2, mistakes[i].sentence);
	}
}

static void a_digest_is_known_beside_a_writer_once_it_was_computed(void **state)
{
	struct dvol *writer;
	json_t *object;

	(void)state;
	make_volume();
	image_do(&cli, "image digest v");
	assert_non_null(strstr(cli.out, "  epoch 1.2\n"));
	writer = dvol_open("v", &(struct dvol_open_options){.writable = true}, NULL);
	assert_non_null(writer);
	image_do(&cli, "image digest v");
	object = image_json(&cli, 0, "image check v --verify --epoch 1.1");
	assert_non_null(strstr(cli.err, "the metadata is not checked: v is in use"));
	image_is(object, "metadata_checked", "false");
	image_is(object, "sound", "true");
	image_is(object, "verified", "[\"1.1\"]");
	json_decref(object);
	assert_int_equal(dvol_close(writer, NULL), 0);
}

/* data_at(path, offset): where the head's block at offset is in the file. */
static uint64_t data_at(const char *path, uint64_t offset)
{
	struct dvol *vol = dvol_open(path, NULL, NULL);
	struct dvol_map_extent *list;
	uint64_t at;
	size_t count;

	assert_non_null(vol);
	assert_int_equal(dvol_map(vol, offset, DVOL_BLOCK, 1, &list, &count, NULL), 0);
	assert_int_equal(list[0].kind, DVOL_MAP_DATA);
	at = list[0].file_offset;
	free(list);
	assert_int_equal(dvol_close(vol, NULL), 0);
	return at;
}

static void damaged_blocks_are_found_and_healed(void **state)
{
	json_t *object;

	(void)state;
	make_volume();
	cli_run_words(&cli, "image check v --verify");
	assert_int_equal(cli.status, 0);
	assert_non_null(
	    strstr(cli.out, "epoch 1.1 is not verified: 'drover image digest' gives it a digest\n"));
	image_do(&cli, "image digest v");
	object = image_json(&cli, 0, "image check v --verify");
	image_is(object, "sound", "true");
	image_is(object, "verified", "[\"1.1\", \"1.2\"]");
	image_is(object, "unverified", "[]");
	image_is(object, "bad_blocks", "[]");
	json_decref(object);
	image_do(&cli, "image export v --from none --to 1.1 seed");
	image_do(&cli, "image export v --from 1.1 delta");
	image_do(&cli, "image apply copy seed");
	image_do(&cli, "image apply copy delta");
	image_put("v", data_at("v", 68 * KIB) + 77, "Z"); /* only 1.2 has this block */
	cli_run_words(&cli, "image check v --verify --epoch 1.1");
	assert_int_equal(cli.status, 0);
	cli_run_words(&cli, "image check v --verify");
	assert_int_equal(cli.status, 1);
	assert_non_null(strstr(cli.out, "the block at byte 69632 of epoch 1.2 is damaged\n"));
	/* A copy that has the same damage is no help. */
	object = image_json(&cli, 1, "image check v --verify --heal v");
	image_is(object, "sound", "false");
	image_is(object, "errors", "0");
	image_is(object, "healed_blocks", "0");
	image_is(object, "bad_blocks", "[{\"offset\": 69632, \"epoch\": \"1.2\"}]");
	json_decref(object);
	cli_run_words(&cli, "image check v --verify --heal absent");
	cli_expect(&cli, 1, "cannot open 'absent'");
	/* Nor is a file of other bytes. */
	image_put("raw", 0, "bytes");
	object = image_json(&cli, 1, "image check v --verify --heal raw");
	image_is(object, "healed_blocks", "0");
	json_decref(object);
	object = image_json(&cli, 0, "image check v --verify --heal copy");
	image_is(object, "sound", "true");
	image_is(object, "healed_blocks", "1");
	json_decref(object);
	image_do(&cli, "image check v --verify");
	image_do(&cli, "image compare v copy");
}

/* Every block behind the journal that is not data: what is in use of them is known by its checksum. */
static void damaged_metadata_is_found(void **state)
{
	unsigned found = 0, looked_at = 0;
	uint64_t data, size;
	json_t *object;
	int fd;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_fill("v", 0, DVOL_BLOCK, 1);
	data = data_at("v", 0);
	object = image_json(&cli, 0, "image info v");
	size = (uint64_t)json_integer_value(json_object_get(object, "file_bytes"));
	json_decref(object);
	fd = open("v", O_RDWR);
	assert_true(fd >= 0);
	for (uint64_t at = 4 * MIB + 8 * DVOL_BLOCK; at < size; at += DVOL_BLOCK) {
		char block[DVOL_BLOCK], empty[DVOL_BLOCK] = {0};

		assert_int_equal(pread(fd, block, DVOL_BLOCK, (off_t)at), DVOL_BLOCK);
		if (at == data || !memcmp(block, empty, DVOL_BLOCK))
			continue;
		looked_at++;
		image_put("v", at + 12, "x");
		cli_run_words(&cli, "image check v --json");
		assert_true(cli.status == 0 || cli.status == 1);
		assert_true((cli.status == 0) == (strstr(cli.out, "\"sound\": true") != NULL) ||
			    strstr(cli.out, "catalog is damaged"));
		found += cli.status == 1;
		assert_int_equal(pwrite(fd, block, DVOL_BLOCK, (off_t)at), DVOL_BLOCK);
	}
	close(fd);
	/* The catalog, and four levels each of the map and of the allocation; an older catalog is of no use. */
	assert_in_range(found, 9, looked_at);
	assert_in_range(looked_at, 9, 11);
	image_do(&cli, "image check v");
	/* One superblock is enough. */
	image_put("v", 60, "x");
	image_do(&cli, "image check v");
	image_put("v", 4096 + 60, "x");
	cli_run_words(&cli, "image check v");
	cli_expect(&cli, 1, "both superblocks are damaged");
}

static void packing_keeps_the_content(void **state)
{
	char *before, *after;
	json_t *object, *list;

	(void)state;
	make_volume();
	before = digest_of("image digest v");
	object = image_json(&cli, 0, "image pack v --level 1");
	assert_true(json_integer_value(json_object_get(object, "packed_bytes")) >= 256 * KIB);
	assert_true(json_integer_value(json_object_get(object, "freed_bytes")) > 0);
	json_decref(object);
	after = digest_of("image digest v");
	assert_string_equal(before, after);
	free(before);
	free(after);
	object = image_json(&cli, 0, "image map v --epoch 1.2");
	list = json_object_get(object, "extents");
	image_is(json_array_get(list, 0), "kind", "\"packed\"");
	json_decref(object);
	object = image_json(&cli, 0, "image check v --verify");
	image_is(object, "sound", "true");
	assert_true(json_integer_value(json_object_get(object, "packed_blocks")) >= 64);
	json_decref(object);
}

/* ---- on a terminal ---- */
/* start(master, words): drover with a terminal as its stderr. */
static pid_t start(int *master, const char *const argv[])
{
	pid_t pid;

	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*master >= 0 && !grantpt(*master) && !unlockpt(*master));
	pid = fork();
	if (pid == 0) {
		int tty = open(ptsname(*master), O_RDWR | O_NOCTTY);

		if (tty >= 0 && dup2(tty, 2) >= 0)
			execv(cli_program(), (char *const *)argv);
		_exit(126);
	}
	assert_true(pid > 0);
	return pid;
}

/* read_until(master, text, size, word): what comes from the terminal until word does, or without a word its end. */
static void read_until(int master, char *text, size_t size, const char *word)
{
	size_t len = strlen(text);
	ssize_t some = 1;

	while ((!word || !strstr(text, word)) && some > 0) {
		assert_true(len + 1 < size);
		some = read(master, text + len, size - 1 - len);
		if (some < 0 && errno == EINTR)
			some = 1;
		else if (some > 0)
			text[len += (size_t)some] = '\0';
	}
	if (word && !strstr(text, word))
		fail_msg("'%s' did not come: %s", word, text);
}

static void what_takes_long_is_shown_and_cancelled(void **state)
{
	static const char *const argv[] = {"drover", "image", "pack", "v", "--level", "19", NULL};
	static char text[65536];
	char *before, *after;
	int master, status;
	pid_t pid;

	(void)state;
	image_do(&cli, "image create v 64M");
	image_fill("v", 0, 64 * MIB, 1);
	image_do(&cli, "image close v");
	before = digest_of("image digest v");
	text[0] = '\0';
	pid = start(&master, argv);
	/* Level 19 takes a minute; it ends when it is told to, once it is known to be at work. */
	read_until(master, text, sizeof(text), "packing:  ");
	assert_int_equal(kill(pid, SIGINT), 0);
	read_until(master, text, sizeof(text), NULL);
	close(master);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_non_null(strstr(text, "MB/s"));
	assert_non_null(
	    strstr(text, "\r\033[Kdrover: packing: cancelled; what was packed before stays so\r\n"));
	after = digest_of("image digest v");
	assert_string_equal(before, after);
	free(before);
	free(after);
	image_do(&cli, "image check v --verify");
}

/* A signal that came already: each ends at its first step. */
static bool with_a_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	return !sigprocmask(SIG_BLOCK, &set, NULL) && !raise(SIGTERM);
}

static void what_is_cancelled_leaves_nothing_half_done(void **state)
{
	static const struct {
		const char *words;
		int status;
		const char *sentence;
	} cases[] = {
	    {"image check v", 1, "checking: cancelled; nothing was concluded"},
	    {"image digest v", 1, "digest of epoch 1.2: cancelled; the next one goes on from there"},
	    {"image digest copy --export tree", 1,
	     "digest tree of epoch 1.1: cancelled; nothing was written"},
	    {"image compare v copy", 2, "comparing: cancelled; nothing was concluded"},
	    {"image compare copy coarse", 2, "comparing: cancelled; nothing was concluded"},
	    {"image export v --from none out", 1, "exporting epoch 1.2: cancelled; nothing was written"},
	    {"image apply new seed", 1, "applying epoch 1.1: cancelled; no volume was made"},
	    {"image apply copy delta", 1,
	     "applying epoch 1.2: cancelled; the volume holds what it held before"},
	    {"image pack v", 1, "packing: cancelled; what was packed before stays so"},
	};
	json_t *object;

	(void)state;
	make_volume();
	image_do(&cli, "image export v --from none --to 1.1 seed");
	image_do(&cli, "image export v --from 1.1 delta");
	image_do(&cli, "image apply copy seed");
	image_do(&cli, "image digest copy --export coarse --granularity 1M");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cli_run_in(&cli, with_a_signal, cases[i].words);
		cli_expect(&cli, cases[i].status, cases[i].sentence);
		assert_string_equal(cli.out, "");
	}
	assert_int_equal(access("out", F_OK), -1);
	assert_int_equal(access("new", F_OK), -1);
	assert_int_equal(access("tree", F_OK), -1);
	image_do(&cli, "image compare copy v --epoch-b 1.1");
	object = image_json(&cli, 0, "image info copy");
	image_is(object, "newest_epoch", "\"1.1\"");
	json_decref(object);
	image_do(&cli, "image apply copy delta");
	image_do(&cli, "image compare copy v");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, image_setup, image_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_copy_is_made_and_brought_up_to_date),
	    TEST(a_damaged_seed_makes_no_volume),
	    TEST(compare_tells_where_volumes_differ),
	    TEST(a_digest_tree_tells_what_differs_elsewhere),
	    TEST(a_digest_is_known_beside_a_writer_once_it_was_computed),
	    TEST(damaged_blocks_are_found_and_healed),
	    TEST(damaged_metadata_is_found),
	    TEST(packing_keeps_the_content),
	    TEST(what_is_cancelled_leaves_nothing_half_done),
	    TEST(what_takes_long_is_shown_and_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
