/* config_devices.c: the devices in a VM's description: checks, and their JSON form: an array of objects, each with "kind",
 * "slot" and what its kind has. */
#include "common/jobj.h"
#include "vmm/config.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char *const formats[] = {[DISK_DVOL] = "dvol", [DISK_RAW] = "raw"};

/* ---- one kind after the other: to JSON, from JSON, checks -------------------------------------------------------- */

static void disk_to_json(const struct device_config *device, json_t *json)
{
	json_object_set_new(json, "path", json_string(device->disk.path));
	json_object_set_new(json, "format", json_string(formats[device->disk.format]));
	json_object_set_new(json, "read_only", json_boolean(device->disk.read_only));
	json_object_set_new(json, "serial", json_string(device->disk.serial));
	json_object_set_new(json, "queues", json_integer((json_int_t)device->disk.queues));
}

static int disk_from_json(const json_t *json, struct device_config *device, struct err *err)
{
	const char *path, *format = formats[DISK_DVOL], *serial = "";
	uint64_t queues = 1;
	if (jobj_string(json, "path", true, PATH_MAX - 1, &path, err) ||
	    jobj_string(json, "format", false, 8, &format, err) ||
	    jobj_bool(json, "read_only", false, &device->disk.read_only, err) ||
	    jobj_string(json, "serial", false, CONFIG_SERIAL_MAX, &serial, err) ||
	    jobj_u64(json, "queues", false, 1, CONFIG_MAX_DISK_QUEUES, &queues, err))
		return -1;
	device->disk.queues = (unsigned)queues;
	device->disk.format = strcmp(format, formats[DISK_RAW]) ? DISK_DVOL : DISK_RAW;
	if (strcmp(format, formats[device->disk.format]))
		return err_set(err, ERR_INPUT, "disk: format \"%s\" is none of dvol, raw", format);
	snprintf(device->disk.serial, sizeof(device->disk.serial), "%s", serial);
	device->disk.path = strdup(path);
	return device->disk.path ? 0 : err_sys(err, "VM configuration: disk");
}

static int disk_check(const struct device_config *device, struct err *err)
{
	if (!device->disk.path || device->disk.path[0] != '/')
		return err_set(err, ERR_INPUT, "disk: the path \"%s\" is not absolute",
			       device->disk.path ? device->disk.path : "");
	if (device->disk.queues < 1 || device->disk.queues > CONFIG_MAX_DISK_QUEUES)
		return err_set(err, ERR_INPUT, "disk %s: %u queues is not between 1 and %d",
			       device->disk.path, device->disk.queues, CONFIG_MAX_DISK_QUEUES);
	if (device->disk.format == DISK_RAW && !device->disk.read_only)
		return err_set(
		    err, ERR_INPUT,
		    "disk %s: a raw image can only be read; convert it to a volume, or say that it is "
		    "read-only",
		    device->disk.path);
	for (const char *c = device->disk.serial; *c; c++)
		if (!isgraph((unsigned char)*c))
			return err_set(err, ERR_INPUT,
				       "disk %s: its serial number has a character other than "
				       "printable ASCII",
				       device->disk.path);
	return 0;
}

bool config_moves_disk(const struct device_config *device)
{
	return device->kind == DEVICE_DISK && device->disk.format == DISK_DVOL && !device->disk.read_only;
}

bool config_parse_mac(const char *text, uint8_t mac[6])
{
	unsigned m[6];
	char rest;
	if (strlen(text) != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &rest) != 6)
		return false;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)m[i];
	return true;
}

void config_new_mac(uint8_t mac[6])
{
	static const uint8_t ours[3] = {0x52, 0x54, 0x00};
	memcpy(mac, ours, 3);
	if (getrandom(mac + 3, 3, 0) != 3)
		abort(); /* without random numbers no identity may be made up */
}

static void net_to_json(const struct device_config *device, json_t *json)
{
	const uint8_t *m = device->net.mac;
	char mac[18];
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	if (device->net.tap[0])
		json_object_set_new(json, "tap", json_string(device->net.tap));
	json_object_set_new(json, "mac", json_string(mac));
}

