/* part_log.c: what a guest's log said last, also that of a load on a disk, which reports in other words than guestlog.h's. */
#include "common/io.h"
#include "tests/bench/parts.h"
#include "tests/bench/proc.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_MAX = 16 << 20, LOOK_NS = 2000000 };

uint64_t part_last(const char *path, const char *key)
{
	size_t len, key_len = strlen(key);
	uint64_t last = 0;
	void *text;

	if (io_read_file(path, LOG_MAX, &text, &len) != 0)
		return 0;
	for (const char *at = text; (at = strstr(at, key)); at += key_len) {
		const char *digit = at + key_len + 1;

		/* A number without an end may go on. */
		if (at[key_len] == '=' && isdigit((unsigned char)*digit) &&
		    isspace((unsigned char)digit[strspn(digit, "0123456789")]))
			last = strtoull(digit, NULL, 10);
	}
	free(text);
	return last;
}

int part_waits_for(const char *path, const char *key, uint64_t least, uint64_t deadline_ns, struct err *err)
{
	while (part_last(path, key) < least) {
		if (proc_check(deadline_ns, "a guest's log", err) != 0)
			return err_context(err, "%s of %s: %" PRIu64 " so far", key, path,
					   part_last(path, key));
		proc_pause(LOOK_NS);
	}
	return 0;
}
