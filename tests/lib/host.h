/* host.h: simulated hosts for end-to-end tests: each has its own state and run folder, and all reach each other
 * through one real sshd (tests/lib/sshd.h).  Everything fails the running CMocka test on a surprise. */
#ifndef TESTS_LIB_HOST_H
#define TESTS_LIB_HOST_H

#include "tests/lib/sshd.h"
#include "vmm/ledger.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { HOST_PATH = 256, HOST_OUTPUT = 65536 };

struct host {
	char name[16];
	char root[HOST_PATH]; /* holds state/ and run/ */
};

/* host_build(): absolute path of the build folder ($DROVER_BUILD, else build). */
const char *host_build(void);

/* host_open(host, folder, name): makes folder/name/{state,run}.  host_end_vms: ends VMs that a failed test left there, and
 * says so.  host_close: the same, and removes all. */
void host_open(struct host *host, const char *folder, const char *name);
void host_end_vms(const struct host *host);
void host_close(struct host *host);

/* A drover command on a host, in a process of its own. */
struct command {
	pid_t pid;
	int out; /* its stdout and stderr */
	char output[HOST_OUTPUT];
	size_t len;
};
/* command_start(command, host, fault, argv): argv[0] is "drover", NULL at its end; fault: $DROVER_FAULT or NULL.
 * command_wait: its exit status, or 128 + signal; fails the test after 60 s (and kills it).  command_must_succeed: the same, and that must
 * be 0; else the test fails with the end of what it printed. */
void command_start(struct command *command, const struct host *host, const char *fault,
		   const char *const argv[]);
int command_wait(struct command *command);
void command_must_succeed(struct command *command);
/* command_lives: it has not ended.  command_report: the JSON object that `migrate --json` printed behind its progress, when it
 * has; new reference.  command_number: a number of that. */
bool command_lives(const struct command *command);
json_t *command_report(const struct command *command);
json_int_t command_number(const struct command *command, const char *key);
/* host_drover(host, output, …): run `drover …` (NULL at the end), the status; output (HOST_OUTPUT) may be NULL. */
int host_drover(const struct host *host, char *output, ...) __attribute__((sentinel));
/* host_must: the same, and the status must be 0. */
void host_must(const struct host *host, ...) __attribute__((sentinel));

/* host_fault_fired(host, point): an injected fault took place in a process of this host since the last call. */
bool host_fault_fired(const struct host *host, const char *point);

/* host_state(host, vm, state): what the VM process says it is ("running", …), "silent" when it does not, or "none" when there is none to
 * answer. */
void host_state(const struct host *host, const char *vm, char state[16]);
/* host_wait_state(host, vm, list): until the state is one of the space-separated list; fails after 20 s. */
void host_wait_state(const struct host *host, const char *vm, const char *list);
struct ledger_record host_ledger(const struct host *host, const char *vm);

/* host_run_guest(host, vm, memory, fault, parameters): start the test guest detached and wait for its first report. */
void host_run_guest(const struct host *host, const char *vm, const char *memory, const char *fault,
		    const char *parameters);

/* host_type(host, vm, line): type a line at the guest's console; fails when nobody can. */
void host_type(const struct host *host, const char *vm, const char *line);

/* A report line of the test guest. */
struct guest_report {
	uint64_t seq, t_ms, written, verified, gap_us, max_gap_us, errors;
};
/* host_reports(host, vm, reports, cap): all reports of its console log there, in order; how many (at most cap). A
 * line about a memory error fails the test. */
size_t host_reports(const struct host *host, const char *vm, struct guest_report *reports, size_t cap);
/* host_wait_report(host, vm, seq): until the log there has a report with at least this seq; returns it; fails
 * after 20 s, or when it says errors. */
struct guest_report host_wait_report(const struct host *host, const char *vm, uint64_t seq);

/* host_migrate_argv: `drover migrate vm ssh://…` from anywhere to `to`, through sshd; the returned array and its
 * strings are valid until the next call.  remote_fault: $DROVER_FAULT of the serve there and the VM process that it
 * starts, or NULL. */
const char *const *host_migrate_argv(const struct sshd *sshd, const struct host *to, const char *vm,
				     const char *remote_fault);
/* host_migrate_argv_with: the same with more options, each with its value, and NULL at the end; one that it has anyhow gets this value.  A
 * flag comes last.  port: of a relay on the way, or 0. */
const char *const *host_migrate_argv_with(const struct sshd *sshd, const struct host *to, const char *vm,
					  const char *remote_fault, uint16_t port, const char *const more[]);
const char *const *host_resolve_argv(const struct sshd *sshd, const struct host *to, const char *vm);

#endif
