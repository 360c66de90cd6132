/* test_job.c: replication jobs on disk: what is written is read again, what is not a job is refused with its file's name, and one process at a time
 * works for one. */
#include "common/io.h"
#include "common/names.h"
#include "common/paths.h"
#include "replicate/job.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[TEMP_MAX];

static int setup(void **state)
{
	(void)state;
	temp_make(folder);
	return setenv("DROVER_STATE", folder, 1);
}

static int teardown(void **state)
{
	(void)state;
	temp_remove(folder);
	return 0;
}

static struct job example(const char *name)
{
	struct job job = {.vm = "web",
			  .uuid = "01234567-89ab-4cde-8f01-23456789abcd",
			  .host = "ssh://root@standby:2222",
			  .rpo_ns = 30 * 1000000000ull,
			  .bytes_per_s = 1 << 20,
			  .links = 3,
			  .packing = PACKER_ZSTD,
			  .priority = 2,
			  .paused = true};
	struct err err;

	snprintf(job.name, sizeof(job.name), "%s", name);
	assert_int_equal(retention_parse("12x5m,7x1d", &job.keep, &err), 0);
	assert_int_equal(window_parse("mon-fri 20:00-06:00", &job.window[job.windows++], &err), 0);
	return job;
}

static void what_is_saved_is_loaded(void **state)
{
	struct job job = example("web"), loaded;
	struct job_state before = {.acked = {3, 7},
				   .boundary_ns = 11,
				   .took_ns = {0, 5, 6},
				   .cycles = 2,
				   .why = "no way"},
			 after;
	char keep[RETENTION_TEXT], window[WINDOW_TEXT];
	struct err err;

	(void)state;
	assert_int_equal(job_load("web", &loaded, &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	assert_int_equal(job_save(&job, &err), 0);
	assert_int_equal(job_load("web", &loaded, &err), 0);
	assert_string_equal(loaded.vm, job.vm);
	assert_string_equal(loaded.uuid, job.uuid);
	assert_string_equal(loaded.host, job.host);
	assert_int_equal(loaded.rpo_ns, job.rpo_ns);
	assert_int_equal(loaded.bytes_per_s, job.bytes_per_s);
	assert_int_equal(loaded.links, 3);
	assert_int_equal(loaded.packing, PACKER_ZSTD);
	assert_int_equal(loaded.priority, 2);
	assert_true(loaded.paused);
	assert_string_equal(retention_format(&loaded.keep, keep), "12x5m,7x1d");
	assert_int_equal(loaded.windows, 1);
	assert_string_equal(window_format(&loaded.window[0], window), "mon,tue,wed,thu,fri 20:00-06:00");

	assert_int_equal(job_load_state("web", &after, &err), 0);
	assert_int_equal(after.cycles, 0);
	assert_int_equal(job_save_state("web", &before, &err), 0);
	job_note_missed("web", "the link");
	job_note_missed("web", "the disk");
	assert_int_equal(job_load_state("web", &after, &err), 0);
	assert_int_equal(after.acked.term, 3);
	assert_int_equal(after.acked.number, 7);
	assert_int_equal(after.took_ns[2], 6);
	assert_string_equal(after.why, "no way");
	assert_int_equal(after.missed, 2);
	assert_string_equal(after.why_missed, "the disk");
}

static void all_are_listed_and_one_goes(void **state)
{
	struct job a = example("b-job"), b = example("a-job");
	struct err err;
	char **names;
	size_t count;

	(void)state;
	assert_int_equal(job_list(&names, &count, &err), 0);
	assert_int_equal(count, 0);
	names_free(names, count);
	assert_int_equal(job_save(&a, &err) | job_save(&b, &err), 0);
	job_note_missed("b-job", "x");
	assert_int_equal(job_list(&names, &count, &err), 0);
	assert_int_equal(count, 2);
	assert_string_equal(names[0], "a-job");
	names_free(names, count);
	assert_int_equal(job_remove("b-job", &err), 0);
	assert_int_equal(job_list(&names, &count, &err), 0);
	assert_int_equal(count, 1);
	names_free(names, count);
}

static void what_is_damaged_is_refused(void **state)
{
	static const char *const texts[] = {"", "{}", "[1]", "{\"name\": \"web\"", "{\"name\": 5}"};
	struct job job = example("web");
	char path[PATHS_MAX];
	struct err err;

	(void)state;
	assert_int_equal(job_save(&job, &err), 0);
	assert_int_equal(paths_job("web", ".json", path, &err), 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(io_replace_file(path, texts[i], strlen(texts[i])), 0);
		assert_int_equal(job_load("web", &job, &err), -1);
		assert_non_null(strstr(err.text, "web.json"));
	}
	assert_int_equal(job_load("../web", &job, &err), -1);
	assert_int_equal(err.kind, ERR_USAGE);
}

static void one_works_for_it_at_a_time(void **state)
{
	struct job job = example("web");
	struct err err;
	int lock;

	(void)state;
	assert_int_equal(job_save(&job, &err), 0);
	assert_false(job_locked("web"));
	lock = job_lock("web", &err);
	assert_true(lock >= 0);
	assert_true(job_locked("web"));
	assert_int_equal(job_lock("web", &err), -1);
	assert_int_equal(err.kind, ERR_STATE);
	close(lock);
	assert_false(job_locked("web"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_is_saved_is_loaded, setup, teardown),
	    cmocka_unit_test_setup_teardown(all_are_listed_and_one_goes, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_damaged_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(one_works_for_it_at_a_time, setup, teardown),
	};

	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
