/* What CPU 0 does besides working: report lines, error lines, commands from the serial line. */
#ifndef GUEST_CONTROL_H
#define GUEST_CONTROL_H

#include <stdint.h>

/* The work begins at `now` (TSC); a report line is due then and every report_ms after. */
void control_start(uint64_t now, uint64_t report_ms, unsigned cpus);

/* One turn, called with the TSC at the start of each turn of CPU 0's work loop. */
void control_turn(uint64_t now);

#endif
