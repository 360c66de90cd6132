/* disk_files.h: the files of a volume, opened long before the volume is: by a process that cannot open any when the
 * time has come, while somebody else still writes it. */
#ifndef VMM_DISK_FILES_H
#define VMM_DISK_FILES_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <stdbool.h>
#include <stdint.h>

struct disk_files;

/* disk_files_open(path, &size_bytes, err): the volume's file and those behind it.  The volume may be written by another process, but
 * must not be given another backing.  NULL with *err.  disk_files_close: those that were not used; after the volume was closed; NULL is harmless. */
struct disk_files *disk_files_open(const char *path, uint64_t *size_bytes, struct err *err);
void disk_files_close(struct disk_files *files);

/* disk_files_volume(files, err): the volume, for writing, over these files; once.  With direct I/O where the file system has it. */
struct dvol *disk_files_volume(struct disk_files *files, struct err *err);

#endif
