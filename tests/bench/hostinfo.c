#include "tests/bench/hostinfo.h"
#include "common/io.h"
#include "tests/bench/proc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The value of the first "key : value" line of /proc/cpuinfo. */
static void cpuinfo(const char *key, char *value, size_t cap)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	char line[8192];

	snprintf(value, cap, "unknown");
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, key, strlen(key)) != 0 || !colon)
			continue;
		colon += 1 + strspn(colon + 1, " ");
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(value, cap, "%s", colon);
		break;
	}
	if (file)
		fclose(file);
}

static json_t *version_of(const struct benchenv *env, const char *program, const char *option)
{
	char path[BENCHENV_PATH + 16];
	const char *argv[] = {program, option, NULL};
	struct proc_spawn spawn = {.argv = argv, .out = path, .errors = path};
	json_t *version = NULL;
	struct err err;
	void *text;
	size_t len;

	snprintf(path, sizeof(path), "%s/version", env->dir);
	if (program[0] && proc_run(&spawn, clock_mono_ns() + 10000000000ull, &err) == 0 &&
	    io_read_file(path, 65536, &text, &len) == 0) {
		((char *)text)[strcspn(text, "\n")] = '\0';
		version = json_string(text);
		free(text);
	}
	unlink(path);
	return version ? version : json_null();
}

json_t *hostinfo_json(const struct benchenv *env)
{
	char model[256], vendor[64], family[16], flags[8192], date[32];
	time_t now = time(NULL);
	struct utsname system;
	struct sysinfo memory;

	cpuinfo("model name", model, sizeof(model));
	cpuinfo("vendor_id", vendor, sizeof(vendor));
	cpuinfo("cpu family", family, sizeof(family));
	cpuinfo("flags", flags, sizeof(flags));
	uname(&system);
	sysinfo(&memory);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:b, s:s, s:{s:o, s:o, s:o}}", "cpu", model,
			 "vendor", vendor, "family", family, "cpus",
			 (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_mib",
			 (json_int_t)((uint64_t)memory.totalram * memory.mem_unit >> 20), "kernel",
			 system.release, "machine", system.machine, "hardware_virtualization",
			 strstr(flags, " svm") || strstr(flags, " vmx"), "date", date, "versions", "drover",
			 version_of(env, env->drover, "--version"), "qemu",
			 version_of(env, env->qemu, "--version"), "ssh", version_of(env, "ssh", "-V"));
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

const char *hostinfo_line(const json_t *info, char text[512])
{
	const json_t *versions = json_object_get(info, "versions");

	snprintf(text, 512, "%s (%s, family %s), %d CPUs, %d MiB, Linux %s, %s; %s; %s; %s; %s",
		 text_of(info, "cpu"), text_of(info, "vendor"), text_of(info, "family"),
		 (int)json_integer_value(json_object_get(info, "cpus")),
		 (int)json_integer_value(json_object_get(info, "memory_mib")), text_of(info, "kernel"),
		 json_is_true(json_object_get(info, "hardware_virtualization")) ? "hardware virtualization"
										: "KVM without VMX or SVM",
		 text_of(versions, "drover"), text_of(versions, "qemu"), text_of(versions, "ssh"),
		 text_of(info, "date"));
	return text;
}
