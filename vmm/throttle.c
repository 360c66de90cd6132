/* throttle.c: slices and rests. */
#include "vmm/throttle.h"
#include "common/io.h"
#include <signal.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define NS_PER_MS    1000000ull
#define REST_NS      (4 * NS_PER_MS)
#define SLICE_MIN_NS (NS_PER_MS / 10) /* what a kick and an entry cost is small beside it */

uint64_t throttle_slice_ns(unsigned percent)
{
	uint64_t slice;
	if (percent < 50)
		return NS_PER_MS * (100 - percent) / percent;
	slice = REST_NS * (100 - percent) / percent;
	if (slice > NS_PER_MS)
		return NS_PER_MS;
	return slice < SLICE_MIN_NS ? SLICE_MIN_NS : slice;
}

int throttle_open(struct throttle *throttle, int signal)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
	event.sigev_notify_thread_id = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, &throttle->timer))
		return -1;
	throttle->has_timer = true;
	return 0;
}

void throttle_close(struct throttle *throttle)
{
	if (throttle->has_timer)
		timer_delete(throttle->timer);
	throttle->has_timer = false;
}

uint64_t throttle_rest(struct throttle *throttle, unsigned percent, uint64_t now_ns)
{
	if (!percent) {
		throttle_forget(throttle);
		return 0;
	}
	if (throttle->rest_until_ns > now_ns)
		return throttle->rest_until_ns;
	if (!throttle->slice_began_ns)
		return 0;
	uint64_t slice = throttle_slice_ns(percent);
	uint64_t ran = now_ns - throttle->slice_began_ns;
	if (ran < slice)
		return 0;
	/* A slice that the host's scheduler drew out was not all spent in the guest. */
	if (ran > slice + NS_PER_MS / 2)
		ran = slice + NS_PER_MS / 2;
	throttle->slice_began_ns = 0;
	throttle->rest_until_ns = now_ns + ran * percent / (100 - percent);
	return throttle->rest_until_ns;
}

void throttle_begin(struct throttle *throttle, unsigned percent, uint64_t now_ns)
{
	if (!percent)
		return;
	if (!throttle->slice_began_ns)
		throttle->slice_began_ns = now_ns;
	uint64_t end = throttle->slice_began_ns + throttle_slice_ns(percent);
	struct itimerspec at = {.it_value = clock_timespec(end)};
	timer_settime(throttle->timer, TIMER_ABSTIME, &at, NULL);
}

void throttle_forget(struct throttle *throttle)
{
	throttle->slice_began_ns = throttle->rest_until_ns = 0;
}
