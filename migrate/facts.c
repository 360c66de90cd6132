#include "migrate/facts.h"

#include "common/io.h"
#include "common/paths.h"
#include "vmm/machine.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

uint64_t facts_available_memory(void)
{
	unsigned long long kib = UINT64_MAX >> 10;
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib << 10;
}

uint64_t facts_all_memory(void)
{
	struct sysinfo info;

	(void)sysinfo(&info);
	return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

static void nobody_ended(void *arg, enum machine_end why, const char *detail)
{
	(void)arg, (void)why, (void)detail;
}

static void nothing_said(void *arg, const uint8_t *data, size_t len)
{
	(void)arg, (void)data, (void)len;
}

/* KVM says what a guest would see only of a machine that exists: the smallest is made, and goes away again. */
static json_t *cpu_of_a_guest(struct err *err)
{
	const struct machine_owner owner = {.ended = nobody_ended, .console = nothing_said};
	struct vm_config config = {.name = "facts", .memory_bytes = CONFIG_MIN_MEMORY, .cpus = 1};
	struct machine *machine;
	json_t *cpu;

	config_new_uuid(config.uuid);
	machine = machine_create(&config, -1, &owner, err);
	cpu = machine ? machine_cpu_json(machine, err) : NULL;
	machine_destroy(machine);
	return cpu;
}

static json_t *interfaces(void)
{
	struct if_nameindex *all = if_nameindex();
	json_t *list = json_array();

	for (size_t i = 0; all && all[i].if_index; i++)
		json_array_append_new(list, json_string(all[i].if_name));
	if (all)
		if_freenameindex(all);
	return list;
}

/* Free where the state folder is, or will be: of the nearest folder above it that exists. */
static uint64_t free_disk(void)
{
	char path[PATHS_MAX];
	struct statvfs fs;

	if (paths_state(path, NULL))
		return 0;
	while (statvfs(path, &fs)) {
		char *slash = strrchr(path, '/');

		if (!slash || slash == path)
			return 0;
		*slash = 0;
	}
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

json_t *facts_json(struct err *err)
{
	struct err kvm = {.kind = ERR_NONE};
	char host[256] = "unknown";
	json_t *cpu = NULL, *json;

	(void)gethostname(host, sizeof(host) - 1);
	if (!machine_check_host(&kvm))
		cpu = cpu_of_a_guest(&kvm);
	json =
	    json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:o}", "host", host, "drover", DROVER_VERSION,
		      "kvm", cpu ? "" : kvm.text, "cpu", cpu ? cpu : json_null(), "memory_bytes",
		      (json_int_t)facts_available_memory(), "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN),
		      "disk_bytes", (json_int_t)free_disk(), "interfaces", interfaces());
	if (!json)
		err_set(err, ERR_SYSTEM, "out of memory for what there is to say of this host");
	return json;
}
