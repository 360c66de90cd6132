/* job.c: see job.h. */
#include "replicate/job.h"

#include "common/io.h"
#include "common/jobj.h"
#include "common/names.h"
#include "common/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 16, EVENTS_MAX = 1 << 20 };

/* ---- files ------------------------------------------------------------------------------------------------------- */

static json_t *read_file(const char *path, struct err *err)
{
	json_t *json;
	void *text;
	size_t len;

	if (io_read_file(path, FILE_MAX, &text, &len)) {
		err_sys(err, "%s", path);
		return NULL;
	}
	json = jobj_parse(text, len, err);
	free(text);
	if (!json)
		err_context(err, "%s", path);
	return json;
}

static int write_file(const char *path, json_t *json, struct err *err)
{
	char folder[PATHS_MAX], *text = json_dumps(json, JSON_INDENT(1));
	int failed;

	json_decref(json);
	if (!text)
		return err_set(err, ERR_SYSTEM, "out of memory for %s", path);
	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = 0;
	failed = io_mkdirs(folder, 0700) || io_replace_file(path, text, strlen(text));
	free(text);
	return failed ? err_sys(err, "cannot write %s", path) : 0;
}

/* ---- what was asked for ------------------------------------------------------------------------------------------ */

static json_t *windows_json(const struct job *job)
{
	json_t *list = json_array();
	char text[WINDOW_TEXT];

	for (unsigned i = 0; i < job->windows; i++)
		json_array_append_new(list, json_string(window_format(&job->window[i], text)));
	return list;
}

static json_t *to_json(const struct job *job)
{
	char keep[RETENTION_TEXT];

	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:i, s:s, s:i, s:o, s:b}", "name", job->name,
			 "vm", job->vm, "uuid", job->uuid, "host", job->host, "rpo_ms",
			 (json_int_t)(job->rpo_ns / 1000000), "keep", retention_format(&job->keep, keep),
			 "bytes_per_s", (json_int_t)job->bytes_per_s, "streams", (int)job->links, "compress",
			 packer_modes[job->packing], "priority", job->priority, "windows", windows_json(job),
			 "paused", job->paused);
}

static int take_windows(const json_t *json, struct job *job, struct err *err)
{
	json_t *list, *item;
	size_t i;

	if (jobj_array(json, "windows", true, &list, err))
		return -1;
	if (json_array_size(list) > JOB_WINDOWS)
		return err_set(err, ERR_INPUT, "\"windows\" has more than %d entries", JOB_WINDOWS);
	json_array_foreach(list, i, item)
	{
		const char *text = json_string_value(item);

		if (window_parse(text ? text : "", &job->window[job->windows++], err))
			return -1;
	}
	return 0;
}

static int take_packing(const json_t *json, struct job *job, struct err *err)
{
	const char *word;

	if (jobj_string(json, "compress", true, 16, &word, err))
		return -1;
	for (size_t i = 0; packer_modes[i]; i++)
		if (!strcmp(packer_modes[i], word)) {
			job->packing = (enum packer_mode)i;
			return 0;
		}
	return err_set(err, ERR_INPUT, "\"compress\" is '%s'", word);
}

static int from_json(const json_t *json, struct job *job, struct err *err)
{
	uint64_t rpo_ms, links, priority;
	const char *keep;

	*job = (struct job){0};
	if (jobj_copy(json, "name", job->name, sizeof(job->name), err) ||
	    jobj_copy(json, "vm", job->vm, sizeof(job->vm), err) ||
	    jobj_copy(json, "uuid", job->uuid, sizeof(job->uuid), err) ||
	    jobj_copy(json, "host", job->host, sizeof(job->host), err) ||
	    jobj_u64(json, "rpo_ms", true, JOB_RPO_MIN_NS / 1000000, JOB_RPO_MAX_NS / 1000000, &rpo_ms,
		     err) ||
	    jobj_string(json, "keep", true, RETENTION_TEXT - 1, &keep, err) ||
	    retention_parse(keep, &job->keep, err) ||
	    jobj_u64(json, "bytes_per_s", true, 0, INT64_MAX, &job->bytes_per_s, err) ||
	    jobj_u64(json, "streams", true, 0, 64, &links, err) || take_packing(json, job, err) ||
	    jobj_u64(json, "priority", true, 0, JOB_PRIORITY_MAX, &priority, err) ||
	    take_windows(json, job, err) || jobj_bool(json, "paused", true, &job->paused, err))
		return -1;
	job->rpo_ns = rpo_ms * 1000000;
	job->links = (unsigned)links;
	job->priority = (int)priority;
	return 0;
}

