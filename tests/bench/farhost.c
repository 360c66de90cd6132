#include "tests/bench/farhost.h"
#include "common/io.h"
#include "tests/bench/benchenv.h"
#include "tests/bench/proc.h"
#include "tests/lib/relay.h"
#include "tests/lib/sshd.h"
#include <fcntl.h>
#include <jansson.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_NS 20000000000ull

struct farhost {
	int here_ns, there_ns;
	struct relay *relay, *iperf;
};

bool farhost_loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;

	io_close(&fd);
	return up;
}

static int enter(int ns, struct err *err)
{
	return setns(ns, CLONE_NEWNET) == 0 ? 0 : err_sys(err, "cannot enter a network namespace");
}

int farhost_enter(const struct benchenv *env, struct err *err)
{
	return env->far ? enter(env->far->there_ns, err) : 0;
}

int farhost_leave(const struct benchenv *env, struct err *err)
{
	return env->far ? enter(env->far->here_ns, err) : 0;
}

/* ip or tc, with the words of a line. */
static int configure(const struct benchenv *env, struct err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int configure(const struct benchenv *env, struct err *err, const char *format, ...)
{
	char line[256], errors[BENCHENV_PATH + 32], *rest = line;
	const char *argv[32];
	struct proc_spawn spawn = {.argv = argv, .errors = errors};
	size_t argc = 0;
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	snprintf(errors, sizeof(errors), "%s/network.err", env->dir);
	while (argc < 31 && (argv[argc] = strsep(&rest, " ")))
		argc++;
	argv[argc] = NULL;
	return proc_run(&spawn, clock_mono_ns() + PATIENCE_NS, err);
}

/* Both ends of the link; called and left in the network here. */
static int make_link(struct benchenv *env, struct err *err)
{
	const struct farhost *far = env->far;
	bool up;

	if (configure(env, err,
		      "ip link add " FARHOST_INTERFACE " type veth peer name far netns /proc/%d/fd/%d",
		      (int)getpid(), far->there_ns) != 0 ||
	    configure(env, err, "ip addr add 10.77.0.1/24 dev " FARHOST_INTERFACE) != 0 ||
	    configure(env, err, "ip link set " FARHOST_INTERFACE " up") != 0 || farhost_enter(env, err) != 0)
		return -1;
	up = farhost_loopback_up() &&
	     configure(env, err, "ip addr add " FARHOST_ADDRESS "/24 dev far") == 0 &&
	     configure(env, err, "ip link set far up") == 0 &&
	     benchenv_sshd(env, "ListenAddress " FARHOST_ADDRESS "\n", err) == 0;
	return farhost_leave(env, err) == 0 && up ? 0 : -1;
}

int farhost_open(struct benchenv *env, struct err *err)
{
	struct farhost *far = calloc(1, sizeof(*far));

	if (!env->own_network || !far) {
		free(far);
		return err_set(err, ERR_SYSTEM, "a network of its own, which needs root");
	}
	benchenv_sshd_stop(env);
	env->far = far;
	far->here_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	far->there_ns = -1;
	if (far->here_ns >= 0 && unshare(CLONE_NEWNET) == 0)
		far->there_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (far->there_ns < 0)
		err_sys(err, "a network for the destination");
	else if (farhost_leave(env, err) == 0 && make_link(env, err) == 0 &&
		 sshd_add_known_at(env->sshd, FARHOST_ADDRESS, env->sshd->port) == 0)
		return 0;
	farhost_close(env);
	return -1;
}

static void drop_relays(struct farhost *far)
{
	relay_stop(far->relay);
	relay_stop(far->iperf);
	far->relay = far->iperf = NULL;
}

void farhost_close(struct benchenv *env)
{
	struct farhost *far = env->far;
	struct err ignored;

	if (!far)
		return;
	drop_relays(far);
	benchenv_sshd_stop(env);
	if (far->here_ns >= 0)
		farhost_leave(env, &ignored);
	/* The interfaces go with the network there, once nothing runs in it. */
	io_close(&far->here_ns);
	io_close(&far->there_ns);
	free(far);
	env->far = NULL;
}

int farhost_link(struct benchenv *env, unsigned mbit, unsigned rtt_ms, struct err *err)
{
	struct farhost *far = env->far;
	const struct sshd *sshd = env->sshd;

	drop_relays(far);
	snprintf(env->ssh_url, sizeof(env->ssh_url), "ssh://%s@" FARHOST_ADDRESS ":%u", sshd->user,
		 sshd->port);
	if (configure(env, err,
		      "tc qdisc replace dev " FARHOST_INTERFACE
		      " root tbf rate %umbit burst 128kb latency 50ms",
		      mbit) != 0)
		return -1;
	if (rtt_ms == 0)
		return 0;
	far->relay = relay_start_to(FARHOST_ADDRESS, sshd->port);
	far->iperf = relay_start_to(FARHOST_ADDRESS, FARHOST_IPERF_PORT);
	if (!far->relay || !far->iperf || sshd_add_known(sshd, relay_port(far->relay)) != 0)
		return err_set(err, ERR_SYSTEM, "a relay did not start (its reason is above)");
	relay_delay(far->relay, rtt_ms * 500);
	relay_delay(far->iperf, rtt_ms * 500);
	snprintf(env->ssh_url, sizeof(env->ssh_url), "ssh://%s@127.0.0.1:%u", sshd->user,
		 relay_port(far->relay));
	return 0;
}

/* What the client of iperf3 said. */
static int read_iperf(const char *path, double *mbit, struct err *err)
{
	json_error_t why;
	json_t *all = json_load_file(path, 0, &why);
	const json_t *sum = json_object_get(json_object_get(all, "end"), "sum_received");
	const json_t *bits = json_object_get(sum, "bits_per_second");
	int status = 0;

	if (json_is_number(bits))
		*mbit = json_number_value(bits) / 1e6;
	else
		status = err_set(err, ERR_INPUT, "iperf3 said no bandwidth; see %s", path);
	json_decref(all);
	return status;
}

int farhost_tcp(const struct benchenv *env, unsigned streams, double *mbit, struct err *err)
{
	const struct farhost *far = env->far;
	char server_port[16], port[16], parallel[16], out[BENCHENV_PATH + 32], errors[BENCHENV_PATH + 32];
	const char *const server[] = {"iperf3", "-s", "-1", "-p", server_port, NULL};
	const char *const client[] = {"iperf3", "-c", far->iperf ? "127.0.0.1" : FARHOST_ADDRESS,
				      "-p",     port, "-P",
				      parallel, "-t", "4",
				      "-O",     "2",  "-J",
				      NULL};
	struct proc_spawn there = {.argv = server, .out = errors, .errors = errors};
	struct proc_spawn here = {.argv = client, .out = out, .errors = errors};
	uint64_t deadline_ns = clock_mono_ns() + PATIENCE_NS;
	int status;
	pid_t pid;

	snprintf(server_port, sizeof(server_port), "%d", FARHOST_IPERF_PORT);
	snprintf(port, sizeof(port), "%d", far->iperf ? relay_port(far->iperf) : FARHOST_IPERF_PORT);
	snprintf(parallel, sizeof(parallel), "%u", streams);
	snprintf(out, sizeof(out), "%s/iperf.json", env->dir);
	snprintf(errors, sizeof(errors), "%s/iperf.err", env->dir);
	if (farhost_enter(env, err) != 0)
		return -1;
	pid = proc_spawn(&there, err);
	if (farhost_leave(env, err) != 0 || pid < 0)
		return -1;
	/* It is ready when the kernel lets somebody connect; to try that would be its one client. */
	do {
		unlink(out);
		proc_pause(200000000);
		status = proc_run(&here, deadline_ns, err);
	} while (status != 0 && proc_check(deadline_ns, "iperf3", err) == 0 && !proc_await(pid, 0));
	if (status == 0)
		status = read_iperf(out, mbit, err);
	return proc_finish(pid, &there, deadline_ns, err) == 0 ? status : -1;
}
