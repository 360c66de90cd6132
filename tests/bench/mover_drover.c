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

void mover_drover_console(const struct move *move, char host, char *path, size_t cap)
{
	snprintf(path, cap, "%s/%c/state/vms/" VM_NAME "/console.log", move->dir, host);
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
	const char *argv[] = {move->env->drover,  "run",
			      "--name",           VM_NAME,
			      "--memory",         memory,
			      "--cpus",           "1",
			      "--kernel",         move->env->guest,
			      "--append",         mover_cmdline(move, cmdline),
			      "--dirty-tracking", move->tracking ? move->tracking : "auto",
			      "--detach",         move->disk ? "--disk" : NULL,
			      move->disk,         NULL};
	struct proc_spawn spawn = {.argv = argv, .env = env, .errors = errors};

	snprintf(memory, sizeof(memory), "%uM", move->env->memory_mib);
	run_errors(move, errors);
	mover_drover_console(move, 'a', move->source_log, sizeof(move->source_log));
	mover_drover_console(move, 'b', move->destination_log, sizeof(move->destination_log));
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

/* The object with the outcome: the last on stdout that has this key. */
static json_t *read_outcome(const char *path, const char *key, struct err *err)
{
	FILE *file = fopen(path, "r");
	json_t *outcome = NULL, *object;
	json_error_t why;

	while (file && (object = json_loadf(file, JSON_DISABLE_EOF_CHECK, &why))) {
		if (json_is_object(object) && json_object_get(object, key)) {
			json_decref(outcome);
			outcome = json_incref(object);
		}
		json_decref(object);
	}
	if (file)
		fclose(file);
	if (!outcome)
		err_set(err, ERR_INPUT, "drover --json said no object with %s; see %s", key, path);
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

/* `drover VERB bench HOST …` on the host `from`, about `to`, from its program to its JSON. */
struct words {
	struct host source, destination;
	char command[4 * BENCHENV_PATH], streams[16], downtime[16], out[BENCHENV_PATH + 32],
	    errors[BENCHENV_PATH + 32];
	const char *env[3], *argv[24];
	struct proc_spawn spawn;
};

static void say(const struct move *move, const char *verb, char from, char to, struct words *words)
{
	const struct mover *mover = move->mover;
	const char *const argv[] = {move->env->drover,
				    verb,
				    VM_NAME,
				    move->env->ssh_url,
				    "--identity",
				    move->env->sshd->identity,
				    "--known-hosts",
				    move->env->sshd->known_hosts,
				    "--remote-command",
				    words->command,
				    "--json"};
	size_t argc = sizeof(argv) / sizeof(argv[0]);

	*words = (struct words){.source = host_of(move, from), .destination = host_of(move, to)};
	memcpy(words->argv, argv, sizeof(argv));
	if (mover->if_busy) {
		words->argv[argc++] = "--if-busy";
		words->argv[argc++] = mover->if_busy;
	}
	if (mover->downtime_ms) {
		snprintf(words->downtime, sizeof(words->downtime), "%ums", mover->downtime_ms);
		words->argv[argc++] = "--downtime";
		words->argv[argc++] = words->downtime;
	}
	if (mover->streams) {
		snprintf(words->streams, sizeof(words->streams), "%u", mover->streams);
		words->argv[argc++] = "--streams";
		words->argv[argc++] = words->streams;
	}
	words->env[0] = words->source.state;
	words->env[1] = words->source.run;
	words->spawn = (struct proc_spawn){
	    .argv = words->argv, .env = words->env, .out = words->out, .errors = words->errors};
	snprintf(words->command, sizeof(words->command), "env %s %s %s serve", words->destination.state,
		 words->destination.run, move->env->drover);
	snprintf(words->out, sizeof(words->out), "%s/%s-%c.json", move->dir, verb, from);
	snprintf(words->errors, sizeof(words->errors), "%s/%s-%c.err", move->dir, verb, from);
}

int mover_drover_go(struct move *move, char from, char to, uint64_t deadline_ns, struct err *err)
{
	struct words words;
	double bytes;
	pid_t pid;

	say(move, "migrate", from, to, &words);
	move->begin_ns = clock_mono_ns();
	pid = proc_spawn(&words.spawn, err);
	if (pid < 0 || await_mover(move, pid, &words.spawn, deadline_ns, err) != 0)
		return -1;
	json_decref(move->reported);
	move->reported = read_outcome(words.out, "total_ms", err);
	if (!move->reported)
		return -1;
	move->reported_total_ms = number(move->reported, "total_ms");
	move->reported_downtime_ms = number(move->reported, "downtime_ms");
	bytes = number(move->reported, "bytes_sent");
	move->reported_mib = bytes < 0 ? -1 : bytes / (1 << 20);
	return 0;
}

static int drover_migrate(struct move *move, uint64_t deadline_ns, struct err *err)
{
	return mover_drover_go(move, 'a', 'b', deadline_ns, err);
}

static int drover_prepare(struct move *move, uint64_t deadline_ns, struct err *err)
{
	struct words words;
	json_t *plan, *forecast;

	move->planned_total_ms = move->planned_downtime_ms = -1;
	if (!move->env->plan)
		return 0;
	say(move, "plan", 'a', 'b', &words);
	if (proc_run(&words.spawn, deadline_ns, err) != 0)
		return -1;
	plan = read_outcome(words.out, "forecast", err);
	if (!plan)
		return -1;
	forecast = json_object_get(plan, "forecast");
	move->planned_total_ms = number(forecast, "total_ms");
	move->planned_downtime_ms = number(forecast, "downtime_ms");
	json_decref(plan);
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
