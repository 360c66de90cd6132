/* ssh.c: a link over one SSH channel, through libssh.
 *
 * Setting up uses libssh's blocking mode, with a timeout.  Then the session and its socket are made non-blocking, and
 * libssh is called only to move on when poll() said that the socket is ready, so that a stalled network can neither
 * block us in send() nor hide from the caller.
 *
 * What the transfer costs is mostly what libssh does for a packet of 32 KiB (the most that sshd takes): copies, the
 * cipher, one send.  It sends the first packet of a write at once and gathers the others until the next poll, so large
 * writes save system calls.  Arriving data is taken over in its callback, straight into the link's buffer: through
 * ssh_channel_read it would be moved down in libssh's buffer at every call. */
#include "common/io.h"
#include "common/text.h"
#include "migrate/link_io.h"
#include "migrate/ssh_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <libssh/callbacks.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONNECT_TIMEOUT_S = 10,
	STDERR_KEPT = 1024,
	STDERR_SHOWN = 200,
	WRITE_MAX = 256 << 10,
	EXPLAIN_MS = 1000,
};

/* AES-GCM first: libssh would take chacha20, which costs 1.5 times the CPU where the CPU has AES instructions. */
static const char ciphers[] = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,"
			      "aes128-ctr,aes192-ctr,aes256-ctr";

struct ssh {
	ssh_session session;
	ssh_channel channel;
	ssh_event event; /* lets the session move on without waiting */
	struct ssh_channel_callbacks_struct callbacks;
	struct ssh_callbacks_struct connecting;
	struct ssh_attempt *attempt; /* while it connects; NULL: nobody gives it up */
	bool broken;
	uint64_t rtt_ns;

	uint8_t *rx; /* where arriving data goes during a call of read */
	size_t rx_cap;
	size_t rx_len;
	size_t left; /* bytes that had no room there and wait in libssh's buffer */
	bool eof;
	bool closed;

	int exit_status; /* -1: not known */
	char exit_signal[16];
	char said[STDERR_KEPT + 1]; /* the end of its stderr */
	size_t said_len;

	char name[SSH_HOST_MAX + 16]; /* for messages */
};

/* ---- what libssh calls ---- */

static void keep_stderr(struct ssh *ssh, const char *data, size_t len)
{
	if (len > STDERR_KEPT) {
		data += len - STDERR_KEPT;
		len = STDERR_KEPT;
	}
	if (ssh->said_len + len > STDERR_KEPT) {
		size_t drop = ssh->said_len + len - STDERR_KEPT;

		memmove(ssh->said, ssh->said + drop, ssh->said_len - drop);
		ssh->said_len -= drop;
	}
	memcpy(ssh->said + ssh->said_len, data, len);
	ssh->said_len += len;
}

/* Returns how much is done with; libssh keeps the rest, and comes back with it and what follows. */
static int on_data(ssh_session session, ssh_channel channel, void *data, uint32_t len, int is_stderr,
		   void *arg)
{
	struct ssh *ssh = arg;
	size_t take = ssh->rx_cap - ssh->rx_len;

	(void)session;
	(void)channel;
	if (is_stderr) {
		keep_stderr(ssh, data, len);
		return (int)len;
	}
	if (take > len)
		take = len;
	if (take > 0)
		memcpy(ssh->rx + ssh->rx_len, data, take);
	ssh->rx_len += take;
	ssh->left = len - take;
	return (int)take;
}

static void on_eof(ssh_session session, ssh_channel channel, void *arg)
{
	struct ssh *ssh = arg;

	(void)session;
	(void)channel;
	ssh->eof = true;
}

static void on_close(ssh_session session, ssh_channel channel, void *arg)
{
	struct ssh *ssh = arg;

	(void)session;
	(void)channel;
	ssh->eof = true;
	ssh->closed = true;
}

static void on_exit_status(ssh_session session, ssh_channel channel, int status, void *arg)
{
	struct ssh *ssh = arg;

	(void)session;
	(void)channel;
	ssh->exit_status = status;
}

