/* processes.c: see processes.h. */
#include "tests/lib/processes.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT = 1024 };

/* NUL-terminated, with spaces for the NULs inside; "" where there is none. */
static const char *read_text(const char *path, char text[TEXT])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, text, TEXT - 1) : -1;

	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = '\0';
	for (ssize_t i = 0; i + 1 < len; i++)
		if (!text[i])
			text[i] = ' ';
	return text;
}

static void show_threads(const char *pid)
{
	char path[TEXT], text[TEXT], where[TEXT];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task/%s/stat", pid, entry->d_name);
		const char *state = strrchr(read_text(path, text), ')');
		snprintf(path, sizeof(path), "/proc/%s/task/%s/wchan", pid, entry->d_name);
		fprintf(stderr, "    thread %s: %.2s in %s\n", entry->d_name, state ? state + 1 : " ?",
			read_text(path, where));
	}
	if (folder)
		closedir(folder);
}

void processes_show(void)
{
	char path[TEXT], name[TEXT], line[TEXT];
	struct dirent *entry;
	DIR *folder = opendir("/proc");

	while (folder && (entry = readdir(folder))) {
		snprintf(path, sizeof(path), "/proc/%.16s/comm", entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    strncmp(read_text(path, name), "drover", 6) != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/cmdline", entry->d_name);
		fprintf(stderr, "  process %s: %s\n", entry->d_name, read_text(path, line));
		show_threads(entry->d_name);
	}
	if (folder)
		closedir(folder);
}
