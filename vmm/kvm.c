/* kvm.c: opening /dev/kvm, the list of what must be there, and the VM around which all else is made. */
#include "vmm/kvm.h"
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Pages that Intel's real-mode emulation needs, in the hole below 4 GiB where nothing else lies. */
#define IDENTITY_MAP_ADDR 0xfffbc000ull
#define TSS_ADDR          0xfffbd000ul

static const struct {
	unsigned capability;
	const char *name;
	const char *since;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "2.6.25"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", "2.6.25"},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR", "2.6.32"},
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "2.6.25"},
    {KVM_CAP_PIT2, "KVM_CAP_PIT2", "2.6.31"},
    {KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2", "2.6.32"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "2.6.26"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "2.6.26"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING", "2.6.30"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "2.6.32"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "2.6.32"},
    {KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH", "4.4"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM", "3.8"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "2.6.33"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS", "2.6.35"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "2.6.36"},
    {KVM_CAP_XCRS, "KVM_CAP_XCRS", "2.6.36"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK", "2.6.33"},
    {KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ", "2.6.39"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "4.13"},
    {KVM_CAP_EXCEPTION_PAYLOAD, "KVM_CAP_EXCEPTION_PAYLOAD", "4.20"},
    {KVM_CAP_SREGS2, "KVM_CAP_SREGS2", "5.14"},
};

/* Whose it is says what helps. */
static int denied(struct err *err)
{
	const struct passwd *user = getpwuid(geteuid());
	const struct group *group;
	struct stat st;
	if (stat("/dev/kvm", &st))
		return err_set(err, ERR_NO_KVM, "/dev/kvm: %s", strerror(errno));
	group = getgrgid(st.st_gid);
	if (st.st_gid == 0 || (st.st_mode & 0060) != 0060)
		return err_set(
		    err, ERR_NO_KVM,
		    "/dev/kvm: permission denied; it is for root alone; as root: chgrp kvm /dev/kvm && "
		    "chmod 660 /dev/kvm, and add the user to group kvm");
	if (group && user)
		return err_set(
		    err, ERR_NO_KVM,
		    "/dev/kvm: permission denied; it is for group %s; as root: usermod -aG %s %s, then "
		    "log in anew",
		    group->gr_name, group->gr_name, user->pw_name);
	return err_set(
	    err, ERR_NO_KVM,
	    "/dev/kvm: permission denied; it is for the group with number %u, in which this user must be",
	    (unsigned)st.st_gid);
}

static int open_device(struct err *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return err_set(
		    err, ERR_NO_KVM,
		    "no /dev/kvm: enable virtualization in the firmware and load kvm_amd or kvm_intel");
	case EACCES:
	case EPERM:
		return denied(err);
	default:
		return err_set(err, ERR_NO_KVM, "/dev/kvm: cannot open it: %s", strerror(errno));
	}
}

bool kvm_has_hardware(void)
{
	enum { VMX = 1u << 5, SVM = 1u << 2 };
	unsigned eax, ebx, ecx, edx;
	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & VMX)
		return true;
	return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && ecx & SVM;
}

int kvm_has(const struct kvm *kvm, unsigned capability)
{
	int value = ioctl(kvm->vm >= 0 ? kvm->vm : kvm->dev, KVM_CHECK_EXTENSION, capability);
	return value > 0 ? value : 0;
}

int kvm_enable(const struct kvm *kvm, unsigned capability, uint64_t argument)
{
	struct kvm_enable_cap cap = {.cap = capability, .args = {argument}};
	return ioctl(kvm->vm, KVM_ENABLE_CAP, &cap);
}

static int check_device(struct kvm *kvm, struct err *err)
{
	int version = ioctl(kvm->dev, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return err_set(err, ERR_NO_KVM, "/dev/kvm: it is not KVM with API version %d (it answers %d)",
			       KVM_API_VERSION, version);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!kvm_has(kvm, needed[i].capability))
			return err_set(err, ERR_NO_KVM, "KVM lacks %s; Linux %s or later is needed",
				       needed[i].name, needed[i].since);
	kvm->run_bytes = ioctl(kvm->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (kvm->run_bytes < (int)sizeof(struct kvm_run))
		return err_set(err, ERR_NO_KVM, "/dev/kvm: a vCPU's shared area of %d bytes is too small",
			       kvm->run_bytes);
	return 0;
}

int kvm_open(struct kvm *kvm, struct err *err)
{
	*kvm = (struct kvm){.dev = -1, .vm = -1};
	kvm->dev = open_device(err);
	if (kvm->dev < 0)
		return -1;
	if (check_device(kvm, err)) {
		kvm_close(kvm);
		return -1;
	}
	kvm->ring_bytes = (uint32_t)kvm_has(kvm, KVM_CAP_DIRTY_LOG_RING);
	kvm->manual_protect =
	    (unsigned)kvm_has(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
	kvm->tsc_deadline = kvm_has(kvm, KVM_CAP_TSC_DEADLINE_TIMER);
	kvm->tsc_scaling = kvm_has(kvm, KVM_CAP_TSC_CONTROL);
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	if (kvm->vm >= 0)
		close(kvm->vm);
	if (kvm->dev >= 0)
		close(kvm->dev);
	kvm->vm = kvm->dev = -1;
}

static int create_chips(struct kvm *kvm, struct err *err)
{
	uint64_t identity = IDENTITY_MAP_ADDR;
	if (ioctl(kvm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) ||
	    ioctl(kvm->vm, KVM_SET_TSS_ADDR, TSS_ADDR))
		return err_sys(err, "KVM: cannot place its own pages");
	if (ioctl(kvm->vm, KVM_CREATE_IRQCHIP, 0))
		return err_sys(err, "KVM: cannot make the interrupt chips");
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	if (ioctl(kvm->vm, KVM_CREATE_PIT2, &pit))
		return err_sys(err, "KVM: cannot make the timer chip");
	return 0;
}

int kvm_create_vm(struct kvm *kvm, struct err *err)
{
	/* KVM_CREATE_VM gives EINTR when a signal is pending at the wrong moment. */
	do {
		kvm->vm = ioctl(kvm->dev, KVM_CREATE_VM, 0);
	} while (kvm->vm < 0 && errno == EINTR);
	if (kvm->vm < 0)
		return err_set(err, ERR_NO_KVM, "KVM cannot make a virtual machine: %s", strerror(errno));
	int xsave = kvm_has(kvm, KVM_CAP_XSAVE2);
	kvm->xsave2 = xsave > 0;
	kvm->xsave_bytes = xsave > (int)sizeof(struct kvm_xsave) ? (uint32_t)xsave : sizeof(struct kvm_xsave);
	/* Pending exceptions are then saved with their payload instead of being half delivered by the save. */
	if (kvm_enable(kvm, KVM_CAP_EXCEPTION_PAYLOAD, 1))
		return err_sys(err, "KVM: cannot enable exception payloads");
	return create_chips(kvm, err);
}

int kvm_set_slot(const struct kvm *kvm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size,
		 void *host)
{
	struct kvm_userspace_memory_region region = {.slot = slot,
						     .flags = flags,
						     .guest_phys_addr = gpa,
						     .memory_size = size,
						     .userspace_addr = (uintptr_t)host};
	return ioctl(kvm->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

void kvm_irq_line(const struct kvm *kvm, unsigned irq, bool level)
{
	struct kvm_irq_level line = {.irq = irq, .level = level};
	/* Fails for a number that the chips don't have only, and ours are constants. */
	(void)ioctl(kvm->vm, KVM_IRQ_LINE, &line);
}
