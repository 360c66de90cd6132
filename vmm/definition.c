/* definition.c: the YAML of a VM: schema, values, and what is kept of an earlier reading.
 *
 * libcyaml checks the shape; all scalars are taken as strings and parsed here, since it would take "1x" for a number.
 * Errors of its own come with a line; for those found here the line is looked up in the text. */
#include "vmm/definition.h"
#include "common/units.h"
#include <ctype.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the schema ------------------------------------------------------------------------------------------------------ */

struct disk_text {
	char *path, *format, *read_only, *serial, *queues;
};

struct net_text {
	char *tap, *mac;
};

struct limits_text {
	char *value[LIMITS_WORDS];
};

struct text {
	char *memory, *cpus, *kernel, *initrd, *cmdline, *rng, *balloon, *dirty_tracking, *cpu_model,
	    *emulate, *boot, *huge_pages;
	struct disk_text *disks;
	unsigned disks_count;
	struct net_text *nets;
	unsigned nets_count;
	char **console_ports;
	unsigned console_ports_count;
	struct limits_text *limits;
};

enum { STRING_MAX = 4096 };
#define NEEDED(key, type, member) CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER, type, member, 0, STRING_MAX)
#define MAYBE(key, type, member)                                                                             \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 0, STRING_MAX)

static const cyaml_schema_field_t disk_fields[] = {
    NEEDED("path", struct disk_text, path),          MAYBE("format", struct disk_text, format),
    MAYBE("read-only", struct disk_text, read_only), MAYBE("serial", struct disk_text, serial),
    MAYBE("queues", struct disk_text, queues),       CYAML_FIELD_END,
};
static const cyaml_schema_value_t disk_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct disk_text, disk_fields)};

static const cyaml_schema_field_t net_fields[] = {
    MAYBE("tap", struct net_text, tap),
    MAYBE("mac", struct net_text, mac),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t net_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct net_text, net_fields)};

static const cyaml_schema_value_t port_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CONFIG_PORT_MAX)};

/* In the order of limits_words. */
static const cyaml_schema_field_t limits_fields[] = {
    MAYBE("memory-max", struct limits_text, value[0]), MAYBE("cpu", struct limits_text, value[1]),
    MAYBE("read-bytes", struct limits_text, value[2]), MAYBE("write-bytes", struct limits_text, value[3]),
    MAYBE("read-iops", struct limits_text, value[4]),  MAYBE("write-iops", struct limits_text, value[5]),
    MAYBE("required", struct limits_text, value[6]),   CYAML_FIELD_END,
};

static const cyaml_schema_field_t fields[] = {
    NEEDED("memory", struct text, memory),
    MAYBE("cpus", struct text, cpus),
    MAYBE("kernel", struct text, kernel),
    MAYBE("initrd", struct text, initrd),
    MAYBE("cmdline", struct text, cmdline),
    MAYBE("rng", struct text, rng),
    MAYBE("balloon", struct text, balloon),
    MAYBE("dirty-tracking", struct text, dirty_tracking),
    MAYBE("cpu-model", struct text, cpu_model),
    MAYBE("boot", struct text, boot),
    MAYBE("emulate", struct text, emulate),
    MAYBE("huge-pages", struct text, huge_pages),
    CYAML_FIELD_SEQUENCE("disks", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct text, disks, &disk_schema,
			 0, CONFIG_MAX_DEVICES),
    CYAML_FIELD_SEQUENCE("nets", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct text, nets, &net_schema, 0,
			 CONFIG_MAX_DEVICES),
    CYAML_FIELD_SEQUENCE("console-ports", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct text,
			 console_ports, &port_schema, 0, CONFIG_MAX_PORTS),
    CYAML_FIELD_MAPPING_PTR("limits", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct text, limits,
			    limits_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct text, fields)};

/* ---- lines -------------------------------------------------------------------------------------------------------------- */

struct input {
	const char *text, *source;
	size_t len;
};

