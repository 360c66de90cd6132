/* names.c: see names.h. */
#include "common/names.h"

#include "common/units.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 255 };

static bool name_of(const char *file, const char *suffix, char name[NAME_MAX_LEN + 1])
{
	size_t len = strlen(file), end = strlen(suffix);

	if (len <= end || len - end > NAME_MAX_LEN || strcmp(file + len - end, suffix) != 0)
		return false;
	memcpy(name, file, len - end);
	name[len - end] = 0;
	return units_name_valid(name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int names_list(const char *folder, const char *suffix, char ***names, size_t *count, struct err *err)
{
	char name[NAME_MAX_LEN + 1];
	struct dirent *entry;
	DIR *dir;

	*names = NULL;
	*count = 0;
	dir = opendir(folder);
	if (!dir)
		return errno == ENOENT ? 0 : err_sys(err, "%s", folder);
	while ((entry = readdir(dir))) {
		if (!name_of(entry->d_name, suffix, name))
			continue;
		*names = reallocarray(*names, *count + 1, sizeof(**names));
		if (!*names || !((*names)[(*count)++] = strdup(name)))
			abort(); /* small, as in common/buf.h */
	}
	closedir(dir);
	if (*count)
		qsort(*names, *count, sizeof(**names), by_name);
	return 0;
}

void names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}
