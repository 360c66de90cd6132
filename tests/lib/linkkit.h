/* linkkit.h: what tests of links share: one real sshd for the program, and short words for frames that go and come.  Every
 * surprise fails the test. */
#ifndef TESTS_LIB_LINKKIT_H
#define TESTS_LIB_LINKKIT_H

#include "common/err.h"
#include "migrate/link.h"
#include "tests/lib/sshd.h"
#include <stddef.h>
#include <stdint.h>

#define LINKKIT_SECOND 1000000000ull

/* linkkit_start, linkkit_stop: the set-up and tear-down of the group: linkkit_sshd, with a folder of its own. */
extern struct sshd linkkit_sshd;
int linkkit_start(void **state);
int linkkit_stop(void **state);

/* linkkit_open(target): a link; linkkit_command(command): to that command at linkkit_sshd; linkkit_through(relay, command): through a
 * relay (sshd_relay).
 * linkkit_refuse(target, part, err): connecting fails with ERR_LINK and these words. */
struct link *linkkit_open(const struct ssh_target *target);
struct link *linkkit_command(const char *command);
struct link *linkkit_through(const struct relay *relay, const char *command);
void linkkit_refuse(const struct ssh_target *target, const char *part, struct err *err);

/* Frames of `len` bytes `fill`: put into the link's buffer, sent, expected next. */
void linkkit_put(struct link *link, size_t len, int fill);
void linkkit_send(struct link *link, uint16_t type, size_t len, int fill);
void linkkit_expect(struct link *link, uint16_t type, size_t len, int fill);
/* linkkit_expect_end(link, part, err): it ends, sooner or later, with these words (NULL: any). */
void linkkit_expect_end(struct link *link, const char *part, struct err *err);
void linkkit_says(const struct err *err, enum err_kind kind, const char *part);
uint64_t linkkit_in_s(unsigned seconds); /* a deadline */

/* linkkit_path(path, name): of a file in the folder, into path[SSHD_PATH], which it returns.  linkkit_read_file: its text, for
 * the caller to free. */
char *linkkit_path(char *path, const char *name);
void linkkit_write_file(const char *path, const char *text);
char *linkkit_read_file(const char *path);

#endif
