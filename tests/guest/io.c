#include "io.h"
#include "arch.h"
#include "clock.h"
#include "console.h"
#include "disk.h"
#include "stop.h"
#include "text.h"
#include <stddef.h>

#define WARM_MS 200 /* of the load before the measuring begins */

static const struct params *params;
static bool writes;
static uint64_t blocks, next_block, random;
static uint64_t queued_at[DEPTH_MAX]; /* TSC */
static struct {
	uint64_t done, errors, cycles, worst;
} sum;

static uint64_t next_offset(void)
{
	uint64_t block = next_block++ % blocks;

	if (params->io == IO_RANDREAD || params->io == IO_RANDWRITE) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		block = (uint64_t)((unsigned __int128)(random * 0x2545f4914f6cdd1d) * blocks >> 64);
	}
	return block * params->block;
}

static void queue_next(unsigned slot, uint64_t now)
{
	queued_at[slot] = now;
	disk_queue(slot, writes ? DISK_WRITE : DISK_READ, next_offset());
}

static void take(unsigned slot, bool good, uint64_t now)
{
	uint64_t took = now - queued_at[slot];

	sum.done++;
	sum.errors += !good;
	sum.cycles += took;
	if (took > sum.worst)
		sum.worst = took;
}

/* Requests that are done are taken, and as many sent, until `end`.  All slots are under way before and after. */
static void run_until(uint64_t end)
{
	uint64_t now;

	while ((now = rdtsc()) < end) {
		unsigned slot;
		bool good, any = false;

		while (disk_done(&slot, &good)) {
			take(slot, good, now);
			queue_next(slot, now);
			any = true;
		}
		if (any)
			disk_kick();
		else
			cpu_relax();
	}
}

static void drain(void)
{
	unsigned slot, left = (unsigned)params->depth;
	bool good;

	while (left) {
		if (disk_done(&slot, &good))
			left--;
		else
			cpu_relax();
	}
}

static void print_begin(void)
{
	struct text line = {0};

	text_str(&line, "drover-guest: io begin");
	text_field(&line, "disk", disk_bytes());
	console_now(&line);
}

static void print_result(uint64_t cycles, uint64_t kicks)
{
	struct text line = {0};

	text_str(&line, "drover-guest: io");
	text_field(&line, "ops", sum.done);
	text_field(&line, "us", clock_us(cycles));
	text_field(&line, "errors", sum.errors);
	text_field(&line, "kicks", kicks);
	text_field(&line, "mean_us", sum.done ? clock_us(sum.cycles / sum.done) : 0);
	text_field(&line, "worst_us", clock_us(sum.worst));
	text_str(&line, " end");
	console_now(&line);
}

_Noreturn void io_run(const struct params *p)
{
	uint64_t span, start, kicks;

	params = p;
	writes = p->io == IO_RANDWRITE || p->io == IO_WRITE;
	random = (p->seed + 1) * 0x9e3779b97f4a7c15;
	disk_open((unsigned)p->depth, (uint32_t)p->block);
	span = p->span && p->span < disk_bytes() ? p->span : disk_bytes();
	blocks = span / p->block;
	if (p->block % DISK_SECTOR || !blocks)
		stop_error("the disk is too small, or bs no whole sectors", NULL);
	for (unsigned i = 0; i < p->depth; i++)
		for (uint64_t *at = disk_data(i); writes && (void *)at < disk_data(i + 1); at++)
			*at = (random += 0x9e3779b97f4a7c15);
	for (unsigned i = 0; i < p->depth; i++)
		queue_next(i, rdtsc());
	disk_kick();
	run_until(rdtsc() + clock_cycles_of_ms(WARM_MS));
	print_begin();
	sum.done = sum.errors = sum.cycles = sum.worst = 0;
	for (unsigned i = 0; i < p->depth; i++)
		queued_at[i] = rdtsc();
	kicks = disk_kicks();
	start = rdtsc();
	run_until(start + clock_cycles_of_ms(p->seconds * 1000));
	print_result(rdtsc() - start, disk_kicks() - kicks);
	drain();
	if (writes && disk_flushes() && !disk_do(0, DISK_FLUSH, 0))
		stop_error("a flush failed", NULL);
	stop_machine();
}
