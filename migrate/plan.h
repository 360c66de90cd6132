/* plan.h: when to switch over, how much to slow the guest, when to give up, and how a move will go: decisions from numbers
 * alone. */
#ifndef MIGRATE_PLAN_H
#define MIGRATE_PLAN_H

#include "migrate/move.h"
#include <stdbool.h>
#include <stdint.h>

/* What a switch-over costs besides its pages (state out, in, and the vCPUs' stop and start), and a round: requests to the VM process,
 * the acknowledgement; both but for the link's delay.  Measured on the build machines, and small beside a usual budget. */
enum { PLAN_SWITCH_NS = 3000000, PLAN_ROUND_NS = 1500000 };

struct plan_input {
	uint64_t budget_ns;        /* downtime that the user allows */
	enum move_if_busy if_busy; /* what to do with a guest that writes faster than it is carried away */
	unsigned throttle_max;     /* percent, at most 99 */
	bool postcopy;             /* the guest can be moved first and its memory behind it */
	const struct move_round *round; /* those that are over, or the latest of them */
	unsigned rounds;                /* of these; at least 1 */
	uint64_t remaining;             /* pages dirtied during the last one */
	uint64_t fixed_ns;              /* of a switch-over with no pages: state, round trips */
	unsigned throttle;              /* percent, at present */
};

enum plan_action {
	PLAN_ROUND,    /* send what remains while the guest runs */
	PLAN_SWITCH,   /* pause and send what remains */
	PLAN_POSTCOPY, /* switch over now, what remains is sent behind the guest */
	PLAN_FAIL,     /* it will not fit the budget, with what may be done */
};

struct plan_decision {
	enum plan_action action;
	unsigned throttle;    /* for the next round */
	uint64_t downtime_ns; /* expected if switched now */
};

/* plan_next(input): deterministic, no I/O.  Switches when the rest fits the budget and does not get
 * smaller any more.  When rounds have stopped shrinking: MOVE_THROTTLE slows the guest, just as much as is needed and
 * never above throttle_max; if that is not enough, and with MOVE_POSTCOPY at once, post-copy where it can be had, else failure;
 * MOVE_WAIT goes on with rounds; MOVE_CANCEL fails. */
struct plan_decision plan_next(const struct plan_input *input);

/* plan_fixed_ns(ack_ns, rtt_ns): what a switch-over with no pages takes, where an acknowledgement took so long, and a round trip: PREPARED
 * is behind what an ACK is behind, the disks' epochs made durable; STARTED is not. */
uint64_t plan_fixed_ns(uint64_t ack_ns, uint64_t rtt_ns);

/* plan_way_fits(rtt_ns, budget_ns, err): whether a pause over a way with such round trips can be so short at all, whatever the guest does.
 * -1 with *err (ERR_STATE): it cannot, and which one could. */
int plan_way_fits(uint64_t rtt_ns, uint64_t budget_ns, struct err *err);

/* plan_page_ns(round, rounds): nanoseconds that one page costs on this link, from the latest round that was large
 * enough to tell (or the largest). */
double plan_page_ns(const struct move_round *round, unsigned rounds);

/* What is known of a guest and of the way to the other host, before or while it moves. */
struct plan_model {
	uint64_t before_ns;   /* until the first page goes out: connections, an empty machine there */
	uint64_t first_pages; /* of the first round: all that was ever touched */
	double page_ns;       /* of a page in it */
	double again_ns;      /* of a page in a later one */
	double page_bytes;    /* of one in the first round, on the stream */
	double again_bytes;   /* of one in a later round */
	uint64_t round_ns;    /* of a round besides its pages: requests, the acknowledgement */
	uint64_t fixed_ns;    /* of a switch-over with no pages */
	double dirty_per_s;   /* pages that the guest begins to write to in a second */
	double working_set;   /* pages that it writes to at all: no more than so many are dirty */
};

struct plan_forecast {
	enum plan_action action; /* how it ends: PLAN_SWITCH, PLAN_POSTCOPY or PLAN_FAIL */
	uint64_t total_ns;
	uint64_t downtime_ns;
	uint64_t pages;
	uint64_t bytes;
	unsigned rounds;       /* before the pause */
	unsigned max_throttle; /* percent */
	uint64_t lost_ns;      /* of the guest's time, by throttling */
};

/* plan_dirty(model, ns): pages that are dirty after so long, of a guest that runs all the time: those written before count once. */
double plan_dirty(const struct plan_model *model, uint64_t ns);
/* plan_fit_dirty(model, short_ns, short_pages, long_ns, long_pages): dirty_per_s and working_set from what was dirtied in a short
 * and in a long interval. */
void plan_fit_dirty(struct plan_model *model, uint64_t short_ns, uint64_t short_pages, uint64_t long_ns,
		    uint64_t long_pages);
/* plan_forecast(model, policy, forecast): the move that plan_next makes of it; of policy what the user chose is looked at. */
void plan_forecast(const struct plan_model *model, const struct plan_input *policy,
		   struct plan_forecast *forecast);

#endif
