/* fault.c: failures on demand, at named points. */
#include "common/fault.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum action { ACTION_NONE, ACTION_KILL, ACTION_STOP, ACTION_ERROR, ACTION_CUT };

static const char *const action_names[] = {[ACTION_NONE] = "",
					   [ACTION_KILL] = "kill",
					   [ACTION_STOP] = "stop",
					   [ACTION_ERROR] = "error",
					   [ACTION_CUT] = "cut"};
enum { ACTIONS = sizeof(action_names) / sizeof(action_names[0]) };

static const char *const point_names[FAULT_COUNT] = {
#define POINT_NAME(id, name) [FAULT_##id] = name,
    FAULT_POINTS(POINT_NAME)
#undef POINT_NAME
};

bool fault_armed;
static enum action actions[FAULT_COUNT]; /* what is due at each point; an exchange makes it happen once */
static bool last_was_cut;
static int trace_fd = -1;

/* The number of a word of `len` bytes in a table, or -1. */
static int find(const char *const *names, int count, const char *word, size_t len)
{
	for (int i = 0; i < count; i++) {
		if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0)
			return i;
	}
	return -1;
}

__attribute__((noreturn)) static void bad_fault(const char *item, size_t len, const char *why)
{
	fprintf(stderr, "DROVER_FAULT: \"%.*s\" %s\n", (int)len, item, why);
	exit(2);
}

/* Opened early: a process may have no file system left when it comes to a point. */
static void open_trace(void)
{
	const char *path = getenv("DROVER_FAULT_TRACE");

	if (!path)
		return;
	trace_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (trace_fd < 0)
		fprintf(stderr, "DROVER_FAULT_TRACE: cannot write %s\n", path);
}

void fault_open(void)
{
	const char *item = getenv("DROVER_FAULT");

	if (!item || !*item)
		return;
	for (;;) {
		size_t len = strcspn(item, ",");
		size_t point_len = strcspn(item, "=,");
		int point = find(point_names, FAULT_COUNT, item, point_len);
		int action;

		if (point < 0)
			bad_fault(item, len, "names no fault point: common/fault.h lists them");
		if (item[point_len] != '=')
			bad_fault(item, len, "lacks its action: write point=action");
		action = find(action_names, ACTIONS, item + point_len + 1, len - point_len - 1);
		if (action <= ACTION_NONE)
			bad_fault(item, len, "has no known action: kill, stop, error or cut");
		if (actions[point] != ACTION_NONE)
			bad_fault(item, len, "comes twice: a point has one action");
		actions[point] = (enum action)action;
		if (!item[len])
			break;
		item += len + 1;
	}
	open_trace();
	fault_armed = true;
}

/* Before the action: after it this process may be gone. */
static void leave_trace(enum fault_point_id id)
{
	if (trace_fd >= 0 && dprintf(trace_fd, "%s\n", point_names[id]) < 0)
		fprintf(stderr, "DROVER_FAULT_TRACE: cannot be written\n");
}

/* To the process, not the thread: no thread of it gets any further.  The first process of a pid namespace cannot kill
 * itself; what is left of its exit then is the status. */
static void end_at_once(void)
{
	if (getpid() != 1)
		kill(getpid(), SIGKILL);
	_exit(128 + SIGKILL);
}

bool fault_due(enum fault_point_id id)
{
	enum action action = __atomic_exchange_n(&actions[id], ACTION_NONE, __ATOMIC_SEQ_CST);

	if (action == ACTION_NONE)
		return false;
	leave_trace(id);
	__atomic_store_n(&last_was_cut, action == ACTION_CUT, __ATOMIC_SEQ_CST);
	if (action == ACTION_KILL)
		end_at_once();
	if (action == ACTION_STOP)
		kill(getpid(), SIGSTOP);
	return action == ACTION_ERROR || action == ACTION_CUT;
}

bool fault_is_cut(void)
{
	return __atomic_load_n(&last_was_cut, __ATOMIC_SEQ_CST);
}

const char *fault_name(enum fault_point_id id)
{
	return (unsigned int)id < FAULT_COUNT ? point_names[id] : "?";
}
