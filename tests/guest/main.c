/* The order in which things begin; see README.md for what the guest does. */
#include "arch.h"
#include "bootinfo.h"
#include "console.h"
#include "control.h"
#include "cpu.h"
#include "disklog.h"
#include "io.h"
#include "net.h"
#include "pattern.h"
#include "ram.h"
#include "stop.h"
#include "work.h"
#include <stddef.h>

_Noreturn void guest_main(unsigned boot, uint64_t pointer);

static struct bootinfo info;
static struct params params;
static _Atomic enum { STARTING, FILLING, WORKING } phase;

static void print_start(void)
{
	struct text line = {0};

	text_str(&line, "drover-guest: start ram=");
	text_size(&line, ram_total());
	text_str(&line, " fill=");
	text_size(&line, params.fill);
	text_field(&line, "cpus", params.cpus);
	console_now(&line);
}

static void print_filled(uint64_t cycles, const char *clock)
{
	struct text line = {0};

	text_str(&line, "drover-guest: filled");
	text_field(&line, "ms", clock_ms(cycles));
	text_field(&line, "tsc_khz", clock_khz());
	text_str(&line, " clock=");
	text_str(&line, clock);
	console_line(&line);
}

static void ap_main(void *arg)
{
	struct worker *w = arg;

	w->online = 1;
	w->has_pv = clock_enable_pv(&w->pv);
	while (phase < FILLING) /* until all CPUs have their memory, pages have no addresses */
		cpu_relax();
	work_fill(w);
	while (phase < WORKING)
		cpu_relax();
	for (;;)
		work_turn(w);
}

static void fill_all(void)
{
	if (params.fill / PAGE_SIZE > ram_pages())
		stop_error("fill does not fit into memory", NULL);
	phase = FILLING;
	work_fill(work_worker(0));
	for (unsigned i = 1; i < params.cpus; i++)
		while (!work_worker(i)->filled)
			cpu_relax();
}

/* A load on a device, where one is asked for, instead of that on memory. */
static void run_device_load(void)
{
	if (params.io == IO_LOG || params.io == IO_VERIFY)
		disklog_run(&params);
	if (params.io != IO_NONE)
		io_run(&params);
	if (params.net != NET_NONE)
		net_run(&params);
}

_Noreturn void guest_main(unsigned boot, uint64_t pointer)
{
	uint64_t entered = rdtsc();
	struct worker *w;
	const char *clock;

	console_init();
	bootinfo_read(&info, boot, pointer);
	ram_init(&info);
	params_parse(&params, info.cmdline, ram_total());
	print_start();

	pattern_init(params.seed, (unsigned)params.compress, (unsigned)params.words);
	work_init(&params);
	w = work_worker(0);
	w->has_pv = clock_enable_pv(&w->pv);
	clock = clock_init(params.tsc_khz, w->has_pv ? &w->pv : NULL);
	run_device_load();
	for (unsigned i = 1; i < params.cpus; i++)
		cpu_start(i, ap_main, work_worker(i), &work_worker(i)->online);
	fill_all();
	print_filled(rdtsc() - entered, clock);

	phase = WORKING;
	control_start(rdtsc(), params.report, (unsigned)params.cpus);
	for (;;)
		control_turn(work_turn(w));
}
