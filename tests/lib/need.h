/* need.h: what a test cannot do without.  A test that is skipped says why: tests/run prints the reason in its
 * summary. */
#ifndef TESTS_LIB_NEED_H
#define TESTS_LIB_NEED_H

#include <stdbool.h>

/* need_kvm(): true when /dev/kvm can be opened.  Otherwise it does not return: it fails the test when
 * $DROVER_TEST_KVM is "require", and skips it when not. */
bool need_kvm(void);

/* need_skip(format, …): print the reason and skip the test.  Does not return (CMocka jumps out of the test), so
 * call it before the test holds anything. */
void need_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
