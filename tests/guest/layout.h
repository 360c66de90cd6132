/* Numbers that the assembly and the C of the test guest share.
 *
 * Physical memory (identity-mapped, every page user-accessible):
 *
 *	0x00008000	real-mode trampoline of the application processors
 *	0x00100000	the image: entries, text, tables, data, bss, boot stacks
 *	image end	per-CPU blocks, version table, page tables above 4 GiB (ram_alloc, upwards)
 *	then		the filled pages, in the order of the memory map; nothing else writes there
 *
 * The image is not relocatable: the same addresses serve the PVH ELF and the bzImage. */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define GUEST_LOAD_ADDR  0x100000
#define GUEST_TRAMPOLINE 0x8000

/* Global descriptor table, the same eight slots on each CPU. */
#define SEL_CODE32 0x08
#define SEL_DATA   0x10
#define SEL_CODE64 0x18
#define SEL_UDATA  0x23
#define SEL_UCODE  0x2b
#define SEL_TSS    0x30
#define GDT_BYTES  64

/* Task state segment with a bitmap that opens all I/O ports to ring 3; the last byte must be ones. */
#define TSS_BITMAP 104
#define TSS_BYTES  (TSS_BITMAP + 8192 + 1)

/* struct cpu_hw (cpu.h): what the ring-0 code reads about its CPU. */
#define HW_GDTR   6 /* 16-bit limit, 64-bit base */
#define HW_STACK3 16
#define HW_ENTRY3 24
#define HW_ARG    32
#define HW_GDT    40
#define HW_TSS    (HW_GDT + GDT_BYTES)
#define HW_BYTES  (HW_TSS + TSS_BYTES)

/* First argument of guest_main(): what the second one points to. */
#define BOOT_PVH   0 /* struct hvm_start_info */
#define BOOT_LINUX 1 /* struct boot_params */

/* Page table entries: present, writable, user, accessed, dirty, so that no walk has to set anything later. */
#define PTE_TABLE 0x27
#define PTE_LARGE 0xe7

/* Ring 3 asks ring 0 for the one thing that it cannot do itself, writing an MSR, by ud2 with this in EAX,
 * the MSR in EDI and the value in RSI; EAX comes back as 0, or -1 where the MSR is refused. */
#define SERVICE_WRMSR 0x77726d73

/* The same way it waits for an interrupt, of VECTOR_WAKE; at no other time does one come in. */
#define SERVICE_WAIT 0x74696177

#define VECTOR_WAKE  32
#define IDT_VECTORS  33

#define VECTOR_UD    6
#define VECTOR_GP    13

#endif
