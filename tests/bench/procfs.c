#include "tests/bench/procfs.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A small file, whole, NUL-terminated.  Returns its length, -1 when it cannot be read. */
static ssize_t slurp(const char *path, char *text, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, text, cap - 1);
	close(fd);
	if (len >= 0)
		text[len] = '\0';
	return len;
}

int procfs_stat(pid_t pid, struct procfs_stat *stat)
{
	char path[64], text[1024];
	unsigned long user, system, reaped_user, reaped_system;
	unsigned long long start;
	char *at;
	int parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (slurp(path, text, sizeof(text)) <= 0)
		return -1;
	/* The name may hold anything, also blanks and parentheses: the last one ends it. */
	at = strrchr(text, ')');
	if (!at ||
	    sscanf(at + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu %*d %*d %*d %*d %llu",
		   &stat->state, &parent, &user, &system, &reaped_user, &reaped_system, &start) != 7)
		return -1;
	stat->pid = pid;
	stat->parent = parent;
	stat->own_ticks = user + system;
	stat->reaped_ticks = reaped_user + reaped_system;
	stat->start_ticks = start;
	return 0;
}

/* All processes of the system. */
static size_t list_all(struct procfs_stat *all, size_t max)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	size_t count = 0;

	while (dir && count < max && (entry = readdir(dir))) {
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    procfs_stat(atoi(entry->d_name), &all[count]) == 0)
			count++;
	}
	if (dir)
		closedir(dir);
	return count;
}

size_t procfs_descendants(struct procfs_stat *found, size_t max)
{
	enum { SYSTEM_MAX = 32768 };
	struct procfs_stat *all = malloc(SYSTEM_MAX * sizeof(*all));
	size_t total = all ? list_all(all, SYSTEM_MAX) : 0;
	size_t count = 0;

	/* Breadth first: round -1 takes the children of this process, round i those of found[i]. */
	for (size_t next = 0; next <= count; next++) {
		pid_t parent = next == 0 ? getpid() : found[next - 1].pid;

		for (size_t i = 0; i < total && count < max; i++)
			if (all[i].parent == parent)
				found[count++] = all[i];
	}
	free(all);
	return count;
}

uint64_t procfs_cpu_ns(pid_t pid)
{
	struct procfs_stat stat;
	struct timespec time;
	clockid_t clock;

	/* The process's CPU clock is exact; what a zombie used is only in its stat line, in ticks. */
	if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &time) == 0 &&
	    (time.tv_sec || time.tv_nsec))
		return time.tv_sec * 1000000000ull + time.tv_nsec;
	if (procfs_stat(pid, &stat) != 0)
		return 0;
	return stat.own_ticks * (1000000000ull / sysconf(_SC_CLK_TCK));
}

static uint64_t thread_cpu_ns(pid_t pid, pid_t tid)
{
	char path[80], text[128];
	unsigned long long ns;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	if (slurp(path, text, sizeof(text)) <= 0 || sscanf(text, "%llu", &ns) != 1)
		return 0;
	return ns;
}

static bool vcpu_name(const char *name)
{
	unsigned number;
	char rest[8];

	return strncmp(name, "vcpu", 4) == 0 || sscanf(name, "CPU %u/%3s", &number, rest) == 2;
}

size_t procfs_threads(pid_t pid, struct procfs_thread *found, size_t max)
{
	char path[320], text[64];
	DIR *dir;
	struct dirent *entry;
	size_t count = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && count < max && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) || slurp(path, text, sizeof(text)) <= 0)
			continue;
		found[count].tid = atoi(entry->d_name);
		found[count].vcpu = vcpu_name(text);
		found[count].cpu_ns = thread_cpu_ns(pid, found[count].tid);
		count++;
	}
	if (dir)
		closedir(dir);
	return count;
}

int64_t procfs_field_kib(pid_t pid, const char *file, const char *field)
{
	char path[64], text[8192];
	size_t len = strlen(field);

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	if (slurp(path, text, sizeof(text)) <= 0)
		return -1;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, field, len) == 0 && line[len] == ':')
			return strtoll(line + len + 1, NULL, 10);
	}
	return -1;
}

int procfs_memfd_open(pid_t pid, uint64_t size_bytes)
{
	char path[320], target[256];
	DIR *dir;
	struct dirent *entry;
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && fd < 0 && (entry = readdir(dir))) {
		struct stat st;
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
		len = readlink(path, target, sizeof(target) - 1);
		if (len < 7 || strncmp(target, "/memfd:", 7) != 0 || stat(path, &st) != 0 ||
		    (uint64_t)st.st_size != size_bytes)
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

int64_t procfs_memfd_kib(pid_t pid, uint64_t size_bytes)
{
	int fd = procfs_memfd_open(pid, size_bytes);
	struct stat st;
	int64_t kib = fd >= 0 && fstat(fd, &st) == 0 ? st.st_blocks / 2 : -1;

	if (fd >= 0)
		close(fd);
	return kib;
}

uint64_t procfs_busy_ns(void)
{
	char text[1024];
	unsigned long long user, nice, system, irq, softirq, steal;

	if (slurp("/proc/stat", text, sizeof(text)) <= 0 ||
	    sscanf(text, "cpu %llu %llu %llu %*u %*u %llu %llu %llu", &user, &nice, &system, &irq, &softirq,
		   &steal) != 6)
		return 0;
	return (user + nice + system + irq + softirq + steal) * (1000000000ull / sysconf(_SC_CLK_TCK));
}

uint64_t procfs_interface_bytes(const char *name)
{
	char text[4096];
	char *at, *line = text;
	unsigned long long sent = 0;

	if (slurp("/proc/self/net/dev", text, sizeof(text)) <= 0)
		return 0;
	while ((at = strsep(&line, "\n"))) {
		char *colon = strchr(at, ':');

		at += strspn(at, " ");
		if (!colon || (size_t)(colon - at) != strlen(name) || strncmp(at, name, strlen(name)) != 0)
			continue;
		if (sscanf(colon + 1, "%*u %*u %*u %*u %*u %*u %*u %*u %llu", &sent) == 1)
			return sent;
	}
	return 0;
}
