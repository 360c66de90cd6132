#include "convert/place.h"

#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* in_use(fd): somebody has it open and says so by a lock: QEMU, and drover itself. */
static bool in_use(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

static int check_present(const char *path, bool replace, struct err *err)
{
	struct stat st;
	int fd;
	bool used;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : err_sys(err, "cannot look at %s", path);
	if (!replace)
		return err_set(err, ERR_STATE, "%s exists already; --force replaces it", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_STATE, "%s is not a plain file, and is not replaced", path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return err_sys(err, "cannot open %s, which should be replaced", path);
	used = in_use(fd);
	io_close(&fd);
	return used ? err_set(err, ERR_STATE, "%s is in use, and is not replaced: end what uses it first",
			      path)
		    : 0;
}

/* absolute(path, out, err): with the real folder, which must be there. */
static int absolute(const char *path, char out[PATH_MAX], struct err *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char folder[PATH_MAX], real[PATH_MAX];
	int len;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return err_set(err, ERR_USAGE, "%s is no name for a file", path);
	if (!realpath(folder, real))
		return err_sys(err, "cannot find the folder of %s", path);
	len = snprintf(out, PATH_MAX, "%s/%s", strcmp(real, "/") ? real : "", name);
	return len < PATH_MAX ? 0 : err_set(err, ERR_USAGE, "the name %s is too long", path);
}

int place_open(struct place *place, const char *path, bool replace, struct err *err)
{
	int len;

	*place = (struct place){.replace = replace};
	if (absolute(path, place->path, err) || check_present(place->path, replace, err))
		return -1;
	len = snprintf(place->folder, PATH_MAX, "%s.part-XXXXXX", place->path);
	if (len >= PATH_MAX || !mkdtemp(place->folder)) {
		*place->folder = '\0';
		return err_sys(err, "cannot make a folder beside %s", path);
	}
	len = snprintf(place->file, PATH_MAX, "%s%s", place->folder, strrchr(place->path, '/'));
	if (len < PATH_MAX)
		return 0;
	place_close(place);
	return err_set(err, ERR_USAGE, "the name %s is too long", path);
}

static int sync_path(const char *path, int flags, struct err *err)
{
	int fd = open(path, flags | O_CLOEXEC);
	int result = 0;

	if (fd < 0 || fsync(fd))
		result = err_sys(err, "cannot make %s durable", path);
	io_close(&fd);
	return result;
}

static int put(const struct place *place)
{
	if (place->replace)
		return rename(place->file, place->path);
	/* Not every file system can refuse by itself. */
	if (!renameat2(AT_FDCWD, place->file, AT_FDCWD, place->path, RENAME_NOREPLACE))
		return 0;
	return errno == EINVAL ? rename(place->file, place->path) : -1;
}

int place_commit(struct place *place, struct err *err)
{
	char folder[PATH_MAX];

	if (sync_path(place->file, O_RDONLY, err))
		return -1;
	if (put(place))
		return errno == EEXIST ? err_set(err, ERR_STATE, "%s has appeared meanwhile", place->path)
				       : err_sys(err, "cannot put the image at %s", place->path);
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(place->path, '/') - place->path) + 1,
		 place->path);
	return sync_path(folder, O_RDONLY | O_DIRECTORY, err);
}

void place_close(struct place *place)
{
	if (*place->file)
		unlink(place->file);
	if (*place->folder)
		rmdir(place->folder);
	*place->file = *place->folder = '\0';
}
