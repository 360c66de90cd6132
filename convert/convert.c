/* convert.c: a conversion from its options to the new file. */
#include "convert/convert.h"

#include "common/io.h"
#include "convert/end.h"
#include "convert/place.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

struct conversion {
	const struct convert_options *options;
	struct convert_report *report;
	struct watch watch;
	char from[PATH_MAX]; /* absolute: QEMU takes no part of it for anything but a name */
	struct place place;
	struct source *source;
	struct target *target;
};

static int check_options(const struct conversion *c, struct err *err)
{
	const struct convert_options *options = c->options;

	if (options->epoch.number && c->report->from_format != CONVERT_DVOL)
		return err_set(err, ERR_USAGE,
			       "%s is no volume: only those have epochs, --epoch has no meaning",
			       options->from);
	if ((options->compress || options->open_head) && c->report->to_format != CONVERT_DVOL)
		return err_set(err, ERR_USAGE, "--%s is for volumes, and %s will be %s",
			       options->compress ? "compress" : "no-epoch", options->to,
			       convert_format_words[c->report->to_format]);
	return 0;
}

static int find_formats(struct conversion *c, struct err *err)
{
	const struct convert_options *options = c->options;

	if (format_of_target(options->to, options->to_format, &c->report->to_format, err))
		return -1;
	if (!realpath(options->from, c->from))
		return err_sys(err, "cannot find %s", options->from);
	if (format_of_source(c->from, options->from_format, options->allow_backing, &c->watch,
			     &c->report->from_format, err))
		return -1;
	return check_options(c, err);
}

static int check_same(const struct conversion *c, struct err *err)
{
	struct stat from, to;

	if (stat(c->from, &from) || stat(c->options->to, &to) || from.st_dev != to.st_dev ||
	    from.st_ino != to.st_ino)
		return 0;
	return err_set(err, ERR_USAGE, "%s and %s are the same file", c->options->from, c->options->to);
}

static int open_source(struct conversion *c, struct err *err)
{
	enum convert_format format = c->report->from_format;

	if (format == CONVERT_RAW)
		c->source = source_raw_open(c->from, err);
	else if (format == CONVERT_DVOL)
		c->source = source_dvol_open(c->from, c->options, err);
	else
		c->source = source_qemu_open(c->from, &formats[format], &c->watch, err);
	return c->source ? 0 : -1;
}

static int create_target(struct conversion *c, struct err *err)
{
	enum convert_format format = c->report->to_format;
	uint64_t size = c->source->size_bytes;

	if (format == CONVERT_RAW)
		c->target = target_raw_create(c->place.file, size, err);
	else if (format == CONVERT_DVOL)
		c->target = target_dvol_create(c->place.file, size, c->options, err);
	else
		c->target = target_qemu_create(c->place.file, &formats[format], size, &c->watch, err);
	return c->target ? 0 : -1;
}

static int run(struct conversion *c, struct err *err)
{
	if (find_formats(c, err) || check_same(c, err) ||
	    place_open(&c->place, c->options->to, c->options->force, err) || open_source(c, err) ||
	    create_target(c, err) || copy_all(c->source, c->target, &c->watch, c->report, err))
		return -1;
	if (c->target->ops->finish(c->target, &c->watch, c->report, err))
		return -1;
	c->report->size_bytes = c->source->size_bytes;
	c->report->target_size_bytes = c->target->size_bytes;
	return place_commit(&c->place, err);
}

int convert_image(const struct convert_options *options, dvol_progress *tick, void *context,
		  struct convert_report *report, struct err *err)
{
	struct conversion *c = calloc(1, sizeof(*c));
	uint64_t began = clock_mono_ns();
	int result;

	if (!c)
		abort();
	*report = (struct convert_report){0};
	*c = (struct conversion){
	    .options = options, .report = report, .watch = {.tick = tick, .context = context}};
	result = run(c, err);
	if (c->target)
		c->target->ops->close(c->target);
	if (c->source)
		c->source->ops->close(c->source);
	place_close(&c->place);
	report->time_ns = clock_mono_ns() - began;
	free(c);
	return result;
}
