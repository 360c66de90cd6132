/* test_link.c: links over pipes and over SSH to a real sshd: what works, and how each thing that can go wrong ends. */
#include "common/io.h"
#include "migrate/link.h"
#include "tests/lib/random.h"
#include "tests/lib/relay.h"
#include "tests/lib/sshd.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND 1000000000ull

static char dir[] = "/tmp/drover-test-link.XXXXXX";
static struct sshd sshd;

/* ---- helpers ---- */

static uint64_t in_s(unsigned seconds)
{
	return clock_mono_ns() + seconds * SECOND;
}

static struct link *open_link(const struct ssh_target *target)
{
	struct err err;
	struct link *link = link_open_ssh(target, &err);

	if (!link)
		fail_msg("no link: %s", err.text);
	return link;
}

static struct link *open_command(const char *command)
{
	struct ssh_target target = sshd_target(&sshd, command);

	return open_link(&target);
}

static void put_bytes(struct link *link, size_t len, int fill)
{
	struct buf *out = link_begin(link);

	memset(buf_reserve(out, len), fill, len);
	out->len += len;
}

static void send_bytes(struct link *link, uint16_t type, size_t len, int fill)
{
	struct err err;

	put_bytes(link, len, fill);
	if (link_send(link, type, 0, &err) < 0)
		fail_msg("send: %s", err.text);
}

