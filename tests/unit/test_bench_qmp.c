/* test_bench_qmp.c: the benchmark's QMP client against a server that answers from a script. */
#include "common/io.h"
#include "tests/bench/qmp.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FAR_NS (clock_mono_ns() + 60000000000ull)

/* A QEMU that greets, and answers each command with the next line of the script; then it hangs up. */
struct server {
	int listener;
	const char *const *script;
	char path[TEMP_MAX + 16];
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	static const char greeting[] = "{\"QMP\": {\"version\": {}}}\r\n";
	int fd = accept(server->listener, NULL, NULL);
	char command[4096];

	io_write_full(fd, greeting, strlen(greeting));
	for (const char *const *line = server->script; *line; line++)
		if (read(fd, command, sizeof(command)) <= 0 || io_write_full(fd, *line, strlen(*line)) != 0)
			break;
	close(fd);
	return NULL;
}

static void server_start(struct server *server, const char *dir)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(server->path, sizeof(server->path), "%s/qmp", dir);
	assert_true(strlen(server->path) < sizeof(address.sun_path));
	memcpy(address.sun_path, server->path, strlen(server->path) + 1);
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listener, 1), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->listener);
}

static void keeps_events_that_come_before_an_answer(void **state)
{
	static const char *const script[] = {
	    "{\"return\": {}}\r\n",
	    "{\"event\": \"STOP\"}\r\n{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\r\n"
	    "{\"return\": {\"status\": \"postmigrate\"}}\r\n",
	    NULL};
	struct server server = {.script = script};
	struct qmp qmp;
	struct err err;
	json_t *value, *event;

	server_start(&server, *state);
	assert_int_equal(qmp_open(&qmp, "QEMU", server.path, FAR_NS, &err), 0);
	value = qmp_call(&qmp, "query-status", NULL, FAR_NS, &err);
	assert_non_null(value);
	assert_string_equal(json_string_value(json_object_get(value, "status")), "postmigrate");
	json_decref(value);
	event = qmp_take_event(&qmp);
	assert_string_equal(json_string_value(json_object_get(event, "event")), "STOP");
	json_decref(event);
	event = qmp_take_event(&qmp);
	assert_string_equal(json_string_value(json_object_get(event, "event")), "MIGRATION");
	json_decref(event);
	assert_null(qmp_take_event(&qmp));
	qmp_close(&qmp);
	server_stop(&server);
}

static void passes_on_what_qemu_refused(void **state)
{
	static const char *const script[] = {
	    "{\"return\": {}}\r\n",
	    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Migration is disabled\"}}\r\n", NULL};
	struct server server = {.script = script};
	struct qmp qmp;
	struct err err;

	server_start(&server, *state);
	assert_int_equal(qmp_open(&qmp, "QEMU", server.path, FAR_NS, &err), 0);
	assert_int_equal(qmp_do(&qmp, "migrate", json_pack("{s:s}", "uri", "unix:x"), FAR_NS, &err), -1);
	assert_int_equal(err.kind, ERR_REFUSED);
	assert_non_null(strstr(err.text, "Migration is disabled"));
	qmp_close(&qmp);
	server_stop(&server);
}

static void fails_when_qemu_ends(void **state)
{
	static const char *const script[] = {"{\"return\": {}}\r\n", NULL};
	struct server server = {.script = script};
	struct qmp qmp;
	struct err err;

	server_start(&server, *state);
	assert_int_equal(qmp_open(&qmp, "QEMU", server.path, FAR_NS, &err), 0);
	server_stop(&server);
	while (qmp_pump(&qmp, &err) == 0)
		;
	assert_int_equal(err.kind, ERR_LINK);
	qmp_close(&qmp);
}

static void fails_on_what_is_no_json(void **state)
{
	static const char *const script[] = {"{\"return\": {}}\r\nqemu: out of memory\r\n", NULL};
	struct server server = {.script = script};
	struct qmp qmp;
	struct err err;

	server_start(&server, *state);
	/* Both lines may come at once, or the second one later. */
	if (qmp_open(&qmp, "QEMU", server.path, FAR_NS, &err) == 0)
		while (qmp_pump(&qmp, &err) == 0)
			;
	assert_int_equal(err.kind, ERR_INPUT);
	qmp_close(&qmp);
	server_stop(&server);
}

static void gives_up_at_the_deadline(void **state)
{
	struct qmp qmp;
	struct err err;
	char path[TEMP_MAX + 16];

	snprintf(path, sizeof(path), "%s/nobody", (char *)*state);
	assert_int_equal(qmp_open(&qmp, "QEMU", path, clock_mono_ns() + 5000000, &err), -1);
	assert_int_equal(err.kind, ERR_LINK);
	qmp_close(&qmp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(keeps_events_that_come_before_an_answer, temp_setup,
					    temp_teardown),
	    cmocka_unit_test_setup_teardown(passes_on_what_qemu_refused, temp_setup, temp_teardown),
	    cmocka_unit_test_setup_teardown(fails_when_qemu_ends, temp_setup, temp_teardown),
	    cmocka_unit_test_setup_teardown(fails_on_what_is_no_json, temp_setup, temp_teardown),
	    cmocka_unit_test_setup_teardown(gives_up_at_the_deadline, temp_setup, temp_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
