/* qemu_info.c: what qemu-img says of an image, and making new ones. */
#include "common/jobj.h"
#include "convert/qemu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INFO_MAX = 1 << 20 };
/* Exit statuses of qemu-img check: space that nothing uses, and a format that it cannot check. */
enum { CHECK_LEAKS = 3, CHECK_NONE = 63 };

static void names(struct qemu_info *info, const char *file)
{
	if (!*info->reads)
		snprintf(info->reads, sizeof(info->reads), "%s", *file ? file : "a file without a name");
}

/* named(info, object, key): the object names another file under this key. */
static int named(struct qemu_info *info, const json_t *object, const char *key, struct err *err)
{
	const char *file = NULL;

	if (jobj_string(object, key, false, INFO_MAX, &file, err))
		return -1;
	if (file)
		names(info, file);
	return 0;
}

/* A VMDK descriptor may take its data from any files. */
static int check_extents(struct qemu_info *info, const char *path, const json_t *data, struct err *err)
{
	json_t *extents = NULL, *extent;
	size_t i;

	if (jobj_array(data, "extents", false, &extents, err))
		return -1;
	json_array_foreach(extents, i, extent)
	{
		const char *file = NULL;

		if (jobj_string(extent, "filename", true, INFO_MAX, &file, err))
			return -1;
		if (strcmp(file, path))
			names(info, file);
	}
	return 0;
}

static int read_info(const char *path, const json_t *object, struct qemu_info *info, struct err *err)
{
	json_t *specific = NULL, *data = NULL;
	const char *format;

	if (jobj_string(object, "format", true, QEMU_NAME - 1, &format, err) ||
	    jobj_u64(object, "virtual-size", true, 0, INT64_MAX, &info->size_bytes, err) ||
	    named(info, object, "backing-filename", err) ||
	    jobj_object(object, "format-specific", false, &specific, err) ||
	    (specific && jobj_object(specific, "data", false, &data, err)))
		return -1;
	snprintf(info->format, sizeof(info->format), "%s", format);
	if (!data)
		return 0;
	if (named(info, data, "data-file", err))
		return -1;
	return check_extents(info, path, data, err);
}

/* answer(child, err): the object that it printed. */
static json_t *answer(const struct child *child, struct err *err)
{
	char *text = malloc(INFO_MAX);
	ssize_t len = text ? pread(child->out, text, INFO_MAX, 0) : -1;
	json_t *object = NULL;

	if (len < 0)
		err_sys(err, "cannot read what qemu-img says");
	else
		object = jobj_parse(text, (size_t)len, err);
	free(text);
	return object;
}

int qemu_info(const char *path, const char *driver, const struct watch *watch, struct qemu_info *info,
	      struct err *err)
{
	const char *const probe[] = {"qemu-img", "info", "--output=json", path, NULL};
	const char *const fixed[] = {"qemu-img", "info", "--output=json", "-f", driver, path, NULL};
	struct child child;
	json_t *object;
	int result;

	*info = (struct qemu_info){0};
	if (child_start(&child, driver ? fixed : probe, &(struct child_options){.bounded = true}, err))
		return -1;
	result = child_wait(&child, watch, err);
	object = result ? NULL : answer(&child, err);
	if (!result)
		result = object ? read_info(path, object, info, err) : -1;
	json_decref(object);
	child_end(&child);
	return result;
}

int qemu_check(const char *path, const char *driver, const struct watch *watch, struct err *err)
{
	const char *const argv[] = {"qemu-img", "check", "-q", "-f", driver, path, NULL};
	struct child child;
	int result, code;

	if (child_start(&child, argv, NULL, err))
		return -1;
	result = child_wait(&child, watch, err);
	code = WIFEXITED(child.status) ? WEXITSTATUS(child.status) : -1;
	child_end(&child);
	if (!result || err->kind == ERR_CANCELLED)
		return result;
	if (code == CHECK_LEAKS || code == CHECK_NONE)
		return 0;
	return err_context(err, "%s is damaged ('qemu-img check -r all' may mend a copy of it)", path);
}

int qemu_create(const char *path, const struct format *format, uint64_t size_bytes, const struct watch *watch,
		struct err *err)
{
	char size[24];
	const char *argv[10] = {"qemu-img", "create", "-q", "-f", format->word};
	size_t n = 5;
	struct child child;
	int result;

	snprintf(size, sizeof(size), "%llu", (unsigned long long)size_bytes);
	if (format->options) {
		argv[n++] = "-o";
		argv[n++] = format->options;
	}
	argv[n++] = path;
	argv[n] = size;
	if (child_start(&child, argv, NULL, err))
		return -1;
	result = child_wait(&child, watch, err);
	child_end(&child);
	return result;
}
