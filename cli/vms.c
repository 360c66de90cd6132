#include "cli/vms.h"
#include "cli/output.h"
#include "common/io.h"
#include "common/jobj.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/units.h"
#include "vmm/cgroup.h"
#include "vmm/leftovers.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void copy_field(const json_t *object, const char *key, char *to, size_t size)
{
	const char *text = NULL;

	if (!jobj_string(object, key, false, size - 1, &text, NULL) && text)
		snprintf(to, size, "%s", text);
}

static void read_status(const json_t *status, struct vm_view *view)
{
	json_t *handover = NULL;

	copy_field(status, "state", view->state, sizeof(view->state));
	copy_field(status, "uuid", view->uuid, sizeof(view->uuid));
	copy_field(status, "dirty_mode", view->dirty_mode, sizeof(view->dirty_mode));
	jobj_u64(status, "term", false, 0, INT64_MAX, &view->term, NULL);
	jobj_u64(status, "memory_bytes", false, 0, INT64_MAX, &view->memory_bytes, NULL);
	jobj_u64(status, "cpus", false, 0, CONFIG_MAX_CPUS, &view->cpus, NULL);
	jobj_u64(status, "uptime_ms", false, 0, INT64_MAX, &view->uptime_ms, NULL);
	if (!jobj_object(status, "handover", false, &handover, NULL) && handover) {
		copy_field(handover, "phase", view->phase, sizeof(view->phase));
		copy_field(handover, "peer", view->peer, sizeof(view->peer));
		jobj_u64(handover, "term", false, 0, INT64_MAX, &view->next_term, NULL);
	}
	view->answered = true;
}

/* *there: somebody listens. */
static bool ask_process(const char *name, struct vm_view *view, json_t **reply, bool *there)
{
	struct control control;
	json_t *status = NULL;

	*there = !control_connect(&control, name, NULL);
	if (!*there)
		return false;
	if (!control_call(&control, json_pack("{s:s}", "cmd", "status"), VMS_STATUS_TIMEOUT_MS, &status, NULL,
			  NULL, NULL)) {
		read_status(status, view);
		view->pid = (uint64_t)control_pid(&control);
		if (reply)
			*reply = json_incref(status);
		json_decref(status);
	}
	control_close(&control);
	return view->answered;
}

static const char *state_without_process(enum ledger_state state)
{
	switch (state) {
	case LEDGER_RUNNING:
		return "down";
	case LEDGER_INTENT:
		return "pending";
	case LEDGER_HANDED_OVER:
		return "handed-over";
	case LEDGER_INCOMING:
		return "dropped";
	case LEDGER_REFUSED:
		return "refused";
	case LEDGER_STANDBY:
		return "standby";
	case LEDGER_STOPPED:
		return "stopped";
	case LEDGER_NONE:
		break;
	}
	return "empty";
}

/* With these a process that holds the lock has, or is about to have, a guest; with the others it is only ending. */
static bool may_run(enum ledger_state state)
{
	return state == LEDGER_NONE || state == LEDGER_RUNNING || state == LEDGER_INTENT ||
	       state == LEDGER_INCOMING;
}

