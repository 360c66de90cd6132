/* cgroup_values.c: limits in the words of control groups, and the block devices that they are for. */
#include "vmm/cgroup.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { PERIOD_US = 100000 };

static void put(struct cgroup_value *values, unsigned *count, const char *file, const char *text)
{
	snprintf(values[*count].file, sizeof(values[0].file), "%s", file);
	snprintf(values[(*count)++].text, sizeof(values[0].text), "%s", text);
}

static unsigned cpu_values(int version, uint64_t percent, struct cgroup_value *values)
{
	unsigned long long quota = percent * (PERIOD_US / 100);
	unsigned count = 0;
	char text[64];
	if (version == 2) {
		snprintf(text, sizeof(text), "%llu %d", quota, PERIOD_US);
		put(values, &count, "cpu.max", text);
		return count;
	}
	snprintf(text, sizeof(text), "%d", PERIOD_US);
	put(values, &count, "cpu.cfs_period_us", text);
	snprintf(text, sizeof(text), "%llu", quota);
	put(values, &count, "cpu.cfs_quota_us", text);
	return count;
}

static unsigned io_values(int version, const struct vm_limits *limits, const struct cgroup_device *device,
			  struct cgroup_value *values)
{
	const struct {
		const char *v2, *v1;
		uint64_t value;
	} rates[] = {{"rbps", "read_bps", limits->read_bytes},
		     {"wbps", "write_bps", limits->write_bytes},
		     {"riops", "read_iops", limits->read_iops},
		     {"wiops", "write_iops", limits->write_iops}};
	char text[120], file[40];
	unsigned count = 0;
	snprintf(text, sizeof(text), "%u:%u", device->major, device->minor);
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		if (!rates[i].value)
			continue;
		if (version == 2) {
			size_t len = strlen(text);
			snprintf(text + len, sizeof(text) - len, " %s=%llu", rates[i].v2,
				 (unsigned long long)rates[i].value);
			continue;
		}
		snprintf(file, sizeof(file), "blkio.throttle.%s_device", rates[i].v1);
		snprintf(text, sizeof(text), "%u:%u %llu", device->major, device->minor,
			 (unsigned long long)rates[i].value);
		put(values, &count, file, text);
	}
	if (version == 2)
		put(values, &count, "io.max", text);
	return count;
}

unsigned cgroup_values(const char *controller, int version, const struct vm_limits *limits,
		       const struct cgroup_device *device, struct cgroup_value values[CGROUP_VALUES])
{
	unsigned count = 0;
	char text[64];
	if (!strcmp(controller, "cpu"))
		return cpu_values(version, limits->cpu_percent, values);
	if (!strcmp(controller, "io"))
		return io_values(version, limits, device, values);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)limits->memory_bytes);
	put(values, &count, version == 2 ? "memory.max" : "memory.limit_in_bytes", text);
	return count;
}

/* Rates are a whole disk's: of a partition its disk's. */
static bool whole_disk(dev_t dev, struct cgroup_device *device)
{
	char path[64], text[32] = "";
	FILE *file;
	*device = (struct cgroup_device){major(dev), minor(dev)};
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", device->major, device->minor);
	if (access(path, F_OK))
		return false; /* of file systems such as btrfs, tmpfs and NFS */
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", device->major, device->minor);
	if (access(path, F_OK))
		return true;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", device->major, device->minor);
	file = fopen(path, "re");
	bool read = file && fgets(text, sizeof(text), file) &&
		    sscanf(text, "%u:%u", &device->major, &device->minor) == 2;
	if (file)
		fclose(file);
	return read;
}

static void add(struct cgroup_device *devices, unsigned *count, struct cgroup_device device)
{
	for (unsigned i = 0; i < *count; i++)
		if (devices[i].major == device.major && devices[i].minor == device.minor)
			return;
	devices[(*count)++] = device; /* there are fewer devices in a VM than fit */
}

unsigned cgroup_devices(const struct vm_config *config, struct cgroup_device devices[CGROUP_DEVICES],
			char why[256])
{
	unsigned count = 0, disks = 0;
	for (unsigned i = 0; i < config->ndevices; i++) {
		const char *path = config->devices[i].disk.path;
		struct cgroup_device device;
		struct stat st;
		if (config->devices[i].kind != DEVICE_DISK)
			continue;
		disks++;
		if (stat(path, &st)) {
			snprintf(why, 256, "%.160s: %s", path, strerror(errno));
			return 0;
		}
		if (!whole_disk(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev, &device)) {
			snprintf(why, 256, "%.160s lies on a file system without a block device of its own",
				 path);
			return 0;
		}
		add(devices, &count, device);
	}
	if (!disks)
		snprintf(why, 256, "the VM has no disks");
	return count;
}
