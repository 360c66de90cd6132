/* drover peer authorize: the line by which another host lets this one in, and for what. */
#include "cli/commands.h"
#include "cli/output.h"
#include "common/io.h"
#include "migrate/peer.h"
#include "migrate/permit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 16384 };

/* The public half of the peer's key, without the end of its line. */
static int public_key(const struct peer *peer, char **key, struct err *err)
{
	char path[4200];
	size_t len;
	void *text;

	if (!peer->identity)
		return err_set(
		    err, ERR_USAGE,
		    "which key? --identity FILE, here or with 'drover peer add', says which one drover is to "
		    "use ('ssh-keygen -t ed25519 -N \"\" -f FILE' makes one)");
	snprintf(path, sizeof(path), "%s.pub", peer->identity);
	if (io_read_file(path, KEY_MAX, &text, &len))
		return err_sys(err, "the public key %s", path);
	((char *)text)[strcspn(text, "\r\n")] = 0;
	*key = text;
	if (strchr(text, ' '))
		return 0;
	free(text);
	return err_set(err, ERR_INPUT, "%s holds no OpenSSH public key", path);
}

#define SAFE "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* A word goes through a shell and a quoted option of authorized_keys. */
static int check_words(const struct args_list *list, bool paths, struct err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		const char *word = list->item[i];
		bool safe = word[strspn(word, paths ? SAFE "/+,:@= " : SAFE "*?")] == 0;

		if (paths && (!safe || *word != '/'))
			return err_set(err, ERR_USAGE,
				       "'%.80s' is no absolute path of letters, digits, spaces and "
				       "'/._-+,:@='",
				       word);
		if (!safe)
			return err_set(
			    err, ERR_USAGE,
			    "'%.80s' is no pattern of names: letters, digits, '.', '_', '-', '*', '?'", word);
	}
	return 0;
}

static void put_words(FILE *line, const char *option, const struct args_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		fprintf(line, " --%s '%s'", option, list->item[i]);
}

static int compose(const struct args *args, const struct peer *peer, FILE *line, struct err *err)
{
	unsigned actions;
	char *key;

	if (permit_actions(args->actions.item, args->actions.count, &actions, err) ||
	    check_words(&args->vms, false, err) || check_words(&args->taps, false, err) ||
	    check_words(&args->images, true, err) || public_key(peer, &key, err))
		return -1;
	fprintf(line, "restrict,command=\"%s", peer->remote_command ? peer->remote_command : PEER_COMMAND);
	put_words(line, "vm", &args->vms);
	put_words(line, "images", &args->images);
	put_words(line, "tap", &args->taps);
	if (args->memory_max)
		fprintf(line, " --memory-max %llu", (unsigned long long)args->memory_max);
	for (size_t i = 0; i < args->actions.count; i++)
		fprintf(line, " --action %s", args->actions.item[i]);
	fprintf(line, "\" %s", key);
	free(key);
	return 0;
}

int cmd_peer_authorize(const struct args *args, struct err *err)
{
	char *line = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&line, &len);
	struct peer peer;
	int failed = peer_find(args->operand[0], &peer, err);

	if (!out)
		abort();
	if (!failed) {
		peer_override(&peer, args->identity, NULL, args->remote_command);
		failed = compose(args, &peer, out, err);
	}
	fclose(out);
	if (!failed && args->json)
		output_json(json_pack("{s:o, s:o}", "peer", output_string(peer.name), "authorized_keys",
				      output_string(line)));
	else if (!failed)
		printf("%s\n", line);
	free(line);
	peer_free(&peer);
	return failed ? err_context(err, "peer authorize") : 0;
}
