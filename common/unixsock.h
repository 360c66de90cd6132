/* unixsock.h: UNIX sockets that have a place in the file system. */
#ifndef COMMON_UNIXSOCK_H
#define COMMON_UNIXSOCK_H

/* unixsock_listen(path, type, backlog): a listening socket (SOCK_STREAM, SOCK_SEQPACKET) in place of whatever stands at path;
 * its folder is made, for its owner only, where there is none.  Close-on-exec and non-blocking.  -1 with errno.
 * unixsock_connect(path, type, timeout_ms): a blocking one that is connected; timeout_ms bounds that and each later send, 0:
 * nothing does.  -1 with errno.
 * Both: ENAMETOOLONG for a path that an address does not hold. */
int unixsock_listen(const char *path, int type, int backlog);
int unixsock_connect(const char *path, int type, unsigned timeout_ms);

#endif
