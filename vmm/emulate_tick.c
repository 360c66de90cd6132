/* emulate_tick.c: looks at KVM's timer chip from time to time, and raises its interrupt when it has fired. */
#include "vmm/emulate_tick.h"
#include "common/io.h"
#include "common/thread.h"
#include "vmm/machine_impl.h"
#include <errno.h>
#include <sys/ioctl.h>

enum { PIT_HZ = 1193182, MODE_RATE = 2, MODE_STROBE = 4 /* between them: a square wave */ };

bool emulate_tick_due(struct emulate_tick *tick, const struct kvm_pit_channel_state *channel, uint64_t now_ns)
{
	uint64_t period_ns = channel->count * 1000000000ull / PIT_HZ;
	if (!period_ns || channel->mode < MODE_RATE || channel->mode > MODE_STROBE)
		return false; /* nobody has set it, or it was stopped */
	if (now_ns < tick->next_ns)
		return false;
	tick->next_ns += period_ns;
	if (tick->next_ns < now_ns) /* those in between are missed */
		tick->next_ns = now_ns;
	return true;
}

static void look(struct machine *machine)
{
	struct kvm_pit_state2 pit;
	/* It cannot fail for a machine that has a timer chip. */
	if (!machine->tick.limit || ioctl(machine->kvm.vm, KVM_GET_PIT2, &pit) ||
	    !emulate_tick_due(&machine->tick, &pit.channels[0], clock_mono_ns()))
		return;
	kvm_irq_line(&machine->kvm, IRQ_TIMER, true);
	kvm_irq_line(&machine->kvm, IRQ_TIMER, false);
}

static void wait_a_tick(struct emulate_tick *tick)
{
	uint64_t until = clock_mono_ns() + EMULATE_TICK_MS * 1000000ull;
	while (!tick->quit && tick->running &&
	       thread_cond_wait_until(&tick->changed, &tick->lock, until) != ETIMEDOUT)
		;
}

static void *thread_main(void *arg)
{
	struct machine *machine = arg;
	struct emulate_tick *tick = &machine->tick;
	pthread_setname_np(pthread_self(), "tick");
	pthread_mutex_lock(&tick->lock);
	while (!tick->quit) {
		if (!tick->running) {
			pthread_cond_wait(&tick->changed, &tick->lock);
			continue;
		}
		look(machine);
		wait_a_tick(tick);
	}
	pthread_mutex_unlock(&tick->lock);
	return NULL;
}

void emulate_tick_prepare(struct machine *machine)
{
	struct emulate_tick *tick = &machine->tick;
	pthread_mutex_init(&tick->lock, NULL);
	thread_cond_init(&tick->changed);
	tick->prepared = true;
}

void emulate_tick_limit(struct machine *machine, bool limit)
{
	if (!irq_take_timer(&machine->irq, limit))
		machine->tick.limit = limit;
}

int emulate_tick_start(struct machine *machine, struct err *err)
{
	struct emulate_tick *tick = &machine->tick;
	if (!tick->prepared)
		return 0;
	tick->started = !thread_start(&tick->thread, thread_main, machine);
	return !tick->started ? err_sys(err, "cannot start the timer's thread") : 0;
}

static void tell(struct emulate_tick *tick, bool running, bool quit)
{
	if (!tick->started)
		return;
	pthread_mutex_lock(&tick->lock);
	tick->running = running;
	tick->quit = quit;
	pthread_cond_signal(&tick->changed);
	pthread_mutex_unlock(&tick->lock);
}

void emulate_tick_resume(struct machine *machine)
{
	tell(&machine->tick, true, false);
}

void emulate_tick_pause(struct machine *machine)
{
	tell(&machine->tick, false, false);
}

void emulate_tick_stop(struct machine *machine)
{
	struct emulate_tick *tick = &machine->tick;
	if (!tick->prepared)
		return;
	if (tick->started) {
		tell(tick, false, true);
		pthread_join(tick->thread, NULL);
	}
	pthread_cond_destroy(&tick->changed);
	pthread_mutex_destroy(&tick->lock);
	tick->prepared = tick->started = false;
}
