#include "vmm/spawn.h"

#include "common/io.h"
#include "common/paths.h"
#include "vmm/cgroup.h"
#include "vmm/leftovers.h"
#include "vmm/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Making the machine is a matter of milliseconds; a host that swaps may need longer.  Where a restored guest's RAM has to be
 * read first, that is a matter of the disk's speed. */
enum { START_TIMEOUT_MS = 60000, RESTORE_TIMEOUT_MS = 3600000 };

/* gate: its end says that the process is in its control groups. */
static _Noreturn void become_vm(const char *program, int socket, int log_fd, int gate)
{
	char *const argv[] = {(char *)"drover-vm", NULL};
	char none_comes;
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	/* Nothing of the starter's is kept: not its terminal, its signal mask nor its descriptors (an SSH channel
	 * stays open as long as anybody holds its pipes). */
	setsid();
	(void)!read(gate, &none_comes, 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log_fd, 2) < 0 ||
	    dup2(socket, SPAWN_FD) < 0)
		_exit(126);
	close_range(SPAWN_FD + 1, ~0u, 0);
	execv(program, argv);
	_exit(127);
}

/* fork, into a pid namespace if the host allows that; an ordinary user needs a user namespace for it, in which he stays
 * who he is.  What it gets, jail_enter finds out. */
static pid_t fork_apart(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	struct clone_args args = {.flags = CLONE_NEWPID | (uid ? CLONE_NEWUSER : 0), .exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return fork();
	if (pid == 0 && uid && userns_map_self(uid, gid))
		_exit(125);
	return pid;
}

static int open_log(const char *name, struct err *err)
{
	char path[PATHS_MAX];
	int fd;

	if (paths_vm_dir(name, path, err))
		return -1;
	if (io_mkdirs(path, 0700))
		return err_sys(err, "cannot make the folder %s", path);
	if (paths_vm_file(name, "vm.log", path, err))
		return -1;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd >= 0 ? fd : err_sys(err, "cannot open %s", path);
}

/* what: the fields that say what kind of a start it is, or NULL: a new VM. */
static json_t *start_request(const struct vm_config *config, json_t *what, json_t *limits)
{
	json_t *request = json_pack("{s:s, s:o}", "cmd", "start", "config", config_to_json(config));

	if (limits)
		json_object_set(request, "limits", limits);
	if (what)
		json_object_update(request, what);
	return request;
}

/* start_process(config, program, group, socket, err): a process in its groups, and the end of the socket pair that speaks
 * with it; -1 with *err. */
static pid_t start_process(const struct vm_config *config, const char *program, struct cgroup *group,
			   int *socket, struct err *err)
{
	int pair[2], gate[2], log_fd = open_log(config->name, err);
	pid_t pid = -1;

	if (log_fd < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		close(log_fd);
		return err_sys(err, "cannot make a socket pair");
	}
	if (pipe2(gate, O_CLOEXEC)) {
		err_sys(err, "cannot make a pipe");
		close(pair[0]);
	} else {
		pid = fork_apart();
		if (pid == 0) {
			close(gate[1]);
			become_vm(program, pair[1], log_fd, gate[0]);
		}
		if (pid < 0)
			err_sys(err, "cannot start the VM process");
		if (pid > 0 && cgroup_enter(group, pid, err)) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			pid = -1;
		}
		close(gate[0]);
		close(gate[1]);
		if (pid < 0)
			close(pair[0]);
	}
	close(log_fd);
	close(pair[1]);
	*socket = pair[0];
	return pid;
}

/* add_taps(config, request, fds, nfds): the taps that come as descriptors, behind what is in fds already. */
static void add_taps(const struct vm_config *config, json_t *request, int fds[IO_MAX_FDS], size_t *nfds)
{
	json_t *slots = json_array();

	for (unsigned i = 0; i < config->ndevices && *nfds < IO_MAX_FDS; i++) {
		const struct device_config *device = &config->devices[i];

		if (device->kind != DEVICE_NET || !device->net.inherited)
			continue;
		fds[(*nfds)++] = device->net.fd;
		json_array_append_new(slots, json_integer((json_int_t)device->slot));
	}
	json_object_set_new(request, "taps", slots);
}

