/* disk.h: what is behind a virtual disk: the head of a volume (imagefmt/dvol.h), or a raw image that is only read. */
#ifndef VMM_DISK_H
#define VMM_DISK_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "imagefmt/file.h"
#include "vmm/config.h"

enum { DISK_SECTOR = 512 };

struct disk {
	struct dvol *volume;         /* NULL: raw */
	struct file raw, raw_direct; /* the second with direct I/O, or ops NULL */
	uint64_t sectors;            /* whole ones */
	bool read_only;
	struct disk_files *files; /* of a volume that is opened by disk_attach; else NULL */
};

/* disk_open(disk, config, err): config is a DEVICE_DISK; with disk.later of a volume only its files, which somebody else still writes:
 * nothing but disk_attach may be done to the disk then.  A volume is opened with direct I/O where its file system has that.
 * -1 also where another process has the volume open for writing.  disk_close: everything written is durable if it returns
 * 0; the disk is gone in any case. */
int disk_open(struct disk *disk, const struct device_config *config, struct err *err);
int disk_close(struct disk *disk, struct err *err);

/* disk_attach(disk, err): open the volume of a disk that was to be opened later; harmless for any other. */
int disk_attach(struct disk *disk, struct err *err);

/* As the functions of imagefmt/dvol.h, from any thread; positions in sectors within the disk.  What changes the disk only
 * when it is not read-only. */
int disk_readv(struct disk *disk, const struct iovec *iov, int count, uint64_t sector, struct err *err);
int disk_writev(struct disk *disk, const struct iovec *iov, int count, uint64_t sector, struct err *err);
int disk_discard(struct disk *disk, uint64_t sector, uint64_t sectors, struct err *err);
int disk_write_zeroes(struct disk *disk, uint64_t sector, uint64_t sectors, struct err *err);
/* disk_direct, disk_direct_end: as dvol_direct, for raw images too. */
enum dvol_direct_kind disk_direct(struct disk *disk, bool write, const struct iovec *iov, int count,
				  uint64_t sector, struct dvol_direct *direct);
bool disk_direct_end(struct disk *disk, struct dvol_direct *direct, bool whole);
int disk_flush(struct disk *disk, struct err *err);

#endif
