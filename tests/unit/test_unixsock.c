/* test_unixsock.c: sockets in the file system: made with their folder, in place of what stood there, and reached. */
#include "common/unixsock.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void path_of(void **state, const char *name, char path[TEMP_MAX + 32])
{
	snprintf(path, TEMP_MAX + 32, "%s/%s", (const char *)*state, name);
}

static void what_listens_is_reached(void **state)
{
	char path[TEMP_MAX + 32], folder[TEMP_MAX + 32], byte = 0;
	struct stat st;
	int old, listening, client, server;

	path_of(state, "a/b/s", path);
	path_of(state, "a/b", folder);
	old = unixsock_listen(path, SOCK_SEQPACKET, 1);
	assert_true(old >= 0);
	close(old); /* and the socket is still there */
	assert_int_equal(unixsock_connect(path, SOCK_SEQPACKET, 0), -1);
	assert_int_equal(errno, ECONNREFUSED);
	listening = unixsock_listen(path, SOCK_SEQPACKET, 1);
	assert_true(listening >= 0);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	client = unixsock_connect(path, SOCK_SEQPACKET, 1000);
	assert_true(client >= 0);
	server = accept(listening, NULL, NULL);
	assert_true(server >= 0);
	assert_int_equal(send(client, "x", 1, 0), 1);
	assert_int_equal(recv(server, &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
	close(server);
	close(client);
	close(listening);
}

static void what_cannot_be_is_said(void **state)
{
	char path[TEMP_MAX + 32], name[200];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	path_of(state, name, path);
	assert_int_equal(unixsock_listen(path, SOCK_STREAM, 1), -1);
	assert_int_equal(errno, ENAMETOOLONG);
	assert_int_equal(unixsock_connect(path, SOCK_STREAM, 0), -1);
	assert_int_equal(errno, ENAMETOOLONG);
	path_of(state, "nothing", path);
	assert_int_equal(unixsock_connect(path, SOCK_STREAM, 0), -1);
	assert_int_equal(errno, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_listens_is_reached),
	    cmocka_unit_test(what_cannot_be_is_said),
	};

	return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
