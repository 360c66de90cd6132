/* boot_cpu.c: the boot CPU's registers at a kernel's entry.
 * PVH: 32-bit protected mode, flat segments, no paging, ebx = hvm_start_info (Xen, docs/misc/pvh.pandoc).
 * Linux: long mode on the page tables and GDT of boot_linux.c, rsi = boot_params (boot.rst, 64-bit protocol). */
#include "vmm/boot.h"
#include <sys/ioctl.h>

enum {
	CR0_PE = 1u << 0,
	CR0_ET = 1u << 4,
	CR0_PG = 1u << 31,
	CR4_PAE = 1u << 5,
	EFER_LME = 1u << 8,
	EFER_LMA = 1u << 10,
	TYPE_CODE = 0xb, /* execute, read, accessed */
	TYPE_DATA = 0x3, /* read, write, accessed */
	TYPE_TSS = 0xb,  /* busy 32- or 64-bit TSS */
	SELECTOR_CODE = 0x10,
	SELECTOR_DATA = 0x18,
};

static struct kvm_segment flat(uint8_t type, uint16_t selector)
{
	return (struct kvm_segment){
	    .limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .db = 1, .s = 1, .g = 1};
}

static void set_system_registers(struct kvm_sregs2 *sregs, const struct boot_start *start)
{
	sregs->cs = flat(TYPE_CODE, SELECTOR_CODE);
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = flat(TYPE_DATA, SELECTOR_DATA);
	sregs->tr = (struct kvm_segment){.limit = 0x67, .type = TYPE_TSS, .present = 1};
	sregs->cr0 = CR0_PE | CR0_ET;
	sregs->cr4 = 0;
	sregs->efer = 0;
	sregs->flags = 0;
	if (!start->long_mode)
		return;
	sregs->cs.db = 0;
	sregs->cs.l = 1;
	sregs->cr0 |= CR0_PG;
	sregs->cr3 = BOOT_PAGE_TABLES;
	sregs->cr4 = CR4_PAE;
	sregs->efer = EFER_LME | EFER_LMA;
	sregs->gdt = (struct kvm_dtable){.base = BOOT_GDT, .limit = 0x1f};
}

int boot_set_cpu(int vcpu_fd, const struct boot_start *start, struct err *err)
{
	struct kvm_sregs2 sregs;
	if (ioctl(vcpu_fd, KVM_GET_SREGS2, &sregs))
		return err_sys(err, "boot CPU: cannot read its registers");
	set_system_registers(&sregs, start);
	if (ioctl(vcpu_fd, KVM_SET_SREGS2, &sregs))
		return err_sys(err, "boot CPU: cannot set its system registers");
	struct kvm_regs regs = {.rip = start->rip, .rflags = 2};
	if (start->long_mode)
		regs.rsi = start->info;
	else
		regs.rbx = start->info;
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs))
		return err_sys(err, "boot CPU: cannot set its registers");
	return 0;
}