static void expect_frame(struct link *link, uint16_t type, size_t len, int fill)
{
	struct frame frame;
	struct err err;
	int rc = link_receive(link, in_s(20), &frame, &err);

	if (rc < 0)
		fail_msg("receive: %s", err.text);
	assert_int_equal(rc, 1);
	assert_int_equal(frame.type, type);
	assert_int_equal(frame.len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(frame.payload[i], fill & 0xff);
}

static void expect_text(const struct err *err, enum err_kind kind, const char *part)
{
	if (err->kind != kind || !strstr(err->text, part))
		fail_msg("error %d \"%s\" is not %d with \"%s\"", err->kind, err->text, kind, part);
}

/* Connecting fails so. */
static void refuse(const struct ssh_target *target, const char *part, struct err *err)
{
	assert_null(link_open_ssh(target, err));
	expect_text(err, ERR_LINK, part);
}

/* The link ends so, sooner or later, while frames are sent and received. */
static void expect_end(struct link *link, const char *part, struct err *err)
{
	struct frame frame;
	int rc;

	do {
		rc = link_receive(link, in_s(20), &frame, err);
	} while (rc == 1);
	assert_int_equal(rc, -1);
	if (part)
		expect_text(err, err->kind, part);
}

static char *path_in(char *path, const char *name)
{
	snprintf(path, SSHD_PATH, "%s/%s", dir, name);
	return path;
}

static void write_file(const char *path, const char *text)
{
	assert_int_equal(io_replace_file(path, text, strlen(text)), 0);
}

static char *read_file(const char *path)
{
	void *text = NULL;
	size_t len;

	assert_int_equal(io_read_file(path, 1 << 20, &text, &len), 0);
	return text;
}

/* ---- pipes and sockets ---- */

static void test_fds_both_ways(void **state)
{
	int pair[2];
	struct link *a, *b;
	struct frame frame;
	struct err err;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	a = link_open_fds(pair[0], pair[0], "b", &err);
	b = link_open_fds(pair[1], pair[1], "a", &err);
	assert_int_equal(link_readable(b, &err), 0);
	assert_int_equal(link_receive(b, 0, &frame, &err), 0);
	send_bytes(a, 5, 100, 'x');
	assert_int_equal(link_readable(b, &err), 0); /* not flushed yet */
	assert_int_equal(link_flush(a, &err), 0);
	assert_int_equal(link_readable(b, &err), 1);
	assert_int_equal(link_readable(b, &err), 1);
	expect_frame(b, 5, 100, 'x');
	send_bytes(b, 6, 0, 0);
	assert_int_equal(link_flush(b, &err), 0);
	expect_frame(a, 6, 0, 0);
	assert_int_equal(link_bytes_sent(a), FRAME_HEADER + 100);
	assert_int_equal(link_bytes_received(b), FRAME_HEADER + 100);
	link_close(b);
	assert_int_equal(link_receive(a, in_s(5), &frame, &err), -1);
	expect_text(&err, ERR_LINK, "the connection to b ended");
	link_close(a);
}

/* Waiting for an answer sends the question. */
static void test_receive_flushes(void **state)
{
	int pair[2];
	struct link *a, *b;
	struct frame frame;
	struct err err;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	a = link_open_fds(pair[0], pair[0], "b", &err);
	b = link_open_fds(pair[1], pair[1], "a", &err);
	send_bytes(a, 1, 10, 'q');
	assert_int_equal(link_receive(a, clock_mono_ns() + 1000000, &frame, &err), 0);
	expect_frame(b, 1, 10, 'q');
	link_close(a);
	link_close(b);
}

static void test_fds_cut_in_a_frame(void **state)
{
	int in[2], out[2];
	struct buf frame_bytes = {0};
	struct frame frame;
	struct link *link;
	struct err err;
	size_t start;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	link = link_open_fds(in[0], out[1], "the pipe", &err);
	start = frame_begin(&frame_bytes);
	buf_put_u64(&frame_bytes, 1);
	assert_int_equal(frame_seal(&frame_bytes, start, 1, 0, 0, &err), 0);
	assert_int_equal(write(in[1], frame_bytes.data, frame_bytes.len - 1), frame_bytes.len - 1);
	close(in[1]);
	assert_int_equal(link_receive(link, in_s(5), &frame, &err), -1);
	expect_text(&err, ERR_LINK, "the connection to the pipe ended in the middle of a frame");
	close(out[0]); /* a write is now an error, not SIGPIPE */
	link_close(link);
	buf_free(&frame_bytes);
}

static void test_fds_reader_gone(void **state)
{
	int in[2], out[2];
	struct link *link;
	struct err err;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	link = link_open_fds(in[0], out[1], "the pipe", &err);
	close(out[0]);
	send_bytes(link, 1, 10, 'x');
	assert_int_equal(link_flush(link, &err), -1);
	expect_text(&err, ERR_LINK, "the connection to the pipe ended");
	assert_int_equal(link_flush(link, &err), -1); /* and stays so */
	put_bytes(link, 10, 'x');
	assert_int_equal(link_send(link, 1, 0, &err), -1);
	close(in[1]);
	link_close(link);
}

/* ---- watches ---- */

static int say_cancelled(void *arg, short revents, struct err *err)
{
	eventfd_t value;

	(void)revents;
	eventfd_read(*(int *)arg, &value);
	return err_set(err, ERR_CANCELLED, "cancelled by the test");
}

static int count_down(void *arg, short revents, struct err *err)
{
	int *counter = arg;
	eventfd_t value;

	(void)revents;
	eventfd_read(counter[0], &value);
	if (--counter[1] > 0) {
		eventfd_write(counter[0], 1);
		return 0;
	}
	return err_set(err, ERR_CANCELLED, "counted");
}

static void test_watch_ends_waiting(void **state)
{
	int in[2], out[2], event = eventfd(0, EFD_CLOEXEC), counter[2];
	struct link_watch watch = {.fd = event, .events = POLLIN, .ready = say_cancelled, .arg = &event};
	struct frame frame;
	struct link *link;
	struct err err;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	link = link_open_fds(in[0], out[1], "the pipe", &err);
	link_watch(link, &watch, 1);
	assert_int_equal(link_check(link, &err), 0);

	/* waiting to receive */
	eventfd_write(event, 1);
	assert_int_equal(link_receive(link, UINT64_MAX, &frame, &err), -1);
	expect_text(&err, ERR_CANCELLED, "cancelled by the test");
	/* not waiting at all */
	eventfd_write(event, 1);
	assert_int_equal(link_check(link, &err), -1);
	assert_int_equal(link_check(link, &err), 0);
	/* sending, with room */
	eventfd_write(event, 1);
	put_bytes(link, 500000, 'x');
	assert_int_equal(link_send(link, 1, 0, &err), -1);
	expect_text(&err, ERR_CANCELLED, "cancelled by the test");
	/* waiting for room to send: nobody reads the pipe */
	eventfd_write(event, 1);
	put_bytes(link, FRAME_MAX, 'x');
	while (link_send(link, 1, 0, &err) == 0)
		put_bytes(link, FRAME_MAX, 'x');
	expect_text(&err, ERR_CANCELLED, "cancelled by the test");
	/* a watch that consumes and goes on is called as often as it is ready */
	counter[0] = event;
	counter[1] = 5;
	watch = (struct link_watch){.fd = event, .events = POLLIN, .ready = count_down, .arg = counter};
	link_watch(link, &watch, 1);
	eventfd_write(event, 1);
	assert_int_equal(link_flush(link, &err), -1);
	expect_text(&err, ERR_CANCELLED, "counted");
	assert_int_equal(counter[1], 0);
	/* none of this was the link's fault: what it still had is whole when somebody reads */
	link_watch(link, NULL, 0);
	{
		struct link *other = link_open_fds(out[0], in[1], "the sender", &err);
		uint64_t frames = 0;

		while (link_bytes_received(other) < link_bytes_sent(link) || frames == 0) {
			assert_int_equal(link_receive(other, 0, &frame, &err) >= 0, 1);
			frames++;
			link_receive(link, 0, &frame, &err);
		}
		link_close(other);
	}
	link_close(link);
	close(event);
}

static void test_fds_stall(void **state)
{
	int in[2], out[2];
	struct link *link;
	uint64_t start = clock_mono_ns();
	struct err err;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	link = link_open_fds(in[0], out[1], "the pipe", &err);
	link_set_stall(link, 300);
	do {
		put_bytes(link, FRAME_MAX, 'x');
	} while (link_send(link, 1, 0, &err) == 0);
	expect_text(&err, ERR_LINK, "no progress on the link to the pipe for 300 ms");
	assert_in_range(clock_mono_ns() - start, SECOND * 3 / 10, 10 * SECOND);
	link_close(link);
	close(in[1]);
	close(out[0]);
}

/* ---- SSH: what works ---- */

static void test_ssh_echo(void **state)
{
	static const size_t sizes[] = {0, 1, 100, 4096, 32768, 300000, FRAME_MAX};
	uint64_t random = random_begin();
	struct link *link = open_command("cat");

	(void)state;
	for (int i = 0; i < 200; i++) {
		size_t size = sizes[random_below(&random, i % 20 ? 6 : 7)];

		send_bytes(link, (uint16_t)i, size, i);
		expect_frame(link, (uint16_t)i, size, i);
	}
	assert_int_equal(link_bytes_sent(link), link_bytes_received(link));
	link_close(link);
}

/* Both directions full at a time: sending takes in what arrives, so neither side blocks the other. */
static void test_ssh_echo_behind(void **state)
{
	struct link *link = open_command("cat");
	struct frame frame;
	struct err err;
	int sent = 0, received = 0;

	(void)state;
	while (received < 400) {
		if (sent < 400 && sent - received < 20) {
			send_bytes(link, (uint16_t)sent, 50000, sent);
			sent++;
			continue;
		}
		assert_int_equal(link_receive(link, in_s(20), &frame, &err), 1);
		assert_int_equal(frame.type, received);
		assert_int_equal(frame.payload[49999], received & 0xff);
		received++;
	}
	link_close(link);
}

/* A session that renews its keys all the time, as a long transfer does now and then. */
static void test_ssh_rekeying(void **state)
{
	char folder[SSHD_PATH];
	struct ssh_target target;
	struct sshd other;
	struct link *link;
	struct err err;

	(void)state;
	assert_int_equal(mkdir(path_in(folder, "rekey"), 0700), 0);
	assert_int_equal(sshd_start(folder, "RekeyLimit 1M", &other), 0);
	target = sshd_target(&other, "cat");
	link = open_link(&target);
	for (int i = 0; i < 200; i++) {
		send_bytes(link, 1, 100000, i);
		if (i >= 5)
			expect_frame(link, 1, 100000, i - 5);
	}
	for (int i = 195; i < 200; i++)
		expect_frame(link, 1, 100000, i);
	assert_int_equal(link_flush(link, &err), 0);
	link_close(link);
	sshd_stop(&other);
}

/* 128 MiB one way; the other end says how much it got. */
static void test_ssh_big_transfer(void **state)
{
	const unsigned long long bytes = 128ull * (FRAME_MAX + FRAME_HEADER);
	char command[128], said[64];
	struct link *link;
	struct err err;

	(void)state;
	snprintf(command, sizeof(command), "head -c %llu | wc -c >&2; exit 9", bytes);
	link = open_command(command);
	for (int i = 0; i < 128; i++)
		send_bytes(link, 2, FRAME_MAX, i);
	assert_int_equal(link_flush(link, &err), 0);
	assert_int_equal(link_bytes_sent(link), bytes);
	expect_end(link, "status 9", &err);
	snprintf(said, sizeof(said), "it said: \"%llu\"", bytes);
	expect_text(&err, ERR_LINK, said);
	link_close(link);
}

static void test_ssh_slow_network(void **state)
{
	struct relay *relay = relay_start(sshd.port);
	struct ssh_target target = sshd_target(&sshd, "cat");
	struct link *link;
	uint64_t start;

	(void)state;
	assert_non_null(relay);
	target.port = relay_port(relay);
	assert_int_equal(sshd_add_known(&sshd, target.port), 0);
	link = open_link(&target);
	relay_delay(relay, 20000);
	start = clock_mono_ns();
	send_bytes(link, 1, 10, 'x');
	expect_frame(link, 1, 10, 'x');
	assert_in_range(clock_mono_ns() - start, 39000000, 5 * SECOND);
	for (int i = 0; i < 20; i++)
		send_bytes(link, 1, 200000, i);
	for (int i = 0; i < 20; i++)
		expect_frame(link, 1, 200000, i);
	assert_true(relay_bytes_up(relay) > 4000000 && relay_bytes_down(relay) > 4000000);
	assert_int_equal(relay_connections(relay), 1);
	link_close(link);
	relay_stop(relay);
}

/* ---- SSH: who it is not ---- */

static void test_unknown_host_key(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char path[SSHD_PATH];
	struct err err;
	char *after;

	(void)state;
	target.known_hosts = path_in(path, "empty");
	write_file(path, "");
	refuse(&target, "is not known", &err);
	expect_text(&err, ERR_LINK, "SHA256:");
	expect_text(&err, ERR_LINK, "ssh-keyscan -p");
	expect_text(&err, ERR_LINK, path);
	after = read_file(path);
	assert_string_equal(after, ""); /* nothing was written */
	free(after);
	target.known_hosts = path_in(path, "absent");
	refuse(&target, "is not known", &err);
	assert_int_equal(access(path, F_OK), -1);
}

/* A line for the server with the key in the file `key` (of this folder). */
static const char *known_as(char *path, const char *name, const char *host, const char *key)
{
	char line[1024], from[SSHD_PATH];
	char *text = read_file(path_in(from, key));

	snprintf(line, sizeof(line), "%s:%u %s", host, sshd.port, text);
	free(text);
	write_file(path_in(path, name), line);
	return path;
}

static void test_changed_host_key(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char path[SSHD_PATH];
	struct err err;

	(void)state;
	target.known_hosts = known_as(path, "changed", "[127.0.0.1]",
				      "client_key.pub"); /* a key, of the same type, not its own */
	refuse(&target, "has CHANGED", &err);
	expect_text(&err, ERR_LINK, "SHA256:");
	expect_text(&err, ERR_LINK, "ssh-keygen -R '[127.0.0.1]:");
}

static void test_host_key_of_other_type(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char path[SSHD_PATH], command[SSHD_PATH + 64];
	struct err err;

	(void)state;
	snprintf(command, sizeof(command), "ssh-keygen -q -t ecdsa -N '' -f %s", path_in(path, "other"));
	assert_int_equal(system(command), 0);
	target.known_hosts = known_as(path, "other_type", "[127.0.0.1]", "other.pub");
	refuse(&target, "of another type", &err);
}

static void test_revoked_host_key(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char path[SSHD_PATH];
	char *known = read_file(sshd.known_hosts);
	char *revoked;
	char *both;
	struct err err;

	(void)state;
	known_as(path, "revoked", "@revoked [127.0.0.1]", "host_key.pub");
	revoked = read_file(path);
	assert_true(asprintf(&both, "# known and revoked\n%s%s", known, revoked) > 0);
	write_file(path, both);
	target.known_hosts = path;
	refuse(&target, "is revoked in", &err);
	free(both);
	free(revoked);
	free(known);
}

/* A configuration that says "do not check" is not obeyed. */
static void test_configuration_cannot_switch_checks_off(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char path[SSHD_PATH], config[SSHD_PATH];
	struct err err;

	(void)state;
	write_file(path_in(config, "config"), "Host *\n  StrictHostKeyChecking no\n");
	target.config = config;
	target.known_hosts = known_as(path, "changed", "[127.0.0.1]", "client_key.pub");
	refuse(&target, "has CHANGED", &err);
	target.known_hosts = path_in(path, "empty");
	write_file(path, "");
	refuse(&target, "is not known", &err);
}

/* Host, port, user and key from the configuration, under a name that is only there. */
static void test_configuration_is_used(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char config[SSHD_PATH], text[2048];
	struct link *link;

	(void)state;
	snprintf(text, sizeof(text),
		 "Host standby\n  HostName 127.0.0.1\n  Port %u\n  User %s\n  IdentityFile %s\n", sshd.port,
		 sshd.user, sshd.identity);
	write_file(path_in(config, "config"), text);
	target.config = config;
	strcpy(target.host, "standby");
	target.user[0] = 0;
	target.port = 0;
	target.identity = NULL;
	link = open_link(&target);
	send_bytes(link, 1, 10, 'c');
	expect_frame(link, 1, 10, 'c');
	assert_string_equal(link_peer(link), "standby");
	link_close(link);
}

static void test_proxy_command(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char config[SSHD_PATH], text[2048];
	struct link *link;

	(void)state;
	if (access("/usr/bin/ssh", X_OK) < 0)
		skip();
	snprintf(text, sizeof(text),
		 "Host *\n  ProxyCommand ssh -F none -i %s -o UserKnownHostsFile=%s -p %u -W %%h:%%p "
		 "%s@127.0.0.1\n",
		 sshd.identity, sshd.known_hosts, sshd.port, sshd.user);
	write_file(path_in(config, "config"), text);
	target.config = config;
	link = open_link(&target);
	for (int i = 0; i < 50; i++) {
		send_bytes(link, 1, 100000, i);
		expect_frame(link, 1, 100000, i);
	}
	link_close(link);
}

static void test_localhost_by_name(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char path[SSHD_PATH];
	struct link *link;

	(void)state;
	known_as(path, "localhost", "[localhost]", "host_key.pub");
	strcpy(target.host, "localhost"); /* ::1 first, where nobody listens */
	target.known_hosts = path;
	link = open_link(&target);
	send_bytes(link, 1, 10, 'l');
	expect_frame(link, 1, 10, 'l');
	link_close(link);
}

static void test_wrong_identity(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char path[SSHD_PATH];
	struct err err;

	(void)state;
	target.identity = path_in(path, "host_key"); /* a key, but none that is let in */
	refuse(&target, "does not let user", &err);
	expect_text(&err, ERR_LINK, path);
	expect_text(&err, ERR_LINK, "publickey");
	write_file(path_in(path, "no_key"), "this is not a key\n");
	unsetenv("SSH_AUTH_SOCK");
	target.identity = path;
	refuse(&target, "is not a private key", &err);
	target.identity = "/nonexistent/key";
	assert_null(link_open_ssh(&target, &err));
	expect_text(&err, ERR_SYSTEM, "/nonexistent/key");
}

/* An agent of our own, with $SSH_AUTH_SOCK set to it. */
static pid_t start_agent(void)
{
	char path[SSHD_PATH], line[256];
	int out[2];
	pid_t pid;

	path_in(path, "agent");
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(out[1], STDOUT_FILENO);
		execlp("ssh-agent", "ssh-agent", "-D", "-a", path, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	assert_true(read(out[0], line, sizeof(line)) > 0); /* it says so when it listens */
	close(out[0]);
	setenv("SSH_AUTH_SOCK", path, 1);
	return pid;
}

static void test_agent_and_passphrase(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	char command[1024], path[SSHD_PATH];
	pid_t agent;
	struct err err;

	(void)state;
	snprintf(command, sizeof(command), "cp %s %s && ssh-keygen -q -p -P '' -N secret -f %s >/dev/null",
		 sshd.identity, path_in(path, "locked"), path);
	assert_int_equal(system(command), 0);
	unsetenv("SSH_AUTH_SOCK");
	target.identity = path;
	refuse(&target, "load it into an agent with ssh-add", &err);

	agent = start_agent();
	refuse(&target, "does not let user", &err); /* the agent has nothing yet */
	snprintf(command, sizeof(command), "ssh-add -q %s", sshd.identity);
	assert_int_equal(system(command), 0);
	link_close(open_link(&target));
	target.identity = NULL;
	link_close(open_link(&target));
	kill(agent, SIGTERM);
	waitpid(agent, NULL, 0);
	unsetenv("SSH_AUTH_SOCK");
}

/* ---- SSH: what goes wrong ---- */

static void test_nobody_listens(void **state)
{
	struct ssh_target target = sshd_target(&sshd, "cat");
	struct err err;

	(void)state;
	target.port = 1;
	refuse(&target, "cannot reach 127.0.0.1 on port 1: Connection refused", &err);
	strcpy(target.host, "no-such-host.invalid");
	refuse(&target, "host no-such-host.invalid is not known", &err);
}

/* Something accepts, and says nothing. */
static void test_connect_timeout(void **state)
{
	struct relay *relay = relay_start(sshd.port);
	struct ssh_target target = sshd_target(&sshd, "cat");
	uint64_t start = clock_mono_ns();
	struct err err;

	(void)state;
	assert_non_null(relay);
	relay_stall(relay, true);
	target.port = relay_port(relay);
	target.connect_timeout_s = 1;
	refuse(&target, "no SSH connection to 127.0.0.1:", &err);
	assert_in_range(clock_mono_ns() - start, SECOND / 2, 8 * SECOND);
	relay_stop(relay);
}

static void test_command_not_found(void **state)
{
	struct link *link = open_command("drover-that-is-not-there serve");
	struct err err;

	(void)state;
	expect_end(link, "status 127", &err);
	expect_text(&err, ERR_LINK, "drover-that-is-not-there");
	expect_text(&err, ERR_LINK, "not found");
	put_bytes(link, 10, 'x'); /* afterwards all fails alike */
	assert_int_equal(link_send(link, 1, 0, &err), -1);
	expect_text(&err, ERR_LINK, "status 127");
	assert_int_equal(link_flush(link, &err), -1);
	link_close(link);
}

/* Noticed while sending too, when nothing is ever received. */
static void test_command_ends_while_sending(void **state)
{
	struct link *link = open_command("head -c 1000000 > /dev/null; echo enough >&2; exit 3");
	struct err err;

	(void)state;
	do {
		put_bytes(link, 300000, 'x');
	} while (link_send(link, 1, 0, &err) == 0);
	expect_text(&err, ERR_LINK, "status 3");
	expect_text(&err, ERR_LINK, "it said: \"enough\"");
	link_close(link);
}

static void test_noisy_shell(void **state)
{
	struct link *link = open_command("echo Welcome to this host; cat");
	struct err err;

	(void)state;
	send_bytes(link, 1, 10, 'x');
	expect_end(link, "127.0.0.1:", &err);
	expect_text(&err, ERR_INPUT, "text instead of drover's stream: \"Welcome to this host\"");
	link_close(link);
}

static void test_killed_command(void **state)
{
	struct link *link = open_command("echo about to go >&2; kill -9 $$");
	struct err err;

	(void)state;
	expect_end(link, "signal KILL", &err);
	expect_text(&err, ERR_LINK, "about to go");
	link_close(link);
}

/* Only the end of a long stderr is kept, and control characters in it reach no terminal. */
static void test_long_stderr(void **state)
{
	struct link *link = open_command("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; "
					 "printf 'the \\033[2Jend\\n' >&2; "
					 "exit 1");
	struct err err;

	(void)state;
	expect_end(link, "line 2999", &err);
	expect_text(&err, ERR_LINK, "the ?[2Jend\"");
	link_close(link);
}

static void test_cut_by_the_network(void **state)
{
	struct relay *relay = relay_start(sshd.port);
	struct ssh_target target = sshd_target(&sshd, "cat > /dev/null");
	struct link *link;
	struct err err;

	(void)state;
	assert_non_null(relay);
	target.port = relay_port(relay);
	assert_int_equal(sshd_add_known(&sshd, target.port), 0);
	link = open_link(&target);
	relay_cut_after(relay, 5000000);
	do {
		put_bytes(link, 300000, 'x');
	} while (link_send(link, 1, 0, &err) == 0 && link_bytes_sent(link) < 500000000);
	expect_text(&err, ERR_LINK, "the connection to 127.0.0.1:");
	expect_text(&err, ERR_LINK, "broke");
	link_close(link);
	/* and while waiting for an answer */
	link = open_link(&target);
	send_bytes(link, 1, 10, 'x');
	assert_int_equal(link_flush(link, &err), 0);
	relay_cut(relay);
	expect_end(link, "broke", &err);
	link_close(link);
	relay_stop(relay);
}

static void test_stall_while_sending(void **state)
{
	struct relay *relay = relay_start(sshd.port);
	struct ssh_target target = sshd_target(&sshd, "cat > /dev/null");
	struct link *link;
	struct err err;
	uint64_t start;

	(void)state;
	assert_non_null(relay);
	target.port = relay_port(relay);
	assert_int_equal(sshd_add_known(&sshd, target.port), 0);
	link = open_link(&target);
	for (int i = 0; i < 20; i++)
		send_bytes(link, 1, 300000, 'x');
	link_set_stall(link, 1000);
	relay_stall(relay, true);
	start = clock_mono_ns();
	do {
		put_bytes(link, 300000, 'x');
	} while (link_send(link, 1, 0, &err) == 0 && link_bytes_sent(link) < 500000000);
	expect_text(&err, ERR_LINK, "no progress on the link to 127.0.0.1:");
	expect_text(&err, ERR_LINK, "for 1 s");
	assert_in_range(clock_mono_ns() - start, SECOND / 2, 10 * SECOND);
	start = clock_mono_ns();
	link_close(link); /* must not wait for the network either */
	assert_in_range(clock_mono_ns() - start, 0, SECOND);
	relay_stop(relay);
}

/* A link that is slow, but moves, is no stall: everything held up for longer than the limit in sum, not at once. */
static void test_slow_is_not_stalled(void **state)
{
	struct link *link = open_command("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c 1500000 > "
					 "/dev/null; sleep 0.25; done; cat > /dev/null");
	struct err err;
	uint64_t start = clock_mono_ns();

	(void)state;
	link_set_stall(link, 2000);
	for (int i = 0; i < 80; i++)
		send_bytes(link, 1, 300000, 'x');
	assert_int_equal(link_flush(link, &err), 0);
	assert_true(clock_mono_ns() - start > 2 * SECOND);
	link_close(link);
}

static void test_link_cut(void **state)
{
	struct link *link = open_command("cat");
	struct frame frame;
	struct err err;

	(void)state;
	send_bytes(link, 1, 10, 'x');
	expect_frame(link, 1, 10, 'x');
	link_cut(link);
	assert_int_equal(link_receive(link, in_s(5), &frame, &err), -1);
	expect_text(&err, ERR_LINK, "was cut");
	put_bytes(link, 10, 'x');
	assert_int_equal(link_send(link, 1, 0, &err), -1);
	assert_int_equal(link_flush(link, &err), -1);
	assert_int_equal(link_readable(link, &err), -1);
	link_close(link);
}

/* Links fail and are closed without leaving descriptors behind. */
static int count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void test_no_descriptor_is_left(void **state)
{
	struct ssh_target wrong = sshd_target(&sshd, "cat");
	char path[SSHD_PATH];
	struct err err;
	int before = count_fds();

	(void)state;
	wrong.identity = path_in(path, "host_key");
	for (int i = 0; i < 3; i++) {
		struct link *link = open_command("cat");

		if (i == 1)
			link_cut(link);
		link_close(link);
		refuse(&wrong, "does not let user", &err);
		link = open_command("exit 1");
		expect_end(link, "status 1", &err);
		link_close(link);
	}
	assert_int_equal(count_fds(), before);
}

/* ---- the group ---- */

static int start(void **state)
{
	(void)state;
	return mkdtemp(dir) ? sshd_start(dir, "", &sshd) : -1;
}

static int stop(void **state)
{
	char command[sizeof(dir) + 16];

	(void)state;
	sshd_stop(&sshd);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fds_both_ways),
	    cmocka_unit_test(test_receive_flushes),
	    cmocka_unit_test(test_fds_cut_in_a_frame),
	    cmocka_unit_test(test_fds_reader_gone),
	    cmocka_unit_test(test_watch_ends_waiting),
	    cmocka_unit_test(test_fds_stall),
	    cmocka_unit_test(test_ssh_echo),
	    cmocka_unit_test(test_ssh_echo_behind),
	    cmocka_unit_test(test_ssh_rekeying),
	    cmocka_unit_test(test_ssh_big_transfer),
	    cmocka_unit_test(test_ssh_slow_network),
	    cmocka_unit_test(test_unknown_host_key),
	    cmocka_unit_test(test_changed_host_key),
	    cmocka_unit_test(test_host_key_of_other_type),
	    cmocka_unit_test(test_revoked_host_key),
	    cmocka_unit_test(test_configuration_cannot_switch_checks_off),
	    cmocka_unit_test(test_configuration_is_used),
	    cmocka_unit_test(test_proxy_command),
	    cmocka_unit_test(test_localhost_by_name),
	    cmocka_unit_test(test_wrong_identity),
	    cmocka_unit_test(test_agent_and_passphrase),
	    cmocka_unit_test(test_nobody_listens),
	    cmocka_unit_test(test_connect_timeout),
	    cmocka_unit_test(test_command_not_found),
	    cmocka_unit_test(test_command_ends_while_sending),
	    cmocka_unit_test(test_noisy_shell),
	    cmocka_unit_test(test_killed_command),
	    cmocka_unit_test(test_long_stderr),
	    cmocka_unit_test(test_cut_by_the_network),
	    cmocka_unit_test(test_stall_while_sending),
	    cmocka_unit_test(test_slow_is_not_stalled),
	    cmocka_unit_test(test_link_cut),
	    cmocka_unit_test(test_no_descriptor_is_left),
	};

	return cmocka_run_group_tests_name("link", tests, start, stop);
}
