/* log.c: one line a message on stderr. */
#include "common/log.h"
#include "common/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_LEN = 2048 };

static const char *program = "drover";
static enum log_level limit = LOG_WARNING;

void log_open(const char *name)
{
	static const char *const names[] = {
	    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
	const char *wanted = getenv("DROVER_LOG");

	program = name;
	limit = LOG_WARNING;
	if (!wanted || !*wanted)
		return;
	for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		if (strcmp(wanted, names[level]) == 0) {
			limit = (enum log_level)level;
			return;
		}
	}
	log_warning("DROVER_LOG=%s is not a level: error, warning, info or debug; taking warning", wanted);
}

void log_at(enum log_level level, const char *format, ...)
{
	int number = errno;
	char line[LINE_MAX_LEN];
	size_t len;
	ssize_t done;
	va_list args;

	if (level > limit)
		return;
	len = text_format(line, 64, "%s: ", program);
	va_start(args, format);
	len += text_vformat(line + len, sizeof(line) - 1 - len, format, args);
	va_end(args);
	line[len++] = '\n';
	do
		done = write(STDERR_FILENO, line, len);
	while (done < 0 && errno == EINTR);
	errno = number;
}
