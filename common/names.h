/* names.h: what a folder of drover's own files names: "web" of web.json. */
#ifndef COMMON_NAMES_H
#define COMMON_NAMES_H

#include "common/err.h"
#include <stddef.h>

/* names_list(folder, suffix, names, count, err): of the entries whose names end with suffix what is before it, as far as that is a valid name
 * (units_name_valid); sorted.  0 names where there is no such folder.  The caller frees with names_free. */
int names_list(const char *folder, const char *suffix, char ***names, size_t *count, struct err *err);
void names_free(char **names, size_t count);

#endif