static int net_from_json(const json_t *json, struct device_config *device, struct err *err)
{
	const char *tap = "", *mac;
	if (jobj_string(json, "tap", false, CONFIG_TAP_MAX, &tap, err) ||
	    jobj_string(json, "mac", true, 17, &mac, err))
		return -1;
	snprintf(device->net.tap, sizeof(device->net.tap), "%s", tap);
	if (!config_parse_mac(mac, device->net.mac))
		return err_set(err, ERR_INPUT,
			       "net: \"%s\" is no MAC address (six pairs of hexadecimal digits with "
			       "colons between them)",
			       mac);
	return 0;
}

static int net_check(const struct device_config *device, struct err *err)
{
	const char *tap = device->net.tap;
	if (strchr(tap, '/') || !strcmp(tap, ".") || !strcmp(tap, ".."))
		return err_set(err, ERR_INPUT, "net: \"%s\" is no name of an interface", tap);
	if (device->net.mac[0] & 1)
		return err_set(err, ERR_INPUT,
			       "net %s: its MAC address is one of a group (the lowest bit of the "
			       "first byte is set)",
			       tap);
	return 0;
}

static void console_to_json(const struct device_config *device, json_t *json)
{
	json_t *ports = json_array();
	for (unsigned i = 0; i < device->console.ports; i++)
		json_array_append_new(ports, json_string(device->console.name[i]));
	json_object_set_new(json, "ports", ports);
}

static int console_from_json(const json_t *json, struct device_config *device, struct err *err)
{
	json_t *ports, *port;
	size_t i;
	if (jobj_array(json, "ports", true, &ports, err))
		return -1;
	if (json_array_size(ports) > CONFIG_MAX_PORTS)
		return err_set(err, ERR_INPUT, "console: more than %d ports", CONFIG_MAX_PORTS);
	json_array_foreach(ports, i, port)
	{
		const char *name = json_string_value(port);
		if (!name || json_string_length(port) > CONFIG_PORT_MAX ||
		    strlen(name) != json_string_length(port))
			return err_set(err, ERR_INPUT,
				       "console: a port's name is a string of 1 to %d characters",
				       CONFIG_PORT_MAX);
		strcpy(device->console.name[device->console.ports++], name);
	}
	return 0;
}

static int console_check(const struct device_config *device, struct err *err)
{
	if (device->console.ports < 1 || device->console.ports > CONFIG_MAX_PORTS)
		return err_set(err, ERR_INPUT, "console: %u ports is not between 1 and %d",
			       device->console.ports, CONFIG_MAX_PORTS);
	for (unsigned i = 0; i < device->console.ports; i++) {
		const char *name = device->console.name[i];
		/* It is the name of a file, too. */
		if (!name[0] || name[0] == '.')
			return err_set(err, ERR_INPUT,
				       "console: a port has no name, or one that begins with '.'");
		for (const char *c = name; *c; c++)
			if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
				return err_set(err, ERR_INPUT,
					       "console: port \"%s\": names have letters, digits, "
					       "'.', '_' and '-'",
					       name);
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(name, device->console.name[k]))
				return err_set(err, ERR_INPUT, "console: two ports are called \"%s\"", name);
	}
	return 0;
}

static const struct {
	const char *name;
	const char *keys[6]; /* beside "kind" and "slot" */
	void (*to_json)(const struct device_config *device, json_t *json);
	int (*from_json)(const json_t *json, struct device_config *device, struct err *err);
	int (*check)(const struct device_config *device, struct err *err);
} kinds[DEVICE_KINDS] = {
    [DEVICE_DISK] = {"disk",
		     {"path", "format", "read_only", "serial", "queues"},
		     disk_to_json,
		     disk_from_json,
		     disk_check},
    [DEVICE_NET] = {"net", {"tap", "mac"}, net_to_json, net_from_json, net_check},
    [DEVICE_RNG] = {"rng", {NULL}, NULL, NULL, NULL},
    [DEVICE_CONSOLE] = {"console", {"ports"}, console_to_json, console_from_json, console_check},
    [DEVICE_BALLOON] = {"balloon", {NULL}, NULL, NULL, NULL},
};

/* ---- the list ------------------------------------------------------------------------------------------------------- */

static bool slot_taken(const struct vm_config *config, unsigned slot)
{
	for (unsigned i = 0; i < config->ndevices; i++)
		if (config->devices[i].slot == slot)
			return true;
	return false;
}

