#include "cli/output.h"

#include "common/io.h"
#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_LEN = 2048 };

/* One write a line, so that lines of several processes on one stderr do not mix. */
static void note_line(const char *text)
{
	char line[LINE_MAX_LEN + 16];
	size_t len = text_format(line, sizeof(line) - 1, "drover: %s", text);

	line[len++] = '\n';
	fflush(stdout);
	(void)io_write_full(STDERR_FILENO, line, len); /* where stderr is closed there is nobody to tell */
}

void output_error(const struct err *err, bool json)
{
	note_line(err->text);
	if (json)
		output_json(json_pack("{s:{s:s, s:o}}", "error", "kind", err_kind_name(err->kind), "message",
				      output_string(err->text)));
}

void output_say(const char *format, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, format);
	text_vformat(text, sizeof(text), format, ap);
	va_end(ap);
	puts(text);
}

void output_note(const char *format, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, format);
	text_vformat(text, sizeof(text), format, ap);
	va_end(ap);
	note_line(text);
}

void output_json(json_t *object)
{
	/* 15 digits: every millisecond value reads as it was rounded. */
	char *text = json_dumps(object, JSON_REAL_PRECISION(15));

	json_decref(object);
	if (!text)
		abort(); /* out of memory: strings from outside went through output_string */
	puts(text);
	free(text);
}

json_t *output_string(const char *text)
{
	char *copy = strdup(text);
	json_t *string;

	if (!copy)
		abort();
	text_make_printable(copy);
	string = json_string(copy);
	free(copy);
	return string;
}

json_t *output_ms(uint64_t ns)
{
	return json_real((double)(ns / 1000 + (ns % 1000 >= 500)) / 1000.0);
}

int output_flush(struct err *err)
{
	if (fflush(stdout) || ferror(stdout))
		return err_sys(err, "cannot write to standard output");
	return 0;
}
