/* A sender's further links: when they are connected and when they join, how many at a time, and what becomes of those that fail.
 * The receiver is a socket that nobody reads. */
#include "migrate/sender.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_ONCE = 8, FURTHER = STREAM_LINKS - 1 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	unsigned crowd; /* connects wait until so many are under way */
	unsigned connecting, most, connected, joined, to_fail;
	int far_end[2 * STREAM_LINKS];
	unsigned ends;
} world;

static struct sender sender;

static struct link *make_link(struct err *err)
{
	int pair[2], second;
	struct link *link;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	second = dup(pair[0]);
	link = link_open_fds(pair[0], second, "the receiver", err);
	assert_non_null(link);
	world.far_end[world.ends++] = pair[1];
	return link;
}

static struct link *connect_one(void *arg, struct ssh_attempt *attempt, struct err *err)
{
	struct link *link = NULL;

	(void)arg, (void)attempt;
	pthread_mutex_lock(&world.lock);
	if (++world.connecting > world.most)
		world.most = world.connecting;
	pthread_cond_broadcast(&world.change);
	while (world.most < world.crowd)
		pthread_cond_wait(&world.change, &world.lock);
	world.connecting--;
	if (world.to_fail > 0) {
		world.to_fail--;
		err_set(err, ERR_LINK, "dropped");
	} else {
		link = make_link(err);
		world.connected++;
	}
	pthread_cond_broadcast(&world.change);
	pthread_mutex_unlock(&world.lock);
	return link;
}

static int join_one(void *arg, struct link *link, uint32_t id, struct err *err)
{
	(void)arg, (void)link, (void)err;
	assert_true(id > 0);
	pthread_mutex_lock(&world.lock);
	world.joined++;
	pthread_cond_broadcast(&world.change);
	pthread_mutex_unlock(&world.lock);
	return 0;
}

static void await(const unsigned *count, unsigned least)
{
	pthread_mutex_lock(&world.lock);
	while (*count < least)
		pthread_cond_wait(&world.change, &world.lock);
	pthread_mutex_unlock(&world.lock);
}

static int open_sender(void **state)
{
	const struct sender_session session = {.connect = connect_one, .join = join_one};
	struct err err;

	(void)state;
	memset(&world, 0, sizeof(world));
	pthread_mutex_init(&world.lock, NULL);
	pthread_cond_init(&world.change, NULL);
	return sender_open(&sender, &session, PACKER_NONE, &err);
}

static int close_sender(void **state)
{
	(void)state;
	sender_close(&sender);
	for (unsigned i = 0; i < world.ends; i++)
		close(world.far_end[i]);
	return 0;
}

static void they_are_connected_before_there_is_a_session_and_join_it_then(void **state)
{
	struct link *control;
	struct err err;

	(void)state;
	assert_int_equal(sender_start_workers(&sender, STREAM_LINKS, &err), 0);
	await(&world.connected, FURTHER);
	assert_int_equal(world.joined, 0);
	assert_int_equal(sender_live_links(&sender), 0);
	control = make_link(&err);
	sender_set_control(&sender, control, 0);
	await(&world.joined, FURTHER);
	sender_close(&sender);
	link_close(control);
}

/* Eight wait for each other; a ninth would be counted. */
static void eight_of_them_are_made_at_a_time(void **state)
{
	struct err err;

	(void)state;
	world.crowd = AT_ONCE;
	assert_int_equal(sender_start_workers(&sender, STREAM_LINKS, &err), 0);
	await(&world.connected, FURTHER);
	assert_int_equal(world.most, AT_ONCE);
}

static void one_that_is_dropped_is_tried_again_without_a_word(void **state)
{
	struct err note, err;

	(void)state;
	world.to_fail = 3;
	assert_int_equal(sender_start_workers(&sender, 1 + 3, &err), 0);
	await(&world.connected, 3);
	assert_false(sender_note(&sender, &note));
}

static void one_that_is_dropped_twice_is_told_of(void **state)
{
	struct err note, err;

	(void)state;
	world.to_fail = 2;
	assert_int_equal(sender_start_workers(&sender, 1 + 1, &err), 0);
	await(&world.connected, 1);
	assert_true(sender_note(&sender, &note));
	assert_string_equal(note.text, "a further link could not be had: dropped");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(they_are_connected_before_there_is_a_session_and_join_it_then,
					    open_sender, close_sender),
	    cmocka_unit_test_setup_teardown(eight_of_them_are_made_at_a_time, open_sender, close_sender),
	    cmocka_unit_test_setup_teardown(one_that_is_dropped_is_tried_again_without_a_word, open_sender,
					    close_sender),
	    cmocka_unit_test_setup_teardown(one_that_is_dropped_twice_is_told_of, open_sender, close_sender),
	};

	return cmocka_run_group_tests_name("sender_links", tests, NULL, NULL);
}
