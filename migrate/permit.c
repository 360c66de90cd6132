#include "migrate/permit.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char *const permit_words[] = {"move", "outcome", "check", "replicate", NULL};

int permit_actions(const char *const *words, size_t n, unsigned *actions, struct err *err)
{
	*actions = n ? 0 : PERMIT_ALL;
	for (size_t i = 0; i < n; i++) {
		size_t bit = 0;

		while (permit_words[bit] && strcmp(permit_words[bit], words[i]))
			bit++;
		if (!permit_words[bit])
			return err_set(err, ERR_USAGE,
				       "'%.40s' is no action: move, outcome, check, replicate", words[i]);
		*actions |= 1u << bit;
	}
	return 0;
}

static const char *word_of(enum permit_action action)
{
	for (size_t bit = 0; permit_words[bit]; bit++)
		if (action & 1u << bit)
			return permit_words[bit];
	return "?";
}

static bool matches(const char *const *patterns, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!fnmatch(patterns[i], name, 0))
			return true;
	return n == 0;
}

int permit_check(const struct permit *permit, enum permit_action action, const char *vm, struct err *err)
{
	if (!(permit->actions & action))
		return err_set(err, ERR_REFUSED, "this key may not ask for '%s'", word_of(action));
	if (!vm || matches(permit->vms, permit->nvms, vm))
		return 0;
	return err_set(err, ERR_REFUSED, "this key is not for VM '%s'", vm);
}

bool permit_tap(const struct permit *permit, const char *tap)
{
	return matches(permit->taps, permit->ntaps, tap);
}

/* A path is its own, or has a folder before it. */
static bool is_below(const char *folder, const char *path)
{
	size_t len = strlen(folder);

	while (len > 0 && folder[len - 1] == '/')
		len--;
	return !strncmp(folder, path, len) && (!path[len] || path[len] == '/');
}

bool permit_names(const struct permit *permit, const char *path)
{
	for (size_t i = 0; i < permit->nimages; i++)
		if (is_below(permit->images[i], path))
			return true;
	return false;
}

bool permit_reads(const struct permit *permit, const char *path)
{
	char file[PATH_MAX], image[PATH_MAX];

	if (!permit_names(permit, path) || !realpath(path, file))
		return false;
	for (size_t i = 0; i < permit->nimages; i++)
		if (realpath(permit->images[i], image) && is_below(image, file))
			return true;
	return false;
}
