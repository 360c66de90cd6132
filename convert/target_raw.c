/* target_raw.c: a plain file with holes for zeroes. */
#include "common/io.h"
#include "convert/end.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct raw {
	struct target target;
	int fd;
};

static int raw_write(struct target *target, unsigned lane, const void *data, size_t len, uint64_t offset,
		     struct err *err)
{
	struct raw *raw = (struct raw *)target;

	(void)lane;
	while (len > 0) {
		ssize_t n = pwrite(raw->fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot write the target at byte %llu",
				       (unsigned long long)offset);
		data = (const char *)data + n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int raw_finish(struct target *target, const struct watch *watch, struct convert_report *report,
		      struct err *err)
{
	/* Everything is in the file as it is written. */
	(void)target;
	(void)watch;
	(void)report;
	(void)err;
	return 0;
}

static void raw_close(struct target *target)
{
	struct raw *raw = (struct raw *)target;

	io_close(&raw->fd);
	free(raw);
}

static const struct target_ops ops = {.write = raw_write, .finish = raw_finish, .close = raw_close};

struct target *target_raw_create(const char *path, uint64_t size_bytes, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct raw *raw;

	if (fd < 0 || ftruncate(fd, (off_t)size_bytes)) {
		err_sys(err, "cannot make %s of %llu bytes", path, (unsigned long long)size_bytes);
		io_close(&fd);
		return NULL;
	}
	raw = calloc(1, sizeof(*raw));
	if (!raw)
		abort();
	*raw = (struct raw){
	    .target = {.ops = &ops, .size_bytes = size_bytes, .one_writer = true, .grain = 4096}, .fd = fd};
	return &raw->target;
}
