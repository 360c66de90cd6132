/* daemon.c: see daemon.h.  It only decides: what a cycle is, and what is known of it afterwards, are the cycle's and the job's files'. */
#include "replicate/daemon.h"

#include "common/io.h"
#include "common/names.h"
#include "common/paths.h"
#include "replicate/job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define SECOND_NS 1000000000ull
/* Files may change without an event (another file system below, an overrun); a cycle that is nobody's child ends without one. */
#define LOOK_NS         (10 * SECOND_NS)
#define FOREIGN_LOOK_NS (SECOND_NS / 2)

extern char **environ;

struct known {
	struct job job;
	struct schedule_job plan;
	int pidfd; /* of its cycle; -1 */
	pid_t pid;
	bool foreign; /* a cycle runs that somebody else began */
	bool seen;    /* by the last look at the folder */
};

struct daemon {
	const struct daemon_options *options;
	unsigned parallel;
	char program[PATHS_MAX];
	int lock_fd, signal_fd, watch_fd;
	struct known **known;
	size_t count;
	uint64_t looked_ns;
	bool quit;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* A moment of CLOCK_REALTIME, which may have been set since, on the clock that is not. */
static uint64_t on_our_clock(uint64_t real_ns, uint64_t now)
{
	uint64_t real_now = clock_real_ns(), age = real_now > real_ns ? real_now - real_ns : 0;

	return real_ns == 0 ? 0 : now > age ? now - age : 1;
}

__attribute__((format(printf, 3, 4))) static void tell(const struct daemon *daemon, const char *job,
						       const char *format, ...)
{
	char text[ERR_TEXT + 64];
	va_list args;

	if (!daemon->options->event)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	daemon->options->event(daemon->options->arg, job, text);
}

/* ---- which jobs there are ---------------------------------------------------------------------------------------- */

static struct known *find(const struct daemon *daemon, const char *name)
{
	for (size_t i = 0; i < daemon->count; i++)
		if (!strcmp(daemon->known[i]->job.name, name))
			return daemon->known[i];
	return NULL;
}

static struct known *add(struct daemon *daemon, const char *name, uint64_t now)
{
	struct known *known = calloc(1, sizeof(*known));
	struct job_state state;