struct device_config *config_add_device(struct vm_config *config, enum device_kind kind)
{
	if (config->ndevices == CONFIG_MAX_DEVICES)
		return NULL;
	struct device_config *list =
	    reallocarray(config->devices, config->ndevices + 1, sizeof(config->devices[0]));
	if (!list)
		abort(); /* small, as in common/buf.h */
	config->devices = list;
	unsigned slot = CONFIG_FIRST_SLOT;
	while (slot_taken(config, slot))
		slot++;
	struct device_config *device = &list[config->ndevices++];
	*device = (struct device_config){.kind = kind, .slot = slot};
	return device;
}

json_t *config_devices_to_json(const struct vm_config *config)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < config->ndevices; i++) {
		const struct device_config *device = &config->devices[i];
		json_t *json =
		    json_pack("{s:s, s:i}", "kind", kinds[device->kind].name, "slot", (int)device->slot);
		if (kinds[device->kind].to_json)
			kinds[device->kind].to_json(device, json);
		json_array_append_new(list, json);
	}
	return list;
}

static bool key_known(enum device_kind kind, const char *key)
{
	if (!strcmp(key, "kind") || !strcmp(key, "slot"))
		return true;
	for (unsigned i = 0; kinds[kind].keys[i]; i++)
		if (!strcmp(key, kinds[kind].keys[i]))
			return true;
	return false;
}

static int device_from_json(const json_t *json, struct vm_config *config, struct err *err)
{
	const char *name, *key;
	uint64_t slot;
	json_t *value;
	unsigned kind = 0;
	if (!json_is_object(json))
		return err_set(err, ERR_INPUT, "a device is a JSON object");
	if (jobj_string(json, "kind", true, 16, &name, err) ||
	    jobj_u64(json, "slot", true, CONFIG_FIRST_SLOT, CONFIG_LAST_SLOT, &slot, err))
		return -1;
	while (kind < DEVICE_KINDS && strcmp(name, kinds[kind].name))
		kind++;
	if (kind == DEVICE_KINDS)
		return err_set(err, ERR_INPUT, "this version of drover does not know the device \"%s\"",
			       name);
	json_object_foreach((json_t *)json, key, value)
	{
		if (!key_known((enum device_kind)kind, key))
			return err_set(err, ERR_INPUT,
				       "%s: this version of drover does not know the field \"%.40s\"", name,
				       key);
	}
	struct device_config *device = config_add_device(config, (enum device_kind)kind);
	if (!device)
		return err_set(err, ERR_INPUT, "a VM has at most %d devices", CONFIG_MAX_DEVICES);
	device->slot = (unsigned)slot;
	return kinds[kind].from_json ? kinds[kind].from_json(json, device, err) : 0;
}

int config_devices_from_json(const json_t *list, struct vm_config *config, struct err *err)
{
	const json_t *json;
	size_t i;
	json_array_foreach(list, i, json)
	{
		if (device_from_json(json, config, err))
			return err_context(err, "VM configuration: device %zu", i + 1);
	}
	return 0;
}

int config_devices_check(const struct vm_config *config, struct err *err)
{
	for (unsigned i = 0; i < config->ndevices; i++) {
		const struct device_config *device = &config->devices[i];
		if (device->slot < CONFIG_FIRST_SLOT || device->slot > CONFIG_LAST_SLOT)
			return err_set(err, ERR_INPUT, "%s: slot %u is not between %d and %d",
				       kinds[device->kind].name, device->slot, CONFIG_FIRST_SLOT,
				       CONFIG_LAST_SLOT);
		for (unsigned k = 0; k < i; k++)
			if (config->devices[k].slot == device->slot)
				return err_set(err, ERR_INPUT, "%s and %s are both in slot %u",
					       kinds[config->devices[k].kind].name, kinds[device->kind].name,
					       device->slot);
		if (kinds[device->kind].check && kinds[device->kind].check(device, err))
			return -1;
	}
	return 0;
}

void config_devices_free(struct vm_config *config)
{
	for (unsigned i = 0; i < config->ndevices; i++)
		if (config->devices[i].kind == DEVICE_DISK)
			free(config->devices[i].disk.path);
	free(config->devices);
	config->devices = NULL;
	config->ndevices = 0;
}
