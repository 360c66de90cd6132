/* QEMU as the mover: two QEMU processes on this machine, driven over QMP. */
#include "common/io.h"
#include "tests/bench/farhost.h"
#include "tests/bench/mover.h"
#include "tests/bench/proc.h"
#include "tests/bench/qmp.h"
#include "tests/bench/tunnel.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* QEMU's default of 128 MiB/s is a limit for networks that others use; here nothing may be limited. */
#define BANDWIDTH (1ll << 40)
#define SAMPLE_MS 5

struct qemu_pair {
	pid_t source_pid;
	struct qmp source, destination;
};

static int qemu_available(const struct mover *mover, const struct benchenv *env, struct err *err)
{
	if (!env->qemu[0])
		return err_set(err, ERR_SYSTEM, "%s: qemu-system-x86_64 is not installed", mover->name);
	return 0;
}

static void monitor_of(const struct move *move, const char *who, char path[BENCHENV_PATH + 32])
{
	snprintf(path, BENCHENV_PATH + 32, "%s/%s.qmp", move->dir, who);
}

/* Start one of the two. */
static pid_t launch(struct move *move, bool incoming, struct err *err)
{
	const struct benchenv *env = move->env;
	const char *who = incoming ? "destination" : "source";
	char name[64], memory[16], ram[80], console[2 * BENCHENV_PATH], cmdline[256];
	char socket[BENCHENV_PATH + 32], monitor[BENCHENV_PATH + 64], errors[BENCHENV_PATH + 32];
	const char *argv[40] = {env->qemu,
				"-name",
				name,
				"-accel",
				"kvm",
				"-cpu",
				"qemu64,-cx16",
				"-m",
				memory,
				"-smp",
				"1",
				"-display",
				"none",
				"-nodefaults",
				"-no-user-config",
				"-chardev",
				console,
				"-serial",
				"chardev:console",
				"-qmp",
				monitor,
				"-kernel",
				env->guest,
				"-append",
				mover_cmdline(move, cmdline),
				"-machine",
				env->shared_ram ? "pc,memory-backend=ram" : "pc"};
	struct proc_spawn spawn = {.argv = argv, .out = errors, .errors = errors};
	size_t argc = 27;

	snprintf(name, sizeof(name), "guest=%s,debug-threads=on", who);
	snprintf(memory, sizeof(memory), "%uM", env->memory_mib);
	snprintf(ram, sizeof(ram), "memory-backend-memfd,id=ram,share=on,size=%uM", env->memory_mib);
	snprintf(console, sizeof(console), "file,id=console,append=on,path=%s",
		 incoming ? move->destination_log : move->source_log);
	monitor_of(move, who, socket);
	snprintf(monitor, sizeof(monitor), "unix:%s,server=on,wait=off", socket);
	snprintf(errors, sizeof(errors), "%s/%s.err", move->dir, who);
	if (env->shared_ram) {
		argv[argc++] = "-object";
		argv[argc++] = ram;
	}
	if (move->mover->firmware) {
		argv[argc++] = "-bios";
		argv[argc++] = move->mover->firmware;
	}
	if (incoming) {
		argv[argc++] = "-incoming";
		argv[argc++] = "defer";
	}
	return proc_spawn(&spawn, err);
}

static int qemu_spawn(struct move *move, struct err *err)
{
	struct qemu_pair *pair = calloc(1, sizeof(*pair));

	if (!pair)
		return err_sys(err, "memory for two QMP connections");
	move->data = pair;
	snprintf(move->source_log, sizeof(move->source_log), "%s/source.log", move->dir);
	snprintf(move->destination_log, sizeof(move->destination_log), "%s/destination.log", move->dir);
	pair->source_pid = launch(move, false, err);
	return pair->source_pid < 0 ? -1 : 0;
}

static int qemu_ready(struct move *move, uint64_t deadline_ns, struct err *err)
{
	struct qemu_pair *pair = move->data;
	char socket[BENCHENV_PATH + 32];

	monitor_of(move, "source", socket);
	move->vm = pair->source_pid;
	move->planned_total_ms = move->planned_downtime_ms = -1;
	return qmp_open(&pair->source, "the source QEMU", socket, deadline_ns, err);
}

