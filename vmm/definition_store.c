/* definition_store.c: see definition_store.h. */
#include "vmm/definition_store.h"
#include "common/io.h"
#include "common/jobj.h"
#include "common/paths.h"
#include "vmm/definition.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 16 * DEFINITION_MAX };
static const char file_name[] = "definition.json";

void definition_free(struct definition *definition)
{
	free(definition->yaml);
	definition->yaml = NULL;
	config_free(&definition->config);
}

static int take(const char *name, const json_t *json, struct definition *definition, struct err *err)
{
	const char *yaml;
	json_t *config;
	if (jobj_string(json, "yaml", true, DEFINITION_MAX, &yaml, err) ||
	    jobj_object(json, "config", true, &config, err) ||
	    config_from_json(config, &definition->config, err))
		return -1;
	if (strcmp(definition->config.name, name))
		return err_set(err, ERR_INPUT, "it is of VM '%s'", definition->config.name);
	definition->yaml = strdup(yaml);
	if (!definition->yaml)
		abort(); /* small, as in common/buf.h */
	return 0;
}

int definition_load(const char *name, struct definition *definition, struct err *err)
{
	char path[PATHS_MAX];
	void *text;
	size_t len;
	*definition = (struct definition){.yaml = NULL};
	if (paths_vm_file(name, file_name, path, err))
		return -1;
	if (io_read_file(path, FILE_MAX, &text, &len)) {
		if (errno == ENOENT || errno == ENOTDIR)
			return err_set(
			    err, ERR_STATE,
			    "this host has no definition of a VM '%s'; 'drover create %s -f FILE' makes one",
			    name, name);
		return err_sys(err, "%s", path);
	}
	json_t *json = jobj_parse(text, len, err);
	int failed = !json || take(name, json, definition, err);
	json_decref(json);
	free(text);
	if (failed)
		err_context(err, "%s", path);
	return failed ? -1 : 0;
}

int definition_save(const struct definition *definition, struct err *err)
{
	char path[PATHS_MAX], folder[PATHS_MAX];
	if (paths_vm_dir(definition->config.name, folder, err) ||
	    paths_vm_file(definition->config.name, file_name, path, err))
		return -1;
	if (io_mkdirs(folder, 0700))
		return err_sys(err, "cannot make the folder %s", folder);
	json_t *json =
	    json_pack("{s:s, s:o}", "yaml", definition->yaml, "config", config_to_json(&definition->config));
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	json_decref(json);
	if (!text)
		return err_set(err, ERR_INPUT, "VM '%s': its definition is not UTF-8 text",
			       definition->config.name);
	int failed = io_replace_file(path, text, strlen(text));
	free(text);
	return failed ? err_sys(err, "%s", path) : 0;
}

int definition_remove(const char *name, struct err *err)
{
	char path[PATHS_MAX];
	if (paths_vm_file(name, file_name, path, err))
		return -1;
	if (unlink(path) && errno != ENOENT && errno != ENOTDIR)
		return err_sys(err, "%s", path);
	return 0;
}
