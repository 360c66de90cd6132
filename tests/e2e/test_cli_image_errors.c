/* test_cli_image_errors.c: whatever is wrong with a volume, a file or the words, drover image says it in one line, ends with
 * the status that belongs to it, and leaves no new file behind. */
#include "imagefmt/dvol.h"
#include "tests/lib/image.h"
#include "tests/lib/need.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct cli cli; /* too large for a stack */

struct mistake {
	const char *words, *sentence;
};

static unsigned files(void)
{
	DIR *folder = opendir(".");
	unsigned count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void check_all(const struct mistake *mistakes, size_t count, int status)
{
	unsigned before = files();

	for (size_t i = 0; i < count; i++) {
		cli_run_words(&cli, mistakes[i].words);
		cli_expect(&cli, status, mistakes[i].sentence);
		if (cli.out[0])
			fail_msg("'%s' printed on stdout: %s", mistakes[i].words, cli.out);
		if (files() != before)
			fail_msg("'%s' left a file behind", mistakes[i].words);
	}
}
#define CHECK_ALL(mistakes, status) check_all(mistakes, sizeof(mistakes) / sizeof(mistakes[0]), status)

static void wrong_usage_is_status_2(void **state)
{
	static const struct mistake mistakes[] = {
	    {"image", "image: which command? 'drover help image' lists them"},
	    {"image nonsense", "there is no command 'image nonsense'; 'drover help image' lists them"},
	    {"image --json", "there is no command 'image --json'"},
	    {"help image nonsense", "there is no command 'image nonsense'; 'drover help image' lists them"},
	    {"help list nonsense", "there is no command 'list nonsense'; 'drover help' lists them"},
	    {"image create", "image create: FILE is missing; see 'drover help image create'"},
	    {"image create a", "SIZE is missing"},
	    {"image create a 1Q", "SIZE: \"1Q\" is not a size"},
	    {"image create a 0", "SIZE: a volume has 4096 bytes to 64 TiB"},
	    {"image create a 1000", "a: a volume has 4096 bytes to 64 TiB, in multiples of 512"},
	    {"image create a 4097", "a: a volume has 4096 bytes to 64 TiB, in multiples of 512"},
	    {"image create a 65T", "a: a volume has 4096 bytes to 64 TiB, in multiples of 512"},
	    {"image create a 1M --compress 20", "--compress: \"20\" is not a number from 0 to 19"},
	    {"image create a 1M --backing-raw", "--backing-raw goes with --backing"},
	    {"image create a 1M --backing-epoch 1.1", "--backing-epoch goes with --backing"},
	    {"image create a 1M --backing v --backing-raw --backing-epoch 1.1",
	     "a raw backing has no epochs"},
	    {"image info", "image info: FILE is missing"},
	    {"image info v w", "image info: surplus operand 'w'"},
	    {"image check v --heal w", "image check: --heal goes with --verify"},
	    {"image check v --epoch 1.1", "image check: --epoch goes with --verify"},
	    {"image map v --epoch 1", "--epoch: '1' is not an epoch: write its term and number, as in 1.5"},
	    {"image close v --epoch 0.1", "--epoch: '0.1' is not an epoch"},
	    {"image clone v", "image clone: NEW is missing"},
	    {"image rollback v", "image rollback: option '--epoch' is missing"},
	    {"image delete v", "image delete: T.N is missing"},
	    {"image delete v 1.1 x", "image delete: 'x' is not an epoch"},
	    {"image changed v", "image changed: option '--from' is missing"},
	    {"image changed v --from x",
	     "--from: 'x' is not an epoch: write its term and number, as in 1.5, or none"},
	    {"image changed v --from 1.2 --to 1.1", "--from is later than --to"},
	    {"image export v --from 1.2 --to 1.1 out", "epoch 1.2 does not come before 1.1"},
	    {"image export v --from 1.1 --to 1.1 out", "epoch 1.1 does not come before 1.1"},
	    {"image export v --from 1.1", "image export: OUT is missing"},
	    {"image apply v", "image apply: DELTA is missing"},
	    {"image apply v raw --compress 3", "--compress is for a volume that a seed makes"},
	    {"image resize v 512K", "v: a volume can only grow"},
	    {"image resize v 1048577", "v: a volume can only grow, to a multiple of 512 bytes"},
	    {"image resize v 65T",
	     "v: a volume can only grow, to a multiple of 512 bytes and at most 64 TiB"},
	    {"image pack v --level 0", "--level: \"0\" is not a number from 1 to 19"},
	    {"image compare v", "image compare: B is missing"},
	};

	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	image_do(&cli, "image close v");
	image_put("raw", 0, "bytes");
	CHECK_ALL(mistakes, 2);
}

static void files_that_are_not_there_or_no_volumes_are_named(void **state)
{
	static const char *const commands[] = {
	    "image info %s",
	    "image check %s",
	    "image map %s",
	    "image epochs %s",
	    "image close %s",
	    "image clone %s new",
	    "image digest %s",
	    "image rollback %s --epoch 1.1",
	    "image delete %s 1.1",
	    "image pack %s",
	    "image resize %s 1G",
	    "image export %s --from none out",
	    "image check %s --verify",
	    "image create new 1M --backing %s",
	    "image changed %s --from none",
	};
	static const char *const kinds[][2] = {
	    {"absent", "cannot open 'absent': No such file or directory"},
	    {"sub", "'sub' is neither a regular file nor a block device"},
	    {"fifo", "'fifo' is neither a regular file nor a block device"},
	    {"raw", "raw is not a .dvol volume"},
	    {"empty", "empty is not a .dvol volume"},
	    {"damaged", "damaged: both superblocks are damaged; restore the volume from a replica"},
	};
	char words[128];

	(void)state;
	assert_int_equal(mkdir("sub", 0700), 0);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	image_put("raw", 0, "bytes");
	image_put("empty", 0, "");
	image_do(&cli, "image create damaged 1M");
	image_do(&cli, "image close damaged");
	image_put("damaged", 60, "x");
	image_put("damaged", 4096 + 60, "x");
	for (size_t f = 0; f < sizeof(kinds) / sizeof(kinds[0]); f++)
		for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++) {
			/* The formats are those above. */
			const char *at = strstr(commands[c], "%s");

			snprintf(words, sizeof(words), "%.*s%s%s", (int)(at - commands[c]), commands[c],
				 kinds[f][0], at + 2);
			check_all(&(struct mistake){words, kinds[f][1]}, 1, 1);
		}
}

