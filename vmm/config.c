/* config.c: checking a VM's description, and its JSON form. */
#include "vmm/config.h"
#include "common/jobj.h"
#include "common/units.h"
#include "vmm/memory.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const char *const config_dirty_modes[] = {
    [DIRTY_AUTO] = "auto", [DIRTY_RING] = "ring", [DIRTY_BITMAP] = "bitmap", NULL};
enum { MODE_COUNT = sizeof(config_dirty_modes) / sizeof(config_dirty_modes[0]) - 1 };

const char *const config_cpu_models[] = {
    [CPU_HOST] = "host", [CPU_X86_64_V2] = "x86-64-v2", [CPU_X86_64_V3] = "x86-64-v3", NULL};

const char *const config_boot_sources[] = {[BOOT_DISK] = "disk", [BOOT_NETWORK] = "network", NULL};

static const char *const known_keys[] = {"name",      "uuid",   "memory_bytes", "cpus",     "dirty_mode",
					 "kernel",    "initrd", "cmdline",      "firmware", "devices",
					 "cpu_model", "limits", "emulation",    "boot",     "huge_pages"};
enum { KNOWN_KEYS = sizeof(known_keys) / sizeof(known_keys[0]) };

bool config_find_word(const char *const words[], const char *text, unsigned *index)
{
	for (unsigned i = 0; words[i]; i++) {
		if (!strcmp(text, words[i])) {
			*index = i;
			return true;
		}
	}
	return false;
}

json_t *config_to_json(const struct vm_config *config)
{
	json_t *json = json_pack(
	    "{s:s, s:s, s:I, s:i, s:s}", "name", config->name, "uuid", config->uuid, "memory_bytes",
	    (json_int_t)config->memory_bytes, "cpus", (int)config->cpus, "dirty_mode",
	    config_dirty_modes[(unsigned)config->dirty_mode < MODE_COUNT ? config->dirty_mode : DIRTY_AUTO]);
	if (!json)
		abort(); /* out of memory: small objects, as in common/buf.h */
	if (config->kernel)
		json_object_set_new(json, "kernel", json_string(config->kernel));
	if (config->initrd)
		json_object_set_new(json, "initrd", json_string(config->initrd));
	if (config->cmdline)
		json_object_set_new(json, "cmdline", json_string(config->cmdline));
	if (config->firmware)
		json_object_set_new(json, "firmware", json_string(config->firmware));
	if (config->cpu_model != CPU_HOST)
		json_object_set_new(json, "cpu_model", json_string(config_cpu_models[config->cpu_model]));
	if (config->boot != BOOT_DISK)
		json_object_set_new(json, "boot", json_string(config_boot_sources[config->boot]));
	if (config->huge_pages)
		json_object_set_new(json, "huge_pages", json_true());
	if (config->emulation)
		json_object_set_new(json, "emulation", json_true());
	if (config->ndevices)
		json_object_set_new(json, "devices", config_devices_to_json(config));
	if (limits_any(&config->limits))
		json_object_set_new(json, "limits", limits_to_json(&config->limits));
	return json;
}

static int check_path(const char *what, const char *path, struct err *err)
{
	if (!path)
		return 0;
	if (path[0] != '/')
		return err_set(err, ERR_INPUT, "%s: the path \"%s\" is not absolute", what, path);
	if (strlen(path) >= PATH_MAX)
		return err_set(err, ERR_INPUT, "%s: the path is longer than %d characters", what,
			       PATH_MAX - 1);
	return 0;
}

static int check_network_boot(const struct vm_config *config, struct err *err)
{
	if (config->kernel)
		return err_set(err, ERR_INPUT,
			       "boot: not from the network, since a kernel is booted directly");
	for (unsigned i = 0; i < config->ndevices; i++)
		if (config->devices[i].kind == DEVICE_NET)
			return 0;
	return err_set(err, ERR_INPUT, "boot: from the network, but the VM has no network card");
}

