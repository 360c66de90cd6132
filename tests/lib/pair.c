#include "tests/lib/pair.h"

#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct pair world;

int pair_open(void **state)
{
	(void)state;
	temp_make(world.folder);
	host_open(&world.a, world.folder, "a");
	host_open(&world.b, world.folder, "b");
	if (sshd_start(world.folder, "", &world.sshd))
		return -1;
	snprintf(world.url, sizeof(world.url), "ssh://%s@127.0.0.1:%u", world.sshd.user, world.sshd.port);
	snprintf(world.serve, sizeof(world.serve),
		 "env DROVER_STATE=%s/state DROVER_RUN=%s/run %s/drover serve", world.b.root, world.b.root,
		 host_build());
	return 0;
}

int pair_close(void **state)
{
	(void)state;
	sshd_stop(&world.sshd);
	host_close(&world.a);
	host_close(&world.b);
	temp_remove(world.folder);
	return 0;
}

static uint64_t last_seq(const struct host *host, const char *vm)
{
	static struct guest_report reports[4096];
	size_t n = host_reports(host, vm, reports, sizeof(reports) / sizeof(reports[0]));

	return n > 0 ? reports[n - 1].seq : 0;
}

uint64_t pair_last_seq(const char *vm)
{
	uint64_t a = last_seq(&world.a, vm), b = last_seq(&world.b, vm);

	return a > b ? a : b;
}

void pair_goes_on(const char *vm)
{
	host_wait_report(&world.b, vm, pair_last_seq(vm) + 20);
	host_must(&world.b, "kill", vm, NULL);
	host_must(&world.a, "forget", vm, NULL);
	host_must(&world.b, "forget", vm, NULL);
}

struct relay *pair_relay(void)
{
	struct relay *relay = sshd_relay(&world.sshd);

	assert_non_null(relay);
	return relay;
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
