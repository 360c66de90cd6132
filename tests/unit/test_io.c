/* test_io.c: whole reads and writes, and messages with descriptors. */
#include "common/io.h"
#include "tests/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- read and write ------------------------------------------------------------------------------------ */

enum { LONG_LEN = 1 << 20 }; /* more than a pipe holds */

struct writer {
	int fd;
	const uint8_t *data;
	int result;
};

static void *write_all(void *arg)
{
	struct writer *writer = arg;

	writer->result = io_write_full(writer->fd, writer->data, LONG_LEN);
	close(writer->fd);
	return NULL;
}

static void pass_through_pipe(int flags)
{
	uint8_t *sent = malloc(LONG_LEN), *got = malloc(LONG_LEN + 1);
	struct writer writer = {.data = sent};
	pthread_t thread;
	int pipe_fds[2];

	for (size_t i = 0; i < LONG_LEN; i++)
		sent[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(pipe2(pipe_fds, flags), 0);
	writer.fd = pipe_fds[1];
	assert_int_equal(pthread_create(&thread, NULL, write_all, &writer), 0);
	assert_int_equal(io_read_full(pipe_fds[0], got, 1000), 1000);
	/* The rest, which ends before what was asked for. */
	assert_int_equal(io_read_full(pipe_fds[0], got + 1000, LONG_LEN + 1 - 1000), LONG_LEN - 1000);
	assert_int_equal(io_read_full(pipe_fds[0], got, 1), 0);
	pthread_join(thread, NULL);
	assert_int_equal(writer.result, 0);
	assert_memory_equal(sent, got, LONG_LEN);
	close(pipe_fds[0]);
	free(sent);
	free(got);
}

static void all_bytes_pass_through_a_pipe(void **state)
{
	(void)state;
	pass_through_pipe(0);
}

static void all_bytes_pass_where_descriptors_do_not_block(void **state)
{
	(void)state;
	pass_through_pipe(O_NONBLOCK);
}

static void failures_of_read_and_write_are_told(void **state)
{
	int pipe_fds[2];
	char byte = 0;

	(void)state;
	assert_int_equal(io_read_full(-1, &byte, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(io_write_full(-1, &byte, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(pipe(pipe_fds), 0);
	close(pipe_fds[0]);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(io_write_full(pipe_fds[1], &byte, 1), -1);
	assert_int_equal(errno, EPIPE);
	signal(SIGPIPE, SIG_DFL);
	close(pipe_fds[1]);
}

static void close_sets_minus_one_and_leaves_errno(void **state)
{
	int fd = open("/dev/null", O_RDONLY);
	int none = -1;

	(void)state;
	errno = ENOTTY;
	io_close(&fd);
	io_close(&none);
	assert_int_equal(fd, -1);
	assert_int_equal(errno, ENOTTY);
}

/* ---- messages ------------------------------------------------------------------------------------------- */

static int pair[2];

static int make_pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
	(void)state;
	io_close(&pair[0]);
	io_close(&pair[1]);
	return 0;
}

static void descriptors_arrive_with_their_message(void **state)
{
	size_t before = open_descriptors();
	int sent[IO_MAX_FDS], got[IO_MAX_FDS];
	struct stat one, other;
	char text[16];
	size_t nfds = 99;

	(void)state;
	for (int i = 0; i < IO_MAX_FDS; i++)
		sent[i] = memfd_create("test", 0);
	assert_int_equal(io_send(pair[0], "first", 5, sent, IO_MAX_FDS), 0);
	assert_int_equal(io_send(pair[0], "second", 6, NULL, 0), 0);
	assert_int_equal(io_send(pair[0], "third", 5, sent, 3), 0);

	assert_int_equal(io_receive(pair[1], text, sizeof(text), got, &nfds), 5);
	assert_memory_equal(text, "first", 5);
	assert_int_equal(nfds, IO_MAX_FDS);
	for (int i = 0; i < IO_MAX_FDS; i++) {
		assert_int_equal(fstat(sent[i], &one), 0);
		assert_int_equal(fstat(got[i], &other), 0);
		assert_true(one.st_ino == other.st_ino);
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		close(got[i]);
	}
	assert_int_equal(io_receive(pair[1], text, sizeof(text), got, &nfds), 6);
	assert_int_equal(nfds, 0);
	assert_int_equal(io_receive(pair[1], text, sizeof(text), got, &nfds), 5);
	assert_int_equal(nfds, 3);
	for (int i = 0; i < 3; i++)
		close(got[i]);
	for (int i = 0; i < IO_MAX_FDS; i++)
		close(sent[i]);
	assert_int_equal(open_descriptors(), before);
}

static void a_message_too_large_is_refused_with_its_descriptors(void **state)
{
	size_t before = open_descriptors();
	int fds[IO_MAX_FDS] = {STDOUT_FILENO, STDERR_FILENO};
	char text[4];
	size_t nfds = 99;

	(void)state;
	assert_int_equal(io_send(pair[0], "12345", 5, fds, 2), 0);
	assert_int_equal(io_send(pair[0], "1234", 4, NULL, 0), 0);
	assert_int_equal(io_receive(pair[1], text, sizeof(text), fds, &nfds), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(nfds, 0);
	assert_int_equal(open_descriptors(), before);
	/* The next one is whole. */
	assert_int_equal(io_receive(pair[1], text, sizeof(text), fds, &nfds), 4);
}

/* A message as only a hostile peer sends it. */
static void send_raw(const void *data, size_t len, size_t nfds)
{
	union {
		char room[CMSG_SPACE(64 * sizeof(int))];
		struct cmsghdr header;
	} control = {0};
	struct iovec part = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = CMSG_SPACE(nfds * sizeof(int))};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(nfds * sizeof(int));
	for (size_t i = 0; i < nfds; i++)
		((int *)(void *)CMSG_DATA(&control.header))[i] = STDOUT_FILENO;
	assert_int_equal(sendmsg(pair[0], &message, 0), len);
}

static void too_many_descriptors_are_refused(void **state)
{
	size_t before = open_descriptors();
	int fds[IO_MAX_FDS];
	char text[4];
	size_t nfds = 99;

	(void)state;
	for (size_t count = IO_MAX_FDS + 1; count <= 64; count++) {
		send_raw("x", 1, count);
		assert_int_equal(io_receive(pair[1], text, sizeof(text), fds, &nfds), -1);
		assert_int_equal(errno, EPROTO);
		assert_int_equal(nfds, 0);
	}
	assert_int_equal(open_descriptors(), before);
}

static void descriptors_that_this_process_may_not_open_are_an_error(void **state)
{
	size_t before = open_descriptors();
	int sent[2] = {STDOUT_FILENO, STDERR_FILENO};
	struct rlimit old, small;
	int fds[IO_MAX_FDS];
	char text[4];
	size_t nfds = 99;
	int result, problem;

	(void)state;
	assert_int_equal(io_send(pair[0], "x", 1, sent, 2), 0);
	getrlimit(RLIMIT_NOFILE, &old);
	/* The lowest free number, and so one descriptor more. */
	small = old;
	small.rlim_cur = (rlim_t)dup(STDOUT_FILENO) + 1;
	close((int)small.rlim_cur - 1);
	setrlimit(RLIMIT_NOFILE, &small);
	result = (int)io_receive(pair[1], text, sizeof(text), fds, &nfds);
	problem = errno;
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(result, -1);
	assert_int_equal(problem, EPROTO);
	assert_int_equal(open_descriptors(), before);
}

static void an_empty_message_counts_as_the_end(void **state)
{
	size_t before = open_descriptors();
	int fds[IO_MAX_FDS];
	char text[4];
	size_t nfds = 99;

	(void)state;
	assert_int_equal(io_send(pair[0], "", 0, NULL, 0), -1);
	assert_int_equal(errno, EINVAL);
	send_raw("", 0, 2);
	assert_int_equal(io_receive(pair[1], text, sizeof(text), fds, &nfds), 0);
	assert_int_equal(nfds, 0);
	assert_int_equal(open_descriptors(), before);
}

static void the_end_of_the_connection_is_seen_on_both_ways(void **state)
{
	const int many[IO_MAX_FDS + 1] = {0};
	int fds[IO_MAX_FDS];
	char text[4];
	size_t nfds = 99;

	(void)state;
	assert_int_equal(io_send(pair[0], "x", 1, many, IO_MAX_FDS + 1), -1);
	assert_int_equal(errno, EINVAL);
	io_close(&pair[0]);
	assert_int_equal(io_receive(pair[1], text, sizeof(text), fds, &nfds), 0);
	/* SIGPIPE would end this program. */
	assert_int_equal(io_send(pair[1], "x", 1, NULL, 0), -1);
	assert_int_equal(errno, EPIPE);
}

static void a_full_socket_that_does_not_block_says_so(void **state)
{
	char text[4096] = {0};
	int sent = 0;

	(void)state;
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while (sent < 100000 && io_send(pair[0], text, sizeof(text), NULL, 0) == 0)
		sent++;
	assert_int_equal(errno, EAGAIN);
	assert_true(sent > 0 && sent < 100000);
}

static void clocks_advance(void **state)
{
	uint64_t mono = clock_mono_ns(), real = clock_real_ns();

	(void)state;
	assert_true(clock_mono_ns() >= mono && mono > 0);
	assert_true(real > 1600000000ull * 1000000000 && real < 10000000000ull * 1000000000);
}

#define PAIR_TEST(test) cmocka_unit_test_setup_teardown(test, make_pair, close_pair)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_bytes_pass_through_a_pipe),
	    cmocka_unit_test(all_bytes_pass_where_descriptors_do_not_block),
	    cmocka_unit_test(failures_of_read_and_write_are_told),
	    cmocka_unit_test(close_sets_minus_one_and_leaves_errno),
	    PAIR_TEST(descriptors_arrive_with_their_message),
	    PAIR_TEST(a_message_too_large_is_refused_with_its_descriptors),
	    PAIR_TEST(too_many_descriptors_are_refused),
	    PAIR_TEST(descriptors_that_this_process_may_not_open_are_an_error),
	    PAIR_TEST(an_empty_message_counts_as_the_end),
	    PAIR_TEST(the_end_of_the_connection_is_seen_on_both_ways),
	    PAIR_TEST(a_full_socket_that_does_not_block_says_so),
	    cmocka_unit_test(clocks_advance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