int config_check(const struct vm_config *config, struct err *err)
{
	if (!units_name_valid(config->name))
		return err_set(
		    err, ERR_INPUT,
		    "name: \"%s\" is not 1 to %d letters, digits, '.', '_' or '-', the first of them a "
		    "letter or digit",
		    config->name, CONFIG_NAME_MAX);
	if (!config_uuid_valid(config->uuid))
		return err_set(err, ERR_INPUT, "uuid: \"%s\" is not a UUID in lower-case 8-4-4-4-12 form",
			       config->uuid);
	if (config->memory_bytes < CONFIG_MIN_MEMORY || config->memory_bytes > CONFIG_MAX_MEMORY)
		return err_set(err, ERR_INPUT, "memory: %llu bytes is not between 4 MiB and 4 TiB",
			       (unsigned long long)config->memory_bytes);
	if (config->memory_bytes % MEMORY_PAGE)
		return err_set(err, ERR_INPUT, "memory: %llu bytes is not a multiple of %u",
			       (unsigned long long)config->memory_bytes, MEMORY_PAGE);
	if (config->cpus < 1 || config->cpus > CONFIG_MAX_CPUS)
		return err_set(err, ERR_INPUT, "cpus: %u is not between 1 and %d", config->cpus,
			       CONFIG_MAX_CPUS);
	if ((unsigned)config->dirty_mode >= MODE_COUNT)
		return err_set(err, ERR_INPUT, "dirty mode: unknown value %u", (unsigned)config->dirty_mode);
	if (check_path("kernel", config->kernel, err) || check_path("initrd", config->initrd, err) ||
	    check_path("firmware", config->firmware, err))
		return -1;
	if (config->kernel && config->firmware)
		return err_set(err, ERR_INPUT,
			       "firmware: it would not run, since a kernel is booted directly");
	if (config->boot == BOOT_NETWORK && check_network_boot(config, err))
		return -1;
	if (!config->kernel && (config->initrd || config->cmdline))
		return err_set(err, ERR_INPUT, "%s: there is no kernel that could use it",
			       config->initrd ? "initrd" : "command line");
	if (config->cmdline && strlen(config->cmdline) > CONFIG_CMDLINE_MAX)
		return err_set(err, ERR_INPUT, "command line: %zu characters, but at most %d fit",
			       strlen(config->cmdline), CONFIG_CMDLINE_MAX);
	return limits_check(&config->limits, err) || config_devices_check(config, err) ? -1 : 0;
}

static int check_keys(const json_t *json, struct err *err)
{
	const char *key;
	json_t *value;
	/* A field that this version does not know may be a device that the guest needs. */
	json_object_foreach((json_t *)json, key, value)
	{
		size_t i = 0;
		while (i < KNOWN_KEYS && strcmp(key, known_keys[i]))
			i++;
		if (i == KNOWN_KEYS)
			return err_set(
			    err, ERR_INPUT,
			    "VM configuration: this version of drover does not know the field \"%.40s\"",
			    key);
	}
	return 0;
}

/* copy_string: an optional string field of the object, duplicated. */
static int copy_string(const json_t *json, const char *key, size_t max_len, char **copy, struct err *err)
{
	const char *text = NULL;
	if (jobj_string(json, key, false, max_len, &text, err))
		return -1;
	if (!text)
		return 0;
	*copy = strdup(text);
	if (!*copy)
		return err_sys(err, "VM configuration: %s", key);
	return 0;
}

/* read_word: an optional field that is one of these words; *value is left alone where it is not there. */
static int read_word(const json_t *json, const char *key, const char *const *words, unsigned *value,
		     struct err *err)
{
	const char *text = NULL;
	if (jobj_string(json, key, false, 16, &text, err))
		return -1;
	if (!text)
		return 0;
	if (!config_find_word(words, text, value))
		return err_set(err, ERR_INPUT, "%s: this version of drover does not know \"%s\"", key, text);
	return 0;
}

