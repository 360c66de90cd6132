/* The first sectors of the bzImage: setup header and a real-mode stub.
 *
 * Loaders of the 64-bit boot protocol read the header and enter the image at load address + 0x200.  The stub is
 * for loaders that start at real mode (qemu -kernel): it collects what the 32-bit boot protocol asks for
 * and goes to code32_start.  Linked at 0, so that a label is an offset from the start of the setup segment. */
#include "layout.h"

#define HEADER	   0x1f1	/* offset in the file and in boot_params alike */
#define E820_COUNT 0x1e8
#define E820_TABLE 0x2d0
#define E820_MAX   128
#define CODE32_SEL 0x10		/* as the boot protocol wants them */
#define DATA32_SEL 0x18

	.section .setup, "", @progbits
	.code16
setup_start:
	.org	HEADER
	.byte	(setup_end - setup_start) / 512 - 1	/* setup_sects */
	.word	0			/* root_flags */
	.long	payload_paragraphs	/* syssize */
	.word	0			/* ram_size */
	.word	0			/* vid_mode */
	.word	0			/* root_dev */
	.word	0xaa55			/* boot_flag */
	.byte	0xeb, start - header_magic
	.globl	header_magic, header_end
header_magic:
	.ascii	"HdrS"
	.word	0x020f			/* version */
	.long	0			/* realmode_swtch */
	.word	0			/* start_sys_seg */
	.word	version_text - 0x200	/* kernel_version */
	.byte	0			/* type_of_loader */
	.byte	0x81			/* loadflags: LOADED_HIGH, CAN_USE_HEAP */
	.word	0			/* setup_move_size */
	.long	GUEST_LOAD_ADDR		/* code32_start */
	.long	0, 0			/* ramdisk_image, ramdisk_size */
	.long	0			/* bootsect_kludge */
	.word	0			/* heap_end_ptr */
	.word	0			/* ext_loader_ver, ext_loader_type */
	.long	0			/* cmd_line_ptr */
	.long	0x7fffffff		/* initrd_addr_max */
	.long	0x1000			/* kernel_alignment */
	.byte	0			/* relocatable_kernel */
	.byte	12			/* min_alignment */
	.word	1			/* xloadflags: XLF_KERNEL_64 */
	.long	2047			/* cmdline_size */
	.long	0			/* hardware_subarch */
	.quad	0			/* hardware_subarch_data */
	.long	0, 0			/* payload_offset, payload_length: nothing is compressed */
	.quad	0			/* setup_data */
	.quad	GUEST_LOAD_ADDR		/* pref_address */
	.long	image_bytes		/* init_size */
	.long	0			/* handover_offset */
	.long	0			/* kernel_info_offset */
header_end:

start:
	cli
	cld
	pushw	%ds
	pushw	$1f
	lretw				/* CS = DS, so that labels serve both */
1:	movw	$HEADER, %si
	movw	$params + HEADER, %di
	movw	$header_end - HEADER, %cx
	rep movsb

	xorl	%ebx, %ebx
	movw	$params + E820_TABLE, %di
2:	movl	$0xe820, %eax
	movl	$20, %ecx
	movl	$0x534d4150, %edx	/* SMAP */
	int	$0x15
	jc	3f
	cmpl	$0x534d4150, %eax
	jne	3f
	addw	$20, %di
	incb	params + E820_COUNT
	cmpb	$E820_MAX, params + E820_COUNT
	je	3f
	testl	%ebx, %ebx
	jnz	2b

3:	inb	$0x92, %al		/* A20 */
	orb	$2, %al
	andb	$0xfe, %al
	outb	%al, $0x92
	xorl	%eax, %eax
	movw	%ds, %ax
	shll	$4, %eax
	leal	params(%eax), %esi
	addl	%eax, gdtr + 2
	lgdtl	gdtr
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	movw	$DATA32_SEL, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	xorl	%ebp, %ebp
	xorl	%edi, %edi
	xorl	%ebx, %ebx
	ljmpl	$CODE32_SEL, $GUEST_LOAD_ADDR

	.balign 8
gdt:
	.quad	0, 0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdt_end:
gdtr:
	.word	gdt_end - gdt - 1
	.long	gdt
version_text:
	.asciz	"drover test guest"

	.balign 16
params:					/* boot_params for the 32-bit entry */
	.fill	4096, 1, 0
	.balign 512
setup_end:

	.section .note.GNU-stack, "", @progbits
