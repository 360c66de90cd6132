/* need.c: what a test cannot do without. */
#include "tests/lib/need.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void need_skip(const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	/* tests/run looks for these words. */
	print_message("skipped because: %s\n", reason);
	skip();
}

bool need_kvm(void)
{
	const char *wanted = getenv("DROVER_TEST_KVM");
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return true;
	}
	if (wanted && strcmp(wanted, "require") == 0)
		fail_msg("DROVER_TEST_KVM=require, but /dev/kvm cannot be opened: %s", strerror(errno));
	need_skip("/dev/kvm cannot be opened: %s", strerror(errno));
	return false;
}
