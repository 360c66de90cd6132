/* userns.c: see userns.h. */
#include "vmm/userns.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int put(const char *path, const char *text)
{
	size_t len = strlen(text);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t done = write(fd, text, len);
	int why = errno;
	close(fd);
	errno = why;
	return done == (ssize_t)len ? 0 : -1;
}

static char *decimal(char *end, unsigned value)
{
	do
		*--end = (char)('0' + value % 10);
	while (value /= 10);
	return end;
}

/* "id id 1" */
static int put_map(const char *path, unsigned id)
{
	char text[32], *at = text + sizeof(text);
	*--at = '\0';
	*--at = '1';
	*--at = ' ';
	at = decimal(at, id);
	*--at = ' ';
	at = decimal(at, id);
	return put(path, at);
}

int userns_map_self(uid_t uid, gid_t gid)
{
	/* Without the first a user may not map groups: leaving one could give access. */
	if (put("/proc/self/setgroups", "deny") || put_map("/proc/self/uid_map", uid) ||
	    put_map("/proc/self/gid_map", gid))
		return -1;
	return 0;
}
