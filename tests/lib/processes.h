/* processes.h: what hangs, when a test has waited in vain. */
#ifndef TESTS_LIB_PROCESSES_H
#define TESTS_LIB_PROCESSES_H

/* processes_show(): every process of drover's on this machine, on stderr: its command line, and of each thread its state and where in the
 * kernel it is. */
void processes_show(void);

#endif
