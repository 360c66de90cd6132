/* err.h: how every function of drover reports failure.
 *
 * A function that can fail returns -1 (or NULL) and fills the caller's struct err with one sentence for the
 * person who reads it: what failed, where, and what to do.  It is filled once, where the failure is first
 * detected; callers may put context before it.  Libraries never print and never exit.
 *
 * The text is always valid UTF-8 without control characters ('?' stands for them), whatever the arguments held;
 * what does not fit is cut and ends with "...". */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

enum err_kind {
	ERR_NONE = 0,
	ERR_USAGE,     /* what the user asked for is wrong; exit status 2 */
	ERR_NO_KVM,    /* /dev/kvm is absent, not permitted or unfit; exit status 3 */
	ERR_SYSTEM,    /* the operating system refused something */
	ERR_INPUT,     /* a file, message or stream is damaged or not what it should be */
	ERR_LINK,      /* the connection to the other host failed or ended */
	ERR_REFUSED,   /* the other side understood and said no */
	ERR_STATE,     /* not possible in the present state of the VM */
	ERR_CANCELLED, /* somebody asked to stop */
};

struct err {
	enum err_kind kind;
	char text[512];
};

/* err_set(err, kind, format, …): fill *err (which may be NULL: then nothing is kept).  Always returns -1, so
 * that `return err_set(…)` is the failure return. */
int err_set(struct err *err, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* err_sys(err, format, …): as err_set with ERR_SYSTEM; appends ": " and the text of the present errno,
 * which is kept when the rest has to be cut. */
int err_sys(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* err_context(err, format, …): put "<formatted>: " before the text that *err has; of a very long context only
 * the beginning.  Returns -1. */
int err_context(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* err_exit_status(err): the exit status of a command that ends with this error: 2 usage, 3 no KVM, 1 others.
 */
int err_exit_status(const struct err *err);

/* err_kind_name, err_kind_from_name: the word for a kind on the wire ("refused", …) and back; an unknown word
 * gives ERR_INPUT. */
const char *err_kind_name(enum err_kind kind);
enum err_kind err_kind_from_name(const char *name);

#endif
