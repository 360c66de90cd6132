#include "tests/bench/tunnel.h"
#include "tests/bench/proc.h"
#include "tests/lib/sshd.h"
#include <stdio.h>
#include <unistd.h>

int tunnel_open(const struct benchenv *env, const char *near_end, const char *far_end, uint64_t deadline_ns,
		struct err *err)
{
	char forward[2 * BENCHENV_PATH + 64], known[SSHD_PATH + 64], errors[BENCHENV_PATH + 64];
	const char *argv[] = {"ssh",        "-N",
			      "-F",         "none",
			      "-i",         env->sshd->identity,
			      "-o",         "IdentitiesOnly=yes",
			      "-o",         "BatchMode=yes",
			      "-o",         "StrictHostKeyChecking=yes",
			      "-o",         "GlobalKnownHostsFile=/dev/null",
			      "-o",         known,
			      "-o",         "ExitOnForwardFailure=yes",
			      "-o",         "Compression=no",
			      "-c",         "aes128-gcm@openssh.com",
			      "-L",         forward,
			      env->ssh_url, NULL};
	struct proc_spawn spawn = {.argv = argv, .errors = errors};
	pid_t pid;

	snprintf(forward, sizeof(forward), "%s:%s", near_end, far_end);
	snprintf(known, sizeof(known), "UserKnownHostsFile=%s", env->sshd->known_hosts);
	snprintf(errors, sizeof(errors), "%s.err", near_end);
	pid = proc_spawn(&spawn, err);
	if (pid < 0)
		return -1;
	/* The socket appears after authentication.  It must not be tried: a connection would reach QEMU. */
	while (access(near_end, F_OK) != 0) {
		if (proc_check(deadline_ns, "ssh to open the tunnel", err) != 0)
			return -1;
		if (proc_await(pid, 2))
			return err_set(err, ERR_LINK, "ssh ended instead of opening the tunnel; see %s",
				       errors);
	}
	return 0;
}