/* How a VM process is started. */
struct launch {
	const struct vm_config *config;
	json_t *what; /* start_request's */
	int fd;       /* that comes with it; -1: none */
	int timeout_ms;
	json_t *reply; /* the process's answer */
};

static int spawn_in(struct cgroup *group, struct launch *launch, struct control *control, pid_t *pid_out,
		    struct err *err)
{
	const struct vm_config *config = launch->config;
	char program[PATHS_MAX];
	int socket = -1, fds[IO_MAX_FDS];
	json_t *request;
	size_t nfds = 0;
	pid_t pid;

	if (paths_helper("drover-vm", program, err))
		return -1;
	if (cgroup_make(config, group, err))
		return err_context(err, "VM '%s' is not started", config->name);
	pid = start_process(config, program, group, &socket, err);
	if (pid < 0)
		return -1;
	control_adopt(control, socket);
	request = start_request(config, launch->what, group->report);
	if (launch->fd >= 0)
		fds[nfds++] = launch->fd;
	add_taps(config, request, fds, &nfds);
	if (control_call_fds(control, request, fds, nfds, launch->timeout_ms, &launch->reply, err)) {
		if (err && err->kind == ERR_LINK)
			err_context(err, "VM '%s' could not be started (its vm.log may say why)",
				    config->name);
		/* After a refusal it tidies up and ends by itself; one that did not answer is not waited for. */
		if (err && err->kind == ERR_LINK)
			kill(pid, SIGKILL);
		control_close(control);
		waitpid(pid, NULL, 0);
		return -1;
	}
	if (pid_out)
		*pid_out = pid;
	return 0;
}

static int spawn(struct launch *launch, struct control *control, pid_t *pid, struct err *err)
{
	struct cgroup group;
	int status;

	group.list = -1;
	group.count = 0;
	group.report = NULL;
	status = spawn_in(&group, launch, control, pid, err);
	cgroup_close(&group);
	if (status)
		leftovers_remove(launch->config->name);
	json_decref(launch->what);
	return status;
}

int spawn_vm(const struct vm_config *config, const struct spawn_incoming *incoming, struct control *control,
	     pid_t *pid, struct err *err)
{
	struct launch launch = {
	    .config = config, .fd = incoming ? incoming->ram_fd : -1, .timeout_ms = START_TIMEOUT_MS};
	int status;

	if (incoming)
		launch.what = json_pack("{s:{s:I, s:s, s:s, s:b, s:O}}", "incoming", "term",
					(json_int_t)incoming->term, "session", incoming->session, "peer",
					incoming->peer, "paused", incoming->paused, "cpu", incoming->cpu);
	status = spawn(&launch, control, pid, err);
	json_decref(launch.reply);
	return status;
}

int spawn_restored(const struct vm_config *config, const struct spawn_restore *restore,
		   struct control *control, pid_t *pid, char why_read[ERR_TEXT], struct err *err)
{
	struct launch launch = {.config = config,
				.fd = memfd_create("drover-state", MFD_CLOEXEC),
				.timeout_ms = RESTORE_TIMEOUT_MS};
	int status;

	why_read[0] = 0;
	if (launch.fd < 0 || io_write_full(launch.fd, restore->state->data, restore->state->len)) {
		err_sys(err, "cannot hand the machine state over");
		io_close(&launch.fd);
		return -1;
	}
	launch.what = json_pack("{s:{s:s, s:I, s:I, s:O, s:b}}", "restore", "ram", restore->ram, "term",
				(json_int_t)restore->epoch.term, "epoch", (json_int_t)restore->epoch.number,
				"cpu", restore->cpu, "paused", restore->paused);
	status = spawn(&launch, control, pid, err);
	if (!status)
		snprintf(why_read, ERR_TEXT, "%s",
			 json_string_value(json_object_get(launch.reply, "ram_read_first")));
	json_decref(launch.reply);
	io_close(&launch.fd);
	return status;
}
