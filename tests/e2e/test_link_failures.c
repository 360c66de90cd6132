/* test_link_failures.c: links over SSH to a real sshd: how each thing that can go wrong ends. */
#include "common/io.h"
#include "migrate/link.h"
#include "tests/lib/linkkit.h"
#include "tests/lib/relay.h"
#include "tests/lib/test.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void test_nobody_listens(void **state)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	struct err err;

	(void)state;
	target.port = 1;
	linkkit_refuse(&target, "cannot reach 127.0.0.1 on port 1: Connection refused", &err);
	strcpy(target.host, "no-such-host.invalid");
	linkkit_refuse(&target, "host no-such-host.invalid is not known", &err);
}

/* Something accepts, and says nothing. */
static void test_connect_timeout(void **state)
{
	struct relay *relay = sshd_relay(&linkkit_sshd);
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat");
	uint64_t start = clock_mono_ns();
	struct err err;

	(void)state;
	assert_non_null(relay);
	relay_stall(relay, true);
	target.port = relay_port(relay);
	target.connect_timeout_s = 1;
	linkkit_refuse(&target, "no SSH connection to 127.0.0.1:", &err);
	assert_in_range(clock_mono_ns() - start, LINKKIT_SECOND / 2, 8 * LINKKIT_SECOND);
	relay_stop(relay);
}

static void test_command_not_found(void **state)
{
	struct link *link = linkkit_command("drover-that-is-not-there serve");
	struct err err;

	(void)state;
	linkkit_expect_end(link, "status 127", &err);
	linkkit_says(&err, ERR_LINK, "drover-that-is-not-there");
	linkkit_says(&err, ERR_LINK, "not found");
	linkkit_put(link, 10, 'x'); /* afterwards all fails alike */
	assert_int_equal(link_send(link, 1, 0, &err), -1);
	linkkit_says(&err, ERR_LINK, "status 127");
	assert_int_equal(link_flush(link, &err), -1);
	link_close(link);
}

/* Noticed while sending too, when nothing is ever received. */
static void test_command_ends_while_sending(void **state)
{
	struct link *link = linkkit_command("head -c 1000000 > /dev/null; echo enough >&2; exit 3");
	struct err err;

	(void)state;
	do {
		linkkit_put(link, 300000, 'x');
	} while (link_send(link, 1, 0, &err) == 0);
	linkkit_says(&err, ERR_LINK, "status 3");
	linkkit_says(&err, ERR_LINK, "it said: \"enough\"");
	link_close(link);
}

static void test_noisy_shell(void **state)
{
	struct link *link = linkkit_command("echo Welcome to this host; cat");
	struct err err;

	(void)state;
	linkkit_send(link, 1, 10, 'x');
	linkkit_expect_end(link, "127.0.0.1:", &err);
	linkkit_says(&err, ERR_INPUT, "text instead of drover's stream: \"Welcome to this host\"");
	link_close(link);
}

static void test_killed_command(void **state)
{
	struct link *link = linkkit_command("echo about to go >&2; kill -9 $$");
	struct err err;

	(void)state;
	linkkit_expect_end(link, "signal KILL", &err);
	linkkit_says(&err, ERR_LINK, "about to go");
	link_close(link);
}

/* Only the end of a long stderr is kept, and control characters in it reach no terminal. */
static void test_long_stderr(void **state)
{
	struct link *link =
	    linkkit_command("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; "
			    "printf 'the \\033[2Jend\\n' >&2; "
			    "exit 1");
	struct err err;

	(void)state;
	linkkit_expect_end(link, "line 2999", &err);
	linkkit_says(&err, ERR_LINK, "the ?[2Jend\"");
	link_close(link);
}

static void test_cut_by_the_network(void **state)
{
	struct relay *relay = sshd_relay(&linkkit_sshd);
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat > /dev/null");
	struct link *link;
	struct err err;

	(void)state;
	assert_non_null(relay);
	target.port = relay_port(relay);
	link = linkkit_open(&target);
	relay_cut_after(relay, 5000000);
	do {
		linkkit_put(link, 300000, 'x');
	} while (link_send(link, 1, 0, &err) == 0 && link_bytes_sent(link) < 500000000);
	linkkit_says(&err, ERR_LINK, "the connection to 127.0.0.1:");
	linkkit_says(&err, ERR_LINK, "broke");
	link_close(link);
	/* and while waiting for an answer */
	link = linkkit_open(&target);
	linkkit_send(link, 1, 10, 'x');
	assert_int_equal(link_flush(link, &err), 0);
	relay_cut(relay);
	linkkit_expect_end(link, "broke", &err);
	link_close(link);
	relay_stop(relay);
}