static void on_exit_signal(ssh_session session, ssh_channel channel, const char *signal, int core,
			   const char *message, const char *language, void *arg)
{
	struct ssh *ssh = arg;

	(void)session;
	(void)channel;
	(void)core;
	(void)message;
	(void)language;
	text_format(ssh->exit_signal, sizeof(ssh->exit_signal), "%s", signal);
}

/* Of a connection through a proxy this is the first that is known of its socket. */
static void on_connecting(void *arg, float status)
{
	const struct ssh *ssh = arg;

	(void)status;
	ssh_attempt_socket(ssh->attempt, ssh_get_fd(ssh->session));
}

/* ---- connecting ---- */

static int set(ssh_session session, enum ssh_options_e option, const void *value, const char *what,
	       struct err *err)
{
	if (ssh_options_set(session, option, value) < 0)
		return err_set(err, ERR_USAGE, "SSH does not take %s: %s", what, ssh_get_error(session));
	return 0;
}

static int read_config(ssh_session session, const struct ssh_target *target, struct err *err)
{
	const bool off = false;

	if (!target->config) {
		if (ssh_options_parse_config(session, NULL) < 0)
			return err_set(err, ERR_USAGE, "the SSH configuration cannot be used: %s",
				       ssh_get_error(session));
		return 0;
	}
	if (ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &off) < 0)
		return err_set(err, ERR_SYSTEM, "libssh does not leave the SSH configuration alone");
	if (strcmp(target->config, "none") == 0)
		return 0;
	if (access(target->config, R_OK) < 0)
		return err_sys(err, "cannot read the SSH configuration %s", target->config);
	if (ssh_options_parse_config(session, target->config) < 0)
		return err_set(err, ERR_USAGE, "the SSH configuration %s cannot be used: %s", target->config,
			       ssh_get_error(session));
	return 0;
}

/* The configuration is read for the host as the user named it; what the user gave besides goes before it, and what
 * drover must have (a strict check of keys, a fast cipher) before all. */
static int set_options(ssh_session session, const struct ssh_target *target, struct err *err)
{
	long timeout = target->connect_timeout_s ? target->connect_timeout_s : CONNECT_TIMEOUT_S;
	unsigned port = target->port;
	const int strict = 1;

	if (set(session, SSH_OPTIONS_HOST, target->host, "the host's name", err) < 0 ||
	    read_config(session, target, err) < 0)
		return -1;
	if (target->user[0] && set(session, SSH_OPTIONS_USER, target->user, "the user's name", err) < 0)
		return -1;
	if (port && set(session, SSH_OPTIONS_PORT, &port, "the port", err) < 0)
		return -1;
	if (target->known_hosts &&
	    set(session, SSH_OPTIONS_KNOWNHOSTS, target->known_hosts, "the known hosts file", err) < 0)
		return -1;
	if (set(session, SSH_OPTIONS_TIMEOUT, &timeout, "the timeout", err) < 0 ||
	    set(session, SSH_OPTIONS_STRICTHOSTKEYCHECK, &strict, "strict host keys", err) < 0 ||
	    set(session, SSH_OPTIONS_CIPHERS_C_S, ciphers, "the ciphers", err) < 0 ||
	    set(session, SSH_OPTIONS_CIPHERS_S_C, ciphers, "the ciphers", err) < 0 ||
	    set(session, SSH_OPTIONS_COMPRESSION, "no", "no compression", err) < 0)
		return -1;
	return 0;
}

static bool has_proxy(ssh_session session)
{
	char *command = NULL;
	bool has = ssh_options_get(session, SSH_OPTIONS_PROXYCOMMAND, &command) == SSH_OK && command;

	ssh_string_free_char(command);
	return has;
}

