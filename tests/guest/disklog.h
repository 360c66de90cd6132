/* A disk full of numbered records, so that whoever stops, moves or kills the machine can tell whether what was flushed
 * is there (README.md). */
#ifndef GUEST_DISKLOG_H
#define GUEST_DISKLOG_H

#include "params.h"

/* Goes on with the log that it finds on the disk, for ever (p->io == IO_LOG), or looks for the records up to p->flushed
 * and stops the machine (IO_VERIFY). */
_Noreturn void disklog_run(const struct params *p);

#endif
