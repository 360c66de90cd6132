/* job.h: replication jobs on disk (docs/replication.md, Jobs): what was asked for (<state>/jobs/NAME.json), and what is known of it (NAME.state).
 * Both are replaced as a whole; who changes them holds the job's lock. */
#ifndef REPLICATE_JOB_H
#define REPLICATE_JOB_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "migrate/packer.h"
#include "replicate/schedule.h"
#include "replicate/window.h"
#include "vmm/config.h"
#include "vmm/retention.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JOB_WINDOWS = 8, JOB_HOST_MAX = 255, JOB_PRIORITY_MAX = 9 };
#define JOB_RPO_MIN_NS 1000000000ull
#define JOB_RPO_MAX_NS (7 * 86400 * 1000000000ull)

struct job {
	char name[CONFIG_NAME_MAX + 1];
	char vm[CONFIG_NAME_MAX + 1];
	char uuid[CONFIG_UUID_LEN + 1]; /* of that VM */
	char host[JOB_HOST_MAX + 1];    /* a peer's name, or an ssh URL */
	uint64_t rpo_ns;
	struct retention keep;
	uint64_t bytes_per_s; /* 0: no limit */
	unsigned links;       /* 0: as many as seem useful */
	enum packer_mode packing;
	int priority; /* 0 to JOB_PRIORITY_MAX */
	struct window window[JOB_WINDOWS];
	unsigned windows; /* 0: at any time */
	bool paused;
};

/* What has become of it.  Times are of CLOCK_REALTIME, 0: never. */
struct job_state {
	struct dvol_id acked;               /* the newest point that the other host has */
	uint64_t boundary_ns;               /* of that one */
	uint64_t ended_ns;                  /* the last cycle, however */
	uint64_t took_ns[SCHEDULE_HISTORY]; /* cycles that brought a point, newest last; 0: fewer */
	uint64_t bytes;                     /* of the last of these, on the stream */
	uint64_t total_bytes;
	uint64_t cycles, failures;
	uint64_t missed;           /* objectives; the daemon's to count (job_note_missed) */
	char why_missed[ERR_TEXT]; /* the last one */
	unsigned in_a_row;         /* failures, since the last point */
	char why[ERR_TEXT];        /* of the last failure; "" after a point */
};

/* job_load, job_save, job_remove: ERR_STATE when there is none of that name.  job_list(names, count, err): all, sorted; the caller frees with names_free.
 * job_load_state: all zero where nothing is known yet. */
int job_load(const char *name, struct job *job, struct err *err);
int job_save(const struct job *job, struct err *err);
int job_remove(const char *name, struct err *err);
int job_list(char ***names, size_t *count, struct err *err);
int job_load_state(const char *name, struct job_state *state, struct err *err);
int job_save_state(const char *name, const struct job_state *state, struct err *err);

/* job_note_missed(name, why): one more, and an event.  By the daemon, which alone writes NAME.missed: cycles run meanwhile. */
void job_note_missed(const char *name, const char *why);

/* job_lock(name, err): a descriptor that holds it until it is closed; -1 with ERR_STATE: somebody else does.
 * job_locked(name): somebody does. */
int job_lock(const char *name, struct err *err);
bool job_locked(const char *name);

/* job_event(name, kind, detail): one line more in <state>/jobs/NAME.events, which begins anew at 1 MiB (NAME.events.old keeps the last). */
void job_event(const char *name, const char *kind, const char *detail);

/* job_json(job, state): both, as `drover jobs --json` has them; a new reference. */
json_t *job_json(const struct job *job, const struct job_state *state);

#endif