/* The socket becomes libssh's with ssh_connect. */
static int connect_socket(struct ssh *ssh, const struct ssh_target *target, struct err *err)
{
	unsigned timeout_s = target->connect_timeout_s ? target->connect_timeout_s : CONNECT_TIMEOUT_S;
	char *host = NULL;
	unsigned port = 22;
	int fd;

	if (ssh_options_get(ssh->session, SSH_OPTIONS_HOST, &host) != SSH_OK)
		return err_set(err, ERR_LINK, "%s: %s", ssh->name, ssh_get_error(ssh->session));
	ssh_options_get_port(ssh->session, &port);
	fd = ssh_tcp_connect(host, port, timeout_s * 1000, ssh->attempt, err);
	ssh_string_free_char(host);
	if (fd < 0)
		return -1;
	if (set(ssh->session, SSH_OPTIONS_FD, &fd, "a socket", err) == 0)
		return 0;
	close(fd);
	return -1;
}

/* A question that needs nothing there but an answer, yes or no: what is measured is the way. */
static void ask(struct ssh *ssh)
{
	uint64_t asked = clock_mono_ns(), took;

	(void)ssh_channel_request_env(ssh->channel, "LC_DROVER", "1");
	took = clock_mono_ns() - asked;
	if (ssh->rtt_ns == 0 || took < ssh->rtt_ns)
		ssh->rtt_ns = took;
}

static int start_command(struct ssh *ssh, const struct ssh_target *target, struct err *err)
{
	ssh->channel = ssh_channel_new(ssh->session);
	if (!ssh->channel || ssh_channel_open_session(ssh->channel) != SSH_OK)
		return err_set(err, ERR_LINK, "%s does not open a session: %s", ssh->name,
			       ssh_get_error(ssh->session));
	if (!target->further)
		ask(ssh);
	ssh->callbacks.userdata = ssh;
	ssh->callbacks.channel_data_function = on_data;
	ssh->callbacks.channel_eof_function = on_eof;
	ssh->callbacks.channel_close_function = on_close;
	ssh->callbacks.channel_exit_status_function = on_exit_status;
	ssh->callbacks.channel_exit_signal_function = on_exit_signal;
	ssh_callbacks_init(&ssh->callbacks);
	if (ssh_set_channel_callbacks(ssh->channel, &ssh->callbacks) != SSH_OK ||
	    ssh_channel_request_exec(ssh->channel, target->command) != SSH_OK)
		return err_set(err, ERR_LINK, "%s does not run commands for this user: %s", ssh->name,
			       ssh_get_error(ssh->session));
	return 0;
}

/* From here on only poll() waits.  The socket too must not block: libssh hands it all that it has gathered. */
static int stop_blocking(struct ssh *ssh, struct err *err)
{
	int fd = ssh_get_fd(ssh->session);
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(err, "cannot prepare the connection to %s", ssh->name);
	ssh_set_blocking(ssh->session, 0);
	ssh->event = ssh_event_new();
	if (!ssh->event || ssh_event_add_session(ssh->event, ssh->session) != SSH_OK)
		return err_set(err, ERR_SYSTEM, "cannot prepare the connection to %s", ssh->name);
	return 0;
}

static int connect_session(struct ssh *ssh, const struct ssh_target *target, struct err *err)
{
	if (set_options(ssh->session, target, err) < 0)
		return -1;
	ssh->attempt = target->attempt;
	if (!has_proxy(ssh->session)) {
		if (connect_socket(ssh, target, err) < 0)
			return -1;
	} else if (ssh->attempt) {
		ssh->connecting.userdata = ssh;
		ssh->connecting.connect_status_function = on_connecting;
		ssh_callbacks_init(&ssh->connecting);
		ssh_set_callbacks(ssh->session, &ssh->connecting);
	}
	if (ssh_connect(ssh->session) != SSH_OK)
		return err_set(err, ERR_LINK, "no SSH connection to %s: %s", ssh->name,
			       ssh_get_error(ssh->session));
	if (ssh_check_host_key(ssh->session, ssh->name, err) < 0 ||
	    ssh_authenticate(ssh->session, target, ssh->name, err) < 0 || start_command(ssh, target, err) < 0)
		return -1;
	ssh->attempt = NULL; /* new keys, later, are told of like those of the beginning */
	return stop_blocking(ssh, err);
}

