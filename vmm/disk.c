/* disk.c: see disk.h. */
#include "vmm/disk.h"
#include "vmm/disk_files.h"
#include <fcntl.h>

static int open_volume(struct disk *disk, const char *path, struct err *err)
{
	struct dvol_open_options options = {.writable = !disk->read_only, .direct = true};
	disk->volume = dvol_open(path, &options, err);
	if (!disk->volume && err->kind == ERR_SYSTEM) {
		/* Some file systems have no direct I/O; anything else fails again, and says so. */
		options.direct = false;
		disk->volume = dvol_open(path, &options, err);
	}
	if (!disk->volume)
		return -1;
	disk->sectors = dvol_size(disk->volume) / DISK_SECTOR;
	return 0;
}

static int open_raw(struct disk *disk, const char *path, struct err *err)
{
	uint64_t bytes;
	disk->raw.ops = &file_system;
	disk->raw.file = file_system.open(NULL, path, O_RDONLY);
	if (!disk->raw.file)
		return err_sys(err, "%s", path);
	if (file_system.size(disk->raw.file, &bytes)) {
		err_sys(err, "%s: its size", path);
		file_system.close(disk->raw.file);
		return -1;
	}
	disk->sectors = bytes / DISK_SECTOR;
	disk->raw_direct.file = file_system.open(NULL, path, O_RDONLY | O_DIRECT);
	disk->raw_direct.ops = disk->raw_direct.file ? &file_system : NULL;
	return 0;
}

static int open_later(struct disk *disk, const char *path, struct err *err)
{
	uint64_t bytes;
	disk->files = disk_files_open(path, &bytes, err);
	if (!disk->files)
		return -1;
	disk->sectors = bytes / DISK_SECTOR;
	return 0;
}

int disk_open(struct disk *disk, const struct device_config *config, struct err *err)
{
	struct err local = {0}; /* open_volume looks at it */
	const char *path = config->disk.path;
	bool raw = config->disk.format == DISK_RAW;
	*disk = (struct disk){.read_only = raw || config->disk.read_only};
	if (raw                  ? open_raw(disk, path, &local)
	    : config->disk.later ? open_later(disk, path, &local)
				 : open_volume(disk, path, &local))
		return err_set(err, local.kind, "disk in slot %u: %s", config->slot, local.text);
	return 0;
}

int disk_attach(struct disk *disk, struct err *err)
{
	if (!disk->files || disk->volume)
		return 0;
	disk->volume = disk_files_volume(disk->files, err);
	if (!disk->volume)
		return -1;
	if (dvol_size(disk->volume) / DISK_SECTOR == disk->sectors)
		return 0;
	/* Its device has told the guest another size. */
	return err_set(err, ERR_STATE, "a disk has %llu bytes now, and had %llu sectors when it was made",
		       (unsigned long long)dvol_size(disk->volume), (unsigned long long)disk->sectors);
}

int disk_close(struct disk *disk, struct err *err)
{
	int failed = 0;
	if (disk->volume)
		failed = dvol_close(disk->volume, err);
	else if (disk->raw.file)
		disk->raw.ops->close(disk->raw.file);
	if (disk->raw_direct.file)
		disk->raw_direct.ops->close(disk->raw_direct.file);
	disk_files_close(disk->files);
	*disk = (struct disk){0};
	return failed;
}

/* Whole blocks, as any device takes them. */
static bool fits_direct(const struct iovec *iov, int count, uint64_t offset)
{
	bool fits = offset % DVOL_BLOCK == 0;
	for (int i = 0; i < count && fits; i++)
		fits = (uintptr_t)iov[i].iov_base % DVOL_BLOCK == 0 && iov[i].iov_len % DVOL_BLOCK == 0;
	return fits;
}

enum dvol_direct_kind disk_direct(struct disk *disk, bool write, const struct iovec *iov, int count,
				  uint64_t sector, struct dvol_direct *direct)
{
	uint64_t offset = sector * DISK_SECTOR;
	if (disk->volume)
		return dvol_direct(disk->volume, write, iov, count, offset, direct);
	if (write || !disk->raw_direct.ops || !fits_direct(iov, count, offset))
		return DVOL_DIRECT_NO;
	direct->fd = disk->raw_direct.ops->descriptor(disk->raw_direct.file);
	direct->at = offset;
	return DVOL_DIRECT_IO;
}

bool disk_direct_end(struct disk *disk, struct dvol_direct *direct, bool whole)
{
	return disk->volume ? dvol_direct_end(disk->volume, direct, whole) : whole;
}

static const struct file *raw_file(const struct disk *disk, const struct iovec *iov, int count,
				   uint64_t offset)
{
	return disk->raw_direct.ops && fits_direct(iov, count, offset) ? &disk->raw_direct : &disk->raw;
}

int disk_readv(struct disk *disk, const struct iovec *iov, int count, uint64_t sector, struct err *err)
{
	uint64_t offset = sector * DISK_SECTOR;
	if (disk->volume)
		return dvol_readv(disk->volume, iov, count, offset, err);
	if (file_readv(raw_file(disk, iov, count, offset), iov, count, offset))
		return err_sys(err, "reading the raw image at byte %llu", (unsigned long long)offset);
	return 0;
}

int disk_writev(struct disk *disk, const struct iovec *iov, int count, uint64_t sector, struct err *err)
{
	return dvol_writev(disk->volume, iov, count, sector * DISK_SECTOR, err);
}

int disk_discard(struct disk *disk, uint64_t sector, uint64_t sectors, struct err *err)
{
	return dvol_discard(disk->volume, sector * DISK_SECTOR, sectors * DISK_SECTOR, err);
}

int disk_write_zeroes(struct disk *disk, uint64_t sector, uint64_t sectors, struct err *err)
{
	return dvol_write_zeroes(disk->volume, sector * DISK_SECTOR, sectors * DISK_SECTOR, err);
}

int disk_flush(struct disk *disk, struct err *err)
{
	return disk->read_only ? 0 : dvol_flush(disk->volume, err);
}