static void states_that_forbid_it_are_named(void **state)
{
	static const struct mistake mistakes[] = {
	    {"image create v 1M", "'v' is there already: give another name, or remove it first"},
	    {"image clone v w", "'w' is there already"},
	    {"image clone v no/new", "cannot create 'no/new': No such file or directory"},
	    {"image create no/new 1M", "no/new: No such file or directory"},
	    {"image create new 1M --backing w", "'w' has no closed epoch; 'drover image close' makes one"},
	    {"image create new 1M --backing v --backing-epoch 1.9", "'v' has no epoch 1.9"},
	    {"image create new 1M --backing absent --backing-raw", "cannot open 'absent'"},
	    {"image clone w new", "'w' has no closed epoch"},
	    {"image clone v new --epoch 1.9", "'v' has no epoch 1.9; 'drover image epochs' lists them"},
	    {"image digest w", "'w' has no closed epoch"},
	    {"image digest v --epoch 1.9", "'v' has no epoch 1.9"},
	    {"image map v --epoch 1.9", "v has no epoch 1.9"},
	    {"image changed v --from 1.9", "v has no epoch 1.9"},
	    {"image check v --verify --epoch 1.9", "'v' has no epoch 1.9"},
	    {"image rollback v --epoch 1.9", "'v' has no epoch 1.9"},
	    {"image delete v 1.9", "'v' has no epoch 1.9"},
	    {"image close v --epoch 1.1", "v: epoch 1.1 does not come after the newest one"},
	    {"image export v --from 1.1 raw", "'raw' is there already"},
	    {"image export v --from none no/out", "no/out: No such file or directory"},
	    {"image apply v absent", "cannot open 'absent': No such file or directory"},
	    {"image apply v raw", "raw"},
	    {"image apply v long", "long is not a delta of a .dvol volume"},
	    {"image apply new long", "long is not a delta of a .dvol volume"},
	    {"image apply new delta",
	     "'new' is not there, and only a delta from none (a seed) makes a volume"},
	    {"image apply w delta", "delta cannot be applied to w: they are not copies of one volume"},
	    {"image apply v seed", "it is a seed, and the volume has epochs already"},
	};

	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image create w 1M");
	image_do(&cli, "image close v");
	image_do(&cli, "image close v");
	image_do(&cli, "image export v --from none seed");
	image_do(&cli, "image export v --from 1.1 delta");
	image_put("raw", 0, "bytes");
	image_put("long", 0, "bytes");
	image_put("long", 5000, "and more of them");
	CHECK_ALL(mistakes, 1);
}

