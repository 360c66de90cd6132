/* source_raw.c: a plain file or block device; its holes need no reading. */
#include "common/buf.h"
#include "common/io.h"
#include "convert/end.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct raw {
	struct source source;
	int fd;
};

static int raw_map(struct source *source, uint64_t offset, struct stretch list[STRETCHES], size_t *count,
		   struct err *err)
{
	struct raw *raw = (struct raw *)source;
	uint64_t size = source->size_bytes;

	for (*count = 0; *count + 2 <= STRETCHES && offset < size;) {
		off_t data = lseek(raw->fd, (off_t)offset, SEEK_DATA), hole;

		if (data < 0 && errno != ENXIO)
			return err_sys(err, "cannot find the data behind byte %llu",
				       (unsigned long long)offset);
		/* The file may have grown: what is behind its size is not ours. */
		if (data < 0 || (uint64_t)data > size)
			data = (off_t)size;
		if ((uint64_t)data > offset)
			list[(*count)++] = (struct stretch){.len = (uint64_t)data - offset, .zero = true};
		offset = (uint64_t)data;
		hole = offset < size ? lseek(raw->fd, data, SEEK_HOLE) : data;
		if (hole < 0 || (uint64_t)hole > size)
			hole = (off_t)size;
		if ((uint64_t)hole > offset)
			list[(*count)++] = (struct stretch){.len = (uint64_t)hole - offset};
		offset = (uint64_t)hole;
	}
	return 0;
}

static int raw_read(struct source *source, unsigned lane, void *data, size_t len, uint64_t offset,
		    struct err *err)
{
	struct raw *raw = (struct raw *)source;

	(void)lane;
	while (len > 0) {
		ssize_t n = pread(raw->fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot read the source at byte %llu",
				       (unsigned long long)offset);
		if (n == 0)
			return err_set(err, ERR_INPUT,
				       "the source ends at byte %llu: it became shorter meanwhile",
				       (unsigned long long)offset);
		data = (char *)data + n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static void raw_close(struct source *source)
{
	struct raw *raw = (struct raw *)source;

	io_close(&raw->fd);
	free(raw);
}

static const struct source_ops ops = {.map = raw_map, .read = raw_read, .close = raw_close};

struct source *source_raw_open(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct raw *raw;
	struct stat st;
	off_t size;

	if (fd < 0 || fstat(fd, &st)) {
		err_sys(err, "cannot open %s", path);
		io_close(&fd);
		return NULL;
	}
	size = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? lseek(fd, 0, SEEK_END) : -1;
	if (size <= 0) {
		err_set(err, ERR_INPUT, "%s %s", path,
			size == 0 ? "is empty: a disk has at least one byte"
				  : "is no file or block device that can be read as a disk");
		io_close(&fd);
		return NULL;
	}
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	raw = calloc(1, sizeof(*raw));
	if (!raw)
		abort();
	*raw = (struct raw){.source = {.ops = &ops, .size_bytes = (uint64_t)size}, .fd = fd};
	return &raw->source;
}