static int capability(struct qmp *qmp, const char *name, uint64_t deadline_ns, struct err *err)
{
	json_t *arguments = json_pack("{s:[{s:s,s:b}]}", "capabilities", "capability", name, "state", 1);

	return qmp_do(qmp, "migrate-set-capabilities", arguments, deadline_ns, err);
}

/* What both ends must agree on, and what the source decides. */
static int configure(struct move *move, struct qmp *qmp, bool source, uint64_t deadline_ns, struct err *err)
{
	const struct mover *mover = move->mover;
	json_t *parameters;

	if (capability(qmp, "events", deadline_ns, err) != 0)
		return -1;
	if (mover->postcopy && capability(qmp, "postcopy-ram", deadline_ns, err) != 0)
		return -1;
	if (mover->channels > 0) {
		parameters =
		    json_pack("{s:i,s:s}", "multifd-channels", (int)mover->channels, "multifd-compression",
			      mover->compression ? mover->compression : "none");
		if (capability(qmp, "multifd", deadline_ns, err) != 0 ||
		    qmp_do(qmp, "migrate-set-parameters", parameters, deadline_ns, err) != 0)
			return -1;
	}
	if (!source)
		return 0;
	if (move->dirty_mb == MOVE_DIRTY_MAX && !mover->postcopy &&
	    capability(qmp, "auto-converge", deadline_ns, err) != 0)
		return -1;
	parameters =
	    json_pack("{s:i,s:I}", "downtime-limit", (int)mover->downtime_ms, "max-bandwidth", BANDWIDTH);
	return qmp_do(qmp, "migrate-set-parameters", parameters, deadline_ns, err);
}

/* Where the destination listens, or, with a tunnel there, the source connects to. */
static void uri_of(const struct move *move, bool source, char uri[BENCHENV_PATH + 64])
{
	if (move->env->far)
		snprintf(uri, BENCHENV_PATH + 64, "tcp:" FARHOST_ADDRESS ":%d", FARHOST_QEMU_PORT);
	else
		snprintf(uri, BENCHENV_PATH + 64, "unix:%s/%s.sock", move->dir,
			 source && move->mover->over_ssh ? "tunnel" : "in");
}

static int launch_destination(struct move *move, struct err *err)
{
	pid_t pid;

	if (farhost_enter(move->env, err) != 0)
		return -1;
	pid = launch(move, true, err);
	return farhost_leave(move->env, err) == 0 && pid > 0 ? 0 : -1;
}

static int qemu_prepare(struct move *move, uint64_t deadline_ns, struct err *err)
{
	struct qemu_pair *pair = move->data;
	char monitor[BENCHENV_PATH + 32], uri[BENCHENV_PATH + 64];

	uri_of(move, false, uri);
	monitor_of(move, "destination", monitor);
	if (launch_destination(move, err) != 0 ||
	    qmp_open(&pair->destination, "the destination QEMU", monitor, deadline_ns, err) != 0 ||
	    configure(move, &pair->destination, false, deadline_ns, err) != 0 ||
	    configure(move, &pair->source, true, deadline_ns, err) != 0 ||
	    qmp_do(&pair->destination, "migrate-incoming", json_pack("{s:s}", "uri", uri), deadline_ns,
		   err) != 0)
		return -1;
	if (move->mover->over_ssh && !move->env->far) {
		char near_end[BENCHENV_PATH + 32];

		snprintf(near_end, sizeof(near_end), "%s/tunnel.sock", move->dir);
		return tunnel_open(move->env, near_end, uri + strlen("unix:"), deadline_ns, err);
	}
	return 0;
}

static const char *event_name(const json_t *event)
{
	return json_string_value(json_object_get(event, "event"));
}

/* Take the source's events: *done when the migration is complete; an error when it failed.  *passes: how often it began to go
 * through the guest's memory. */