/* The key at the start of a line, after indentation and list dashes. */
static const char *key_of(const char *line, size_t len, size_t *key_len, bool *entry)
{
	size_t at = 0;
	*entry = false;
	while (at < len && (line[at] == ' ' || (line[at] == '-' && at + 1 < len && line[at + 1] == ' '))) {
		*entry = *entry || line[at] == '-';
		at++;
	}
	size_t from = at;
	while (at < len && (isalnum((unsigned char)line[at]) || line[at] == '-' || line[at] == '_'))
		at++;
	*key_len = at - from;
	return line + from;
}

enum { NO_ENTRY = -1 }; /* of a mapping, which has none */

/* line_of(input, list, number, key): the line of a key: of the file when list is NULL, else within the list's entry of that
 * number (counted from 0), or within a mapping.  The list's own line, or 1, where it is not found (flow style, quoted keys). */
static unsigned line_of(const struct input *input, const char *list, int number, const char *key)
{
	const char *at = input->text, *end = at + input->len;
	unsigned line = 1, best = 1;
	int entries = 0;
	bool inside = list == NULL;
	for (; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((stop ? stop : end) - at), key_len;
		bool entry, top = len > 0 && *at != ' ' && *at != '-';
		const char *word = key_of(at, len, &key_len, &entry);
		if (list && top) {
			inside = strlen(list) == key_len && !strncmp(word, list, key_len);
			best = inside ? line : best;
		} else if (list && inside && entry) {
			entries++;
			best = entries == number + 1 ? line : best;
		}
		bool here = list ? inside && !top && entries == number + 1 : top;
		if (here && strlen(key) == key_len && !strncmp(word, key, key_len))
			return line;
		at = stop ? stop + 1 : end;
	}
	return best;
}

/* What libcyaml says: the first sentence, and the line of the innermost place. */
struct complaint {
	char what[200];
	unsigned line;
};

static void __attribute__((format(printf, 3, 0)))
take_complaint(cyaml_log_t level, void *context, const char *format, va_list args)
{
	struct complaint *complaint = context;
	char text[300];
	(void)level;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	const char *said = strncmp(text, "Load: ", 6) ? text : text + 6, *line = strstr(text, "(line: ");
	if (!complaint->what[0])
		snprintf(complaint->what, sizeof(complaint->what), "%.150s", said);
	else if (line && !complaint->line)
		complaint->line = (unsigned)strtoul(line + 7, NULL, 10);
}

/* It knows where the mapping of an unknown key is, not where the key is. */
static unsigned complaint_line(const struct input *input, const struct complaint *complaint)
{
	static const char unknown[] = "Unexpected key: ";
	unsigned line = 1;
	if (strncmp(complaint->what, unknown, sizeof(unknown) - 1))
		return complaint->line ? complaint->line : 1;
	const char *key = complaint->what + sizeof(unknown) - 1, *at = input->text, *end = at + input->len;
	for (; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((stop ? stop : end) - at), key_len;
		bool entry;
		const char *word = key_of(at, len, &key_len, &entry);
		if (line >= complaint->line && strlen(key) == key_len && !strncmp(word, key, key_len))
			return line;
		at = stop ? stop + 1 : end;
	}
	return complaint->line ? complaint->line : 1;
}

static int load(const struct input *input, struct text **text, struct err *err)
{
	struct complaint complaint = {.line = 0};
	const cyaml_config_t cyaml = {.log_fn = take_complaint,
				      .log_ctx = &complaint,
				      .mem_fn = cyaml_mem,
				      .log_level = CYAML_LOG_ERROR,
				      .flags = CYAML_CFG_NO_ALIAS};
	*text = NULL;
	if (memchr(input->text, '\0', input->len))
		return err_set(err, ERR_INPUT, "%s: it is not text", input->source);
	cyaml_err_t failed = cyaml_load_data((const uint8_t *)input->text, input->len, &cyaml, &schema,
					     (cyaml_data_t **)text, NULL);
	if (failed == CYAML_OK && *text)
		return 0;
	if (failed == CYAML_OK)
		return err_set(err, ERR_INPUT, "%s: it is empty; a VM has at least its memory",
			       input->source);
	return err_set(err, ERR_INPUT,
		       "%s: line %u: %s; 'drover help create' tells what a VM's file may hold", input->source,
		       complaint_line(input, &complaint),
		       complaint.what[0] ? complaint.what : cyaml_strerror(failed));
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

/* wrong: puts the place before what err says. */
static int wrong(const struct input *input, const char *list, int number, const char *key, struct err *err)
{
	if (err)
		err->kind = ERR_INPUT; /* a file's fault, not a command line's */
	return err_context(err, "%s: line %u: %s", input->source, line_of(input, list, number, key), key);
}

static int read_bool(const char *text, bool *value, struct err *err)
{
	static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
	for (unsigned i = 0; i < 3; i++) {
		if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
			*value = !strcmp(text, yes[i]);
			return 0;
		}
	}
	return err_set(err, ERR_INPUT, "\"%.40s\" is neither true nor false", text);
}

