/* qemu.h: what qemu-img knows of images, and qemu-nbd serving one of them. */
#ifndef CONVERT_QEMU_H
#define CONVERT_QEMU_H

#include "convert/child.h"
#include "convert/format.h"
#include <libnbd.h>
#include <stddef.h>
#include <stdint.h>

enum { QEMU_NAME = 32, QEMU_PATH = 512 };

struct qemu_info {
	char format[QEMU_NAME];
	uint64_t size_bytes;
	char reads[QEMU_PATH]; /* another file that the image names and reads; "" for none */
};
/* qemu_info(path, driver, watch, info, err): path is absolute; driver NULL: qemu-img tells by the content.  The image is
 * taken for hostile: qemu-img's time and memory are bounded, and what it says is checked. */
int qemu_info(const char *path, const char *driver, const struct watch *watch, struct qemu_info *info,
	      struct err *err);

/* qemu_check(path, driver, watch, err): the image's metadata against itself, where qemu-img can do that: it would read what
 * a broken table does not show as zeroes. */
int qemu_check(const char *path, const char *driver, const struct watch *watch, struct err *err);

/* qemu_create(path, format, size_bytes, watch, err): a new image; path is absolute. */
int qemu_create(const char *path, const struct format *format, uint64_t size_bytes, const struct watch *watch,
		struct err *err);

enum { QEMU_LANES_MAX = 17 };

/* A qemu-nbd that serves one image to our connections only, each used by one thread at a time. */
struct qemu_server {
	struct child child;
	struct nbd_handle *lane[QEMU_LANES_MAX];
	unsigned lanes;
	uint64_t size_bytes;
};
/* qemu_serve(server, path, driver, writable, lanes, watch, err): start it and connect.  What is written is in the file
 * after qemu_stop, and durable only after an fsync of the file: until then it is nobody's image. */
int qemu_serve(struct qemu_server *server, const char *path, const char *driver, bool writable,
	       unsigned lanes, const struct watch *watch, struct err *err);
/* qemu_stop(server, watch, err): disconnect, and let it end in order. */
int qemu_stop(struct qemu_server *server, const struct watch *watch, struct err *err);
/* qemu_drop(server): it ends at once.  Harmless on a zeroed one, and twice. */
void qemu_drop(struct qemu_server *server);
/* qemu_failed(what, offset, err): the sentence of libnbd for a request that failed in this thread.  Returns -1. */
int qemu_failed(const char *what, uint64_t offset, struct err *err);

#endif
