#include "cli/output.h"
#include "common/io.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_LEN = 2048 };

char *output_plain(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	return text;
}

/* note_line(text): one write, so that lines of several processes on one stderr do not mix. */
static void note_line(const char *text)
{
	char line[LINE_MAX_LEN + 16];
	int len = snprintf(line, sizeof(line), "drover: %s\n", text);

	if (io_write_full(STDERR_FILENO, line, (size_t)len)) {
		/* stderr is closed: there is nobody left to tell. */
	}
}

void output_error(const struct err *err, bool json)
{
	char text[sizeof(err->text)];

	memcpy(text, err->text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	fflush(stdout);
	note_line(output_plain(text));
	if (json)
		output_json(json_pack("{s{ssso}}", "error", "kind", err_kind_name(err->kind), "message",
				      output_string(text)));
}

void output_say(const char *format, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	puts(output_plain(text));
}

void output_note(const char *format, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fflush(stdout);
	note_line(output_plain(text));
}

void output_json(json_t *object)
{
	/* 15 digits: every millisecond value reads as it was rounded. */
	char *text = json_dumps(object, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));

	json_decref(object);
	if (!text)
		abort(); /* out of memory; strings from outside went through output_string */
	puts(text);
	free(text);
}

json_t *output_string(const char *text)
{
	json_t *string = json_string(text);
	char *ascii;

	if (string)
		return string;
	ascii = strdup(text);
	if (!ascii)
		abort();
	for (char *c = ascii; *c; c++)
		if ((unsigned char)*c >= 128)
			*c = '?';
	string = json_string(ascii);
	free(ascii);
	return string;
}

json_t *output_ms(unsigned long long ns)
{
	return json_real((double)((ns + 500) / 1000) / 1000.0);
}

int output_flush(struct err *err)
{
	if (fflush(stdout) || ferror(stdout))
		return err_sys(err, "cannot write to standard output");
	return 0;
}