static int copy_path(const char *text, char **path, struct err *err)
{
	if (text[0] != '/')
		return err_set(err, ERR_INPUT, "the path \"%.200s\" is not absolute", text);
	*path = strdup(text);
	if (!*path)
		abort(); /* small, as in common/buf.h */
	return 0;
}

static int read_mac(const char *text, uint8_t mac[6], struct err *err)
{
	if (!config_parse_mac(text, mac))
		return err_set(err, ERR_INPUT, "\"%.40s\" is no MAC address such as 52:54:00:12:34:56", text);
	return mac[0] & 1 ? err_set(err, ERR_INPUT, "\"%s\" is the address of a group", text) : 0;
}

/* ---- what was decided before ------------------------------------------------------------------------------------------ */

static bool same_device(const struct device_config *a, const struct device_config *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == DEVICE_DISK)
		return !strcmp(a->disk.path, b->disk.path);
	if (a->kind != DEVICE_NET)
		return true;
	/* Of cards that are connected to nothing there may be several. */
	return a->net.tap[0] || b->net.tap[0] ? !strcmp(a->net.tap, b->net.tap)
					      : !memcmp(a->net.mac, b->net.mac, sizeof(a->net.mac));
}

static const struct device_config *find_kept(const struct vm_config *kept, const struct device_config *device)
{
	for (unsigned i = 0; kept && i < kept->ndevices; i++)
		if (same_device(&kept->devices[i], device))
			return &kept->devices[i];
	return NULL;
}

static bool slot_used(const struct vm_config *config, unsigned slot)
{
	for (unsigned i = 0; config && i < config->ndevices; i++)
		if (config->devices[i].slot == slot)
			return true;
	return false;
}

/* Devices that stay keep their slots; new ones get the lowest that neither the old nor the new machine uses, so that a
 * guest never finds one device in the place of another. */
static void give_slots(const struct vm_config *kept, struct vm_config *config)
{
	for (unsigned i = 0; i < config->ndevices; i++) {
		const struct device_config *before = find_kept(kept, &config->devices[i]);
		config->devices[i].slot = before ? before->slot : 0;
	}
	for (unsigned i = 0; i < config->ndevices; i++) {
		struct device_config *device = &config->devices[i];
		unsigned slot = CONFIG_FIRST_SLOT;
		while (!device->slot && slot < CONFIG_LAST_SLOT &&
		       (slot_used(config, slot) || slot_used(kept, slot)))
			slot++;
		device->slot = device->slot ? device->slot : slot;
	}
}

static void give_mac(const struct vm_config *kept, struct device_config *device)
{
	const struct device_config *before = find_kept(kept, device);
	if (before)
		memcpy(device->net.mac, before->net.mac, 6);
	else
		config_new_mac(device->net.mac);
}

/* ---- devices -------------------------------------------------------------------------------------------------------------- */

