/* iorun.c: one run: one VM with a disk, or two on a network, from their start to what the guest says at its end. */
#include "common/io.h"
#include "tests/bench/cpumeter.h"
#include "tests/bench/iobench.h"
#include "tests/bench/proc.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY     "256M"
#define TIMEOUT_NS 60000000000ull
#define LOOK_NS    2000000ull /* between two looks at a log: the error of the CPU times */

struct vm {
	char name[16];
	char log[BENCHENV_PATH + 64];
	char errors[BENCHENV_PATH + 32];
	pid_t pid;
};

/* The arguments of a program, of which some are made here. */
struct arguments {
	const char *argv[64];
	size_t count;
	char made[16][2 * BENCHENV_PATH];
	size_t nmade;
};

static void add(struct arguments *arguments, const char *argument)
{
	arguments->argv[arguments->count++] = argument;
}

__attribute__((format(printf, 2, 3))) static void addf(struct arguments *arguments, const char *format, ...)
{
	char *text = arguments->made[arguments->nmade++];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(arguments->made[0]), format, args);
	va_end(args);
	add(arguments, text);
}

/* The network card of VM `number`; each has an address of its own. */
static void add_card(struct arguments *arguments, bool drover, unsigned number)
{
	if (drover) {
		add(arguments, "--net");
		addf(arguments, "io-%u,mac=52:54:00:00:00:0%u", number, number);
		return;
	}
	add(arguments, "-netdev");
	addf(arguments, "tap,id=net,ifname=io-%u,script=no,downscript=no,vhost=off", number);
	add(arguments, "-device");
	addf(arguments, "virtio-net-pci,netdev=net,disable-legacy=on,romfile=,mac=52:54:00:00:00:0%u",
	     number);
}

static void add_disk(struct arguments *arguments, const struct io_subject *subject, const char *path)
{
	if (io_is_drover(subject)) {
		add(arguments, "--disk");
		addf(arguments, "%s%s", path, subject->group == GROUP_DROVER_RAW ? ",read-only" : "");
		return;
	}
	if (subject->iothread) {
		add(arguments, "-object");
		add(arguments, "iothread,id=io");
	}
	add(arguments, "-blockdev");
	addf(arguments, "driver=file,node-name=file,filename=%s,cache.direct=on,aio=%s", path, subject->aio);
	add(arguments, "-blockdev");
	addf(arguments, "driver=%s,node-name=disk,file=file,cache.direct=on",
	     subject->group == GROUP_QEMU_QCOW2 ? "qcow2" : "raw");
	add(arguments, "-device");
	addf(arguments, "virtio-blk-pci,drive=disk,disable-legacy=on%s",
	     subject->iothread ? ",iothread=io" : "");
}

static void add_machine(struct arguments *arguments, const struct benchenv *env, const struct vm *vm,
			bool drover)
{
	static const char *const drover_words[] = {"run",          "--memory", MEMORY,
						   "--huge-pages", "--detach", "--kernel"};
	static const char *const qemu_words[] = {
	    "-accel",     "kvm",    "-cpu", "qemu64,-cx16", "-machine", "pc",          "-bios",
	    "qboot.rom",  "-m",     MEMORY, "-display",     "none",     "-nodefaults", "-no-user-config",
	    "-no-reboot", "-kernel"};
	size_t count = drover ? sizeof(drover_words) / sizeof(char *) : sizeof(qemu_words) / sizeof(char *);

	add(arguments, drover ? env->drover : env->qemu);
	for (size_t i = 0; i < count; i++)
		add(arguments, (drover ? drover_words : qemu_words)[i]);
	add(arguments, env->guest);
	add(arguments, drover ? "--name" : "-name");
	addf(arguments, drover ? "%s" : "guest=%s,debug-threads=on", vm->name);
	if (!drover) {
		add(arguments, "-serial");
		addf(arguments, "file:%s", vm->log);
	}
}

