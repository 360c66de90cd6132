/* qmp.h: a client of QEMU's machine protocol (QMP): one JSON object a line over a UNIX socket. */
#ifndef BENCH_QMP_H
#define BENCH_QMP_H

#include "common/err.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum { QMP_LINE_MAX = 65536 };

struct qmp {
	int fd;
	const char *who; /* for messages */
	json_t *events;  /* array: events that arrived and nobody took yet */
	json_t *answer;  /* arrived "return" or "error", or NULL */
	size_t len;      /* bytes in data */
	char data[QMP_LINE_MAX];
};

/* qmp_open(qmp, who, path, deadline_ns, err): wait until QEMU listens at path, connect, negotiate.  `who` is kept,
 * not copied.  qmp_close: harmless on a zeroed struct. */
int qmp_open(struct qmp *qmp, const char *who, const char *path, uint64_t deadline_ns, struct err *err);
void qmp_close(struct qmp *qmp);

/* qmp_call(qmp, command, arguments, deadline_ns, err): arguments (may be NULL) is taken over.  The "return" value,
 * a new reference, or NULL: ERR_REFUSED with QEMU's own words, ERR_LINK when it hung up or time ran out.
 * qmp_do: the same where the value does not matter; 0 or -1. */
json_t *qmp_call(struct qmp *qmp, const char *command, json_t *arguments, uint64_t deadline_ns,
		 struct err *err);
int qmp_do(struct qmp *qmp, const char *command, json_t *arguments, uint64_t deadline_ns, struct err *err);

/* qmp_pump(qmp, err): take in what has arrived, without waiting.  0, or -1 when QEMU hung up or spoke no JSON. */
int qmp_pump(struct qmp *qmp, struct err *err);
/* qmp_take_event(qmp): the oldest event that has arrived, a new reference; NULL: none.  Its "event" is a string,
 * its "data", where there is one, an object. */
json_t *qmp_take_event(struct qmp *qmp);

#endif
