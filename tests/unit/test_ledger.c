/* The hand-over ledger: what is on disk after writes, torn writes and other processes, and what it decides. */
#include "common/err.h"
#include "vmm/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID          "01234567-89ab-4cde-8f01-23456789abcd"
#define OTHER_UUID    "11111111-89ab-4cde-8f01-23456789abcd"
#define SESSION       "0123456789abcdef0123456789abcdef"
#define OTHER_SESSION "ffffffffffffffff0123456789abcdef"

static char root[64];

static int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "%s/ledger-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(root));
	return setenv("DROVER_STATE", root, 1);
}

static int remove_root(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static struct ledger_record record(enum ledger_state kind, uint64_t term)
{
	struct ledger_record made = {
	    .state = kind, .uuid = UUID, .term = term, .session = SESSION, .peer = "ssh://b"};

	return made;
}

static void must(int status, const struct err *err)
{
	if (status)
		fail_msg("%s", err->text);
}

static void slots_alternate_and_survive_reopening(void **state)
{
	struct ledger ledger;
	struct err err;

	(void)state;
	for (uint64_t term = 1; term <= 7; term++) {
		struct ledger_record next = record(LEDGER_RUNNING, term);

		must(ledger_open(&ledger, "alternate", &err), &err);
		if (term == 1)
			assert_int_equal(ledger.now.state, LEDGER_NONE);
		else
			assert_int_equal(ledger.now.term, term - 1);
		must(ledger_write(&ledger, &next, &err), &err);
		ledger_close(&ledger);
	}
	must(ledger_open(&ledger, "alternate", &err), &err);
	assert_int_equal(ledger.now.state, LEDGER_RUNNING);
	assert_string_equal(ledger.now.uuid, UUID);
	assert_string_equal(ledger.now.session, SESSION);
	assert_string_equal(ledger.now.peer, "ssh://b");
	ledger_close(&ledger);
}

static void damage(const char *name, off_t from, size_t len)
{
	char path[256], junk[1024];
	int fd;

	snprintf(path, sizeof(path), "%s/vms/%s/handover", root, name);
	memset(junk, 0x5a, sizeof(junk));
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, junk, len, from), (ssize_t)len);
	close(fd);
}

static void torn_write_leaves_the_older_record(void **state)
{
	struct ledger_record one = record(LEDGER_RUNNING, 1), two = record(LEDGER_INTENT, 1);
	struct ledger ledger;
	struct err err;

	(void)state;
	must(ledger_open(&ledger, "torn", &err), &err);
	must(ledger_write(&ledger, &one, &err), &err);
	must(ledger_write(&ledger, &two, &err), &err);
	ledger_close(&ledger);
	/* Sequence 2 lies in slot 0: half of it is overwritten, as a power cut in the write would leave it. */
	damage("torn", 0, 256);
	must(ledger_open(&ledger, "torn", &err), &err);
	assert_int_equal(ledger.now.state, LEDGER_RUNNING);
	ledger_close(&ledger);
	damage("torn", 512, 256);
	assert_int_equal(ledger_open(&ledger, "torn", &err), -1);
	assert_int_equal(err.kind, ERR_INPUT);
	assert_non_null(strstr(err.text, "damaged"));
}