/* Start VM `number` with this load. */
static int start(struct io_bench *bench, const struct io_row *row, const struct io_subject *subject,
		 const char *dir, const char *disk, unsigned number, struct vm *vm, struct err *err)
{
	bool drover = io_is_drover(subject);
	char state[BENCHENV_PATH + 32], run[BENCHENV_PATH + 32];
	const char *env[] = {state, run, NULL};
	struct arguments *arguments = calloc(1, sizeof(*arguments));
	struct proc_spawn spawn = {.argv = arguments->argv, .env = env, .errors = vm->errors};

	snprintf(vm->name, sizeof(vm->name), "io%u", number);
	snprintf(state, sizeof(state), "DROVER_STATE=%s/state", dir);
	snprintf(run, sizeof(run), "DROVER_RUN=%s/run", dir);
	snprintf(vm->errors, sizeof(vm->errors), "%.255s/%.15s.err", dir, vm->name);
	snprintf(vm->log, sizeof(vm->log), drover ? "%.255s/state/vms/%.15s/console.log" : "%.255s/%.15s.log",
		 dir, vm->name);
	add_machine(arguments, bench->env, vm, drover);
	add(arguments, drover ? "--append" : "-append");
	addf(arguments, "%s%s seconds=%u", row->load,
	     !row->net ? ""
	     : number  ? " net=send"
		       : " net=receive",
	     bench->seconds);
	if (row->net)
		add_card(arguments, drover, number);
	else
		add_disk(arguments, subject, disk);
	vm->pid = proc_spawn(&spawn, err);
	free(arguments);
	return vm->pid < 0 ? -1 : 0;
}

/* Until a line with this in it is in the log; the line into text. */
static int await_line(const struct vm *vm, const char *what, uint64_t deadline_ns, char text[512],
		      struct err *err)
{
	for (;;) {
		void *log = NULL;
		size_t len;
		char *at = NULL;

		if (io_read_file(vm->log, 1 << 20, &log, &len) == 0)
			at = strstr(log, what);
		if (at && strchr(at, '\n'))
			snprintf(text, 512, "%.*s", (int)strcspn(at, "\r\n"), at);
		else
			at = NULL;
		free(log);
		if (at)
			return 0;
		if (proc_check(deadline_ns, what, err) != 0)
			return err_context(err, "%s", vm->log);
		proc_pause(LOOK_NS);
	}
}

static double number(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtod(at + strlen(key), NULL) : 0;
}

static int read_result(const char *line, const struct cpumeter *meter, struct io_result *result,
		       struct err *err)
{
	double us = number(line, " us="), errors = number(line, " errors=");
	double count = number(line, " ops=") + number(line, " acked=");

	if (us <= 0 || count <= 0 || errors > 0)
		return err_set(err, ERR_INPUT, "the guest says: %.200s", line);
	*result = (struct io_result){.rate = count * 1e6 / us,
				     .cpu_us = (double)(meter->total_ns - meter->guest_ns) / 1e3 / count,
				     .all_us = (double)meter->total_ns / 1e3 / count,
				     .mean_us = number(line, " mean_us="),
				     .kicks = number(line, " kicks=") / count};
	return 0;
}

static int steps(struct io_bench *bench, const struct io_row *row, const struct io_subject *subject,
		 const char *dir, struct io_result *result, struct err *err)
{
	uint64_t deadline_ns = clock_mono_ns() + TIMEOUT_NS;
	struct vm vms[2] = {0}, *last = &vms[row->net ? 1 : 0];
	char disk[BENCHENV_PATH] = "", line[512];
	struct cpumeter meter;

	if (!row->net && io_disk(bench, row, subject, disk, err) != 0)
		return -1;
	for (unsigned i = 0; &vms[i] <= last; i++)
		if (start(bench, row, subject, dir, disk, i, &vms[i], err) != 0)
			return -1;
	if (await_line(last, row->net ? "net begin" : "io begin", deadline_ns, line, err) != 0)
		return -1;
	cpumeter_start(&meter);
	if (await_line(last, row->net ? "net sent" : "io ops", deadline_ns, line, err) != 0)
		return -1;
	cpumeter_stop(&meter);
	return read_result(line, &meter, result, err);
}

int io_run(struct io_bench *bench, const struct io_row *row, const struct io_subject *subject,
	   struct io_result *result, struct err *err)
{
	char dir[BENCHENV_PATH];
	int failed = -1;

	if (benchenv_run_dir(bench->env, dir, err) == 0) {
		failed = steps(bench, row, subject, dir, result, err);
		benchenv_end_processes(bench->env);
		benchenv_remove(bench->env, dir);
	}
	return failed;
}