int job_load(const char *name, struct job *job, struct err *err)
{
	char path[PATHS_MAX];
	json_t *json;
	int failed;

	if (paths_job(name, ".json", path, err))
		return -1;
	if (access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR))
		return err_set(
		    err, ERR_STATE,
		    "there is no job '%s'; 'drover jobs' shows those that there are, 'drover protect' "
		    "makes one",
		    name);
	json = read_file(path, err);
	if (!json)
		return -1;
	failed = from_json(json, job, err);
	json_decref(json);
	return failed ? err_context(err, "%s", path) : 0;
}

int job_save(const struct job *job, struct err *err)
{
	char path[PATHS_MAX];

	return paths_job(job->name, ".json", path, err) || write_file(path, to_json(job), err) ? -1 : 0;
}

int job_remove(const char *name, struct err *err)
{
	/* The definition first: without it there is no job, whatever is left. */
	static const char *const suffixes[] = {".json",       ".state",  ".events",
					       ".events.old", ".missed", ".lock"};
	char path[PATHS_MAX];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if (paths_job(name, suffixes[i], path, err))
			return -1;
		if (unlink(path) && errno != ENOENT)
			return err_sys(err, "cannot remove %s", path);
	}
	return 0;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

int job_list(char ***names, size_t *count, struct err *err)
{
	char path[PATHS_MAX];

	if (paths_job("x", ".json", path, err))
		return -1;
	*strrchr(path, '/') = 0;
	return names_list(path, ".json", names, count, err);
}

/* ---- what has become of it --------------------------------------------------------------------------------------- */

static json_t *state_json(const struct job_state *state)
{
	json_t *took = json_array();

	for (unsigned i = 0; i < SCHEDULE_HISTORY; i++)
		json_array_append_new(took, json_integer((json_int_t)state->took_ns[i]));
	return json_pack(
	    "{s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:i, s:s}", "term", (json_int_t)state->acked.term,
	    "epoch", (json_int_t)state->acked.number, "boundary_ns", (json_int_t)state->boundary_ns,
	    "ended_ns", (json_int_t)state->ended_ns, "took_ns", took, "bytes", (json_int_t)state->bytes,
	    "total_bytes", (json_int_t)state->total_bytes, "cycles", (json_int_t)state->cycles, "failures",
	    (json_int_t)state->failures, "in_a_row", (int)state->in_a_row, "why", state->why);
}

static int take_state(const json_t *json, struct job_state *state, struct err *err)
{
	uint64_t in_a_row;
	json_t *took;

	if (jobj_u64(json, "term", true, 0, INT64_MAX, &state->acked.term, err) ||
	    jobj_u64(json, "epoch", true, 0, INT64_MAX, &state->acked.number, err) ||
	    jobj_u64(json, "boundary_ns", true, 0, INT64_MAX, &state->boundary_ns, err) ||
	    jobj_u64(json, "ended_ns", true, 0, INT64_MAX, &state->ended_ns, err) ||
	    jobj_array(json, "took_ns", true, &took, err) ||
	    jobj_u64(json, "bytes", true, 0, INT64_MAX, &state->bytes, err) ||
	    jobj_u64(json, "total_bytes", true, 0, INT64_MAX, &state->total_bytes, err) ||
	    jobj_u64(json, "cycles", true, 0, INT64_MAX, &state->cycles, err) ||
	    jobj_u64(json, "failures", true, 0, INT64_MAX, &state->failures, err) ||
	    jobj_u64(json, "in_a_row", true, 0, INT32_MAX, &in_a_row, err) ||
	    jobj_copy(json, "why", state->why, sizeof(state->why), err))
		return -1;
	state->in_a_row = (unsigned)in_a_row;
	for (size_t i = 0; i < SCHEDULE_HISTORY; i++)
		state->took_ns[i] = (uint64_t)json_integer_value(json_array_get(took, i));
	return 0;
}

