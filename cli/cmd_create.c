/* drover create, edit, remove: the definitions of VMs. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/start.h"
#include "cli/vms.h"
#include "common/io.h"
#include "vmm/definition.h"
#include "vmm/definition_store.h"
#include "vmm/own_disks.h"
#include "vmm/snapshot_delete.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int read_yaml(const char *path, char **text, size_t *len, struct err *err)
{
	void *data;

	if (!strcmp(path, "-")) {
		*text = calloc(1, DEFINITION_MAX + 2);
		if (!*text)
			abort();
		ssize_t got = io_read_full(STDIN_FILENO, *text, DEFINITION_MAX + 1);
		*len = got < 0 ? 0 : (size_t)got;
		if (got < 0)
			return err_sys(err, "cannot read the standard input");
		return 0;
	}
	if (io_read_file(path, DEFINITION_MAX, &data, len)) {
		if (errno == EFBIG)
			return err_set(err, ERR_INPUT, "%s: larger than the %d KiB that a VM's file may have",
				       path, DEFINITION_MAX >> 10);
		return err_sys(err, "cannot read '%.300s'", path);
	}
	*text = data;
	return 0;
}

static void say(const struct definition *definition, const char *what, bool json)
{
	const struct vm_config *config = &definition->config;

	if (json)
		output_json(json_pack("{s:s, s:s, s:o}", "name", config->name, "uuid", config->uuid, "config",
				      config_to_json(config)));
	else
		output_say("VM '%s' is %s (uuid %s)", config->name, what, config->uuid);
}

int cmd_create(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct definition definition = {.yaml = NULL};
	size_t len = 0;
	int status = -1;

	if (start_check_free(name, err))
		return -1;
	if (!read_yaml(args->file, &definition.yaml, &len, err) &&
	    !definition_read(definition.yaml, len, args->file, name, NULL, &definition.config, err))
		status = definition_save(&definition, err);
	if (!status)
		say(&definition, "defined", args->json);
	definition_free(&definition);
	return status;
}

/* ---- edit ---- */
static int run_editor(const char *path, struct err *err)
{
	const char *editor = getenv("VISUAL");
	char command[4400];
	int status;

	editor = editor && *editor ? editor : getenv("EDITOR");
	editor = editor && *editor ? editor : "vi";
	/* Through the shell, as everybody does: the variable may hold options. */
	if (snprintf(command, sizeof(command), "%s '%s'", editor, path) >= (int)sizeof(command))
		return err_set(err, ERR_USAGE, "edit: $EDITOR is too long");
	status = system(command);
	if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(err, ERR_SYSTEM, "the editor '%.200s' failed; nothing was changed", editor);
	return 0;
}

/* edit_text(text, err): the text as the user leaves it, a new string; NULL on failure. */
static char *edit_text(const char *text, size_t *len, struct err *err)
{
	char path[] = "/tmp/drover-edit-XXXXXX.yaml";
	int fd = mkstemps(path, 5);
	char *edited = NULL;

	if (fd < 0) {
		err_sys(err, "cannot make a file for the editor");
		return NULL;
	}
	if (io_write_full(fd, text, strlen(text)))
		err_sys(err, "%s", path);
	else if (!run_editor(path, err))
		(void)read_yaml(path, &edited, len, err);
	close(fd);
	unlink(path);
	return edited;
}

int cmd_edit(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct definition before, after = {.yaml = NULL};
	size_t len = 0;
	int status = -1;

	if (definition_load(name, &before, err)) {
		definition_free(&before);
		return -1;
	}
	if (args->file)
		(void)read_yaml(args->file, &after.yaml, &len, err);
	else
		after.yaml = edit_text(before.yaml, &len, err);
	if (after.yaml && !definition_read(after.yaml, len, args->file ? args->file : "the edited text", name,
					   &before.config, &after.config, err))
		status = definition_save(&after, err);
	if (!status)
		say(&after, "changed, from its next start on", args->json);
	definition_free(&before);
	definition_free(&after);
	return status;
}

/* ---- remove ---- */
static void say_removed(const struct args *args, size_t snapshots, size_t disks)
{
	char what[96] = "";

	if (args->json) {
		output_json(json_pack("{s:s, s:I, s:I}", "name", args->operand[0], "snapshots",
				      (json_int_t)snapshots, "disks", (json_int_t)disks));
		return;
	}
	if (snapshots)
		snprintf(what, sizeof(what), ", its snapshots (%zu)", snapshots);
	if (disks)
		snprintf(what + strlen(what), sizeof(what) - strlen(what),
			 ", the disks that drover made (%zu)", disks);
	output_say("removed: the definition of VM '%s'%s; %s where they were", args->operand[0], what,
		   args->with_disks ? "other disks are" : "its disks are");
}

int cmd_remove(const struct args *args, struct err *err)
{
	const char *name = args->operand[0];
	struct definition definition;
	struct vm_view view;
	size_t snapshots, disks = 0;

	if (definition_load(name, &definition, err)) {
		bool damaged = err->kind == ERR_INPUT;
		definition_free(&definition);
		if (!damaged)
			return -1; /* one that cannot be read can be removed all the same */
	} else {
		definition_free(&definition);
	}
	vms_view_settled(name, &view);
	if (view.locked)
		return err_set(err, ERR_STATE, "VM '%s' lives on this host; 'drover stop %s' first", name,
			       name);
	if ((args->with_disks && own_disks_check(name, err)) || snapshot_delete_all(name, &snapshots, err) ||
	    definition_remove(name, err) || (args->with_disks && own_disks_remove(name, &disks, err)))
		return -1;
	say_removed(args, snapshots, disks);
	return 0;
}