/* The library is the first to notice, when it writes: it closes the descriptor, and nothing is left to poll for. */
static void test_cut_before_a_small_write(void **state)
{
	struct relay *relay = sshd_relay(&linkkit_sshd);
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat > /dev/null");
	struct link *link;
	struct err err;

	(void)state;
	assert_non_null(relay);
	target.port = relay_port(relay);
	link = linkkit_open(&target);
	link_set_stall(link, 5000); /* what this must not take for one */
	linkkit_send(link, 1, 10, 'x');
	assert_int_equal(link_flush(link, &err), 0);
	assert_int_equal(link_readable(link, &err), 0); /* it learns that it can write at once */
	relay_cut(relay);
	linkkit_send(link, 1, 10, 'x');
	assert_int_equal(link_flush(link, &err), -1);
	linkkit_says(&err, ERR_LINK, "broke");
	assert_true(link_broken(link));
	link_close(link);
	relay_stop(relay);
}

static void test_stall_while_sending(void **state)
{
	struct relay *relay = sshd_relay(&linkkit_sshd);
	struct ssh_target target = sshd_target(&linkkit_sshd, "cat > /dev/null");
	struct link *link;
	struct err err;
	uint64_t start;

	(void)state;
	assert_non_null(relay);
	target.port = relay_port(relay);
	link = linkkit_open(&target);
	for (int i = 0; i < 20; i++)
		linkkit_send(link, 1, 300000, 'x');
	link_set_stall(link, 1000);
	relay_stall(relay, true);
	start = clock_mono_ns();
	do {
		linkkit_put(link, 300000, 'x');
	} while (link_send(link, 1, 0, &err) == 0 && link_bytes_sent(link) < 500000000);
	linkkit_says(&err, ERR_LINK, "no progress on the link to 127.0.0.1:");
	linkkit_says(&err, ERR_LINK, "for 1 s");
	assert_in_range(clock_mono_ns() - start, LINKKIT_SECOND / 2, 10 * LINKKIT_SECOND);
	start = clock_mono_ns();
	link_close(link); /* must not wait for the network either */
	assert_in_range(clock_mono_ns() - start, 0, LINKKIT_SECOND);
	relay_stop(relay);
}

/* A link that is slow, but moves, is no stall: everything held up for longer than the limit in sum, not at once. */
static void test_slow_is_not_stalled(void **state)
{
	struct link *link = linkkit_command("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c 1500000 > "
					    "/dev/null; sleep 0.25; done; cat > /dev/null");
	struct err err;
	uint64_t start = clock_mono_ns();

	(void)state;
	link_set_stall(link, 2000);
	for (int i = 0; i < 80; i++)
		linkkit_send(link, 1, 300000, 'x');
	assert_int_equal(link_flush(link, &err), 0);
	assert_true(clock_mono_ns() - start > 2 * LINKKIT_SECOND);
	link_close(link);
}

static void test_link_cut(void **state)
{
	struct link *link = linkkit_command("cat");
	struct frame frame;
	struct err err;

	(void)state;
	linkkit_send(link, 1, 10, 'x');
	linkkit_expect(link, 1, 10, 'x');
	link_cut(link);
	assert_int_equal(link_receive(link, linkkit_in_s(5), &frame, &err), -1);
	linkkit_says(&err, ERR_LINK, "was cut");
	linkkit_put(link, 10, 'x');
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
	struct ssh_target wrong = sshd_target(&linkkit_sshd, "cat");
	char path[SSHD_PATH];
	struct err err;
	int before = count_fds();

	(void)state;
	wrong.identity = linkkit_path(path, "host_key");
	for (int i = 0; i < 3; i++) {
		struct link *link = linkkit_command("cat");

		if (i == 1)
			link_cut(link);
		link_close(link);
		linkkit_refuse(&wrong, "does not let user", &err);
		link = linkkit_command("exit 1");
		linkkit_expect_end(link, "status 1", &err);
		link_close(link);
	}
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nobody_listens),
	    cmocka_unit_test(test_connect_timeout),
	    cmocka_unit_test(test_command_not_found),
	    cmocka_unit_test(test_command_ends_while_sending),
	    cmocka_unit_test(test_noisy_shell),
	    cmocka_unit_test(test_killed_command),
	    cmocka_unit_test(test_long_stderr),
	    cmocka_unit_test(test_cut_by_the_network),
	    cmocka_unit_test(test_cut_before_a_small_write),
	    cmocka_unit_test(test_stall_while_sending),
	    cmocka_unit_test(test_slow_is_not_stalled),
	    cmocka_unit_test(test_link_cut),
	    cmocka_unit_test(test_no_descriptor_is_left),
	};

	return cmocka_run_group_tests_name("link_failures", tests, linkkit_start, linkkit_stop);
}
