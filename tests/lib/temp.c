/* temp.c: a folder for one test's files. */
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void temp_make(char path[TEMP_MAX])
{
	const char *parent = getenv("TMPDIR");

	snprintf(path, TEMP_MAX, "%s/t-XXXXXX", parent && *parent ? parent : "/tmp");
	if (!mkdtemp(path))
		fail_msg("cannot make a folder %s: %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

void temp_remove(const char *path)
{
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
		fail_msg("cannot remove %s: %s", path, strerror(errno));
}

int temp_setup(void **state)
{
	char *path = malloc(TEMP_MAX);

	if (!path)
		return -1;
	temp_make(path);
	*state = path;
	return 0;
}

int temp_teardown(void **state)
{
	temp_remove(*state);
	free(*state);
	return 0;
}
