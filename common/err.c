/* err.c: filling and reading struct err. */
#include "common/err.h"
#include "common/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

static const char *const kind_names[] = {
    [ERR_NONE] = "none",       [ERR_USAGE] = "usage", [ERR_NO_KVM] = "no-kvm",
    [ERR_SYSTEM] = "system",   [ERR_INPUT] = "input", [ERR_LINK] = "link",
    [ERR_REFUSED] = "refused", [ERR_STATE] = "state", [ERR_CANCELLED] = "cancelled",
};
enum { KINDS = sizeof(kind_names) / sizeof(kind_names[0]) };

int err_set(struct err *err, enum err_kind kind, const char *format, ...)
{
	/* Formatted aside, since the arguments may be the text that err had. */
	char text[sizeof(err->text)];
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	text_vformat(text, sizeof(text), format, args);
	va_end(args);
	err->kind = kind;
	memcpy(err->text, text, sizeof(text));
	return -1;
}

int err_sys(struct err *err, const char *format, ...)
{
	int number = errno;
	char text[sizeof(err->text)];
	char reason[128];
	va_list args;

	if (!err)
		return -1;
	/* What the system said is the part that must survive when the path before it is endless. */
	va_start(args, format);
	text_vformat(text, sizeof(text) - sizeof(reason) - 2, format, args);
	va_end(args);
	return err_set(err, ERR_SYSTEM, "%s: %s", text, strerror_r(number, reason, sizeof(reason)));
}

int err_context(struct err *err, const char *format, ...)
{
	/* The context gets at most half of the room: the text that it stands before says what went wrong. */
	char context[sizeof(err->text) / 2];
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	text_vformat(context, sizeof(context), format, args);
	va_end(args);
	return err_set(err, err->kind, "%s: %s", context, err->text);
}

int err_exit_status(const struct err *err)
{
	switch (err->kind) {
	case ERR_USAGE:
		return 2;
	case ERR_NO_KVM:
		return 3;
	default:
		return 1;
	}
}

const char *err_kind_name(enum err_kind kind)
{
	return (unsigned int)kind < KINDS ? kind_names[kind] : kind_names[ERR_INPUT];
}

enum err_kind err_kind_from_name(const char *name)
{
	for (int kind = 0; kind < KINDS; kind++) {
		if (strcmp(name, kind_names[kind]) == 0)
			return (enum err_kind)kind;
	}
	return ERR_INPUT;
}