	daemon->known = reallocarray(daemon->known, daemon->count + 1, sizeof(struct known *));
	if (!known || !daemon->known)
		abort(); /* small, as in common/buf.h */
	daemon->known[daemon->count++] = known;
	known->pidfd = -1;
	snprintf(known->job.name, sizeof(known->job.name), "%s", name);
	if (job_load_state(name, &state, NULL))
		return known;
	known->plan.boundary_ns = on_our_clock(state.boundary_ns, now);
	for (unsigned i = 0; i < SCHEDULE_HISTORY; i++)
		if (state.took_ns[i])
			known->plan.took_ns[known->plan.cycles++] = state.took_ns[i];
	return known;
}

static void take_definition(struct known *known, const struct job *job, bool fresh, uint64_t now)
{
	bool again = known->plan.paused && !job->paused;

	known->job = *job;
	known->plan.rpo_ns = job->rpo_ns;
	known->plan.priority = job->priority;
	known->plan.paused = job->paused;
	if (fresh || again) {
		bool running = known->plan.running;

		schedule_begin(&known->plan, XXH3_64bits(job->name, strlen(job->name)), now);
		known->plan.running = running;
	}
}

static void forget(struct daemon *daemon, size_t i)
{
	struct known *known = daemon->known[i];

	io_close(&known->pidfd); /* a cycle that runs finds out by itself */
	free(known);
	daemon->known[i] = daemon->known[--daemon->count];
}

static void look(struct daemon *daemon, uint64_t now)
{
	char **names;
	size_t count;
	struct err err;

	daemon->looked_ns = now;
	if (job_list(&names, &count, &err)) {
		tell(daemon, "", "the jobs cannot be listed: %s", err.text);
		return;
	}
	for (size_t i = 0; i < daemon->count; i++)
		daemon->known[i]->seen = false;
	for (size_t i = 0; i < count; i++) {
		struct known *known = find(daemon, names[i]);
		bool fresh = !known;
		struct job job;

		if (job_load(names[i], &job, &err)) {
			tell(daemon, names[i], "it is left alone: %s", err.text);
			continue;
		}
		if (fresh)
			known = add(daemon, names[i], now);
		known->seen = true;
		take_definition(known, &job, fresh, now);
	}
	names_free(names, count);
	for (size_t i = daemon->count; i-- > 0;)
		if (!daemon->known[i]->seen)
			forget(daemon, i);
}

/* ---- cycles ------------------------------------------------------------------------------------------------------ */

static void start(struct daemon *daemon, struct known *known, uint64_t now)
{
	char *const argv[] = {"drover", "job", "run-now", known->job.name, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int failed;

	if (job_locked(known->job.name)) {
		schedule_started(&known->plan);
		known->foreign = true;
		return;
	}
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setpgroup(&attributes, 0); /* Ctrl-C is for the daemon */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	/* What it has to say is in the job's files. */
	for (int fd = 0; fd < 3; fd++)
		posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	failed = posix_spawn(&known->pid, daemon->program, &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	schedule_started(&known->plan);
	if (!failed)
		known->pidfd = (int)syscall(SYS_pidfd_open, known->pid, 0);
	if (failed || known->pidfd < 0) {
		tell(daemon, known->job.name, "no cycle can be started: %s",
		     strerror(failed ? failed : errno));
		schedule_failed(&known->plan, now);
	}
}

static void ended(struct daemon *daemon, struct known *known, uint64_t now)
{
	uint64_t before = known->plan.boundary_ns, boundary;
	struct job_state state;
	struct err err;

	known->foreign = false;
	if (job_load_state(known->job.name, &state, &err)) {
		tell(daemon, known->job.name, "%s", err.text);
		schedule_failed(&known->plan, now);
		return;
	}
	boundary = on_our_clock(state.boundary_ns, now);
	/* A cycle that was killed has said nothing. */
	if (boundary && state.in_a_row == 0 && (!before || boundary > before + SECOND_NS / 1000)) {
		if (known->plan.failures)
			tell(daemon, known->job.name, "points arrive again");
		schedule_committed(&known->plan, boundary, now);
		return;
	}
	schedule_failed(&known->plan, now);
	tell(daemon, known->job.name, "no point: %s",
	     state.why[0] ? state.why : "its cycle ended without a word");
}

static void look_after(struct daemon *daemon, uint64_t now)
{
	for (size_t i = 0; i < daemon->count; i++) {
		struct known *known = daemon->known[i];
		struct pollfd gone = {.fd = known->pidfd, .events = POLLIN};

		if (known->foreign && !job_locked(known->job.name))
			ended(daemon, known, now);
		if (known->pidfd < 0 || poll(&gone, 1, 0) <= 0)
			continue;
		(void)waitpid(known->pid, NULL, 0);
		io_close(&known->pidfd);
		ended(daemon, known, now);
	}
}

/* Why it is late, as far as it can be seen from here. */
static const char *reason(const struct known *known, const struct job_state *state)
{
	if (known->plan.running)
		return "its cycle has not ended";
	if (known->plan.not_before_ns)
		return "no window is open";
	return known->plan.failures ? state->why : "other jobs' cycles go first";
}

static void say_missed(struct daemon *daemon, struct known *known)
{
	struct job_state state = {0};
	const char *why;

	(void)job_load_state(known->job.name, &state, NULL);
	why = reason(known, &state);
	job_note_missed(known->job.name, why);
	tell(daemon, known->job.name, "the objective is missed: %s", why);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static void look_at_windows(struct known *known, uint64_t now)
{
	time_t seconds = time(NULL);
	struct tm local;
	unsigned wait = 0;

	if (known->job.windows && localtime_r(&seconds, &local))
		wait = windows_wait(known->job.window, known->job.windows, &local);
	known->plan.not_before_ns = wait ? now + wait * SECOND_NS : 0;
}

static void decide(struct daemon *daemon, uint64_t now)
{
	struct schedule_job **plans = calloc(daemon->count + 1, sizeof(struct schedule_job *)), *next;

	if (!plans)
		abort();
	for (size_t i = 0; i < daemon->count; i++) {
		plans[i] = &daemon->known[i]->plan;
		look_at_windows(daemon->known[i], now);
		if (schedule_missed(plans[i], now))
			say_missed(daemon, daemon->known[i]);
	}
	while (!daemon->quit && (next = schedule_next(plans, daemon->count, daemon->parallel, now)))
		for (size_t i = 0; i < daemon->count; i++)
			if (&daemon->known[i]->plan == next)
				start(daemon, daemon->known[i], now);
	free(plans);
}

static uint64_t wake_at(const struct daemon *daemon, uint64_t now)
{
	struct schedule_job **plans = calloc(daemon->count + 1, sizeof(struct schedule_job *));
	uint64_t wake = daemon->looked_ns + LOOK_NS, next;

	if (!plans)
		abort();
	for (size_t i = 0; i < daemon->count; i++) {
		plans[i] = &daemon->known[i]->plan;
		if (daemon->known[i]->foreign && now + FOREIGN_LOOK_NS < wake)
			wake = now + FOREIGN_LOOK_NS;
	}
	next = schedule_wake(plans, daemon->count, daemon->parallel, now);
	free(plans);
	return next < wake ? next : wake;
}

/* Until something happens, or is due. */
static void rest(struct daemon *daemon, uint64_t now)
{
	struct pollfd *fds = calloc(daemon->count + 2, sizeof(*fds));
	uint64_t wake = wake_at(daemon, now);
	char events[4096];
	nfds_t n = 2;

	if (!fds)
		abort();
	fds[0] = (struct pollfd){.fd = daemon->signal_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = daemon->watch_fd, .events = POLLIN};
	for (size_t i = 0; i < daemon->count; i++)
		if (daemon->known[i]->pidfd >= 0)
			fds[n++] = (struct pollfd){.fd = daemon->known[i]->pidfd, .events = POLLIN};
	(void)poll(fds, n, wake > now ? (int)((wake - now + 999999) / 1000000) : 0);
	daemon->quit = (fds[0].revents & POLLIN) != 0;
	if (fds[1].revents & POLLIN) {
		bool definition = false;
		ssize_t len = read(daemon->watch_fd, events, sizeof(events));

		/* Cycles write beside the definitions. */
		for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= len;) {
			const struct inotify_event *event = (const void *)(events + at);

			definition = definition || (event->mask & IN_Q_OVERFLOW) ||
				     (event->len && strstr(event->name, ".json"));
			at += (ssize_t)(sizeof(*event) + event->len);
		}
		if (definition)
			daemon->looked_ns = 0;
	}
	free(fds);
}

static int take_signals(struct daemon *daemon, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	daemon->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return daemon->signal_fd < 0 ? err_sys(err, "cannot take signals") : 0;
}

/* One daemon a state folder; and the folder is watched. */
static int open_folder(struct daemon *daemon, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK};
	char path[PATHS_MAX], *slash;

	if (paths_job("daemon", ".pid", path, err))
		return -1;
	slash = strrchr(path, '/');
	*slash = 0;
	if (io_mkdirs(path, 0700))
		return err_sys(err, "cannot make the folder %s", path);
	daemon->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (daemon->watch_fd < 0 || inotify_add_watch(daemon->watch_fd, path, IN_MOVED_TO | IN_DELETE) < 0)
		return err_sys(err, "cannot watch the folder %s", path);
	*slash = '/';
	daemon->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (daemon->lock_fd < 0)
		return err_sys(err, "cannot open %s", path);
	if (fcntl(daemon->lock_fd, F_OFD_SETLK, &lock))
		return err_set(err, ERR_STATE,
			       "a daemon runs already for the jobs of this host (it holds %s)", path);
	return 0;
}

int daemon_run(const struct daemon_options *options, struct err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct daemon daemon = {.options = options,
				.parallel = options->parallel ? options->parallel
					    : cpus > 2        ? (unsigned)cpus
							      : 2,
				.lock_fd = -1,
				.signal_fd = -1,
				.watch_fd = -1};
	ssize_t len = readlink("/proc/self/exe", daemon.program, sizeof(daemon.program) - 1);
	int status = len > 0 ? 0 : err_sys(err, "cannot find this program");

	status = status || open_folder(&daemon, err) || take_signals(&daemon, err) ? -1 : 0;
	if (!status)
		(void)sd_notify(0, "READY=1");
	while (!status && !daemon.quit) {
		uint64_t now = now_ns();

		if (!daemon.looked_ns || now - daemon.looked_ns >= LOOK_NS)
			look(&daemon, now);
		look_after(&daemon, now);
		decide(&daemon, now);
		rest(&daemon, now_ns());
	}
	while (daemon.count)
		forget(&daemon, daemon.count - 1);
	free(daemon.known);
	io_close(&daemon.lock_fd);
	io_close(&daemon.signal_fd);
	io_close(&daemon.watch_fd);
	return status;
}
