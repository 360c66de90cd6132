#include "tests/lib/pair.h"

#include "tests/lib/test.h"

#include <string.h>
#include <unistd.h>

int pair_open(struct pair *pair)
{
	temp_make(pair->folder);
	host_open(&pair->a, pair->folder, "a");
	host_open(&pair->b, pair->folder, "b");
	return sshd_start(pair->folder, "", &pair->sshd);
}

int pair_close(struct pair *pair)
{
	sshd_stop(&pair->sshd);
	host_close(&pair->a);
	host_close(&pair->b);
	temp_remove(pair->folder);
	return 0;
}

static uint64_t last_seq(const struct host *host, const char *vm)
{
	static struct guest_report reports[4096];
	size_t n = host_reports(host, vm, reports, sizeof(reports) / sizeof(reports[0]));

	return n > 0 ? reports[n - 1].seq : 0;
}

uint64_t pair_last_seq(const struct pair *pair, const char *vm)
{
	uint64_t a = last_seq(&pair->a, vm), b = last_seq(&pair->b, vm);

	return a > b ? a : b;
}

void pair_wait_for_bytes(struct relay *relay, uint64_t bytes, const struct command *command)
{
	while (relay_bytes_up(relay) < bytes && command_lives(command))
		usleep(1000);
}

bool pair_fault_is_of(const char *point, const char *side)
{
	size_t len = strlen(side);

	return !strncmp(point, side, len) && point[len] == '.';
}
