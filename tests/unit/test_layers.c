/* test_layers.c: folders include in one direction only: each may include itself and those before it in the list
 * below; convert/ and nbdkit/ stand aside of that order; tests may include all.  Walks the source tree ($DROVER_SRC,
 * else the working folder). */
#include "tests/lib/test.h"

#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMMON, IMAGEFMT, VMM, MIGRATE, REPLICATE, CONVERT, CLI, NBDKIT, LAYERS };
static const char *const layers[LAYERS] = {"common",    "imagefmt", "vmm", "migrate",
					   "replicate", "convert",  "cli", "nbdkit"};

/* The VM process must not come to link what convert/ links; the plugin is a program of its own. */
static bool may_include(int layer, int included)
{
	if (included == layer)
		return true;
	if (included == CONVERT)
		return layer == CLI;
	if (layer == CONVERT || layer == NBDKIT)
		return included <= IMAGEFMT;
	return included < layer;
}

/* The number of the layer that a path begins with, or -1. */
static int layer_of(const char *path)
{
	for (int i = 0; i < LAYERS; i++) {
		size_t len = strlen(layers[i]);

		if (strncmp(path, layers[i], len) == 0 && path[len] == '/')
			return i;
	}
	return -1;
}

/* What is wrong with a line of a file of that layer; NULL when nothing is. */
static const char *fault_of(int layer, const char *line)
{
	const char *name;
	bool quoted;
	int included;

	line += strspn(line, " \t");
	if (*line++ != '#')
		return NULL;
	line += strspn(line, " \t");
	if (strncmp(line, "include", 7) != 0)
		return NULL;
	line += 7;
	line += strspn(line, " \t");
	if (*line != '"' && *line != '<')
		return "includes by a macro, which hides what";
	quoted = *line == '"';
	name = line + 1;
	included = layer_of(name);
	if (included < 0) {
		/* Quotes are for our own headers, named from the root, so that this test can see them. */
		if (quoted || strncmp(name, "..", 2) == 0 || strncmp(name, "tests/", 6) == 0)
			return "includes what is not named by one of the folders";
		return NULL;
	}
	if (strstr(name, "/."))
		return "includes along a path that is not straight";
	return may_include(layer, included) ? NULL : "includes a folder that stands above it, or aside";
}

static size_t root_len, files_seen[LAYERS], faults;

static void check_file(const char *path, int layer)
{
	FILE *file = fopen(path, "r");
	unsigned int number = 0;
	char *line = NULL;
	size_t cap = 0;

	if (!file)
		fail_msg("cannot open %s: %s", path, strerror(errno));
	while (getline(&line, &cap, file) >= 0) {
		const char *fault = fault_of(layer, line);

		number++;
		if (fault) {
			print_error("%s:%u: %s %s: %s", path + root_len, number, layers[layer], fault, line);
			faults++;
		}
	}
	free(line);
	fclose(file);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *where)
{
	size_t len = strlen(path);
	int layer = len > root_len ? layer_of(path + root_len) : -1;

	(void)st;
	(void)where;
	if (type == FTW_F && layer >= 0 && len > 2 &&
	    (strcmp(path + len - 2, ".c") == 0 || strcmp(path + len - 2, ".h") == 0)) {
		files_seen[layer]++;
		check_file(path, layer);
	}
	return 0;
}

static void no_file_includes_a_folder_above_its_own(void **state)
{
	const char *root = getenv("DROVER_SRC");
	char path[4096];

	(void)state;
	if (!root || !*root)
		root = ".";
	root_len = strlen(root) + 1;
	for (int i = 0; i < LAYERS; i++) {
		snprintf(path, sizeof(path), "%s/%s", root, layers[i]);
		/* A folder that does not exist yet has no faults. */
		if (nftw(path, visit, 16, FTW_PHYS) != 0 && errno != ENOENT)
			fail_msg("cannot walk %s: %s", path, strerror(errno));
	}
	/* A walk of the wrong place finds no fault either. */
	assert_true(files_seen[0] > 10);
	assert_int_equal(faults, 0);
}

static void ok(const char *folder, const char *line)
{
	assert_null(fault_of(layer_of(folder), line));
}

static void bad(const char *folder, const char *line)
{
	assert_non_null(fault_of(layer_of(folder), line));
}

static void the_check_itself_knows_good_from_bad(void **state)
{
	(void)state;
	ok("common/", "#include \"common/err.h\"\n");
	ok("common/", "#include <stdio.h>\n");
	ok("common/", "#include <sys/stat.h>");
	ok("common/", "int include;");
	ok("common/", " * #include \"vmm/x.h\" in a comment");
	ok("imagefmt/", "#include \"common/err.h\"");
	ok("vmm/", "#include \"imagefmt/volume.h\"");
	ok("migrate/", "#include \"vmm/memory.h\"");
	ok("cli/", "#include \"replicate/job.h\"");
	ok("cli/", "#include \"convert/convert.h\"");
	ok("convert/", "#include \"imagefmt/dvol.h\"");
	ok("nbdkit/", "#include \"imagefmt/dvol.h\"");
	ok("nbdkit/", "#include <nbdkit-plugin.h>");
	bad("common/", "#include \"imagefmt/volume.h\"");
	bad("common/", "  #  include\t<vmm/memory.h>");
	bad("imagefmt/", "#include \"vmm/memory.h\"");
	bad("vmm/", "#include \"migrate/stream.h\"");
	bad("migrate/", "#include \"replicate/job.h\"");
	bad("migrate/", "#include \"cli/cli.h\"");
	bad("replicate/", "#include \"cli/cli.h\"");
	bad("replicate/", "#include \"convert/convert.h\"");
	bad("convert/", "#include \"vmm/memory.h\"");
	bad("convert/", "#include \"cli/cli.h\"");
	bad("nbdkit/", "#include \"convert/convert.h\"");
	bad("cli/", "#include \"nbdkit/plugin.h\"");
	/* Names that this check could not follow. */
	bad("common/", "#include \"err.h\"");
	bad("common/", "#include \"../vmm/memory.h\"");
	bad("common/", "#include \"common/../vmm/memory.h\"");
	bad("common/", "#include HEADER");
	bad("cli/", "#include \"tests/lib/need.h\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_check_itself_knows_good_from_bad),
	    cmocka_unit_test(no_file_includes_a_folder_above_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
