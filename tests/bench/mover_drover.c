/* drover as the mover: two "hosts" that differ in their state and run folders, and the SSH server between. */
#include "common/io.h"
#include "tests/bench/mover.h"
#include "tests/bench/proc.h"
#include "tests/lib/sshd.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VM_NAME   "bench"
#define SAMPLE_MS 5

/* $DROVER_STATE and $DROVER_RUN of one host, in the form that putenv and env(1) take. */
struct host {
	char state[BENCHENV_PATH + 32];
	char run[BENCHENV_PATH + 32];
};

static struct host host_of(const struct move *move, char which)
{
	struct host host;

	snprintf(host.state, sizeof(host.state), "DROVER_STATE=%s/%c/state", move->dir, which);
	snprintf(host.run, sizeof(host.run), "DROVER_RUN=%s/%c/run", move->dir, which);
	return host;
}

static void console_of(const struct move *move, char which, char *path, size_t cap)
{
	snprintf(path, cap, "%s/%c/state/vms/" VM_NAME "/console.log", move->dir, which);
}

static int drover_available(const struct mover *mover, const struct benchenv *env, struct err *err)
{
	if (access(env->drover, X_OK) != 0)
		return err_set(err, ERR_SYSTEM, "%s: %s is not built; run make build", mover->name,
			       env->drover);
	return 0;
}

/* Where `drover run` says what went wrong. */
static void run_errors(const struct move *move, char path[BENCHENV_PATH + 32])
{
	snprintf(path, BENCHENV_PATH + 32, "%s/run.err", move->dir);
}

static int drover_spawn(struct move *move, struct err *err)
{
	struct host host = host_of(move, 'a');
	char memory[16], cmdline[256], errors[BENCHENV_PATH + 32];
	const char *env[] = {host.state, host.run, NULL};
	const char *argv[] = {
	    move->env->drover, "run", "--name",   VM_NAME,          "--memory", memory,
	    "--cpus",          "1",   "--kernel", move->env->guest, "--append", mover_cmdline(move, cmdline),
	    "--detach",        NULL};
	struct proc_spawn spawn = {.argv = argv, .env = env, .errors = errors};

	snprintf(memory, sizeof(memory), "%uM", move->env->memory_mib);
	run_errors(move, errors);
	console_of(move, 'a', move->source_log, sizeof(move->source_log));
	console_of(move, 'b', move->destination_log, sizeof(move->destination_log));
	move->vm = proc_spawn(&spawn, err);
	return move->vm < 0 ? -1 : 0;
}

static int drover_ready(struct move *move, uint64_t deadline_ns, struct err *err)
{
	char errors[BENCHENV_PATH + 32];
	const char *argv[] = {"drover run", NULL};
	struct proc_spawn spawn = {.argv = argv, .errors = errors};

	run_errors(move, errors);
	if (proc_finish(move->vm, &spawn, deadline_ns, err) != 0)
		return -1;
	move->vm = proc_find("drover-vm");
	return move->vm > 0 ? 0 : err_set(err, ERR_STATE, "drover run --detach left no drover-vm running");
}

static int drover_prepare(struct move *move, uint64_t deadline_ns, struct err *err)
{
	(void)move;
	(void)deadline_ns;
	(void)err;
	return 0;
}

/* The object with the outcome: the last on stdout, after whatever progress was reported there. */
static json_t *read_outcome(const char *path, struct err *err)
{
	FILE *file = fopen(path, "r");
	json_t *outcome = NULL, *object;
	json_error_t why;

	while (file && (object = json_loadf(file, JSON_DISABLE_EOF_CHECK, &why))) {
		if (json_is_object(object) && json_object_get(object, "total_ms")) {
			json_decref(outcome);
			outcome = json_incref(object);
		}
		json_decref(object);
	}
	if (file)
		fclose(file);
	if (!outcome)
		err_set(err, ERR_INPUT, "drover migrate --json said no object with total_ms; see %s", path);
	return outcome;
}

static double number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : -1;
}

/* Wait for the mover, sampling the guest's CPU time until it is done. */
static int await_mover(struct move *move, pid_t pid, const struct proc_spawn *spawn, uint64_t deadline_ns,
		       struct err *err)
{
	while (!proc_await(pid, SAMPLE_MS)) {
		if (proc_check(deadline_ns, "drover migrate", err) != 0)
			return -1;
		cpumeter_sample(&move->meter);
	}
	move->end_ns = clock_mono_ns();
	return proc_finish(pid, spawn, deadline_ns, err);
}

static int drover_migrate(struct move *move, uint64_t deadline_ns, struct err *err)
{
	struct host source = host_of(move, 'a'), destination = host_of(move, 'b');
	char command[4 * BENCHENV_PATH], out[BENCHENV_PATH + 32], errors[BENCHENV_PATH + 32];
	const char *env[] = {source.state, source.run, NULL};
	const char *argv[] = {move->env->drover,
			      "migrate",
			      VM_NAME,
			      move->env->ssh_url,
			      "--identity",
			      move->env->sshd->identity,
			      "--known-hosts",
			      move->env->sshd->known_hosts,
			      "--remote-command",
			      command,
			      "--json",
			      move->mover->postcopy ? "--postcopy" : NULL,
			      NULL};
	struct proc_spawn spawn = {.argv = argv, .env = env, .out = out, .errors = errors};
	double bytes;
	pid_t pid;

	snprintf(command, sizeof(command), "env %s %s %s serve", destination.state, destination.run,
		 move->env->drover);
	snprintf(out, sizeof(out), "%s/migrate.json", move->dir);
	snprintf(errors, sizeof(errors), "%s/migrate.err", move->dir);
	move->begin_ns = clock_mono_ns();
	pid = proc_spawn(&spawn, err);
	if (pid < 0 || await_mover(move, pid, &spawn, deadline_ns, err) != 0)
		return -1;
	move->reported = read_outcome(out, err);
	if (!move->reported)
		return -1;
	move->reported_total_ms = number(move->reported, "total_ms");
	move->reported_downtime_ms = number(move->reported, "downtime_ms");
	bytes = number(move->reported, "bytes_sent");
	move->reported_mib = bytes < 0 ? -1 : bytes / (1 << 20);
	return 0;
}

/* The guest is at one of the two hosts; where it is not, stop has nothing to do and says so in vain. */
static void drover_stop(struct move *move)
{
	for (const char *which = "ba"; *which; which++) {
		struct host host = host_of(move, *which);
		const char *env[] = {host.state, host.run, NULL};
		const char *argv[] = {move->env->drover, "kill", VM_NAME, NULL};
		struct proc_spawn spawn = {.argv = argv, .env = env};
		struct err ignored;

		proc_run(&spawn, clock_mono_ns() + 5000000000ull, &ignored);
	}
}

const struct mover_ops mover_drover_ops = {.available = drover_available,
					   .spawn = drover_spawn,
					   .ready = drover_ready,
					   .prepare = drover_prepare,
					   .migrate = drover_migrate,
					   .stop = drover_stop};
