/* tagvol_steps.h: what tagvol.c and tagvol_check.c share. */
#ifndef TESTS_LIB_TAGVOL_STEPS_H
#define TESTS_LIB_TAGVOL_STEPS_H

#include "tests/lib/tagvol.h"

/* tagvol_wrong: the test fails.  tagvol_need: it does when result is below 0. */
void __attribute__((noreturn)) tagvol_wrong(const struct tagvol *tv, const char *what, const struct err *err);
void tagvol_need(const struct tagvol *tv, const char *what, int result, const struct err *err);
struct dvol *tagvol_handle(const struct tagvol *tv, struct memdisk *disk, bool writable, struct dvol_id epoch,
			   uint64_t *random, struct err *err);
void tagvol_delete_pinned(const struct tagvol *tv, struct dvol *vol, const struct tagvol_epoch *epoch);

#endif
