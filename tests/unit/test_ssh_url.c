/* test_ssh_url.c: what is and what is not ssh://[user@]host[:port]. */
#include "migrate/ssh.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_good(void **state)
{
	static const struct {
		const char *url, *user, *host;
		uint16_t port;
	} cases[] = {
	    {"ssh://host", "", "host", 0},
	    {"ssh://host:22", "", "host", 22},
	    {"ssh://me@host-1.example.org:65535", "me", "host-1.example.org", 65535},
	    {"ssh://a.b-c_d+e@10.0.0.1", "a.b-c_d+e", "10.0.0.1", 0},
	    {"ssh://[::1]", "", "::1", 0},
	    {"ssh://root@[2001:db8::7]:2222", "root", "2001:db8::7", 2222},
	    {"ssh://[fe80::1%eth0]:22", "", "fe80::1%eth0", 22},
	    {"ssh://my_alias", "", "my_alias", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ssh_target target = {.identity = "kept"};
		char text[400];
		struct err err;

		assert_int_equal(ssh_url_parse(cases[i].url, &target, &err), 0);
		assert_string_equal(target.user, cases[i].user);
		assert_string_equal(target.host, cases[i].host);
		assert_int_equal(target.port, cases[i].port);
		assert_string_equal(target.identity, "kept");
		assert_string_equal(ssh_url_format(&target, text, sizeof(text)), cases[i].url);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *url, *why;
	} cases[] = {
	    {"", "does not begin with ssh://"},
	    {"host", "does not begin with ssh://"},
	    {"SSH://host", "does not begin with ssh://"},
	    {"http://host", "does not begin with ssh://"},
	    {"ssh://", "the host is missing"},
	    {"ssh://:22", "the host is missing"},
	    {"ssh://@host", "the user's name"},
	    {"ssh://me@", "the host is missing"},
	    {"ssh://me:secret@host", "a password cannot be given"},
	    {"ssh://host/path", "a path or query"},
	    {"ssh://host/", "a path or query"},
	    {"ssh://host?x", "a path or query"},
	    {"ssh://host:", "the port is not"},
	    {"ssh://host:0", "the port is not"},
	    {"ssh://host:65536", "the port is not"},
	    {"ssh://host:22x", "the port is not"},
	    {"ssh://host:-1", "the port is not"},
	    {"ssh://host:+1", "the port is not"},
	    {"ssh://host: 22", "the port is not"},
	    {"ssh://::1", "needs brackets"},
	    {"ssh://a:b:c", "needs brackets"},
	    {"ssh://[]", "no IPv6 address"},
	    {"ssh://[::1", "no IPv6 address"},
	    {"ssh://[host]", "no IPv6 address"},
	    {"ssh://[::1%]", "no IPv6 address"},
	    {"ssh://[::1%a;b]", "no IPv6 address"},
	    {"ssh://[::1]x", "something other than :port"},
	    {"ssh://[::1]:", "the port is not"},
	    {"ssh://-oProxyCommand=x", "characters that no name has"},
	    {"ssh://ho st", "characters that no name has"},
	    {"ssh://host;id", "characters that no name has"},
	    {"ssh://$(id)", "characters that no name has"},
	    {"ssh://-l@host", "the user's name"},
	    {"ssh://a@b@host", "the user's name"},
	    {"ssh://`id`@host", "the user's name"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ssh_target target;
		struct err err = {0};

		assert_int_equal(ssh_url_parse(cases[i].url, &target, &err), -1);
		assert_int_equal(err.kind, ERR_USAGE);
		if (!strstr(err.text, cases[i].why))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].url, err.text, cases[i].why);
	}
}

/* Every length of user and host, up to far past what fits: refused or taken, never cut. */
static void test_lengths(void **state)
{
	(void)state;
	for (size_t len = 1; len < 600; len++) {
		char url[2048] = "ssh://";
		struct ssh_target target;

		memset(url + 6, 'h', len);
		assert_int_equal(ssh_url_parse(url, &target, NULL), len < SSH_HOST_MAX ? 0 : -1);
		if (len < SSH_HOST_MAX)
			assert_int_equal(strlen(target.host), len);
		strcat(url, "@host");
		assert_int_equal(ssh_url_parse(url, &target, NULL), len < SSH_USER_MAX ? 0 : -1);
		if (len < SSH_USER_MAX)
			assert_int_equal(strlen(target.user), len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests_name("ssh_url", tests, NULL, NULL);
}
