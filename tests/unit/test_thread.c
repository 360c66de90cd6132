/* test_thread.c: threads that get no signals; waits that end by the clock. */
#include "common/io.h"
#include "common/thread.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <signal.h>

static void *mask_of(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, arg);
	return NULL;
}

static void a_thread_has_all_signals_blocked(void **state)
{
	sigset_t seen, before, after;
	pthread_t thread;

	(void)state;
	sigemptyset(&seen);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(thread_start(&thread, mask_of, &seen), 0);
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_int_equal(sigismember(&seen, SIGTERM), 1);
	assert_int_equal(sigismember(&seen, SIGINT), 1);
	/* Who started it has what he had. */
	for (int signal = 1; signal <= SIGRTMAX; signal++)
		assert_int_equal(sigismember(&after, signal), sigismember(&before, signal));
}

static void a_wait_ends_at_its_time(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint64_t until = clock_mono_ns() + 20000000;
	pthread_cond_t cond;
	int why = 0;

	(void)state;
	thread_cond_init(&cond);
	pthread_mutex_lock(&lock);
	while (why == 0)
		why = thread_cond_wait_until(&cond, &lock, until);
	pthread_mutex_unlock(&lock);
	assert_int_equal(why, ETIMEDOUT);
	assert_true(clock_mono_ns() >= until);
	pthread_cond_destroy(&cond);
}

static void nanoseconds_make_a_timespec(void **state)
{
	struct timespec time = clock_timespec(12345678901234567ull);

	(void)state;
	assert_int_equal(time.tv_sec, 12345678);
	assert_int_equal(time.tv_nsec, 901234567);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_thread_has_all_signals_blocked),
	    cmocka_unit_test(a_wait_ends_at_its_time),
	    cmocka_unit_test(nanoseconds_make_a_timespec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
