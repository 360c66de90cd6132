#include "cli/run_devices.h"
#include "common/units.h"
#include "imagefmt/dvol.h"
#include "vmm/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct device_config *add(struct vm_config *config, enum device_kind kind, struct err *err)
{
	struct device_config *device = config_add_device(config, kind);

	if (!device)
		err_set(err, ERR_USAGE, "run: a VM has at most %d devices; see 'drover help run'",
			CONFIG_MAX_DEVICES);
	return device;
}

static int add_disk(const char *text, struct vm_config *config, struct err *err)
{
	static const char suffix[] = ",read-only";
	size_t len = strlen(text), end = sizeof(suffix) - 1;
	struct device_config *device = add(config, DEVICE_DISK, err);

	if (!device)
		return -1;
	if (len > end && !strcmp(text + len - end, suffix)) {
		device->disk.read_only = true;
		len -= end;
	}
	device->disk.queues = 1;
	device->disk.path = strndup(text, len);
	if (!device->disk.path)
		abort();
	return 0;
}

/* "fd=N": an open tap of the caller's; the VM is to find it by its name where it moves to. */
static int take_fd(const char *text, size_t len, struct vm_config *config, struct device_config *device,
		   struct err *err)
{
	struct err why = {0};
	char number[12];
	unsigned others = 0;
	uint64_t fd;

	snprintf(number, sizeof(number), "%.*s", (int)(len - 3), text + 3);
	if (len - 3 >= sizeof(number) || units_parse_uint(number, 3, 1u << 20, &fd, &why))
		return err_set(
		    err, ERR_USAGE,
		    "run: --net: '%.40s' is not the number of a descriptor (from 3 on); see 'drover "
		    "help run'",
		    text);
	for (unsigned i = 0; i < config->ndevices; i++)
		others += config->devices[i].kind == DEVICE_NET && config->devices[i].net.inherited;
	if (others == CONFIG_MAX_INHERITED)
		return err_set(err, ERR_USAGE,
			       "run: --net: at most %d taps come as descriptors; see 'drover help run'",
			       CONFIG_MAX_INHERITED);
	device->net.inherited = true;
	device->net.fd = (int)fd;
	return tap_name(device->net.fd, device->net.tap, err) ? err_context(err, "--net %.*s", (int)len, text)
							      : 0;
}

static int add_net(const char *text, struct vm_config *config, struct err *err)
{
	static const char key[] = ",mac=";
	const char *mac = strstr(text, key);
	size_t len = mac ? (size_t)(mac - text) : strlen(text);
	struct device_config *device = add(config, DEVICE_NET, err);

	if (!device)
		return -1;
	if (!strncmp(text, "fd=", 3)) {
		if (take_fd(text, len, config, device, err))
			return -1;
	} else if (!len || len > CONFIG_TAP_MAX) {
		return err_set(err, ERR_USAGE,
			       "run: --net: '%.*s' is no name of an interface (1 to %d characters); see "
			       "'drover help run'",
			       (int)len, text, CONFIG_TAP_MAX);
	} else {
		memcpy(device->net.tap, text, len);
	}
	if (!mac) {
		config_new_mac(device->net.mac);
		return 0;
	}
	mac += sizeof(key) - 1;
	if (!config_parse_mac(mac, device->net.mac))
		return err_set(err, ERR_USAGE,
			       "run: --net: '%.40s' is no MAC address (as in 02:00:00:00:00:01); see 'drover "
			       "help run'",
			       mac);
	return 0;
}

int run_devices(const struct args *args, struct vm_config *config, struct err *err)
{
	for (size_t i = 0; i < args->disks.count; i++)
		if (add_disk(args->disks.item[i], config, err))
			return -1;
	for (size_t i = 0; i < args->nets.count; i++)
		if (add_net(args->nets.item[i], config, err))
			return -1;
	return 0;
}

int run_limits(const struct args *args, struct vm_config *config, struct err *err)
{
	for (size_t i = 0; i < args->limits.count; i++) {
		const char *text = args->limits.item[i], *value = strchr(text, '=');
		struct err why = {0};
		char word[24];

		if (!value || value == text || (size_t)(value - text) >= sizeof(word))
			return err_set(
			    err, ERR_USAGE,
			    "run: --limit: '%.40s' is not WHAT=VALUE, as in cpu=1.5; see 'drover help "
			    "run'",
			    text);
		snprintf(word, sizeof(word), "%.*s", (int)(value - text), text);
		if (limits_set(&config->limits, word, value + 1, &why))
			return err_set(err, ERR_USAGE, "run: --limit %s: %s; see 'drover help run'", word,
				       why.text);
	}
	limits_settle(&config->limits, config->memory_bytes, (unsigned)args->disks.count);
	return 0;
}

int run_disk_format(struct device_config *disk, struct err *err)
{
	const char *path = disk->disk.path;
	enum dvol_file_kind kind;

	if (dvol_probe(path, &kind, err))
		return err_context(err, "cannot read the disk");
	disk->disk.format = kind == DVOL_FILE_VOLUME ? DISK_DVOL : DISK_RAW;
	if (disk->disk.format == DISK_RAW && !disk->disk.read_only)
		return err_set(err, ERR_INPUT,
			       "the disk '%.200s' is no volume, and a raw image can only be read: make a "
			       "volume of it with 'drover image convert', or append ,read-only",
			       path);
	return 0;
}
