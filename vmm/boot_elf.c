/* boot_elf.c: loading an ELF kernel, 32 or 64 bits, that has a PVH entry note.
 * Formats: System V ABI, chapters 4 and 5; Xen's PVH boot ABI for the note. */
#include "common/buf.h"
#include "vmm/boot.h"
#include <elf.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAX_SEGMENTS = 128,
	MAX_NOTES = 64 << 10,
	NOTE_PHYS32_ENTRY = 18, /* XEN_ELFNOTE_PHYS32_ENTRY */
	PVH_CMDLINE_MAX = 2047, /* the ABI has no limit; this is Linux's */
};

struct segment {
	uint32_t type;
	uint64_t offset, file_len, gpa, len, align;
};

struct elf {
	const struct boot_file *file;
	size_t count;
	struct segment segments[MAX_SEGMENTS];
};

static int read_segments(struct elf *elf, bool wide, uint64_t at, unsigned count, unsigned size,
			 struct err *err)
{
	unsigned expected = wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	if (size != expected)
		return err_set(err, ERR_INPUT, "its ELF program headers have %u bytes each, expected %u",
			       size, expected);
	if (count == 0 || count > MAX_SEGMENTS)
		return err_set(err, ERR_INPUT, "it has %u ELF program headers, expected 1 to %d", count,
			       MAX_SEGMENTS);
	for (unsigned i = 0; i < count; i++, at += size) {
		uint8_t raw[sizeof(Elf64_Phdr)];
		struct segment *s = &elf->segments[i];
		if (boot_file_read(elf->file, at, raw, size, err))
			return -1;
		if (wide) {
			Elf64_Phdr p;
			memcpy(&p, raw, sizeof(p));
			*s = (struct segment){p.p_type,  p.p_offset, p.p_filesz,
					      p.p_paddr, p.p_memsz,  p.p_align};
		} else {
			Elf32_Phdr p;
			memcpy(&p, raw, sizeof(p));
			*s = (struct segment){p.p_type,  p.p_offset, p.p_filesz,
					      p.p_paddr, p.p_memsz,  p.p_align};
		}
	}
	elf->count = count;
	return 0;
}

static int read_header(struct elf *elf, struct err *err)
{
	unsigned char ident[EI_NIDENT];
	if (boot_file_read(elf->file, 0, ident, sizeof(ident), err))
		return -1;
	bool wide = ident[EI_CLASS] == ELFCLASS64;
	if ((!wide && ident[EI_CLASS] != ELFCLASS32) || ident[EI_DATA] != ELFDATA2LSB)
		return err_set(err, ERR_INPUT, "not a little-endian ELF file of 32 or 64 bits");
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;
	if (wide ? boot_file_read(elf->file, 0, &h64, sizeof(h64), err)
		 : boot_file_read(elf->file, 0, &h32, sizeof(h32), err))
		return -1;
	unsigned machine = wide ? h64.e_machine : h32.e_machine;
	unsigned type = wide ? h64.e_type : h32.e_type;
	if (machine != EM_X86_64 && machine != EM_386)
		return err_set(err, ERR_INPUT, "an ELF file for machine type %u, not for x86", machine);
	if (type != ET_EXEC && type != ET_DYN)
		return err_set(err, ERR_INPUT, "an ELF file of type %u, not an executable", type);
	return wide ? read_segments(elf, true, h64.e_phoff, h64.e_phnum, h64.e_phentsize, err)
		    : read_segments(elf, false, h32.e_phoff, h32.e_phnum, h32.e_phentsize, err);
}

/* Checks every segment that is to be loaded, against the RAM, the boot data and the others. */
static int check_segments(const struct elf *elf, const struct memory *ram, struct boot_kernel *kernel,
			  struct err *err)
{
	for (size_t i = 0; i < elf->count; i++) {
		const struct segment *s = &elf->segments[i];
		if (s->type != PT_LOAD || !s->len)
			continue;
		if (s->file_len > s->len)
			return err_set(err, ERR_INPUT,
				       "segment %zu has more bytes in the file than in memory", i);
		if (s->gpa < BOOT_KERNEL_MIN)
			return err_set(err, ERR_INPUT,
				       "segment %zu lies at 0x%llx, below 1 MiB, where the boot data goes", i,
				       (unsigned long long)s->gpa);
		if (s->gpa > ram->low || s->len > ram->low - s->gpa)
			return err_set(
			    err, ERR_INPUT,
			    "segment %zu (0x%llx bytes at 0x%llx) does not fit into the guest's RAM; "
			    "give the VM "
			    "more memory",
			    i, (unsigned long long)s->len, (unsigned long long)s->gpa);
		for (size_t j = 0; j < i; j++) {
			const struct segment *o = &elf->segments[j];
			if (o->type == PT_LOAD && o->len && s->gpa < o->gpa + o->len &&
			    o->gpa < s->gpa + s->len)
				return err_set(err, ERR_INPUT, "segments %zu and %zu overlap", j, i);
		}
		if (s->gpa + s->len > kernel->end)
			kernel->end = s->gpa + s->len;
	}
	if (!kernel->end)
		return err_set(err, ERR_INPUT, "it has no segment to load");
	return 0;
}

