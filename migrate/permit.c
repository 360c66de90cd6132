#include "migrate/permit.h"

#include <fnmatch.h>
#include <string.h>

const char *const permit_words[] = {"move", "outcome", "check", NULL};

int permit_actions(const char *const *words, size_t n, unsigned *actions, struct err *err)
{
	*actions = n ? 0 : PERMIT_ALL;
	for (size_t i = 0; i < n; i++) {
		size_t bit = 0;

		while (permit_words[bit] && strcmp(permit_words[bit], words[i]))
			bit++;
		if (!permit_words[bit])
			return err_set(err, ERR_USAGE, "'%.40s' is no action: move, outcome, check",
				       words[i]);
		*actions |= 1u << bit;
	}
	return 0;
}

static const char *word_of(enum permit_action action)
{
	for (size_t bit = 0; permit_words[bit]; bit++)
		if (action == 1u << bit)
			return permit_words[bit];
	return "?";
}

int permit_check(const struct permit *permit, enum permit_action action, const char *vm, struct err *err)
{
	bool named = permit->nvms == 0 || !vm;

	if (!(permit->actions & action))
		return err_set(err, ERR_REFUSED, "this key may not ask for '%s'", word_of(action));
	for (size_t i = 0; i < permit->nvms && !named; i++)
		named = !fnmatch(permit->vms[i], vm, 0);
	return named ? 0 : err_set(err, ERR_REFUSED, "this key is not for VM '%s'", vm);
}
