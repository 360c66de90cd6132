#include "convert/format.h"

#include "convert/qemu.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

const struct format formats[CONVERT_FORMATS] = {
    [CONVERT_RAW] = {.word = "raw", .suffix = ".raw .img"},
    [CONVERT_DVOL] = {.word = "dvol", .suffix = ".dvol"},
    [CONVERT_QCOW2] = {.word = "qcow2", .suffix = ".qcow2", .foreign = true},
    [CONVERT_VMDK] = {.word = "vmdk", .suffix = ".vmdk", .foreign = true},
    /* Else the size is rounded to what cylinders, heads and sectors can say. */
    [CONVERT_VPC] = {.word = "vpc", .suffix = ".vhd .vpc", .options = "force_size=on", .foreign = true},
    [CONVERT_VHDX] = {.word = "vhdx", .suffix = ".vhdx", .foreign = true},
    [CONVERT_VDI] = {.word = "vdi", .suffix = ".vdi", .foreign = true},
    [CONVERT_PARALLELS] = {.word = "parallels", .suffix = ".hdd .hds .parallels", .foreign = true},
};

const char *const convert_format_words[] = {[CONVERT_RAW] = "raw",     [CONVERT_DVOL] = "dvol",
					    [CONVERT_QCOW2] = "qcow2", [CONVERT_VMDK] = "vmdk",
					    [CONVERT_VPC] = "vpc",     [CONVERT_VHDX] = "vhdx",
					    [CONVERT_VDI] = "vdi",     [CONVERT_PARALLELS] = "parallels",
					    [CONVERT_FORMATS] = NULL};

/* in_list(list, word, len): word is one of the list's, which stand between blanks. */
static bool in_list(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (; *list; list += strcspn(list, " "), list += strspn(list, " "))
		if (strcspn(list, " ") == len && !strncasecmp(list, word, len))
			return true;
	return false;
}

enum convert_format format_of_suffix(const char *path)
{
	const char *dot = strrchr(path, '.');
	int format = 0;

	if (!dot || strchr(dot, '/'))
		return CONVERT_FORMATS;
	while (format < CONVERT_FORMATS && !in_list(formats[format].suffix, dot))
		format++;
	return (enum convert_format)format;
}

int format_of_target(const char *path, enum convert_format said, enum convert_format *format, struct err *err)
{
	*format = said != CONVERT_FORMATS ? said : format_of_suffix(path);
	if (*format != CONVERT_FORMATS)
		return 0;
	return err_set(err, ERR_USAGE,
		       "the name of %s tells no format: say it with --to (raw, dvol, qcow2, vmdk, vpc, vhdx, "
		       "vdi, parallels)",
		       path);
}

/* is_volume(path, &is, err): by its magic. */
static int is_volume(const char *path, bool *is, struct err *err)
{
	enum dvol_file_kind kind;

	if (dvol_probe(path, &kind, err))
		return -1;
	*is = kind == DVOL_FILE_VOLUME;
	return kind != DVOL_FILE_DELTA ? 0
				       : err_set(err, ERR_INPUT,
						 "%s holds what changed between two epochs, not a disk: "
						 "'drover image apply' takes it",
						 path);
}

static enum convert_format of_driver(const char *driver)
{
	int format = 0;

	while (format < CONVERT_FORMATS && strcmp(formats[format].word, driver))
		format++;
	return (enum convert_format)format;
}

/* judge(path, info, &format, err): what to think of an image that qemu-img has looked at by itself. */
static int judge(const char *path, const struct qemu_info *info, enum convert_format *format, struct err *err)
{
	enum convert_format name = format_of_suffix(path);
	const char *dot = strrchr(path, '.');

	*format = of_driver(info->format);
	if (*format == CONVERT_RAW && name != CONVERT_RAW)
		return err_set(
		    err, ERR_USAGE,
		    "nothing in %s tells its format: say it with --from (raw, or vpc for a VHD of fixed "
		    "size)",
		    path);
	if (*format == CONVERT_FORMATS)
		return err_set(
		    err, ERR_INPUT,
		    "%s is of the format '%s', which is not one of raw, dvol, qcow2, vmdk, vpc, vhdx, "
		    "vdi, parallels",
		    path, info->format);
	/* ".img" says little, so a foreign image may be called so. */
	if (*format != CONVERT_RAW && name == CONVERT_RAW && !strcasecmp(dot, ".raw"))
		return err_set(
		    err, ERR_USAGE,
		    "%s is called raw but begins like %s, which a guest can write into its raw disk: say "
		    "--from raw or --from %s",
		    path, info->format, info->format);
	return 0;
}

/* check_foreign(path, info, allow, err): qemu would open whatever the image names, and put it into the target. */
static int check_foreign(const char *path, const struct qemu_info *info, bool allow, struct err *err)
{
	if (!*info->reads || allow)
		return 0;
	return err_set(
	    err, ERR_INPUT,
	    "%s reads another file, %s; an image from elsewhere could get at any file of this host "
	    "so: if you trust it, say --allow-backing",
	    path, info->reads);
}

int format_of_source(const char *path, enum convert_format said, bool allow_backing,
		     const struct watch *watch, enum convert_format *format, struct err *err)
{
	struct qemu_info info;
	bool dvol = false;

	*format = said;
	if (said == CONVERT_RAW || said == CONVERT_DVOL)
		return 0;
	if (said == CONVERT_FORMATS) {
		if (is_volume(path, &dvol, err))
			return -1;
		*format = dvol ? CONVERT_DVOL : said;
		if (dvol)
			return 0;
	}
	if (qemu_info(path, said == CONVERT_FORMATS ? NULL : formats[said].word, watch, &info, err))
		return -1;
	if (said == CONVERT_FORMATS && judge(path, &info, format, err))
		return -1;
	return *format == CONVERT_RAW ? 0 : check_foreign(path, &info, allow_backing, err);
}