/* Looks through one note segment.  Returns 1 and the entry when it is there, 0 when not, -1 when damaged. */
static int scan_notes(const uint8_t *notes, size_t len, size_t align, uint64_t *entry)
{
	size_t at = 0;
	while (len - at >= 12) {
		uint32_t name_len = le32_get(notes + at), desc_len = le32_get(notes + at + 4);
		uint32_t type = le32_get(notes + at + 8);
		size_t name_at = at + 12;
		if (name_len > len - name_at)
			return -1;
		size_t desc_at = (name_at + name_len + align - 1) / align * align;
		if (desc_at > len || desc_len > len - desc_at)
			return -1;
		if (type == NOTE_PHYS32_ENTRY && name_len == 4 && !memcmp(notes + name_at, "Xen", 4)) {
			if (desc_len != 4 && desc_len != 8)
				return -1;
			*entry = desc_len == 4 ? le32_get(notes + desc_at) : le64_get(notes + desc_at);
			return 1;
		}
		at = (desc_at + desc_len + align - 1) / align * align;
		if (at > len)
			break;
	}
	return 0;
}

static int find_entry(const struct elf *elf, uint64_t *entry, struct err *err)
{
	for (size_t i = 0; i < elf->count; i++) {
		const struct segment *s = &elf->segments[i];
		if (s->type != PT_NOTE || !s->file_len)
			continue;
		if (s->file_len > MAX_NOTES)
			return err_set(err, ERR_INPUT, "its notes have %llu bytes, expected at most %d",
				       (unsigned long long)s->file_len, MAX_NOTES);
		uint8_t *notes = malloc(s->file_len);
		if (!notes)
			return err_sys(err, "its notes");
		int found = -1;
		if (!boot_file_read(elf->file, s->offset, notes, s->file_len, err)) {
			found = scan_notes(notes, s->file_len, s->align == 8 ? 8 : 4, entry);
			if (found < 0)
				err_set(err, ERR_INPUT, "the notes in segment %zu are damaged", i);
		}
		free(notes);
		if (found)
			return found < 0 ? -1 : 0;
	}
	return err_set(err, ERR_INPUT,
		       "an ELF file without a PVH entry note; build it with CONFIG_PVH, or boot its bzImage");
}

static bool in_kernel(const struct elf *elf, uint64_t gpa)
{
	for (size_t i = 0; i < elf->count; i++) {
		const struct segment *s = &elf->segments[i];
		if (s->type == PT_LOAD && gpa >= s->gpa && gpa - s->gpa < s->file_len)
			return true;
	}
	return false;
}

int boot_elf_load(const struct boot_file *file, const struct memory *ram, struct boot_kernel *kernel,
		  struct err *err)
{
	struct elf elf = {.file = file};
	uint64_t entry = 0;
	*kernel = (struct boot_kernel){.initrd_end = ram->low, .cmdline_max = PVH_CMDLINE_MAX};
	if (read_header(&elf, err) || check_segments(&elf, ram, kernel, err) || find_entry(&elf, &entry, err))
		return -1;
	if (!in_kernel(&elf, entry))
		return err_set(err, ERR_INPUT, "its entry point 0x%llx is outside of what it loads",
			       (unsigned long long)entry);
	for (size_t i = 0; i < elf.count; i++) {
		const struct segment *s = &elf.segments[i];
		if (s->type == PT_LOAD && s->len &&
		    boot_file_load(file, s->offset, ram, s->gpa, s->file_len, err))
			return -1;
	}
	kernel->start.rip = entry;
	return 0;
}