static int read_disk(const struct input *input, const struct disk_text *text, int number,
		     struct device_config *device, struct err *err)
{
	uint64_t queues = 1;
	if (copy_path(text->path, &device->disk.path, err))
		return wrong(input, "disks", number, "path", err);
	if (text->format && strcmp(text->format, "dvol") && strcmp(text->format, "raw")) {
		err_set(err, ERR_INPUT, "\"%.40s\" is neither dvol nor raw", text->format);
		return wrong(input, "disks", number, "format", err);
	}
	device->disk.format = text->format && !strcmp(text->format, "raw") ? DISK_RAW : DISK_DVOL;
	if (text->read_only && read_bool(text->read_only, &device->disk.read_only, err))
		return wrong(input, "disks", number, "read-only", err);
	if (text->queues && units_parse_uint(text->queues, 1, CONFIG_MAX_DISK_QUEUES, &queues, err))
		return wrong(input, "disks", number, "queues", err);
	device->disk.queues = (unsigned)queues;
	if (text->serial && strlen(text->serial) > CONFIG_SERIAL_MAX) {
		err_set(err, ERR_INPUT, "\"%.40s\" is longer than %d characters", text->serial,
			CONFIG_SERIAL_MAX);
		return wrong(input, "disks", number, "serial", err);
	}
	snprintf(device->disk.serial, sizeof(device->disk.serial), "%s", text->serial ? text->serial : "");
	return 0;
}

static int read_net(const struct input *input, const struct net_text *text, int number,
		    const struct vm_config *kept, struct device_config *device, struct err *err)
{
	if (text->tap && (strlen(text->tap) > CONFIG_TAP_MAX || !text->tap[0])) {
		err_set(err, ERR_INPUT, "\"%.40s\" is no name of an interface: these have 1 to %d characters",
			text->tap, CONFIG_TAP_MAX);
		return wrong(input, "nets", number, "tap", err);
	}
	snprintf(device->net.tap, sizeof(device->net.tap), "%s", text->tap ? text->tap : "");
	if (!text->mac)
		give_mac(kept, device);
	else if (read_mac(text->mac, device->net.mac, err))
		return wrong(input, "nets", number, "mac", err);
	return 0;
}

static struct device_config *add(struct vm_config *config, enum device_kind kind, const struct input *input,
				 struct err *err)
{
	struct device_config *device = config_add_device(config, kind);
	if (!device)
		err_set(err, ERR_INPUT, "%s: a VM has at most %d devices", input->source, CONFIG_MAX_DEVICES);
	return device;
}

static int read_plain(const struct input *input, const char *key, const char *text, enum device_kind kind,
		      bool otherwise, struct vm_config *config, struct err *err)
{
	bool wanted = otherwise;
	if (text && read_bool(text, &wanted, err))
		return wrong(input, NULL, 0, key, err);
	return wanted && !add(config, kind, input, err) ? -1 : 0;
}

