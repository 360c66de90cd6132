/* probe.c: what a file is, by its first bytes. */
#include "imagefmt/delta.h"
#include "imagefmt/treefile.h"
#include "imagefmt/vol.h"

#include <fcntl.h>
#include <string.h>

int dvol_probe(const char *path, enum dvol_file_kind *kind, struct err *err)
{
	struct file file = {.ops = &file_system, .file = file_system.open(NULL, path, O_RDONLY)};
	uint8_t first[8], second[8]; /* either superblock may be damaged */
	int result = 0;
	if (file.file == NULL)
		return err_sys(err, "%s", path);
	if (file_read(&file, first, sizeof(first), 0) < 0 ||
	    file_read(&file, second, sizeof(second), BLOCK) < 0)
		result = err_sys(err, "%s", path);
	else if (memcmp(first, SUPER_MAGIC, 8) == 0 || memcmp(second, SUPER_MAGIC, 8) == 0)
		*kind = DVOL_FILE_VOLUME;
	else if (memcmp(first, DELTA_MAGIC, 8) == 0)
		*kind = DVOL_FILE_DELTA;
	else if (memcmp(first, TREEFILE_MAGIC, 8) == 0)
		*kind = DVOL_FILE_TREE;
	else
		*kind = DVOL_FILE_OTHER;
	file_system.close(file.file);
	return result;
}