static void ssh_close(void *io)
{
	struct ssh *ssh = io;

	if (ssh->session) {
		if (ssh->channel && !ssh->broken)
			ssh_channel_close(ssh->channel);
		if (ssh->event) {
			ssh_event_remove_session(ssh->event, ssh->session);
			ssh_event_free(ssh->event);
		}
		/* Not ssh_disconnect: that leaves a socket it was given open. */
		ssh_silent_disconnect(ssh->session);
		ssh_free(ssh->session);
	}
	free(ssh);
}

void *ssh_open(const struct ssh_target *target, const char **peer, struct err *err)
{
	struct ssh *ssh = calloc(1, sizeof(*ssh));

	if (ssh)
		ssh->session = ssh_new();
	if (!ssh || !ssh->session) {
		free(ssh);
		err_set(err, ERR_SYSTEM, "cannot allocate an SSH session");
		return NULL;
	}
	ssh->exit_status = -1;
	if (target->port)
		snprintf(ssh->name, sizeof(ssh->name), "%s:%u", target->host, target->port);
	else
		snprintf(ssh->name, sizeof(ssh->name), "%s", target->host);
	if (connect_session(ssh, target, err) < 0) {
		ssh_close(ssh);
		return NULL;
	}
	*peer = ssh->name;
	return ssh;
}

/* ---- the link's operations ---- */

/* Let libssh read packets, and write what it has gathered, as far as the socket is ready. */
static int move_on(struct ssh *ssh, struct err *err)
{
	if (!ssh->broken)
		ssh_event_dopoll(ssh->event, 0);
	if (ssh->broken || (ssh_get_status(ssh->session) & (SSH_CLOSED | SSH_CLOSED_ERROR))) {
		ssh->broken = true;
		return err_set(err, ERR_LINK, "the connection to %s broke: %s", ssh->name,
			       ssh_get_error(ssh->session));
	}
	return 0;
}

static bool ssh_pending(void *io)
{
	struct ssh *ssh = io;

	return !ssh->broken && (ssh_get_status(ssh->session) & SSH_WRITE_PENDING);
}

static ssize_t ssh_write(void *io, const uint8_t *data, size_t len, struct err *err)
{
	struct ssh *ssh = io;
	int put;

	/* More would only pile up in libssh's buffer, which moves it all for every piece that leaves. */
	if ((ssh->broken || ssh_pending(ssh)) && move_on(ssh, err) < 0)
		return -1;
	if (ssh->eof)
		return err_set(err, ERR_LINK, "the connection to %s ended", ssh->name);
	if (ssh_pending(ssh))
		return 0;
	if (len >= 2 * WRITE_MAX) /* else all: no small rest that would be a packet and a send of its own */
		len = WRITE_MAX;
	put = ssh_channel_write(ssh->channel, data, (uint32_t)len);
	if (put < 0) {
		ssh->broken = true;
		return err_set(err, ERR_LINK, "the connection to %s broke: %s", ssh->name,
			       ssh_get_error(ssh->session));
	}
	return put;
}

static ssize_t ssh_read(void *io, uint8_t *data, size_t cap, struct err *err)
{
	struct ssh *ssh = io;
	int rc;

	if (ssh->left > 0 && cap > 0) {
		rc = ssh_channel_read_nonblocking(ssh->channel, data,
						  (uint32_t)(cap < ssh->left ? cap : ssh->left), 0);
		if (rc < 0)
			return err_set(err, ERR_LINK, "cannot read from %s: %s", ssh->name,
				       ssh_get_error(ssh->session));
		ssh->left -= (size_t)rc;
		return rc;
	}
	ssh->rx = data;
	ssh->rx_cap = cap;
	ssh->rx_len = 0;
	rc = move_on(ssh, err);
	ssh->rx_cap = 0;
	if (ssh->rx_len > 0) {
		ssize_t got = (ssize_t)ssh->rx_len;

		ssh->rx_len = 0;
		return got;
	}
	if (ssh->eof && ssh->left == 0)
		return LINK_IO_END;
	return rc;
}

