#include "tests/lib/image.h"

#include "imagefmt/dvol.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int image_setup(void **state)
{
	char build[4096 + 16];

	/* The program is found from here, the volumes from the new folder. */
	snprintf(build, sizeof(build), "%s", cli_program());
	*strrchr(build, '/') = '\0';
	setenv("DROVER_BUILD", build, 1);
	if (temp_setup(state))
		return -1;
	cli_open(*state);
	return chdir(*state);
}

int image_teardown(void **state)
{
	return chdir("/") ? -1 : temp_teardown(state);
}

void image_fill(const char *path, uint64_t offset, uint64_t len, unsigned seed)
{
	struct dvol *vol = dvol_open(path, &(struct dvol_open_options){.writable = true}, NULL);
	unsigned char *data = malloc(len);

	assert_non_null(vol);
	assert_non_null(data);
	/* 16 letters: about half their size, and not a matter of repetition. */
	for (uint64_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		data[i] = (unsigned char)('a' + (seed >> 16 & 15));
	}
	assert_int_equal(dvol_write(vol, data, len, offset, NULL), 0);
	assert_int_equal(dvol_close(vol, NULL), 0);
	free(data);
}

void image_put(const char *path, uint64_t offset, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), (off_t)offset), strlen(text));
	close(fd);
}

void image_do(struct cli *cli, const char *words)
{
	cli_run_words(cli, words);
	if (cli->status || cli->err[0])
		fail_msg("'drover %s' ends with %d: %s", words, cli->status, cli->err);
}

json_t *image_json(struct cli *cli, int status, const char *words)
{
	char line[1024];
	json_t *object;

	assert_true((size_t)snprintf(line, sizeof(line), "%s --json", words) < sizeof(line));
	cli_run_words(cli, line);
	if (cli->status != status)
		fail_msg("'drover %s' ends with %d: %s", line, cli->status, cli->err);
	object = json_loads(cli->out, 0, NULL);
	if (!json_is_object(object))
		fail_msg("'drover %s' prints no object: %s", line, cli->out);
	return object;
}

void image_is(const json_t *object, const char *key, const char *text)
{
	char *found = json_dumps(json_object_get(object, key), JSON_ENCODE_ANY);

	if (!found || strcmp(found, text))
		fail_msg("%s is %s instead of %s", key, found ? found : "missing", text);
	free(found);
}
