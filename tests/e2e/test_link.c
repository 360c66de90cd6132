/* test_link.c: links over pipes and over SSH to a real sshd: what works, and who waits for what. */
#include "common/io.h"
#include "migrate/link.h"
#include "tests/lib/linkkit.h"
#include "tests/lib/random.h"
#include "tests/lib/relay.h"
#include "tests/lib/test.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

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
	linkkit_send(a, 5, 100, 'x');
	assert_int_equal(link_readable(b, &err), 0); /* not flushed yet */
	assert_int_equal(link_flush(a, &err), 0);
	assert_int_equal(link_readable(b, &err), 1);
	assert_int_equal(link_readable(b, &err), 1);
	linkkit_expect(b, 5, 100, 'x');
	linkkit_send(b, 6, 0, 0);
	assert_int_equal(link_flush(b, &err), 0);
	linkkit_expect(a, 6, 0, 0);
	assert_int_equal(link_bytes_sent(a), FRAME_HEADER + 100);
	assert_int_equal(link_bytes_received(b), FRAME_HEADER + 100);
	link_close(b);
	assert_int_equal(link_receive(a, linkkit_in_s(5), &frame, &err), -1);
	linkkit_says(&err, ERR_LINK, "the connection to b ended");
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
	linkkit_send(a, 1, 10, 'q');
	assert_int_equal(link_receive(a, clock_mono_ns() + 1000000, &frame, &err), 0);
	linkkit_expect(b, 1, 10, 'q');
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
	assert_int_equal(link_receive(link, linkkit_in_s(5), &frame, &err), -1);
	linkkit_says(&err, ERR_LINK, "the connection to the pipe ended in the middle of a frame");
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
	linkkit_send(link, 1, 10, 'x');
	assert_int_equal(link_flush(link, &err), -1);
	linkkit_says(&err, ERR_LINK, "the connection to the pipe ended");
	assert_int_equal(link_flush(link, &err), -1); /* and stays so */
	linkkit_put(link, 10, 'x');
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
	linkkit_says(&err, ERR_CANCELLED, "cancelled by the test");
	/* not waiting at all */
	eventfd_write(event, 1);
	assert_int_equal(link_check(link, &err), -1);
	assert_int_equal(link_check(link, &err), 0);
	/* sending, with room */
	eventfd_write(event, 1);
	linkkit_put(link, 500000, 'x');
	assert_int_equal(link_send(link, 1, 0, &err), -1);
	linkkit_says(&err, ERR_CANCELLED, "cancelled by the test");
	/* waiting for room to send: nobody reads the pipe */
	eventfd_write(event, 1);
	linkkit_put(link, FRAME_MAX, 'x');
	while (link_send(link, 1, 0, &err) == 0)
		linkkit_put(link, FRAME_MAX, 'x');
	linkkit_says(&err, ERR_CANCELLED, "cancelled by the test");
	/* a watch that consumes and goes on is called as often as it is ready */
	counter[0] = event;
	counter[1] = 5;
	watch = (struct link_watch){.fd = event, .events = POLLIN, .ready = count_down, .arg = counter};
	link_watch(link, &watch, 1);
	eventfd_write(event, 1);
	assert_int_equal(link_flush(link, &err), -1);
	linkkit_says(&err, ERR_CANCELLED, "counted");
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
		linkkit_put(link, FRAME_MAX, 'x');
	} while (link_send(link, 1, 0, &err) == 0);
	linkkit_says(&err, ERR_LINK, "no progress on the link to the pipe for 300 ms");
	assert_in_range(clock_mono_ns() - start, LINKKIT_SECOND * 3 / 10, 10 * LINKKIT_SECOND);
	link_close(link);
	close(in[1]);
	close(out[0]);
}

/* ---- SSH: what works ---- */

static void test_ssh_echo(void **state)
{
	static const size_t sizes[] = {0, 1, 100, 4096, 32768, 300000, FRAME_MAX};
	uint64_t random = random_begin();
	struct link *link = linkkit_command("cat");

	(void)state;
	for (int i = 0; i < 200; i++) {
		size_t size = sizes[random_below(&random, i % 20 ? 6 : 7)];

		linkkit_send(link, (uint16_t)i, size, i);
		linkkit_expect(link, (uint16_t)i, size, i);
	}
	assert_int_equal(link_bytes_sent(link), link_bytes_received(link));
	link_close(link);
}

/* Both directions full at a time: sending takes in what arrives, so neither side blocks the other. */
static void test_ssh_echo_behind(void **state)
{
	struct link *link = linkkit_command("cat");
	struct frame frame;
	struct err err;
	int sent = 0, received = 0;

	(void)state;
	while (received < 400) {
		if (sent < 400 && sent - received < 20) {
			linkkit_send(link, (uint16_t)sent, 50000, sent);
			sent++;
			continue;
		}
		assert_int_equal(link_receive(link, linkkit_in_s(20), &frame, &err), 1);
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
	assert_int_equal(mkdir(linkkit_path(folder, "rekey"), 0700), 0);
	assert_int_equal(sshd_start(folder, "RekeyLimit 1M", &other), 0);
	target = sshd_target(&other, "cat");
	link = linkkit_open(&target);
	for (int i = 0; i < 200; i++) {
		linkkit_send(link, 1, 100000, i);
		if (i >= 5)
			linkkit_expect(link, 1, 100000, i - 5);
	}
	for (int i = 195; i < 200; i++)
		linkkit_expect(link, 1, 100000, i);
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
	link = linkkit_command(command);
	for (int i = 0; i < 128; i++)
		linkkit_send(link, 2, FRAME_MAX, i);
	assert_int_equal(link_flush(link, &err), 0);
	assert_int_equal(link_bytes_sent(link), bytes);
	linkkit_expect_end(link, "status 9", &err);
	snprintf(said, sizeof(said), "it said: \"%llu\"", bytes);
	linkkit_says(&err, ERR_LINK, said);
	link_close(link);
}

static void test_ssh_slow_network(void **state)
{
	struct relay *relay = sshd_relay(&linkkit_sshd);
	struct link *link = linkkit_through(relay, "cat");
	uint64_t start;

	(void)state;
	relay_delay(relay, 20000);
	start = clock_mono_ns();
	linkkit_send(link, 1, 10, 'x');
	linkkit_expect(link, 1, 10, 'x');
	assert_in_range(clock_mono_ns() - start, 39000000, 5 * LINKKIT_SECOND);
	for (int i = 0; i < 20; i++)
		linkkit_send(link, 1, 200000, i);
	for (int i = 0; i < 20; i++)
		linkkit_expect(link, 1, 200000, i);
	assert_true(relay_bytes_up(relay) > 4000000 && relay_bytes_down(relay) > 4000000);
	assert_int_equal(relay_connections(relay), 1);
	link_close(link);
	relay_stop(relay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fds_both_ways),      cmocka_unit_test(test_receive_flushes),
	    cmocka_unit_test(test_fds_cut_in_a_frame), cmocka_unit_test(test_fds_reader_gone),
	    cmocka_unit_test(test_watch_ends_waiting), cmocka_unit_test(test_fds_stall),
	    cmocka_unit_test(test_ssh_echo),           cmocka_unit_test(test_ssh_echo_behind),
	    cmocka_unit_test(test_ssh_rekeying),       cmocka_unit_test(test_ssh_big_transfer),
	    cmocka_unit_test(test_ssh_slow_network),
	};

	return cmocka_run_group_tests_name("link", tests, linkkit_start, linkkit_stop);
}