static size_t ssh_poll_set(void *io, bool reading, bool writing, struct pollfd fds[LINK_IO_FDS])
{
	struct ssh *ssh = io;
	int flags = ssh_get_poll_flags(ssh->session);

	(void)reading; /* window adjustments come this way in any case */
	/* libssh closes it, and tells nobody, when it cannot send: it is -1 then. */
	fds[0] = (struct pollfd){.fd = ssh_get_fd(ssh->session), .events = POLLIN};
	if (writing && (flags & SSH_WRITE_PENDING))
		fds[0].events |= POLLOUT;
	return 1;
}

static uint64_t ssh_rtt(void *io)
{
	const struct ssh *ssh = io;

	return ssh->rtt_ns;
}

static void ssh_measure(void *io)
{
	struct ssh *ssh = io;

	if (ssh->broken)
		return;
	ssh_set_blocking(ssh->session, 1);
	ask(ssh);
	ssh_set_blocking(ssh->session, 0);
}

static long ssh_queued(void *io)
{
	struct ssh *ssh = io;
	int bytes = 0;

	if (ioctl(ssh_get_fd(ssh->session), SIOCOUTQ, &bytes) < 0)
		return 0;
	return bytes;
}

/* After the end of the stream come the exit status and the end of stderr. */
static void wait_closed(struct ssh *ssh)
{
	uint64_t deadline = clock_mono_ns() + EXPLAIN_MS * 1000000ull;
	uint64_t now;

	while (!ssh->closed && !ssh->broken && (now = clock_mono_ns()) < deadline) {
		struct pollfd set = {.fd = ssh_get_fd(ssh->session), .events = POLLIN};

		if (poll(&set, 1, (int)((deadline - now) / 1000000) + 1) > 0)
			move_on(ssh, NULL);
	}
}

/* The end of what it said on stderr, as one line. */
static void show_stderr(const struct ssh *ssh, char said[STDERR_SHOWN + 1])
{
	size_t len = ssh->said_len;
	size_t shown;

	while (len > 0 && strchr("\r\n ", ssh->said[len - 1]))
		len--;
	shown = len < STDERR_SHOWN ? len : STDERR_SHOWN;
	memcpy(said, ssh->said + len - shown, shown);
	said[shown] = 0;
	for (char *c = said; *c; c++)
		if (*c == '\n' || *c == '\r' || *c == '\t')
			*c = ' ';
	text_make_printable(said);
}

static void ssh_explain(void *io, struct err *err)
{
	struct ssh *ssh = io;
	char before[sizeof(err->text)];
	char status[64] = "";
	char said[STDERR_SHOWN + 1];

	wait_closed(ssh);
	if (ssh->exit_signal[0])
		snprintf(status, sizeof(status), "; the command there was ended by signal %s",
			 ssh->exit_signal);
	else if (ssh->exit_status >= 0)
		snprintf(status, sizeof(status), "; the command there ended with status %d",
			 ssh->exit_status);
	show_stderr(ssh, said);
	snprintf(before, sizeof(before), "%s", err->text);
	if (status[0] || said[0])
		err_set(err, err->kind, "%.230s%s%s%s%s", before, status, said[0] ? "; it said: \"" : "",
			said, said[0] ? "\"" : "");
}

/* Leaving a TCP connection so drops what is queued and resets it, while the descriptor stays libssh's to close. */
static void ssh_cut(void *io)
{
	struct ssh *ssh = io;
	const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	int fd = ssh_get_fd(ssh->session);

	if (fd >= 0 && connect(fd, &nowhere, sizeof(nowhere)) < 0)
		shutdown(fd, SHUT_RDWR);
	ssh->broken = true;
}

const struct link_ops ssh_ops = {
    .write = ssh_write,
    .read = ssh_read,
    .pending = ssh_pending,
    .poll_set = ssh_poll_set,
    .queued = ssh_queued,
    .rtt = ssh_rtt,
    .measure = ssh_measure,
    .explain = ssh_explain,
    .cut = ssh_cut,
    .close = ssh_close,
};
