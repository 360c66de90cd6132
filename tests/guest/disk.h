/* The first virtio disk: requests in numbered slots, each with a data buffer of its own. */
#ifndef GUEST_DISK_H
#define GUEST_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_SECTOR 512u

enum disk_type { DISK_READ = 0, DISK_WRITE = 1, DISK_FLUSH = 4 };

/* Sets the disk up with `slots` slots (at most DEPTH_MAX) whose buffers have `bytes` bytes.  Stops the machine where
 * that does not work. */
void disk_open(unsigned slots, uint32_t bytes);
uint64_t disk_bytes(void);
bool disk_flushes(void); /* it has a flush; else what is done is durable */

void *disk_data(unsigned slot);
/* Queues a request of the slot, which is free: its whole buffer at byte `offset`, or a flush; disk_kick() sends all
 * that are queued. */
void disk_queue(unsigned slot, enum disk_type type, uint64_t offset);
void disk_kick(void);
/* A request that is done: its slot, and whether it went well.  Returns false where there is none yet. */
bool disk_done(unsigned *slot, bool *good);
/* One request from its beginning to its end, with nothing else under way.  Returns whether it went well. */
bool disk_do(unsigned slot, enum disk_type type, uint64_t offset);
/* Notifications so far. */
uint64_t disk_kicks(void);

#endif
