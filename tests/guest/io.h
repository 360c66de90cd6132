/* Loads on a disk, measured (README.md). */
#ifndef GUEST_IO_H
#define GUEST_IO_H

#include "params.h"

/* Runs the load that p->io names (one of reading and writing), prints its results and stops the machine. */
_Noreturn void io_run(const struct params *p);

#endif
