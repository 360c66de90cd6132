/* msr.c: which MSRs are state, and moving them in one call a vCPU. */
#include "vmm/msr.h"
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

static_assert(offsetof(struct msr_values, entries) == sizeof(struct kvm_msrs), "msr_values is not kvm_msrs");

struct range {
	uint32_t first, last;
};

/* What KVM lists, but belongs to features that guests do not have here (vmm/cpuid.c).  Which of these there are
 * differs from CPU to CPU: they would keep a guest from a host that lacks what it cannot use. */
static const struct range hidden[] = {
    {0x8c, 0x8f},             /* SGX */
    {0xc1, 0xd8},             /* performance counters */
    {0x186, 0x19a},           /* their event selectors */
    {0x309, 0x318},           /* fixed counters */
    {0x329, 0x329},           /* performance metrics */
    {0x345, 0x345},           /* performance capabilities */
    {0x38d, 0x391},           /* control of the counters */
    {0x3f1, 0x3f2},           /* precise events */
    {0x480, 0x492},           /* VMX capabilities */
    {0x560, 0x58f},           /* processor trace */
    {0x600, 0x600},           /* debug store */
    {0x1200, 0x121f},         /* branch records */
    {0x14ce, 0x14cf},         /* their control */
    {0xc0000300, 0xc0000303}, /* AMD: control of the counters */
    {0xc0010000, 0xc0010007}, /* AMD: event selectors and counters */
    {0xc0010200, 0xc001020b}, /* AMD: more of them */
};

/* The memory type range registers: guest state that older KVMs keep, but do not list. */
static const struct range extra[] = {
    {0x200, 0x20f}, {0x250, 0x250}, {0x258, 0x259}, {0x268, 0x26f}, {0x2ff, 0x2ff}};

bool msr_list_has(const struct msr_list *list, uint32_t index)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (list->index[i] == index)
			return true;
	return false;
}

static bool is_hidden(uint32_t index)
{
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		if (index >= hidden[i].first && index <= hidden[i].last)
			return true;
	return false;
}

static void add(struct msr_list *list, uint32_t index)
{
	if (index == MSR_TSC || is_hidden(index) || msr_list_has(list, index))
		return;
	if (list->count < MSR_LIST_MAX)
		list->index[list->count++] = index;
}

static int candidates(const struct kvm *kvm, struct msr_list *list, struct err *err)
{
	struct {
		uint32_t count;
		uint32_t index[MSR_LIST_MAX];
	} known = {.count = MSR_LIST_MAX};
	static_assert(offsetof(struct kvm_msr_list, indices) == sizeof(uint32_t), "kvm_msr_list");
	if (ioctl(kvm->dev, KVM_GET_MSR_INDEX_LIST, &known))
		return err_sys(err, "KVM: cannot list the MSRs");
	list->count = 0;
	for (uint32_t i = 0; i < known.count && i < MSR_LIST_MAX; i++)
		add(list, known.index[i]);
	for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++)
		for (uint32_t index = extra[i].first; index <= extra[i].last; index++)
			add(list, index);
	return 0;
}

static void prepare(const struct msr_list *list, struct msr_values *values)
{
	values->count = list->count;
	values->padding = 0;
	for (uint32_t i = 0; i < list->count; i++)
		values->entries[i] = (struct kvm_msr_entry){.index = list->index[i]};
}

static void drop(struct msr_list *list, uint32_t at)
{
	memmove(&list->index[at], &list->index[at + 1], (list->count - at - 1) * sizeof(list->index[0]));
	list->count--;
}

/* KVM_GET_MSRS and KVM_SET_MSRS return how many they did; the next one is what they stumbled over. */
static int probe(int vcpu_fd, unsigned long request, struct msr_list *list, struct msr_values *values,
		 struct err *err)
{
	while (list->count) {
		int done = ioctl(vcpu_fd, request, values);
		if (done < 0)
			return err_sys(err, "KVM: cannot access the MSRs");
		if ((uint32_t)done >= list->count)
			return 0;
		drop(list, (uint32_t)done);
		memmove(&values->entries[done], &values->entries[done + 1],
			(values->count - (uint32_t)done - 1) * sizeof(values->entries[0]));
		values->count--;
	}
	return 0;
}

int msr_list_probe(const struct kvm *kvm, int vcpu_fd, struct msr_list *list, struct err *err)
{
	struct msr_values values;
	if (candidates(kvm, list, err))
		return -1;
	prepare(list, &values);
	if (probe(vcpu_fd, KVM_GET_MSRS, list, &values, err))
		return -1;
	return probe(vcpu_fd, KVM_SET_MSRS, list, &values, err);
}

int msr_get_all(int vcpu_fd, const struct msr_list *list, struct msr_values *values, struct err *err)
{
	prepare(list, values);
	int done = ioctl(vcpu_fd, KVM_GET_MSRS, values);
	if (done < 0)
		return err_sys(err, "KVM: cannot read the MSRs");
	if ((uint32_t)done != values->count)
		return err_set(err, ERR_SYSTEM, "KVM: cannot read MSR 0x%x", values->entries[done].index);
	return 0;
}

int msr_set_all(int vcpu_fd, const struct msr_values *values, struct err *err)
{
	int done = ioctl(vcpu_fd, KVM_SET_MSRS, values);
	if (done < 0)
		return err_sys(err, "KVM: cannot set the MSRs");
	if ((uint32_t)done < values->count)
		return err_set(err, ERR_REFUSED, "KVM on this host does not take 0x%llx for MSR 0x%x",
			       (unsigned long long)values->entries[done].data, values->entries[done].index);
	return 0;
}

struct one_msr {
	uint32_t count;
	uint32_t padding;
	struct kvm_msr_entry entry;
};

int msr_get(int vcpu_fd, uint32_t index, uint64_t *value)
{
	struct one_msr one = {.count = 1, .entry = {.index = index}};
	if (ioctl(vcpu_fd, KVM_GET_MSRS, &one) != 1)
		return -1;
	*value = one.entry.data;
	return 0;
}

int msr_set(int vcpu_fd, uint32_t index, uint64_t value)
{
	struct one_msr one = {.count = 1, .entry = {.index = index, .data = value}};
	return ioctl(vcpu_fd, KVM_SET_MSRS, &one) == 1 ? 0 : -1;
}
