/* move.h: move a running VM to another host, and find out how a broken hand-over ended. */
#ifndef MIGRATE_MOVE_H
#define MIGRATE_MOVE_H

#include "common/err.h"
#include "common/histogram.h"
#include "migrate/packer.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum { MOVE_MAX_ROUNDS = 64 };

/* What becomes of a guest that writes faster than the links carry it away. */
enum move_if_busy {
	MOVE_THROTTLE, /* it is slowed down as much as is needed, up to throttle_max */
	MOVE_POSTCOPY, /* it is moved at once, and its memory behind it */
	MOVE_WAIT,     /* rounds go on until it is quieter */
	MOVE_CANCEL,   /* the move is given up */
};
extern const char *const move_if_busy_words[]; /* NULL at the end */

struct move_options {
	const char *vm;
	const char *peer;     /* a peer's name (peer.h), or ssh://[user@]host[:port] */
	const char *identity; /* these three: NULL: as the peer says, else as usual */
	const char *known_hosts;
	const char *remote_command;
	uint64_t downtime_ns;     /* budget for the pause */
	unsigned throttle_max;    /* percent, 1 to 99 */
	uint64_t reconnect_ns;    /* how long a broken link is tried again */
	unsigned links;           /* connections in parallel; 0: as many as seem useful */
	enum packer_mode packing; /* of what is sent */
	enum move_if_busy if_busy;
	bool resume;          /* go on with a move whose mover died */
	bool postcopy;        /* let it go over after the first round in any case */
	uint64_t bytes_per_s; /* limit of all of them together; 0: none */
	/* Set by a signal handler when the user asks to stop; looked at between frames and while waiting. */
	const volatile sig_atomic_t *cancel;
};

struct move_round {
	uint64_t pages;    /* that were to send, zero pages included */
	uint64_t bytes;    /* on the stream, before encryption */
	uint64_t ns;       /* until acknowledged */
	unsigned throttle; /* percent, while it was sent */
};

enum move_phase {
	MOVE_CONNECT,
	MOVE_PREPARE,
	MOVE_COPY,
	MOVE_SWITCH,
	MOVE_ASK,
	MOVE_POSTCOPY_PUSH,
	MOVE_DONE
};

/* What a terminal or a log wants to know; called at most about ten times a second and at each phase change.
 */
struct move_progress {
	enum move_phase phase;
	unsigned round;       /* from 1 */
	uint64_t pages_left;  /* of this round */
	uint64_t pages_total; /* of this round */
	uint64_t bytes_sent;  /* so far */
	uint64_t bytes_per_s; /* guest memory covered, of late */
	uint64_t dirty_bytes_per_s;
	unsigned throttle;
	uint64_t eta_ns; /* to the end of the move; 0 unknown */
};

struct move_observer {
	void *arg;
	void (*progress)(void *arg, const struct move_progress *progress); /* or NULL */
	void (*notice)(void *arg, const char *sentence); /* what the user should know; or NULL */
};

struct move_report {
	uint64_t total_ns;    /* from the start of the connection until the destination said "started" */
	uint64_t downtime_ns; /* from the guest's pause until then: an upper bound of what the guest saw */
	uint64_t forecast_ns; /* of total_ns, made when 1/8 of the first round was through over all links */
	uint64_t forecast_downtime_ns;
	unsigned rounds; /* the last one, in the pause, included */
	unsigned listed; /* of these: the first one, and the latest */
	struct move_round round[MOVE_MAX_ROUNDS];
	bool resumed;          /* another mover began it */
	unsigned resumes;      /* pauses that were taken back, since a link broke in them */
	uint64_t resumes_ns;   /* how long the guest stood still in these */
	unsigned links;        /* that were there at the end */
	unsigned reconnects;   /* of the control link */
	uint64_t pages_again;  /* sent once more, since a link broke before they were acknowledged */
	uint64_t pages_sent;   /* each time that a page was sent counts */
	uint64_t zero_pages;   /* of these, as a few bytes */
	uint64_t delta_pages;  /* of these, as what had changed since they were sent before */
	uint64_t disk_pages;   /* of these, of disks before the first round */
	uint64_t disk_bytes;   /* and what they were on the stream */
	uint64_t disk_ns;      /* and took; 0: there are none */
	uint64_t bytes_sent;   /* on the stream, before encryption */
	uint64_t wire_mbps;    /* megabits a second on the stream, over all rounds */
	unsigned max_throttle; /* percent */
	uint64_t lost_ns;      /* of the guest's time, by that */
	struct {
		uint64_t owed; /* pages that were not there when the guest started; 0: no post-copy */
		uint64_t bytes;
		uint64_t ns;             /* from the start until all were */
		struct histogram faults; /* how long the guest waited for pages */
	} postcopy;
	uint64_t term; /* under which the guest runs now */
};

/* move_report_round(report): a place for one more round. */
struct move_round *move_report_round(struct move_report *report);

/* move_vm(options, observer, report, err): returns 0 when the guest runs on the other host and the VM process
 * here has ended; -1 with *err when it runs on here (or as *err says: kind ERR_STATE with the word "pending"
 * in the sentence when the outcome could not be learnt; `drover resolve` goes on from there).  Runs in the
 * calling thread; SIGPIPE must be ignored. */
int move_vm(const struct move_options *options, const struct move_observer *observer,
	    struct move_report *report, struct err *err);

/* move_resolve(options, observer, started, err): ask the peer of a pending hand-over how it ended
 * (options->peer may be NULL: the recorded one) and tell the VM process, which ends (*started true) or
 * resumes. */
int move_resolve(const struct move_options *options, const struct move_observer *observer, bool *started,
		 struct err *err);

#endif