static void a_volume_in_use_is_named(void **state)
{
	static const struct mistake mistakes[] = {
	    {"image close v", "v is in use: one process at a time may write it"},
	    {"image resize v 2M", "v is in use: one process at a time may write it"},
	    {"image delete v 1.1", "v is in use: one process at a time may write it"},
	    {"image rollback v --epoch 1.1", "v is in use: one process at a time may write it"},
	    {"image pack v", "v is in use: one process at a time may write it"},
	    {"image digest v", "v is in use: one process at a time may write it"},
	    {"image apply v seed", "v is in use: one process at a time may write it"},
	    {"image check v", "v is in use: its head is being written; read a closed epoch"},
	    {"image map v", "v is in use: its head is being written; read a closed epoch"},
	    {"image changed v --from 1.1", "v is in use: its head is being written; read a closed epoch"},
	};
	struct dvol *writer;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	image_do(&cli, "image export v --from none seed");
	writer = dvol_open("v", &(struct dvol_open_options){.writable = true}, NULL);
	assert_non_null(writer);
	CHECK_ALL(mistakes, 1);
	cli_run_words(&cli, "image compare v v");
	cli_expect(&cli, 2, "v is in use: its head is being written; read a closed epoch");
	assert_int_equal(dvol_close(writer, NULL), 0);
}

static void an_epoch_that_is_read_is_not_deleted(void **state)
{
	struct dvol *reader;

	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	reader = dvol_open("v", &(struct dvol_open_options){.epoch = {1, 1}}, NULL);
	assert_non_null(reader);
	cli_run_words(&cli, "image delete v 1.1");
	cli_expect(&cli, 1, "v: somebody is reading epoch 1.1; try again when that has ended");
	assert_int_equal(dvol_close(reader, NULL), 0);
	image_do(&cli, "image delete v 1.1");
}

static void a_base_that_went_is_named(void **state)
{
	(void)state;
	image_do(&cli, "image create v 1M");
	image_do(&cli, "image close v");
	image_do(&cli, "image clone v c");
	assert_int_equal(rename("v", "elsewhere"), 0);
	cli_run_words(&cli, "image map c");
	cli_expect(&cli, 1, "the backing of c: ");
	assert_non_null(strstr(cli.err, "/v: No such file or directory"));
	/* What it is can be told all the same. */
	image_do(&cli, "image info c");
	assert_int_equal(rename("elsewhere", "v"), 0);
	image_do(&cli, "image map c");
}

static void with_json_an_error_is_an_object_too(void **state)
{
	json_t *object = image_json(&cli, 1, "image info absent");
	const char *kind, *message;

	(void)state;
	assert_int_equal(json_unpack(object, "{s:{s:s, s:s}}", "error", "kind", &kind, "message", &message),
			 0);
	assert_string_equal(kind, "system");
	assert_string_equal(message, "cannot open 'absent': No such file or directory");
	json_decref(object);
	object = image_json(&cli, 2, "image compare absent absent");
	assert_int_equal(json_unpack(object, "{s:{s:s}}", "error", "kind", &kind), 0);
	assert_string_equal(kind, "system");
	json_decref(object);
}

static void names_with_control_characters_do_no_harm(void **state)
{
	json_t *object;

	(void)state;
	cli_run(&cli, "image", "create", "v\x1b[2J\xff", "1M", "--json", NULL);
	assert_int_equal(cli.status, 0);
	object = json_loads(cli.out, 0, NULL);
	image_is(object, "file", "\"v?[2J?\"");
	json_decref(object);
	cli_run(&cli, "image", "create", "v\x1b[2J\xff", "1M", NULL);
	cli_expect(&cli, 1, "'v?[2J?' is there already");
}

/* ---- a full disk ---- */
static bool on_a_small_disk(void)
{
	return unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", "small", "tmpfs", 0, "size=1M") == 0;
}

static bool on_a_small_disk_with_a_full_file(void)
{
	FILE *file;

	if (!on_a_small_disk())
		return false;
	file = fopen("small/fill", "w");
	for (int i = 0; file && i < 200 * 1024; i++)
		fputs("fill", file);
	return file && fclose(file) == 0;
}

static void a_full_disk_is_named(void **state)
{
	(void)state;
	assert_int_equal(mkdir("small", 0700), 0);
	cli_run_in(&cli, on_a_small_disk, "image create small/v 1M");
	if (cli.status == 125)
		need_skip("this user cannot mount a small disk here");
	cli_expect(&cli, 1, "small/v: No space left on device");
	image_do(&cli, "image create v 1M");
	image_fill("v", 0, 512 * 1024, 1);
	image_do(&cli, "image close v");
	cli_run_in(&cli, on_a_small_disk_with_a_full_file, "image export v --from none small/out");
	cli_expect(&cli, 1, "small/out: No space left on device");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, image_setup, image_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(wrong_usage_is_status_2),
	    TEST(files_that_are_not_there_or_no_volumes_are_named),
	    TEST(states_that_forbid_it_are_named),
	    TEST(a_volume_in_use_is_named),
	    TEST(an_epoch_that_is_read_is_not_deleted),
	    TEST(a_base_that_went_is_named),
	    TEST(with_json_an_error_is_an_object_too),
	    TEST(names_with_control_characters_do_no_harm),
	    TEST(a_full_disk_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
