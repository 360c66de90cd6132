#include "cli/run_devices.h"
#include "imagefmt/dvol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

/* An address of those that anybody may use: locally administered, of one station. */
static void random_mac(uint8_t mac[6])
{
	if (getrandom(mac, 6, 0) != 6)
		abort(); /* so few bytes always come whole */
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 0x02);
}

static int add_net(const char *text, struct vm_config *config, struct err *err)
{
	static const char key[] = ",mac=";
	const char *mac = strstr(text, key);
	size_t len = mac ? (size_t)(mac - text) : strlen(text);
	struct device_config *device = add(config, DEVICE_NET, err);

	if (!device)
		return -1;
	if (!len || len > CONFIG_TAP_MAX)
		return err_set(err, ERR_USAGE,
			       "run: --net: '%.*s' is no name of an interface (1 to %d characters); see "
			       "'drover help run'",
			       (int)len, text, CONFIG_TAP_MAX);
	memcpy(device->net.tap, text, len);
	if (!mac) {
		random_mac(device->net.mac);
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

int run_disk_format(struct device_config *disk, struct err *err)
{
	const char *path = disk->disk.path;
	enum dvol_file_kind kind;
	struct err why = {0};

	if (dvol_probe(path, &kind, &why))
		return err_set(err, why.kind, "cannot read the disk: %s", why.text);
	disk->disk.format = kind == DVOL_FILE_VOLUME ? DISK_DVOL : DISK_RAW;
	if (disk->disk.format == DISK_RAW && !disk->disk.read_only)
		return err_set(err, ERR_INPUT,
			       "the disk '%.200s' is no volume, and a raw image can only be read: make a "
			       "volume of it with 'drover image convert', or append ,read-only",
			       path);
	return 0;
}
