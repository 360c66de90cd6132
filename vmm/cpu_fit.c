/* cpu_fit.c: what a guest sees of its CPU, and whether another host can show it the same. */
#include "common/jobj.h"
#include "vmm/clock.h"
#include "vmm/cpu_names.h"
#include "vmm/machine_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { EAX, EBX, ECX, EDX };

/* The registers of CPUID of which every bit says that something is there.  `mask`: bits that follow from the
 * guest's own doing or from how many vCPUs it has. */
static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg;
	uint32_t mask;
} features[] = {
    {1, 0, ECX, 1u << 27},   /* OSXSAVE */
    {1, 0, EDX, 1u << 28},   /* HTT */
    {6, 0, EAX, ~(1u << 2)}, /* ARAT; the rest are sensors and power states of the host */
    {7, 0, EBX, 0},          {7, 0, ECX, 1u << 4}, /* OSPKE */
    {7, 0, EDX, 0},          {7, 1, EAX, 0},          {7, 1, EBX, 0},
    {7, 1, ECX, 0},          {7, 1, EDX, 0},          {7, 2, EDX, 0},
    {0xd, 0, EAX, 0},        {0xd, 0, EDX, 0},                                       /* XCR0 */
    {0xd, 1, EAX, 0},        {0xd, 1, ECX, 0},                                       /* XSS */
    {0xd, 1, EDX, 0},        {0x40000001, 0, EAX, 0}, {0x80000001, 0, ECX, 1u << 1}, /* CmpLegacy */
    {0x80000001, 0, EDX, 0}, {0x80000007, 0, EDX, 0}, {0x80000008, 0, EBX, 0},
    {0x80000021, 0, EAX, 0},
};

/* ---- making the description ----------------------------------------------------------------------------- */

static json_t *feature_object(const struct cpuid_table *table)
{
	static const char names[4][4] = {"eax", "ebx", "ecx", "edx"};
	json_t *object = json_object();
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const struct kvm_cpuid_entry2 *e = cpuid_find(table, features[i].leaf, features[i].subleaf);
		if (!e)
			continue;
		const uint32_t values[4] = {e->eax, e->ebx, e->ecx, e->edx};
		uint32_t value = values[features[i].reg] & ~features[i].mask;
		char key[32];
		snprintf(key, sizeof(key), "%x.%x.%s", features[i].leaf, features[i].subleaf,
			 names[features[i].reg]);
		if (value)
			json_object_set_new(object, key, jobj_make_hex64(value));
	}
	return object;
}