static int look_at_source(struct qmp *qmp, bool *done, json_int_t *passes, struct err *err)
{
	json_t *event;

	if (qmp_pump(qmp, err) != 0)
		return -1;
	while ((event = qmp_take_event(qmp))) {
		const char *status =
		    json_string_value(json_object_get(json_object_get(event, "data"), "status"));
		bool migration = strcmp(event_name(event), "MIGRATION") == 0 && status;
		bool failed =
		    migration && (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0);

		if (strcmp(event_name(event), "MIGRATION_PASS") == 0)
			*passes = json_integer_value(json_object_get(json_object_get(event, "data"), "pass"));
		*done = *done || (migration && strcmp(status, "completed") == 0);
		json_decref(event);
		if (failed)
			return err_set(err, ERR_REFUSED, "QEMU's migration failed");
	}
	return 0;
}

static int look_at_destination(struct qmp *qmp, bool *running, struct err *err)
{
	json_t *event;

	if (qmp_pump(qmp, err) != 0)
		return -1;
	while ((event = qmp_take_event(qmp))) {
		*running = *running || strcmp(event_name(event), "RESUME") == 0;
		json_decref(event);
	}
	return 0;
}

/* Both ends' events until the one is done and the other runs. */
static int await_move(struct move *move, uint64_t deadline_ns, struct err *err)
{
	struct qemu_pair *pair = move->data;
	struct pollfd wait[2] = {{.fd = pair->source.fd, .events = POLLIN},
				 {.fd = pair->destination.fd, .events = POLLIN}};
	bool done = false, running = false, post = false;
	json_int_t passes = 0;

	for (;;) {
		if (look_at_source(&pair->source, &done, &passes, err) != 0 ||
		    look_at_destination(&pair->destination, &running, err) != 0)
			return -1;
		if (done && running)
			return 0;
		if (move->mover->postcopy && passes > 1 && !post && !done) {
			post = true;
			if (qmp_do(&pair->source, "migrate-start-postcopy", NULL, deadline_ns, err) != 0)
				return -1;
		}
		if (proc_check(deadline_ns, "QEMU's migration", err) != 0)
			return -1;
		cpumeter_sample(&move->meter);
		poll(wait, 2, SAMPLE_MS);
	}
}

/* A number that QEMU gave, -1 where it gave none. */
static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : -1;
}

/* The source's account of the move.  It says "completed" a moment before it has added its figures up. */
static int ask_source(struct move *move, struct qmp *qmp, uint64_t deadline_ns, struct err *err)
{
	double bytes;

	for (;;) {
		move->reported = qmp_call(qmp, "query-migrate", NULL, deadline_ns, err);
		if (!move->reported || number(move->reported, "total-time") > 0)
			break;
		if (proc_check(deadline_ns, "QEMU's account of its migration", err) != 0)
			return -1;
		json_decref(move->reported);
		proc_pause(1000000);
	}
	if (!move->reported)
		return -1;
	move->reported_total_ms = number(move->reported, "total-time");
	move->reported_downtime_ms = number(move->reported, "downtime");
	bytes = number(json_object_get(move->reported, "ram"), "transferred");
	move->reported_mib = bytes < 0 ? -1 : bytes / (1 << 20);
	return 0;
}

static int qemu_migrate(struct move *move, uint64_t deadline_ns, struct err *err)
{
	struct qemu_pair *pair = move->data;
	char uri[BENCHENV_PATH + 64];

	uri_of(move, true, uri);
	move->begin_ns = clock_mono_ns();
	if (qmp_do(&pair->source, "migrate", json_pack("{s:s}", "uri", uri), deadline_ns, err) != 0 ||
	    await_move(move, deadline_ns, err) != 0)
		return -1;
	move->end_ns = clock_mono_ns();
	return ask_source(move, &pair->source, deadline_ns, err);
}

static void qemu_stop(struct move *move)
{
	struct qemu_pair *pair = move->data;

	if (!pair)
		return;
	qmp_close(&pair->source);
	qmp_close(&pair->destination);
	free(pair);
	move->data = NULL;
}

const struct mover_ops mover_qemu_ops = {.available = qemu_available,
					 .spawn = qemu_spawn,
					 .ready = qemu_ready,
					 .prepare = qemu_prepare,
					 .migrate = qemu_migrate,
					 .stop = qemu_stop};
