/* tap.h: the host's end of a network device: an existing tap, one queue, each frame behind a virtio-net header of
 * TAP_HEADER bytes. */
#ifndef VMM_TAP_H
#define VMM_TAP_H

#include "common/err.h"
#include "vmm/config.h"

enum { TAP_HEADER = 12 };

struct tap {
	int fd;            /* non-blocking; -1: none */
	unsigned able;     /* TUN_F_…: what may be handed to this side of it */
	unsigned offloads; /* those that are on */
	char name[CONFIG_TAP_MAX + 1];
};

/* tap_open(tap, name, err): attach to the tap of that name, which is there and ours; never makes one.  All offloads off.
 * tap_close: detach; it stays.  Harmless on one that was not opened, whose fd is -1. */
int tap_open(struct tap *tap, const char *name, struct err *err);
void tap_close(struct tap *tap);
/* tap_name(fd, name, err): the interface of a tap that somebody has opened; refused unless it gives frames as drover wants
 * them.  tap_adopt(tap, fd, err): the same tap (fd stays the caller's), which does not block from now on. */
int tap_name(int fd, char name[CONFIG_TAP_MAX + 1], struct err *err);
int tap_adopt(struct tap *tap, int fd, struct err *err);
/* tap_set_offloads(tap, offloads): TUN_F_… that the reader copes with from now on; frames that wait and may need more are
 * dropped.  0, or -1 with errno.  tap_drain: drop the frames that wait. */
int tap_set_offloads(struct tap *tap, unsigned offloads);
void tap_drain(struct tap *tap);

#endif
