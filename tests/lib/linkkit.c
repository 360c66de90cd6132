/* linkkit.c: see linkkit.h. */
#include "tests/lib/linkkit.h"
#include "common/io.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char linkkit_dir[] = "/tmp/drover-test-link.XXXXXX";
struct sshd linkkit_sshd;

uint64_t linkkit_in_s(unsigned seconds)
{
	return clock_mono_ns() + seconds * LINKKIT_SECOND;
}

struct link *linkkit_open(const struct ssh_target *target)
{
	struct err err;
	struct link *link = link_open_ssh(target, &err);

	if (!link)
		fail_msg("no link: %s", err.text);
	return link;
}

struct link *linkkit_command(const char *command)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, command);

	return linkkit_open(&target);
}

struct link *linkkit_through(const struct relay *relay, const char *command)
{
	struct ssh_target target = sshd_target(&linkkit_sshd, command);

	assert_non_null(relay);
	target.port = relay_port(relay);
	return linkkit_open(&target);
}

void linkkit_put(struct link *link, size_t len, int fill)
{
	struct buf *out = link_begin(link);

	memset(buf_reserve(out, len), fill, len);
	out->len += len;
}

void linkkit_send(struct link *link, uint16_t type, size_t len, int fill)
{
	struct err err;

	linkkit_put(link, len, fill);
	if (link_send(link, type, 0, &err) < 0)
		fail_msg("send: %s", err.text);
}

void linkkit_expect(struct link *link, uint16_t type, size_t len, int fill)
{
	struct frame frame;
	struct err err;
	int rc = link_receive(link, linkkit_in_s(20), &frame, &err);

	if (rc < 0)
		fail_msg("receive: %s", err.text);
	assert_int_equal(rc, 1);
	assert_int_equal(frame.type, type);
	assert_int_equal(frame.len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(frame.payload[i], fill & 0xff);
}

void linkkit_says(const struct err *err, enum err_kind kind, const char *part)
{
	if (err->kind != kind || !strstr(err->text, part))
		fail_msg("error %d \"%s\" is not %d with \"%s\"", err->kind, err->text, kind, part);
}

/* Connecting fails so. */
void linkkit_refuse(const struct ssh_target *target, const char *part, struct err *err)
{
	assert_null(link_open_ssh(target, err));
	linkkit_says(err, ERR_LINK, part);
}

/* The link ends so, sooner or later, while frames are sent and received. */
void linkkit_expect_end(struct link *link, const char *part, struct err *err)
{
	struct frame frame;
	int rc;

	do {
		rc = link_receive(link, linkkit_in_s(20), &frame, err);
	} while (rc == 1);
	assert_int_equal(rc, -1);
	if (part)
		linkkit_says(err, err->kind, part);
}

char *linkkit_path(char *path, const char *name)
{
	snprintf(path, SSHD_PATH, "%s/%s", linkkit_dir, name);
	return path;
}

void linkkit_write_file(const char *path, const char *text)
{
	assert_int_equal(io_replace_file(path, text, strlen(text)), 0);
}

char *linkkit_read_file(const char *path)
{
	void *text = NULL;
	size_t len;

	assert_int_equal(io_read_file(path, 1 << 20, &text, &len), 0);
	return text;
}

int linkkit_start(void **state)
{
	(void)state;
	return mkdtemp(linkkit_dir) ? sshd_start(linkkit_dir, "", &linkkit_sshd) : -1;
}

int linkkit_stop(void **state)
{
	char command[sizeof(linkkit_dir) + 16];

	(void)state;
	sshd_stop(&linkkit_sshd);
	snprintf(command, sizeof(command), "rm -rf %s", linkkit_dir);
	return system(command);
}
