/* throttle.h: a vCPU that may run a part of the time only.
 *
 * A throttled vCPU runs for a slice, then its thread's timer (a VCPU_KICK) takes it out of the guest, and it
 * rests in proportion to how long it really ran.  Nothing wakes up while there is no throttle. */
#ifndef VMM_THROTTLE_H
#define VMM_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { THROTTLE_MAX = 99 };

struct throttle {
	timer_t timer;
	bool has_timer;
	uint64_t slice_began_ns; /* CLOCK_MONOTONIC; 0: the next slice has not begun */
	uint64_t rest_until_ns;  /* CLOCK_MONOTONIC */
};

/* throttle_slice_ns(percent): how long a slice is: the rest after it lasts a millisecond, above 50 % up to 4, since the
 * guest sees rests as gaps; longer only where slices would get too short to be worth an entry (above 97 %). */
uint64_t throttle_slice_ns(unsigned percent);

/* throttle_open: the calling thread's timer; it sends that thread `signal`.  0, or -1 with errno. */
int throttle_open(struct throttle *throttle, int signal);
void throttle_close(struct throttle *throttle);
/* throttle_rest(throttle, percent, now): until when to rest before going on, or 0 to go on at once. */
uint64_t throttle_rest(struct throttle *throttle, unsigned percent, uint64_t now_ns);
/* throttle_begin: the vCPU is about to run; begins or continues its slice, and sets the timer for its end. */
void throttle_begin(struct throttle *throttle, unsigned percent, uint64_t now_ns);
/* throttle_forget: the vCPU stands still for another reason; the next slice begins anew. */
void throttle_forget(struct throttle *throttle);

#endif
