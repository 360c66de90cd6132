/* memory.c: guest RAM as one shared memfd. */
#include "vmm/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int memory_create_fd(uint64_t bytes, const char *name, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_sys(err, "guest RAM: cannot make a memfd");
	if (bytes > INT64_MAX || ftruncate(fd, (off_t)bytes)) {
		err_sys(err, "guest RAM: cannot make a memfd of %llu bytes", (unsigned long long)bytes);
		close(fd);
		return -1;
	}
	/* Whoever shares the descriptor could otherwise truncate it, and the VM process would die of SIGBUS. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err_sys(err, "guest RAM: cannot seal the memfd");
		close(fd);
		return -1;
	}
	return fd;
}

int memory_map(struct memory *memory, int fd, uint64_t size, struct err *err)
{
	*memory = (struct memory){.fd = -1};
	struct stat st;
	if (fstat(fd, &st))
		return err_sys(err, "guest RAM: descriptor %d", fd);
	if (size == 0 || size % MEMORY_PAGE || st.st_size < 0 || (uint64_t)st.st_size != size)
		return err_set(err, ERR_INPUT, "guest RAM: the memory file has %lld bytes, expected %llu",
			       (long long)st.st_size, (unsigned long long)size);
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return err_set(err, ERR_INPUT,
			       "guest RAM: the memory file is not a memfd sealed against shrinking");
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED)
		return err_sys(err, "guest RAM: cannot map %llu bytes", (unsigned long long)size);
	/* A core dump of the VM process is about the process, and the guest's memory is the guest's secret.
	 * Advice only: a kernel that refuses it dumps more. */
	(void)madvise(base, size, MADV_DONTDUMP);
	*memory = (struct memory){
	    .fd = fd, .base = base, .size = size, .low = size < MEMORY_LOW_MAX ? size : MEMORY_LOW_MAX};
	return 0;
}

void memory_use_huge_pages(const struct memory *memory)
{
	/* A wish: a kernel that cannot grant it gives small ones. */
	(void)madvise(memory->base, memory->size, MADV_HUGEPAGE);
}

const char *memory_huge_pages_off(void)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	FILE *file = fopen(path, "re");
	char line[128] = "[never]"; /* a kernel without the file has none */
	bool off;

	if (file) {
		(void)!fgets(line, sizeof(line), file);
		fclose(file);
	}
	off = strstr(line, "[never]") || strstr(line, "[deny]");
	return off ? path : NULL;
}

void memory_unmap(struct memory *memory)
{
	if (memory->base) {
		munmap(memory->base, memory->size);
		close(memory->fd);
	}
	*memory = (struct memory){.fd = -1};
}

uint64_t memory_offset(const struct memory *memory, uint64_t gpa)
{
	if (gpa < memory->low)
		return gpa;
	if (gpa >= MEMORY_HIGH_BASE && gpa - MEMORY_HIGH_BASE < memory->size - memory->low)
		return memory->low + (gpa - MEMORY_HIGH_BASE);
	return UINT64_MAX;
}

void *memory_at(const struct memory *memory, uint64_t gpa, uint64_t len)
{
	uint64_t offset = memory_offset(memory, gpa);
	if (offset == UINT64_MAX)
		return NULL;
	uint64_t end = offset < memory->low ? memory->low : memory->size;
	if (len > end - offset)
		return NULL;
	return memory->base + offset;
}
