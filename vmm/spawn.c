#include "vmm/spawn.h"

#include "common/io.h"
#include "common/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Making the machine is a matter of milliseconds; a host that swaps may need longer.  Where a restored guest's RAM has to be
 * read first, that is a matter of the disk's speed. */
enum { START_TIMEOUT_MS = 60000, RESTORE_TIMEOUT_MS = 3600000 };

static _Noreturn void become_vm(const char *program, int socket, int log_fd)
{
	char *const argv[] = {(char *)"drover-vm", NULL};
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	/* Nothing of the starter's is kept: not its terminal, its signal mask nor its descriptors (an SSH channel
	 * stays open as long as anybody holds its pipes). */
	setsid();
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

static json_t *start_request(const struct vm_config *config, const struct spawn_incoming *incoming)
{
	json_t *request = json_pack("{s:s, s:o}", "cmd", "start", "config", config_to_json(config));

	if (incoming)
		json_object_set_new(request, "incoming",
				    json_pack("{s:I, s:s, s:s, s:b, s:O}", "term", (json_int_t)incoming->term,
					      "session", incoming->session, "peer", incoming->peer, "paused",
					      incoming->paused, "cpu", incoming->cpu));
	return request;
}

/* spawn(config, request, fd, …): request: the `start` request, whose reference is taken over; fd goes along, -1: none. */
static int spawn(const struct vm_config *config, json_t *request, int fd, int timeout_ms,
		 struct control *control, pid_t *pid_out, json_t **reply, struct err *err)
{
	char program[PATHS_MAX];
	int pair[2], log_fd;
	pid_t pid;

	if (paths_helper("drover-vm", program, err) || (log_fd = open_log(config->name, err)) < 0) {
		json_decref(request);
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		json_decref(request);
		close(log_fd);
		return err_sys(err, "cannot make a socket pair");
	}
	pid = fork();
	if (pid == 0)
		become_vm(program, pair[1], log_fd);
	close(log_fd);
	close(pair[1]);
	if (pid < 0) {
		json_decref(request);
		close(pair[0]);
		return err_sys(err, "cannot start the VM process");
	}
	control_adopt(control, pair[0]);
	if (control_call_fd(control, request, fd, timeout_ms, reply, err)) {
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

int spawn_vm(const struct vm_config *config, const struct spawn_incoming *incoming, struct control *control,
	     pid_t *pid, struct err *err)
{
	return spawn(config, start_request(config, incoming), incoming ? incoming->ram_fd : -1,
		     START_TIMEOUT_MS, control, pid, NULL, err);
}

int spawn_restored(const struct vm_config *config, const struct spawn_restore *restore,
		   struct control *control, pid_t *pid, char why_read[ERR_TEXT], struct err *err)
{
	json_t *request = start_request(config, NULL), *reply = NULL;
	int fd = memfd_create("drover-state", MFD_CLOEXEC);
	int status = -1;

	json_object_set_new(request, "restore",
			    json_pack("{s:s, s:I, s:I, s:O, s:b}", "ram", restore->ram, "term",
				      (json_int_t)restore->epoch.term, "epoch",
				      (json_int_t)restore->epoch.number, "cpu", restore->cpu, "paused",
				      restore->paused));
	why_read[0] = 0;
	if (fd < 0 || io_write_full(fd, restore->state->data, restore->state->len)) {
		json_decref(request);
		err_sys(err, "cannot hand the machine state over");
	} else {
		status = spawn(config, request, fd, RESTORE_TIMEOUT_MS, control, pid, &reply, err);
	}
	if (!status)
		snprintf(why_read, ERR_TEXT, "%s",
			 json_string_value(json_object_get(reply, "ram_read_first")));
	json_decref(reply);
	io_close(&fd);
	return status;
}
