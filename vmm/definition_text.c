/* definition_text.c: see definition_text.h. */
#include "vmm/definition_text.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void add(struct buf *text, const char *format, ...)
{
	char line[256];
	va_list ap;
	va_start(ap, format);
	int len = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	buf_put(text, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

/* add_text: key and value; a JSON string is one of YAML, too. */
static void add_text(struct buf *text, const char *key, const char *value)
{
	if (!value)
		return;
	json_t *json = json_string(value);
	char *quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
	json_decref(json);
	if (!quoted)
		abort(); /* what is in a configuration is UTF-8 */
	buf_put(text, key, strlen(key));
	buf_put(text, ": ", 2);
	buf_put(text, quoted, strlen(quoted));
	buf_put(text, "\n", 1);
	free(quoted);
}

static void add_disk(struct buf *text, const struct device_config *device)
{
	add_text(text, "  - path", device->disk.path);
	if (device->disk.format == DISK_RAW)
		add(text, "    format: raw\n");
	if (device->disk.read_only)
		add(text, "    read-only: true\n");
	if (device->disk.serial[0])
		add_text(text, "    serial", device->disk.serial);
	if (device->disk.queues > 1)
		add(text, "    queues: %u\n", device->disk.queues);
}

static void add_net(struct buf *text, const struct device_config *device)
{
	const uint8_t *m = device->net.mac;
	char mac[18];
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	add_text(text, "  - mac", mac);
	if (device->net.tap[0])
		add_text(text, "    tap", device->net.tap);
}

static void add_ports(struct buf *text, const struct device_config *device)
{
	for (unsigned i = 0; i < device->console.ports; i++)
		add(text, "  - \"%s\"\n", device->console.name[i]);
}

static const struct device_config *first(const struct vm_config *config, enum device_kind kind)
{
	for (unsigned i = 0; i < config->ndevices; i++)
		if (config->devices[i].kind == kind)
			return &config->devices[i];
	return NULL;
}

static void add_list(struct buf *text, const struct vm_config *config, enum device_kind kind, const char *key,
		     void (*one)(struct buf *text, const struct device_config *device))
{
	if (!first(config, kind))
		return;
	add(text, "%s:\n", key);
	for (unsigned i = 0; i < config->ndevices; i++)
		if (config->devices[i].kind == kind)
			one(text, &config->devices[i]);
}

static void add_limits(struct buf *text, const struct vm_limits *limits)
{
	if (!limits_any(limits))
		return;
	add(text, "limits:\n");
	if (limits->memory_bytes)
		add(text, "  memory-max: %llu\n", (unsigned long long)limits->memory_bytes);
	if (limits->cpu_percent)
		add(text, "  cpu: %llu.%02llu\n", (unsigned long long)limits->cpu_percent / 100,
		    (unsigned long long)limits->cpu_percent % 100);
	const uint64_t rates[] = {limits->read_bytes, limits->write_bytes, limits->read_iops,
				  limits->write_iops};
	static const char *const words[] = {"read-bytes", "write-bytes", "read-iops", "write-iops"};
	for (size_t i = 0; i < 4; i++)
		if (rates[i])
			add(text, "  %s: %llu\n", words[i], (unsigned long long)rates[i]);
	if (limits->required)
		add(text, "  required: true\n");
}

void definition_text(const struct vm_config *config, struct buf *text)
{
	add(text, "memory: %lluK\ncpus: %u\ncpu-model: %s\n", (unsigned long long)config->memory_bytes >> 10,
	    config->cpus, config_cpu_models[config->cpu_model]);
	add_text(text, "kernel", config->kernel);
	add_text(text, "initrd", config->initrd);
	add_text(text, "cmdline", config->cmdline);
	if (config->boot != BOOT_DISK)
		add(text, "boot: %s\n", config_boot_sources[config->boot]);
	if (config->huge_pages)
		add(text, "huge-pages: true\n");
	if (config->emulation)
		add(text, "emulate: true\n");
	add_list(text, config, DEVICE_DISK, "disks", add_disk);
	add_list(text, config, DEVICE_NET, "nets", add_net);
	add_list(text, config, DEVICE_CONSOLE, "console-ports", add_ports);
	add(text, "rng: %s\nballoon: %s\ndirty-tracking: %s\n", first(config, DEVICE_RNG) ? "true" : "false",
	    first(config, DEVICE_BALLOON) ? "true" : "false", config_dirty_modes[config->dirty_mode]);
	add_limits(text, &config->limits);
	buf_put_u8(text, 0);
}