static json_t *describe(const struct kvm *kvm, const struct cpuid_table *table, const struct msr_list *msrs,
			uint32_t tsc_khz)
{
	const struct kvm_cpuid_entry2 *base = cpuid_find(table, 0, 0);
	const struct kvm_cpuid_entry2 *sizes = cpuid_find(table, 0x80000008, 0);
	char vendor[13] = "";
	if (base) {
		memcpy(vendor, &base->ebx, 4);
		memcpy(vendor + 4, &base->edx, 4);
		memcpy(vendor + 8, &base->ecx, 4);
	}
	for (char *c = vendor; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	json_t *list = json_array();
	for (uint32_t i = 0; i < msrs->count; i++)
		json_array_append_new(list, jobj_make_hex64(msrs->index[i]));
	return json_pack("{s:s, s:i, s:b, s:i, s:i, s:o, s:o}", "vendor", vendor, "tsc_khz", (int)tsc_khz,
			 "tsc_scaling", (int)kvm->tsc_scaling, "xsave_bytes", (int)kvm->xsave_bytes,
			 "phys_bits", sizes ? (int)(sizes->eax & 0xff) : 36, "features",
			 feature_object(table), "msrs", list);
}

json_t *machine_cpu_json(const struct machine *machine, struct err *err)
{
	json_t *json = describe(&machine->kvm, machine->cpuid, machine->msrs, machine->tsc_khz);
	if (!json)
		err_set(err, ERR_SYSTEM, "CPU description: out of memory");
	return json;
}

/* ---- comparing two -------------------------------------------------------------------------------------- */

/* What is missing, the first few by name. */
struct missing {
	char text[256];
	unsigned count;
};

enum { NAMED = 6 };

static void add_missing(struct missing *missing, const char *name)
{
	size_t len = strlen(missing->text);
	if (missing->count++ < NAMED)
		snprintf(missing->text + len, sizeof(missing->text) - len, "%s%s", len ? ", " : "", name);
}

static int compare_features(const json_t *guest, const json_t *host, struct missing *missing, struct err *err)
{
	json_t *wanted = NULL, *there = NULL, *value;
	const char *key;
	if (jobj_object(guest, "features", true, &wanted, err) ||
	    jobj_object(host, "features", true, &there, err))
		return -1;
	json_object_foreach(wanted, key, value)
	{
		uint64_t want = 0, have = 0;
		char name[64];
		if (strlen(key) > 24)
			return err_set(err, ERR_INPUT,
				       "CPU description: \"%.24s...\" is not a CPUID register", key);
		if (jobj_hex64(wanted, key, true, &want, err) || jobj_hex64(there, key, false, &have, err))
			return -1;
		for (uint64_t lack = want & ~have; lack; lack &= lack - 1)
			add_missing(missing,
				    cpu_bit_name(key, (unsigned)__builtin_ctzll(lack), name, sizeof(name)));
	}
	return 0;
}

static int msr_at(const json_t *list, size_t i, uint64_t *index, struct err *err)
{
	json_t *item = json_array_get(list, i);
	json_t *wrapped = json_pack("{s:O}", "msrs", item);
	int failed = !wrapped || jobj_hex64(wrapped, "msrs", true, index, err);
	json_decref(wrapped);
	return failed ? -1 : 0;
}

static int read_msrs(const json_t *cpu, struct msr_list *list, struct err *err)
{
	json_t *array = NULL;
	if (jobj_array(cpu, "msrs", true, &array, err))
		return -1;
	if (json_array_size(array) > MSR_LIST_MAX)
		return err_set(err, ERR_INPUT, "CPU description: more than %d MSRs", MSR_LIST_MAX);
	list->count = 0;
	for (size_t i = 0; i < json_array_size(array); i++) {
		uint64_t index = 0;
		if (msr_at(array, i, &index, err))
			return -1;
		if (index > UINT32_MAX)
			return err_set(err, ERR_INPUT, "CPU description: 0x%llx is not the number of an MSR",
				       (unsigned long long)index);
		list->index[list->count++] = (uint32_t)index;
	}
	return 0;
}

static int compare_msrs(const json_t *guest, const json_t *host, struct missing *missing, struct err *err)
{
	struct msr_list wanted, there;
	if (read_msrs(guest, &wanted, err) || read_msrs(host, &there, err))
		return -1;
	for (uint32_t i = 0; i < wanted.count; i++) {
		char name[24];
		snprintf(name, sizeof(name), "MSR 0x%x", wanted.index[i]);
		if (!msr_list_has(&there, wanted.index[i]))
			add_missing(missing, name);
	}
	return 0;
}

struct numbers {
	const char *vendor;
	uint64_t tsc_khz, xsave_bytes, phys_bits;
	bool tsc_scaling;
};

static int read_numbers(const json_t *cpu, struct numbers *numbers, struct err *err)
{
	if (!json_is_object(cpu))
		return err_set(err, ERR_INPUT, "CPU description: not a JSON object");
	*numbers = (struct numbers){.phys_bits = 36};
	if (jobj_string(cpu, "vendor", true, 12, &numbers->vendor, err) ||
	    jobj_u64(cpu, "tsc_khz", true, 1, UINT32_MAX, &numbers->tsc_khz, err) ||
	    jobj_bool(cpu, "tsc_scaling", false, &numbers->tsc_scaling, err) ||
	    jobj_u64(cpu, "xsave_bytes", true, 0, 1 << 20, &numbers->xsave_bytes, err) ||
	    jobj_u64(cpu, "phys_bits", false, 1, 64, &numbers->phys_bits, err))
		return -1;
	return 0;
}

static int compare_numbers(const struct numbers *guest, const struct numbers *host, struct err *err)
{
	if (strcmp(guest->vendor, host->vendor))
		return err_set(err, ERR_REFUSED, "the guest runs on a CPU by %s, the other host's is by %s",
			       guest->vendor, host->vendor);
	if (!clock_same_khz(guest->tsc_khz, host->tsc_khz) && !host->tsc_scaling)
		return err_set(err, ERR_REFUSED,
			       "the guest's TSC runs at %llu kHz, the other host's at %llu, and its CPU "
			       "cannot scale it; "
			       "move it to a host of the same frequency, or whose CPU scales TSCs",
			       (unsigned long long)guest->tsc_khz, (unsigned long long)host->tsc_khz);
	if (guest->xsave_bytes > host->xsave_bytes)
		return err_set(err, ERR_REFUSED,
			       "the guest's CPU has %llu bytes of vector registers, the other host's %llu",
			       (unsigned long long)guest->xsave_bytes, (unsigned long long)host->xsave_bytes);
	if (guest->phys_bits > host->phys_bits)
		return err_set(err, ERR_REFUSED,
			       "the guest's CPU has %llu bits of physical address, the other host's %llu",
			       (unsigned long long)guest->phys_bits, (unsigned long long)host->phys_bits);
	return 0;
}

int machine_cpu_fits(const json_t *guest, const json_t *host, struct err *err)
{
	struct numbers a, b;
	struct missing missing = {.count = 0};
	if (read_numbers(guest, &a, err) || read_numbers(host, &b, err) || compare_numbers(&a, &b, err) ||
	    compare_features(guest, host, &missing, err) || compare_msrs(guest, host, &missing, err))
		return -1;
	if (!missing.count)
		return 0;
	char more[24] = "";
	if (missing.count > NAMED)
		snprintf(more, sizeof(more), " and %u more", missing.count - NAMED);
	return err_set(err, ERR_REFUSED,
		       "the other host's CPU or KVM lacks what the guest may be using: %s%s", missing.text,
		       more);
}