static int read_devices(const struct input *input, const struct text *text, const struct vm_config *kept,
			struct vm_config *config, struct err *err)
{
	struct device_config *device;
	for (unsigned i = 0; i < text->disks_count; i++)
		if (!(device = add(config, DEVICE_DISK, input, err)) ||
		    read_disk(input, &text->disks[i], (int)i, device, err))
			return -1;
	for (unsigned i = 0; i < text->nets_count; i++)
		if (!(device = add(config, DEVICE_NET, input, err)) ||
		    read_net(input, &text->nets[i], (int)i, kept, device, err))
			return -1;
	if (read_plain(input, "rng", text->rng, DEVICE_RNG, true, config, err) ||
	    read_plain(input, "balloon", text->balloon, DEVICE_BALLOON, true, config, err))
		return -1;
	if (text->console_ports_count == 0)
		return 0;
	device = add(config, DEVICE_CONSOLE, input, err);
	for (unsigned i = 0; device && i < text->console_ports_count; i++)
		snprintf(device->console.name[device->console.ports++], CONFIG_PORT_MAX + 1, "%s",
			 text->console_ports[i]);
	return device ? 0 : -1;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------------- */

static int read_cpu_model(const char *text, struct vm_config *config, struct err *err)
{
	unsigned model;
	if (!config_find_word(config_cpu_models, text, &model))
		return err_set(err, ERR_INPUT, "\"%.40s\" is none of host, x86-64-v2, x86-64-v3", text);
	config->cpu_model = (enum cpu_model)model;
	return 0;
}

static int read_boot(const char *text, struct vm_config *config, struct err *err)
{
	unsigned boot;
	if (!config_find_word(config_boot_sources, text, &boot))
		return err_set(err, ERR_INPUT, "\"%.40s\" is neither disk nor network", text);
	config->boot = (enum boot_source)boot;
	return 0;
}

static int read_machine(const struct input *input, const struct text *text, struct vm_config *config,
			struct err *err)
{
	unsigned mode = DIRTY_AUTO;
	uint64_t cpus = 1;
	if (units_parse_size(text->memory, &config->memory_bytes, err))
		return wrong(input, NULL, 0, "memory", err);
	if (text->cpus && units_parse_uint(text->cpus, 1, CONFIG_MAX_CPUS, &cpus, err))
		return wrong(input, NULL, 0, "cpus", err);
	config->cpus = (unsigned)cpus;
	if (text->kernel && copy_path(text->kernel, &config->kernel, err))
		return wrong(input, NULL, 0, "kernel", err);
	if (text->initrd && copy_path(text->initrd, &config->initrd, err))
		return wrong(input, NULL, 0, "initrd", err);
	if (text->cmdline && !(config->cmdline = strdup(text->cmdline)))
		abort();
	if (text->cpu_model && read_cpu_model(text->cpu_model, config, err))
		return wrong(input, NULL, 0, "cpu-model", err);
	if (text->boot && read_boot(text->boot, config, err))
		return wrong(input, NULL, 0, "boot", err);
	if (text->huge_pages && read_bool(text->huge_pages, &config->huge_pages, err))
		return wrong(input, NULL, 0, "huge-pages", err);
	if (text->emulate && read_bool(text->emulate, &config->emulation, err))
		return wrong(input, NULL, 0, "emulate", err);
	if (text->dirty_tracking && !config_find_word(config_dirty_modes, text->dirty_tracking, &mode)) {
		err_set(err, ERR_INPUT, "\"%.40s\" is none of auto, ring, bitmap", text->dirty_tracking);
		return wrong(input, NULL, 0, "dirty-tracking", err);
	}
	config->dirty_mode = (enum dirty_mode)mode;
	return 0;
}

static int read_limits(const struct input *input, const struct text *text, struct vm_config *config,
		       struct err *err)
{
	for (unsigned i = 0; text->limits && i < LIMITS_WORDS; i++) {
		const char *value = text->limits->value[i];
		if (value && limits_set(&config->limits, limits_words[i], value, err))
			return wrong(input, "limits", NO_ENTRY, limits_words[i], err);
	}
	limits_settle(&config->limits, config->memory_bytes, text->disks_count);
	return 0;
}

static int read_all(const struct input *input, const struct text *text, const struct vm_config *kept,
		    struct vm_config *config, struct err *err)
{
	if (kept)
		snprintf(config->uuid, sizeof(config->uuid), "%s", kept->uuid);
	else
		config_new_uuid(config->uuid);
	if (read_machine(input, text, config, err) || read_devices(input, text, kept, config, err) ||
	    read_limits(input, text, config, err))
		return -1;
	give_slots(kept, config);
	return config_check(config, err) ? err_context(err, "%s", input->source) : 0;
}

int definition_read(const char *text, size_t len, const char *source, const char *name,
		    const struct vm_config *kept, struct vm_config *config, struct err *err)
{
	const struct input input = {.text = text, .len = len, .source = source};
	const cyaml_config_t cyaml = {.mem_fn = cyaml_mem};
	struct text *loaded;
	*config = (struct vm_config){.dirty_mode = DIRTY_AUTO};
	if (len > DEFINITION_MAX)
		return err_set(err, ERR_INPUT, "%s: %zu bytes are more than the %d that a VM's file may have",
			       source, len, DEFINITION_MAX);
	if (load(&input, &loaded, err))
		return -1;
	snprintf(config->name, sizeof(config->name), "%s", name);
	int failed = read_all(&input, loaded, kept, config, err);
	(void)cyaml_free(&cyaml, &schema, loaded, 0);
	if (failed)
		config_free(config);
	return failed;
}