static void load_missed(const char *name, struct job_state *state)
{
	char path[PATHS_MAX];
	json_t *json;

	if (paths_job(name, ".missed", path, NULL) || access(path, F_OK) || !(json = read_file(path, NULL)))
		return;
	if (jobj_u64(json, "missed", true, 0, INT64_MAX, &state->missed, NULL) ||
	    jobj_copy(json, "why", state->why_missed, sizeof(state->why_missed), NULL))
		state->missed = 0;
	json_decref(json);
}

void job_note_missed(const char *name, const char *why)
{
	struct job_state state = {0};
	char path[PATHS_MAX];

	load_missed(name, &state);
	job_event(name, "missed", why);
	if (!paths_job(name, ".missed", path, NULL))
		(void)write_file(
		    path, json_pack("{s:I, s:s}", "missed", (json_int_t)(state.missed + 1), "why", why),
		    NULL);
}

int job_load_state(const char *name, struct job_state *state, struct err *err)
{
	char path[PATHS_MAX];
	json_t *json;
	int failed;

	*state = (struct job_state){0};
	if (paths_job(name, ".state", path, err))
		return -1;
	load_missed(name, state);
	if (access(path, F_OK) && errno == ENOENT)
		return 0;
	json = read_file(path, err);
	if (!json)
		return -1;
	failed = take_state(json, state, err);
	json_decref(json);
	return failed ? err_context(err, "%s", path) : 0;
}

int job_save_state(const char *name, const struct job_state *state, struct err *err)
{
	char path[PATHS_MAX];

	return paths_job(name, ".state", path, err) || write_file(path, state_json(state), err) ? -1 : 0;
}

/* ---- the lock ---------------------------------------------------------------------------------------------------- */

int job_lock(const char *name, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK};
	char path[PATHS_MAX];
	int fd;

	if (paths_job(name, ".lock", path, err))
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(err, "cannot open %s", path);
	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return fd;
	if (errno == EAGAIN || errno == EACCES)
		err_set(err, ERR_STATE, "a cycle of job '%s' is under way", name);
	else
		err_sys(err, "cannot lock %s", path);
	close(fd);
	return -1;
}

bool job_locked(const char *name)
{
	struct flock lock = {.l_type = F_RDLCK};
	char path[PATHS_MAX];
	bool locked;
	int fd;

	if (paths_job(name, ".lock", path, NULL) || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return false;
	locked = !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
	close(fd);
	return locked;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

void job_event(const char *name, const char *kind, const char *detail)
{
	char path[PATHS_MAX], old[PATHS_MAX + 8], *text;
	json_t *json = json_pack("{s:I, s:s, s:s}", "time_ns", (json_int_t)clock_real_ns(), "event", kind,
				 "detail", detail);
	struct stat st;
	int fd;

	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (!text || paths_job(name, ".events", path, NULL)) {
		free(text);
		return;
	}
	snprintf(old, sizeof(old), "%s.old", path);
	if (!stat(path, &st) && st.st_size >= EVENTS_MAX)
		(void)rename(path, old);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0)
		(void)dprintf(fd, "%s\n", text);
	io_close(&fd);
	free(text);
}

json_t *job_json(const struct job *job, const struct job_state *state)
{
	json_t *json = to_json(job);

	json_object_set_new(json, "running", json_boolean(job_locked(job->name)));
	json_object_set_new(json, "missed", json_integer((json_int_t)state->missed));
	json_object_set_new(json, "why_missed", json_string(state->why_missed));
	json_object_set_new(json, "state", state_json(state));
	return json;
}