static int read_fields(const json_t *json, struct vm_config *config, struct err *err)
{
	const char *text = NULL;
	if (jobj_string(json, "name", true, CONFIG_NAME_MAX, &text, err))
		return -1;
	snprintf(config->name, sizeof(config->name), "%s", text);
	if (jobj_string(json, "uuid", true, CONFIG_UUID_LEN, &text, err))
		return -1;
	snprintf(config->uuid, sizeof(config->uuid), "%s", text);
	uint64_t cpus = 0;
	if (jobj_u64(json, "memory_bytes", true, CONFIG_MIN_MEMORY, CONFIG_MAX_MEMORY, &config->memory_bytes,
		     err) ||
	    jobj_u64(json, "cpus", true, 1, CONFIG_MAX_CPUS, &cpus, err))
		return -1;
	config->cpus = (unsigned)cpus;
	unsigned mode = DIRTY_AUTO, model = CPU_HOST;
	text = config_dirty_modes[mode];
	if (jobj_string(json, "dirty_mode", false, 16, &text, err))
		return -1;
	if (!config_find_word(config_dirty_modes, text, &mode))
		return err_set(err, ERR_INPUT, "dirty_mode: \"%s\" is none of auto, ring, bitmap", text);
	config->dirty_mode = (enum dirty_mode)mode;
	unsigned boot = BOOT_DISK;
	if (read_word(json, "cpu_model", config_cpu_models, &model, err) ||
	    read_word(json, "boot", config_boot_sources, &boot, err))
		return -1;
	config->cpu_model = (enum cpu_model)model;
	config->boot = (enum boot_source)boot;
	if (jobj_bool(json, "emulation", false, &config->emulation, err) ||
	    jobj_bool(json, "huge_pages", false, &config->huge_pages, err))
		return -1;
	if (copy_string(json, "kernel", PATH_MAX - 1, &config->kernel, err) ||
	    copy_string(json, "initrd", PATH_MAX - 1, &config->initrd, err) ||
	    copy_string(json, "cmdline", CONFIG_CMDLINE_MAX, &config->cmdline, err) ||
	    copy_string(json, "firmware", PATH_MAX - 1, &config->firmware, err))
		return -1;
	json_t *devices = NULL, *limits = NULL;
	if (jobj_array(json, "devices", false, &devices, err) ||
	    (devices && config_devices_from_json(devices, config, err)) ||
	    jobj_object(json, "limits", false, &limits, err) ||
	    (limits && limits_from_json(limits, &config->limits, err)))
		return -1;
	return config_check(config, err);
}

int config_from_json(const json_t *json, struct vm_config *config, struct err *err)
{
	*config = (struct vm_config){.dirty_mode = DIRTY_AUTO};
	if (!json_is_object(json))
		return err_set(err, ERR_INPUT, "VM configuration: not a JSON object");
	if (check_keys(json, err) || read_fields(json, config, err)) {
		config_free(config);
		return -1;
	}
	return 0;
}

void config_free(struct vm_config *config)
{
	free(config->kernel);
	free(config->initrd);
	free(config->cmdline);
	free(config->firmware);
	config_devices_free(config);
	*config = (struct vm_config){.dirty_mode = DIRTY_AUTO};
}

void config_new_uuid(char uuid[CONFIG_UUID_LEN + 1])
{
	uint8_t b[16];
	size_t have = 0;
	while (have < sizeof(b)) {
		ssize_t n = getrandom(b + have, sizeof(b) - have, 0);
		if (n < 0 && errno != EINTR)
			abort(); /* the kernel has no random numbers: no identity may be made up */
		if (n > 0)
			have += (size_t)n;
	}
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(uuid, CONFIG_UUID_LEN + 1,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
		 b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

int config_uuid_valid(const char *uuid)
{
	for (size_t i = 0; i < CONFIG_UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool hex = (uuid[i] >= '0' && uuid[i] <= '9') || (uuid[i] >= 'a' && uuid[i] <= 'f');
		if (dash ? uuid[i] != '-' : !hex)
			return 0;
	}
	return uuid[CONFIG_UUID_LEN] == '\0';
}
