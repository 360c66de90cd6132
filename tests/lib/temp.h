/* temp.h: a folder for one test's files. */
#ifndef TESTS_LIB_TEMP_H
#define TESTS_LIB_TEMP_H

enum { TEMP_MAX = 4096 };

/* temp_make(path): a new empty folder in $TMPDIR (else /tmp), its path in path[TEMP_MAX]; fails the test if it
 * cannot.  temp_remove(path): the folder with all that is in it. */
void temp_make(char path[TEMP_MAX]);
void temp_remove(const char *path);

/* temp_setup, temp_teardown: as set-up and tear-down of a test or group: *state is such a path. */
int temp_setup(void **state);
int temp_teardown(void **state);

#endif