static bool has_folder(const char *name)
{
	char path[PATHS_MAX];
	struct stat st;

	return !paths_vm_dir(name, path, NULL) && !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* look: the view as of now.  true: the process lives, and nobody listens: it begins, or it was killed just now. */
static bool look(const char *name, struct vm_view *view, json_t **reply)
{
	struct ledger_record record = {0};
	bool there;

	*view = (struct vm_view){0};
	snprintf(view->name, sizeof(view->name), "%s", name);
	if (ask_process(name, view, reply, &there)) {
		view->known = view->locked = true;
		return false;
	}
	view->known = has_folder(name);
	int damaged = ledger_peek(name, &record, &view->locked, NULL);
	if (!view->locked)
		cgroup_remove(name); /* which its process could not, being in them */
	if (damaged) {
		snprintf(view->state, sizeof(view->state), "damaged");
		return false;
	}
	snprintf(view->uuid, sizeof(view->uuid), "%s", record.uuid);
	snprintf(view->peer, sizeof(view->peer), "%s", record.peer);
	view->term = record.term;
	view->next_term = record.next_term;
	bool runs = view->locked && may_run(record.state);
	snprintf(view->state, sizeof(view->state), "%s",
		 runs ? "not-answering" : state_without_process(record.state));
	return runs && !there;
}

/* view_patiently: with a moment's patience for a process that begins or was killed just now, and, if so wanted, for one that
 * ends by itself or was killed while its guest ran nowhere. */
static void view_patiently(const char *name, struct vm_view *view, json_t **reply, bool until_gone)
{
	enum { SILENT_MS = 2000, ENDING_MS = 5000, TRY_MS = 20 };
	uint64_t begun = clock_mono_ns();

	for (;;) {
		bool silent = look(name, view, reply);
		bool ends =
		    until_gone && view->locked && !view->answered && strcmp(view->state, "not-answering");
		uint64_t ms = (clock_mono_ns() - begun) / 1000000;

		if (ms >= (ends ? ENDING_MS : SILENT_MS) || (!silent && !ends))
			return;
		poll(NULL, 0, TRY_MS);
	}
}

void vms_view(const char *name, struct vm_view *view)
{
	view_patiently(name, view, NULL, false);
}

void vms_view_settled(const char *name, struct vm_view *view)
{
	view_patiently(name, view, NULL, true);
}

void vms_view_reply(const char *name, struct vm_view *view, json_t **reply)
{
	*reply = NULL;
	view_patiently(name, view, reply, false);
}

const char *vms_state_text(const struct vm_view *view, char *text, size_t size)
{
	static const struct {
		const char *state, *alone, *before_peer;
	} words[] = {
	    {"migrating", "migrating", "migrating to"},
	    {"switching", "switching over", "switching over to"},
	    {"pending", "pending", "pending, only the peer knows:"},
	    {"lending", "moved, lends memory", "moved, lends memory to"},
	    {"incoming", "incoming", "incoming from"},
	    {"prepared", "prepared", "prepared, from"},
	    {"handed-over", "handed over", "handed over to"},
	    {"standby", "standby", "standby of"},
	    {"not-answering", "not answering", NULL},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].state, view->state))
			continue;
		if (words[i].before_peer && view->peer[0])
			snprintf(text, size, "%s %s", words[i].before_peer, view->peer);
		else
			snprintf(text, size, "%s", words[i].alone);
		text_make_printable(text);
		return text;
	}
	snprintf(text, size, "%s", view->state);
	text_make_printable(text);
	return text;
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? output_string(text) : json_null();
}

static json_t *number_or_null(uint64_t value)
{
	return value ? json_integer((json_int_t)value) : json_null();
}

json_t *vms_json(const struct vm_view *view)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", view->name,
			 "state", text_or_null(view->state), "uuid", text_or_null(view->uuid), "pid",
			 number_or_null(view->pid), "memory_bytes", number_or_null(view->memory_bytes),
			 "cpus", number_or_null(view->cpus), "term", number_or_null(view->term), "next_term",
			 number_or_null(view->next_term), "peer", text_or_null(view->peer), "phase",
			 text_or_null(view->phase), "dirty_mode", text_or_null(view->dirty_mode), "uptime_ms",
			 view->answered ? json_integer((json_int_t)view->uptime_ms) : json_null());
}

struct names {
	char **name;
	size_t count, room;
};

static void add_name(struct names *names, const char *name, size_t len)
{
	char copy[CONFIG_NAME_MAX + 1];

	if (!len || len > CONFIG_NAME_MAX)
		return;
	memcpy(copy, name, len);
	copy[len] = '\0';
	if (!units_name_valid(copy))
		return;
	for (size_t i = 0; i < names->count; i++)
		if (!strcmp(names->name[i], copy))
			return;
	if (names->count == names->room) {
		names->room = names->room ? 2 * names->room : 16;
		names->name = reallocarray(names->name, names->room, sizeof(char *));
		if (!names->name)
			abort();
	}
	names->name[names->count] = strdup(copy);
	if (!names->name[names->count++])
		abort();
}

