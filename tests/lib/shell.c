#include "tests/lib/shell.h"
#include "tests/lib/host.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 60, LINE = 8192 };

static int run(char *output, const char *line)
{
	int out = memfd_create("output", MFD_CLOEXEC), status;
	pid_t pid = fork();
	ssize_t len;

	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		alarm(LIMIT_S);
		if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
			_exit(125);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(126);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	len = pread(out, output, SHELL_OUTPUT - 1, 0);
	assert_true(len >= 0);
	output[len] = '\0';
	close(out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void __attribute__((format(printf, 2, 0))) make_line(char line[LINE], const char *format, va_list ap)
{
	int len = vsnprintf(line, LINE, format, ap);

	assert_true(len > 0 && len < LINE);
}

int shell_run(char *output, const char *format, ...)
{
	char line[LINE], ignored[SHELL_OUTPUT];
	va_list ap;

	va_start(ap, format);
	make_line(line, format, ap);
	va_end(ap);
	return run(output ? output : ignored, line);
}

void shell_must(const char *format, ...)
{
	char line[LINE], output[SHELL_OUTPUT];
	va_list ap;
	int status;

	va_start(ap, format);
	make_line(line, format, ap);
	va_end(ap);
	status = run(output, line);
	if (status)
		fail_msg("status %d of: %s\n%s", status, line, output);
}

#ifdef __SANITIZE_ADDRESS__
/* The sanitizer's library that this program runs with: nbdkit, which has none, must load it before the plugin. */
static void find_preload(char path[1024])
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[1200];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		char *name = strchr(line, '/');

		if (name && strstr(name, "libasan"))
			snprintf(path, 1024, "%.*s", (int)strcspn(name, "\n"), name);
	}
	fclose(maps);
}
#endif

const char *shell_nbdkit_at(const char *socket)
{
	static char words[8192];
	char preload[1024] = "";

#ifdef __SANITIZE_ADDRESS__
	find_preload(preload);
#endif
	snprintf(words, sizeof(words), "%s%s%s nbdkit -U %s %s/nbdkit-dvol-plugin.so",
		 *preload ? "LD_PRELOAD=" : "", preload, *preload ? " ASAN_OPTIONS=detect_leaks=0" : "",
		 socket, host_build());
	return words;
}

const char *shell_nbdkit(void)
{
	return shell_nbdkit_at("-");
}

const char *shell_nbdkit_run(void)
{
	return "unset LD_PRELOAD;";
}
