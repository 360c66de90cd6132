/* Connections that are being made and that nobody wants any more: who gives them up waits for nothing, wherever they are.  The
 * other side never answers, and no time limit would end the waiting before that of the test itself. */
#include "common/io.h"
#include "migrate/sender.h"
#include "migrate/ssh_internal.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FOR_EVER_S = 100000 };

/* Something that listens, and never says anything. */
struct mute {
	int listener;
	struct ssh_target target;
};

static void mute_open(struct mute *mute, int backlog)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	mute->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(mute->listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(mute->listener, backlog), 0);
	assert_int_equal(getsockname(mute->listener, (struct sockaddr *)&address, &len), 0);
	mute->target = (struct ssh_target){.host = "127.0.0.1",
					   .port = ntohs(address.sin_port),
					   .config = "none",
					   .command = "true",
					   .connect_timeout_s = FOR_EVER_S};
}

/* The next one that connects has greeted, and waits for an answer. */
static int mute_accept(const struct mute *mute)
{
	int fd = accept4(mute->listener, NULL, NULL, SOCK_CLOEXEC);
	char greeting[4];

	assert_true(fd >= 0);
	assert_int_equal(recv(fd, greeting, sizeof(greeting), MSG_WAITALL), 4);
	assert_memory_equal(greeting, "SSH-", 4);
	return fd;
}

struct maker {
	struct ssh_target target;
	struct ssh_attempt attempt;
	struct err err;
	pthread_t thread;
};

static void *make(void *arg)
{
	struct maker *maker = arg;
	struct link *link = link_open_ssh(&maker->target, &maker->err);

	ssh_attempt_end(&maker->attempt);
	return link;
}

static void start(struct maker *maker, const struct ssh_target *target)
{
	maker->target = *target;
	maker->target.attempt = &maker->attempt;
	assert_int_equal(pthread_create(&maker->thread, NULL, make, maker), 0);
}

static void must_have_failed(struct maker *maker)
{
	void *link;

	assert_int_equal(pthread_join(maker->thread, &link), 0);
	assert_null(link);
	assert_int_equal(maker->err.kind, ERR_LINK);
	ssh_attempt_close(&maker->attempt);
}

/* It has a socket that waits. */
static void await_socket(struct ssh_attempt *attempt)
{
	bool there;

	do {
		sched_yield();
		pthread_mutex_lock(&attempt->lock);
		there = attempt->fd >= 0;
		pthread_mutex_unlock(&attempt->lock);
	} while (!there);
}

static void one_that_waits_for_the_servers_greeting(void **state)
{
	struct maker maker;
	struct mute mute;
	int fd;

	(void)state;
	mute_open(&mute, 1);
	ssh_attempt_open(&maker.attempt);
	start(&maker, &mute.target);
	fd = mute_accept(&mute);
	ssh_attempt_give_up(&maker.attempt);
	must_have_failed(&maker);
	close(fd);
	close(mute.listener);
}

/* The queue of the listener is full: the network takes no more. */
static void one_that_waits_to_be_connected(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct maker maker;
	struct mute mute;

	(void)state;
	mute_open(&mute, 0);
	address.sin_port = htons(mute.target.port);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ssh_attempt_open(&maker.attempt);
	start(&maker, &mute.target);
	await_socket(&maker.attempt);
	ssh_attempt_give_up(&maker.attempt);
	must_have_failed(&maker);
	close(fd);
	close(mute.listener);
}

static void one_that_goes_through_a_proxy(void **state)
{
	char folder[TEMP_MAX], config[TEMP_MAX + 16];
	const char *text = "ProxyCommand cat > /dev/null\n";
	struct ssh_target target = {.host = "127.0.0.1", .command = "true", .connect_timeout_s = FOR_EVER_S};
	struct maker maker;

	(void)state;
	temp_make(folder);
	snprintf(config, sizeof(config), "%s/config", folder);
	assert_int_equal(io_replace_file(config, text, strlen(text)), 0);
	target.config = config;
	ssh_attempt_open(&maker.attempt);
	start(&maker, &target);
	await_socket(&maker.attempt);
	ssh_attempt_give_up(&maker.attempt);
	must_have_failed(&maker);
	temp_remove(folder);
}

static void one_that_was_given_up_before_it_began(void **state)
{
	struct maker maker;
	struct mute mute;

	(void)state;
	mute_open(&mute, 1);
	ssh_attempt_open(&maker.attempt);
	ssh_attempt_give_up(&maker.attempt);
	start(&maker, &mute.target);
	must_have_failed(&maker);
	close(mute.listener);
}

static void one_that_is_over_is_left_alone(void **state)
{
	struct ssh_attempt attempt;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ssh_attempt_open(&attempt);
	ssh_attempt_socket(&attempt, pair[0]);
	ssh_attempt_end(&attempt);
	ssh_attempt_give_up(&attempt);
	assert_int_equal(send(pair[0], "x", 1, MSG_NOSIGNAL), 1);
	ssh_attempt_close(&attempt);
	close(pair[0]);
	close(pair[1]);
}

/* ---- a sender's ---- */

static struct link *connect_to_mute(void *arg, struct ssh_attempt *attempt, struct err *err)
{
	const struct mute *mute = arg;
	struct ssh_target target = mute->target;

	target.attempt = attempt;
	return link_open_ssh(&target, err);
}

static void all_those_of_a_sender_that_is_closed(void **state)
{
	enum { FURTHER = 3 };
	struct mute mute;
	const struct sender_session session = {.arg = &mute, .connect = connect_to_mute};
	static struct sender sender;
	int fds[FURTHER];
	struct err err;

	(void)state;
	mute_open(&mute, FURTHER);
	assert_int_equal(sender_open(&sender, &session, PACKER_NONE, &err), 0);
	assert_int_equal(sender_start_workers(&sender, 1 + FURTHER, &err), 0);
	for (int i = 0; i < FURTHER; i++)
		fds[i] = mute_accept(&mute);
	sender_close(&sender);
	for (int i = 0; i < FURTHER; i++)
		close(fds[i]);
	close(mute.listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_that_waits_for_the_servers_greeting),
	    cmocka_unit_test(one_that_waits_to_be_connected),
	    cmocka_unit_test(one_that_goes_through_a_proxy),
	    cmocka_unit_test(one_that_was_given_up_before_it_began),
	    cmocka_unit_test(one_that_is_over_is_left_alone),
	    cmocka_unit_test(all_those_of_a_sender_that_is_closed),
	};

	return cmocka_run_group_tests_name("ssh_attempt", tests, NULL, NULL);
}
