/* link.h: a two-way stream of frames to the other host, over SSH (the mover) or two descriptors (serve).
 *
 * Nothing here waits for ever: a link on which nothing moves for the stall limit while something should be
 * sent is an error.  While it waits it also serves the caller's watches and keeps taking in what arrives (up
 * to its read buffer), so that two sides which both send cannot block each other. A link is used by one
 * thread at a time; different links by different threads. */
#ifndef MIGRATE_LINK_H
#define MIGRATE_LINK_H

#include "common/buf.h"
#include "common/err.h"
#include "common/fault.h"
#include "migrate/frame.h"
#include "migrate/ssh.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link;

enum { LINK_STALL_MS = 20000, LINK_WATCHES_MAX = 8 };

/* link_open_ssh(target, err): connect, check the host's key, authenticate, start target->command.  May take
 * up to the connect timeout and, for the user's agent, longer.  NULL with *err: ERR_LINK (not reachable, key
 * unknown or changed, not let in; the text has the remedy). link_open_fds(in, out, peer, err): over two
 * descriptors (they may be the same), taken over and set non-blocking; peer names the other side in messages
 * (kept, not copied).  On NULL they stay the caller's. link_close(link): flushes nothing; ends the
 * connection; harmless on NULL. */
struct link *link_open_ssh(const struct ssh_target *target, struct err *err);
struct link *link_open_fds(int in, int out, const char *peer, struct err *err);
void link_close(struct link *link);

/* link_set_stall(link, ms): the longest time without progress while sending or flushing; LINK_STALL_MS at
 * first. */
void link_set_stall(struct link *link, unsigned ms);

/* A watch: a descriptor to look at whenever the link writes or has to wait.  `events` as for poll (0: only the end of
 * the connection).  ready() runs in the waiting thread: 0 to go on waiting (it must have consumed what made
 * the descriptor ready), or -1 with *err set, which then is what the waiting function returns: "the VM
 * process ended", "cancelled". It must not use the link. */
struct link_watch {
	int fd;
	short events;
	int (*ready)(void *arg, short revents, struct err *err);
	void *arg;
};
/* link_watch(link, watches, n): replace all watches (copied; at most LINK_WATCHES_MAX). */
void link_watch(struct link *link, const struct link_watch *watches, size_t n);
/* link_check(link, err): run the watches that are ready, without waiting.  For long work between sends. */
int link_check(struct link *link, struct err *err);

/* Sending.  link_begin(link): a buffer with a frame begun in it: append the payload (frame.h), then link_send
 * seals it with the next sequence number.  Frames gather and are written in large pieces; link_send waits
 * while the other side does not take them.  link_flush: everything is with the operating system on return.
 * 0, or -1 with *err: ERR_LINK (cut, stalled, ended; what the other side said on its stderr is in the text),
 * ERR_INPUT (payload too long: nothing was sent), or the error of a watch.  After ERR_LINK the link can only
 * be closed. */
struct buf *link_begin(struct link *link);
/* link_drop(link): the frame that was begun is none. */
void link_drop(struct link *link);
int link_send(struct link *link, uint16_t type, uint16_t flags, struct err *err);
/* link_send_frame(link, frame, err): the same for a frame sealed elsewhere, in a buffer of its own
 * (frame_begin at offset 0, frame_seal); it gets this link's sequence number.  The buffer stays the caller's.
 */
int link_send_frame(struct link *link, struct buf *frame, struct err *err);
int link_flush(struct link *link, struct err *err);

/* link_receive(link, deadline_ns, &frame, err): the next frame: 1; 0 when clock_mono_ns() passed deadline_ns
 * (0: only what is there already; UINT64_MAX: no deadline); -1 with *err (also ERR_INPUT: what came is no
 * frame; ERR_LINK with "ended" when the other side closed).  What was sent before is flushed while it waits.
 * The frame's payload is valid until the next link_receive; sending does not disturb it. */
int link_receive(struct link *link, uint64_t deadline_ns, struct frame *frame, struct err *err);
/* link_next(link, until_ns, &frame, err, format, …): the next frame: 0.  -1 also when none came until then: the link is cut, since
 * one on which something is that late is one on which it will not come, and the sentence is what its peer failed to do. */
int link_next(struct link *link, uint64_t until_ns, struct frame *frame, struct err *err, const char *format,
	      ...) __attribute__((format(printf, 5, 6)));
/* link_readable(link, err): 1 when link_receive would return at once with a frame, 0 when not, -1 with *err.
 */
int link_readable(struct link *link, struct err *err);

/* link_cut(link): drop the connection at once, as if the wire were cut; every later use fails with ERR_LINK.
 */
void link_cut(struct link *link);
/* link_broken(link): it can only be closed; what failed last was the link itself. */
bool link_broken(const struct link *link);
/* link_expect(link, sequence): the first frame that comes has this number: those before it were read elsewhere. */
void link_expect(struct link *link, uint32_t sequence);

/* link_fault(link, id, err): pass a fault point of a process that speaks over this link: -1 with *err when the step is
 * to fail here; a cut drops the link, and the steps that follow run into it. */
int link_fault(struct link *link, enum fault_point_id id, struct err *err);

const char *link_peer(const struct link *link);
uint64_t link_bytes_sent(const struct link *link); /* stream bytes handed over, without what SSH adds */
uint64_t link_bytes_received(const struct link *link);
/* link_rtt_ns(link): what a round trip took when the link was made, or when it was measured anew, whichever is shorter; 0: not known.
 * link_measure(link): the same, measured once more, while nothing is to come from the other side; it waits, and serves no watches. */
uint64_t link_rtt_ns(const struct link *link);
uint64_t link_measure(struct link *link);
/* link_send_ns(link): time spent so far in handing bytes over, waiting included: with link_bytes_sent what a byte
 * costs on this link (pages_encoder_link). */
uint64_t link_send_ns(const struct link *link);

#endif