static void the_lock_is_one_process_s(void **state)
{
	struct ledger ledger, second;
	struct ledger_record seen;
	int status;
	bool locked;
	struct err err;
	pid_t child;

	(void)state;
	must(ledger_peek("locked", &seen, &locked, &err), &err);
	assert_false(locked);
	assert_int_equal(seen.state, LEDGER_NONE);
	must(ledger_open(&ledger, "locked", &err), &err);
	child = fork();
	if (child == 0)
		_exit(ledger_open(&second, "locked", &err) == -1 && err.kind == ERR_STATE &&
			      !ledger_peek("locked", &seen, &locked, &err) && locked
			  ? 0
			  : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	ledger_close(&ledger);
	must(ledger_peek("locked", &seen, &locked, &err), &err);
	assert_false(locked);
}

/* Each row: what the ledger holds (no process lives), and what the question about (UUID, term 5, SESSION) gives. */
static void outcome_without_a_process(void **state)
{
	static const struct {
		const char *what;
		struct ledger_record now;
		bool started;
		enum ledger_state promise;
	} rows[] = {
	    {"never heard of it", {.state = LEDGER_NONE}, false, LEDGER_REFUSED},
	    {"was being received", {LEDGER_INCOMING, UUID, 5, 0, 0, SESSION, ""}, false, LEDGER_REFUSED},
	    {"refused before", {LEDGER_REFUSED, UUID, 5, 0, 0, SESSION, ""}, false, LEDGER_NONE},
	    {"an earlier attempt", {LEDGER_REFUSED, UUID, 3, 0, 0, OTHER_SESSION, ""}, false, LEDGER_REFUSED},
	    {"started and died", {LEDGER_RUNNING, UUID, 5, 0, 5, SESSION, ""}, false, LEDGER_REFUSED},
	    {"started and stopped in order", {LEDGER_STOPPED, UUID, 5, 0, 5, SESSION, ""}, true, LEDGER_NONE},
	    {"started and moved on",
	     {LEDGER_HANDED_OVER, UUID, 6, 0, 5, SESSION, "ssh://c"},
	     true,
	     LEDGER_NONE},
	    {"started, moving on", {LEDGER_INTENT, UUID, 5, 6, 5, SESSION, "ssh://c"}, true, LEDGER_NONE},
	    {"started, left and comes back",
	     {LEDGER_INCOMING, UUID, 8, 0, 5, OTHER_SESSION, ""},
	     true,
	     LEDGER_NONE},
	    {"another VM of that name",
	     {LEDGER_RUNNING, OTHER_UUID, 9, 0, 9, SESSION, ""},
	     false,
	     LEDGER_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ledger_record promise, again;
		bool started = ledger_outcome(&rows[i].now, UUID, 5, SESSION, &promise);

		if (started != rows[i].started || promise.state != rows[i].promise)
			fail_msg("%s: started %d, promise %s", rows[i].what, started,
				 ledger_state_name(promise.state));
		/* Asked again after the promise was written, the answer is the same. */
		if (promise.state != LEDGER_NONE && ledger_outcome(&promise, UUID, 5, SESSION, &again))
			fail_msg("%s: the promise does not hold", rows[i].what);
	}
}

static void what_is_forgotten_still_answers(void **state)
{
	struct ledger_record moved_on = {LEDGER_HANDED_OVER, UUID, 6, 0, 5, SESSION, "ssh://c"}, kept,
			     promise, made_here = {LEDGER_STOPPED, OTHER_UUID, 1, 0, 1, "", ""};
	struct err err;

	(void)state;
	must(ledger_buried(UUID, &kept, &err), &err);
	assert_int_equal(kept.state, LEDGER_NONE);
	must(ledger_bury(&moved_on, &err), &err);
	must(ledger_buried(UUID, &kept, &err), &err);
	assert_int_equal(kept.ran_term, 5);
	assert_true(ledger_outcome(&kept, UUID, 5, SESSION, &promise));
	/* Nobody else can have a claim on a VM that was made here and never came from elsewhere. */
	must(ledger_bury(&made_here, &err), &err);
	must(ledger_buried(OTHER_UUID, &kept, &err), &err);
	assert_int_equal(kept.state, LEDGER_NONE);
}

static void receiving_needs_a_term_that_is_not_spent(void **state)
{
	struct ledger_record refused = record(LEDGER_REFUSED, 4), intent = record(LEDGER_INTENT, 2),
			     moved = record(LEDGER_HANDED_OVER, 3), none = {.state = LEDGER_NONE};
	struct err err;

	(void)state;
	assert_int_equal(ledger_may_receive(&none, "n", UUID, 1, &err), 0);
	assert_int_equal(ledger_may_receive(&refused, "n", UUID, 5, &err), 0);
	assert_int_equal(ledger_may_receive(&refused, "n", UUID, 4, &err), -1);
	assert_int_equal(err.kind, ERR_REFUSED);
	assert_int_equal(ledger_may_receive(&moved, "n", UUID, 4, &err), 0);
	assert_int_equal(ledger_may_receive(&moved, "n", UUID, 3, &err), -1);
	intent.next_term = 6;
	assert_int_equal(ledger_promised_term(&intent, UUID), 6);
	assert_int_equal(ledger_may_receive(&intent, "n", UUID, 9, &err), -1);
	assert_non_null(strstr(err.text, "resolve"));
	/* Another VM by that name, which this host handed away, is not overwritten. */
	assert_int_equal(ledger_may_receive(&moved, "n", OTHER_UUID, 9, &err), -1);
	assert_non_null(strstr(err.text, "forget"));
	assert_int_equal(ledger_may_receive(&refused, "n", OTHER_UUID, 1, &err), 0);
}

static void a_start_never_goes_back_to_an_older_term(void **state)
{
	struct ledger_record stopped = record(LEDGER_STOPPED, 4), refused = record(LEDGER_REFUSED, 4),
			     none = {.state = LEDGER_NONE}, promise;

	(void)state;
	assert_int_equal(ledger_start_term(&none, UUID), 1);
	stopped.ran_term = 4;
	assert_int_equal(ledger_start_term(&stopped, UUID), 4);
	assert_int_equal(ledger_start_term(&stopped, OTHER_UUID), 1);
	refused.ran_term = 2;
	assert_int_equal(ledger_start_term(&refused, UUID), 5);
	/* It came here under term 4, was stopped, and started again: who still waits to learn whether it came hears that it did. */
	stopped.state = LEDGER_RUNNING;
	stopped.term = stopped.ran_term = ledger_start_term(&stopped, UUID);
	stopped.session[0] = 0;
	assert_true(ledger_outcome(&stopped, UUID, 4, SESSION, &promise));
}

static void points_are_kept_for_the_newest_term_only(void **state)
{
	struct ledger_record none = {.state = LEDGER_NONE}, ran = record(LEDGER_STOPPED, 4),
			     moved = record(LEDGER_HANDED_OVER, 5), refused = record(LEDGER_REFUSED, 9),
			     standby;
	struct err err;

	(void)state;
	standby = ledger_standby(&none, UUID, 3, "a");
	assert_int_equal(standby.state, LEDGER_STANDBY);
	assert_int_equal(ledger_promised_term(&standby, UUID), 3);
	assert_int_equal(ledger_may_keep(&standby, "n", UUID, 3, &err), 0);
	assert_int_equal(ledger_may_keep(&standby, "n", UUID, 2, &err), -1);
	assert_int_equal(ledger_may_keep(&standby, "n", OTHER_UUID, 9, &err), -1);
	/* It ran here after that. */
	ran.ran_term = 4;
	assert_int_equal(ledger_may_keep(&ran, "n", UUID, 4, &err), -1);
	assert_non_null(strstr(err.text, "term 4"));
	assert_int_equal(ledger_may_keep(&ran, "n", UUID, 5, &err), 0);
	/* It went to the sender from here. */
	moved.ran_term = 4;
	assert_int_equal(ledger_may_keep(&moved, "n", UUID, 5, &err), 0);
	standby = ledger_standby(&moved, UUID, 5, "a");
	assert_int_equal(standby.ran_term, 4);
	/* What was promised besides stays promised, and hinders nobody who sends points. */
	assert_int_equal(ledger_may_keep(&refused, "n", UUID, 2, &err), 0);
	standby = ledger_standby(&refused, UUID, 2, "a");
	assert_int_equal(ledger_promised_term(&standby, UUID), 9);
	assert_int_equal(ledger_may_keep(&standby, "n", UUID, 2, &err), 0);
	assert_int_equal(ledger_start_term(&standby, UUID), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(slots_alternate_and_survive_reopening),
	    cmocka_unit_test(torn_write_leaves_the_older_record),
	    cmocka_unit_test(the_lock_is_one_process_s),
	    cmocka_unit_test(outcome_without_a_process),
	    cmocka_unit_test(what_is_forgotten_still_answers),
	    cmocka_unit_test(receiving_needs_a_term_that_is_not_spent),
	    cmocka_unit_test(a_start_never_goes_back_to_an_older_term),
	    cmocka_unit_test(points_are_kept_for_the_newest_term_only),
	};

	return cmocka_run_group_tests_name("ledger", tests, make_root, remove_root);
}
