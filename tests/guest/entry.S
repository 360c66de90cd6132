/* Entry and all of ring 0: a few dozen instructions on the way to ring 3, and the exception handlers.
 *
 * Ring 0 may be executed by an instruction emulator (see README.md), so it does nothing that ring 3 can do:
 * descriptor, interrupt and page tables are link-time constants (tables.S), and an unexpected exception is
 * handed to fault_report() in ring 3. */
#include "layout.h"

#define CR0_BITS 0x80000033 /* PG, NE, ET, MP, PE */
#define CR4_BITS 0x620	    /* OSXMMEXCPT, OSFXSR, PAE */
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

	.section .note.pvh, "a", @note
	.balign 4
	.long 2f - 1f
	.long 4f - 3f
	.long 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
1:	.asciz "Xen"
2:	.balign 4
3:	.quad pvh_entry
4:	.balign 4

	.section .head, "ax", @progbits
	.code32

/* 32-bit boot protocol: ESI is boot_params.  Must stay at the load address. */
	.globl linux_entry32
linux_entry32:
	movl	$BOOT_LINUX, %edi
	jmp	boot32

/* PVH: EBX is hvm_start_info. */
	.globl pvh_entry
pvh_entry:
	movl	%ebx, %esi
	movl	$BOOT_PVH, %edi
boot32:
	cli
	cld
	movl	$boot_hw, %ebx
	lgdtl	boot_gdtr

/* EBX: struct cpu_hw; EDI, ESI: arguments for ring 3; the boot GDT is loaded. */
to_long_mode:
	movl	$CR4_BITS, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	xorl	%edx, %edx
	movl	$EFER_LME, %eax
	wrmsr
	movl	$CR0_BITS, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE64, $long_mode

/* An application processor, from the trampoline, in protected mode. */
	.globl ap_entry32
ap_entry32:
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	ap_hw, %ebx
	movl	HW_ARG(%ebx), %edi
	jmp	to_long_mode

	.code64
long_mode:
	movl	%ebx, %ebx		/* upper halves are undefined after the mode switch */
	movl	%edi, %edi
	movl	%esi, %esi
	jmp	to_ring3

/* 64-bit boot protocol: long mode, identity-mapped, RSI is boot_params.  Must stay at load address + 0x200. */
	.org	0x200
	.globl linux_entry64
linux_entry64:
	cli
	cld
	movl	$BOOT_LINUX, %edi
	movl	$boot_hw, %ebx
	movl	$CR4_BITS, %eax
	movq	%rax, %cr4
	movl	$pml4, %eax
	movq	%rax, %cr3
	movl	$CR0_BITS, %eax
	movq	%rax, %cr0

/* RBX: struct cpu_hw; RDI, RSI: arguments.  CS may still be the boot loader's; iretq loads ours. */
to_ring3:
	lgdt	HW_GDTR(%rbx)
	lidt	idtr
	movl	$SEL_UDATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	$SEL_TSS, %eax
	ltr	%ax
	movq	HW_TSS+4(%rbx), %rsp
	pushq	$SEL_UDATA
	pushq	HW_STACK3(%rbx)
	pushq	$2			/* RFLAGS: interrupts off, IOPL 0 */
	pushq	$SEL_UCODE
	pushq	HW_ENTRY3(%rbx)
	iretq

/* Ring 3 of the boot CPU.  A boot loader need not clear bss; done here, where it runs at full speed. */
	.text
	.globl boot_ring3
boot_ring3:
	movl	%edi, %ebx
	movl	$bss_start, %edi
	movl	$bss_end, %ecx
	subl	%edi, %ecx
	xorl	%eax, %eax
	rep stosb
	movl	%ebx, %edi
	call	guest_main
	ud2

/* ---- exceptions ---------------------------------------------------------------------------------------- */
	.section .head, "ax", @progbits
	.balign 16
	.globl isr_stubs
isr_stubs:
	.set vector, 0
	.rept 32
	.balign 16
	.if (vector == 8) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30) || \
	    (vector >= 10 && vector <= 14)
	.else
	pushq	$0			/* these have no error code */
	.endif
	pushq	$vector
	jmp	isr_common
	.set vector, vector + 1
	.endr
	.balign 16			/* VECTOR_WAKE */
	movq	24(%rsp), %rsp		/* what service_wait had; there is no way back to it */
	xorl	%eax, %eax
	jmp	service_done

/* Stack: vector, error code, RIP, CS, RFLAGS, RSP, SS. */
	.balign 16
isr_common:
	cmpl	$VECTOR_GP, (%rsp)
	je	general_protection
	cmpl	$VECTOR_UD, (%rsp)
	jne	fault
	cmpl	$SERVICE_WAIT, %eax
	je	service_wait
	cmpl	$SERVICE_WRMSR, %eax
	jne	fault
	movl	%edi, %ecx
	movl	%esi, %eax
	movq	%rsi, %rdx
	shrq	$32, %rdx
service_wrmsr:
	wrmsr
	xorl	%eax, %eax
service_done:
	addq	$2, 16(%rsp)		/* past the ud2 */
	addq	$16, %rsp
	iretq

/* One that came in before the sleep is as good as one that ends it: both leave by the stub above. */
service_wait:
	sti
	hlt
	jmp	service_wait

general_protection:
	cmpq	$service_wrmsr, 16(%rsp)
	jne	fault
	movq	40(%rsp), %rsp		/* back to the frame of the ud2 */
	movl	$-1, %eax
	jmp	service_done

/* The first fault of the machine goes on in fault_report(vector, error, rip, cr2, cs) in ring 3.  A second one of
 * the same CPU comes from the report itself: reset at once.  Other CPUs stop and let the first one report. */
fault:
	xorl	%eax, %eax
	lock cmpxchgq %rsp, fault_rsp
	jne	fault_again
	movq	(%rsp), %rdi
	movq	8(%rsp), %rsi
	movq	16(%rsp), %rdx
	movq	%cr2, %rcx
	movq	24(%rsp), %r8
	pushq	$SEL_UDATA
	pushq	$fault_stack_top
	pushq	$2
	pushq	$SEL_UCODE
	pushq	$fault_ring3
	iretq
fault_again:
	xorq	%rsp, %rax
	cmpq	$4096, %rax		/* ring-0 stacks are a page each, aligned */
	jae	1f
	movb	$0xfe, %al
	outb	%al, $0x64
1:	hlt
	jmp	1b

	.text
fault_ring3:
	call	fault_report
	ud2

/* ---- trampoline, copied to GUEST_TRAMPOLINE ----------------------------------------------------------------- */
	.section .rodata, "a", @progbits
	.code16
	.globl trampoline, trampoline_bytes
trampoline:
	cli
	lgdtl	%cs:(trampoline_gdtr - trampoline)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $ap_entry32
	.balign 4
trampoline_gdtr:
	.word	GDT_BYTES - 1
	.long	boot_gdt
trampoline_end:
	.balign 4
trampoline_bytes:
	.long	trampoline_end - trampoline
	.code64

	.section .note.GNU-stack, "", @progbits
