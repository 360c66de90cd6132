/* Tables of the boot CPU as link-time constants, so that ring 0 has nothing to build.  Addresses that a
 * descriptor holds in pieces come from guest.lds. */
#include "layout.h"

	.section .tables, "aw", @progbits

/* Identity map of the first 4 GiB in 2 MiB pages; ram.c adds what lies above. */
	.balign 4096
	.globl pml4
pml4:
	.quad	pdpt + PTE_TABLE
	.fill	511, 8, 0
	.globl pdpt
pdpt:
	.quad	pd_low + PTE_TABLE
	.quad	pd_low + 0x1000 + PTE_TABLE
	.quad	pd_low + 0x2000 + PTE_TABLE
	.quad	pd_low + 0x3000 + PTE_TABLE
	.fill	508, 8, 0
pd_low:
	.set page, 0
	.rept 2048
	.quad	(page << 21) + PTE_LARGE
	.set page, page + 1
	.endr

/* struct cpu_hw of the boot CPU */
	.globl boot_hw, boot_gdt
boot_hw:
	.fill	HW_GDTR, 1, 0
	.word	GDT_BYTES - 1
	.quad	boot_gdt
	.quad	boot_stack3_top
	.quad	boot_ring3
	.quad	0
boot_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad	0x00cf93000000ffff	/* SEL_DATA */
	.quad	0x00af9b000000ffff	/* SEL_CODE64 */
	.quad	0x00cff3000000ffff	/* SEL_UDATA */
	.quad	0x00affb000000ffff	/* SEL_UCODE */
	.word	TSS_BYTES - 1		/* SEL_TSS */
	.word	boot_tss_low
	.byte	boot_tss_mid
	.byte	0x89
	.byte	0
	.byte	boot_tss_high
	.quad	0
	.globl boot_tss
boot_tss:
	.long	0
	.quad	boot_stack0_top
	.fill	90, 1, 0
	.word	TSS_BITMAP
	.fill	8192, 1, 0
	.byte	0xff

	.balign 16
	.globl idt
idt:
	.set vector, 0
	.rept IDT_VECTORS
	.word	isr_low + vector * 16
	.word	SEL_CODE64
	.word	0x8e00			/* present, interrupt gate, no stack switch by IST */
	.word	isr_high
	.quad	0
	.set vector, vector + 1
	.endr

	.globl idtr, boot_gdtr
idtr:
	.word	IDT_VECTORS * 16 - 1
	.quad	idt
boot_gdtr:
	.word	GDT_BYTES - 1
	.long	boot_gdt

	.balign 8
	.globl fault_rsp, ap_hw
fault_rsp:
	.quad	0			/* ring-0 stack of the CPU that reports its fault */
ap_hw:
	.long	0			/* struct cpu_hw of the application processor being started */

/* Stacks are in use before bss is cleared, so they lie outside of it. */
	.section .stacks, "aw", @nobits
	.balign 4096
	.skip	4096
boot_stack0_top:
	.skip	16384
boot_stack3_top:
	.skip	4096
	.globl fault_stack_top
fault_stack_top:

	.section .note.GNU-stack, "", @progbits
