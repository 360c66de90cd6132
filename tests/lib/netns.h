/* netns.h: a network of the test's own: a namespace that ends with the process, with taps and bridges, and sockets that send
 * and see whole frames.  Needs root.  Every failure fails the test. */
#ifndef TESTS_LIB_NETNS_H
#define TESTS_LIB_NETNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* netns_enter: this process has a network namespace of its own from now on, in which no interface speaks by itself (no IPv6).
 * Once a process is enough. */
void netns_enter(void);

/* netns_tap, netns_bridge: make one, up.  netns_join: the interface becomes a port of the bridge.
 * netns_delete: of any kind;
 * harmless when it is not there. */
void netns_tap(const char *name);
void netns_bridge(const char *name);
void netns_join(const char *bridge, const char *name);
/* netns_address: the interface has the IPv4 address, as in "192.0.2.1", in a network of 24 bits. */
void netns_address(const char *name, const char *address);
void netns_delete(const char *name);
/* netns_running(name): returns when the interface, a tap that somebody has attached to, carries frames: the kernel learns of
 * that in its own time, and loses them until then. */
void netns_running(const char *name);

enum { NETNS_HEADER = 10 }; /* struct virtio_net_hdr before each frame of such a socket */

/* netns_socket(name): sends and receives frames at the interface, with offload headers before them.  Sees what comes in
 * there, not what it sends. */
int netns_socket(const char *name);
/* netns_send(fd, header, frame, len): header NULL: none.  netns_receive(fd, header, frame, cap): the next frame, within five
 * seconds; its length.  netns_silent(fd): none is there now. */
void netns_send(int fd, const uint8_t header[NETNS_HEADER], const void *frame, size_t len);
size_t netns_receive(int fd, uint8_t header[NETNS_HEADER], void *frame, size_t cap);
bool netns_silent(int fd);

#endif