/* scan(base, suffix, names, err): the entries of base/vms whose names end with suffix, without it. */
static int scan(const char *base, const char *suffix, struct names *names, struct err *err)
{
	char path[PATHS_MAX + 8];
	size_t tail = strlen(suffix);
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/vms", base);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : err_sys(err, "cannot list %s", path);
	while ((entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);

		if (len > tail && !strcmp(entry->d_name + len - tail, suffix))
			add_name(names, entry->d_name, len - tail);
	}
	closedir(dir);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int vms_names(char ***list, size_t *count, struct err *err)
{
	struct names names = {0};
	char base[PATHS_MAX];

	if (paths_state(base, err) || scan(base, "", &names, err) || paths_run(base, err) ||
	    scan(base, ".sock", &names, err)) {
		vms_free_names(names.name, names.count);
		return -1;
	}
	if (names.count)
		qsort(names.name, names.count, sizeof(char *), by_name);
	*list = names.name;
	*count = names.count;
	return 0;
}

void vms_free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

int vms_no_process(const struct vm_view *view, struct err *err)
{
	const char *name = view->name, *peer = view->peer[0] ? view->peer : "another host";

	if (!view->known)
		return err_set(err, ERR_STATE,
			       "this host has no VM named '%s'; 'drover list' shows those it has", name);
	if (view->locked)
		return err_set(err, ERR_STATE,
			       "the process of VM '%s' lives but does not answer; its vm.log may say why",
			       name);
	if (!strcmp(view->state, "handed-over"))
		return err_set(err, ERR_STATE, "VM '%s' was handed over to %s and does not run here any more",
			       name, peer);
	if (!strcmp(view->state, "pending"))
		return err_set(
		    err, ERR_STATE,
		    "the process of VM '%s' died here in a hand-over to %s, which alone knows whether the VM "
		    "runs there: look there, then 'drover forget --force %s'",
		    name, peer, name);
	return err_set(
	    err, ERR_STATE,
	    "VM '%s' does not run here (%s); 'drover run' boots a VM, 'drover forget %s' removes its record",
	    name, view->state, name);
}

int vms_connect(struct control *control, const char *name, struct err *err)
{
	struct err why = {0};
	struct vm_view view;

	if (!control_connect(control, name, &why))
		return 0;
	if (why.kind == ERR_STATE) {
		vms_view(name, &view);
		if (!view.answered)
			return vms_no_process(&view, err);
	}
	if (err)
		*err = why;
	return -1;
}

/* The process behind a control socket, as a descriptor that can be read when it has ended; -1: it has already. */
static int process_of(const struct control *control)
{
	return (int)syscall(SYS_pidfd_open, control_pid(control), 0);
}

bool vms_await_end(struct control *control, const char *name, int timeout_ms)
{
	uint64_t end = clock_mono_ns() + (uint64_t)timeout_ms * 1000000, now;
	struct pollfd process = {.fd = process_of(control), .events = POLLIN};
	bool ended = false;

	while (!ended && (now = clock_mono_ns()) < end) {
		struct err err = {0};
		json_t *event = control_event(control, (int)((end - now) / 1000000) + 1, &err);
		ended = !event && err.kind == ERR_LINK;
		json_decref(event);
	}
	/* Its socket closes first; until it is gone it is in its control groups. */
	while (ended && process.fd >= 0 && (now = clock_mono_ns()) < end &&
	       poll(&process, 1, (int)((end - now) / 1000000) + 1) < 0 && errno == EINTR)
		;
	io_close(&process.fd);
	if (ended) {
		cgroup_remove(name);
		leftovers_remove(name);
	}
	return ended;
}

int vms_order(const char *name, json_t *request, int timeout_ms, json_t **reply, struct err *err)
{
	struct control control;
	int result;

	if (vms_connect(&control, name, err)) {
		json_decref(request);
		return -1;
	}
	result = control_call(&control, request, timeout_ms, reply, NULL, NULL, err);
	control_close(&control);
	return result;
}
