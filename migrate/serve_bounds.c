/* serve_bounds.c: what a sender may have of this host (serve_internal.h).
 *
 * Who may start `drover serve` is a sender, and no more: what he says is bounded by the permit, by what this host has, and by what it knows
 * of the VM itself. */
#include "migrate/facts.h"
#include "migrate/serve_internal.h"
#include "vmm/definition_store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	RESERVE = 64 << 20, /* what is left to the host when RAM comes in */
	LOOK = 16 << 20,    /* how much may come between two looks at it */
};

int serve_bounds_name(const struct serve *serve, struct err *err)
{
	struct definition own;
	struct err why;
	int failed = definition_load(serve->config.name, &own, &why), status = 0;

	if (failed && why.kind != ERR_STATE)
		status = err_set(err, ERR_REFUSED, "%s", why.text);
	else if (!failed && strcmp(own.config.uuid, serve->config.uuid))
		status = err_set(
		    err, ERR_REFUSED,
		    "that host has a VM '%s' of its own, which is another one (%s); 'drover remove %s' there "
		    "if that one is over",
		    serve->config.name, own.config.uuid, serve->config.name);
	definition_free(&own);
	return status;
}

static int check_memory(const struct serve *serve, struct err *err)
{
	uint64_t bytes = serve->config.memory_bytes, permitted = serve->permit->memory_max;

	if (permitted && bytes > permitted)
		return err_set(err, ERR_REFUSED,
			       "the VM has %llu MiB of memory, and this key may bring VMs of %llu MiB",
			       (unsigned long long)(bytes >> 20), (unsigned long long)(permitted >> 20));
	/* The kernel's tables for a guest's memory grow with its size, whether it uses it or not. */
	if (!permitted && bytes > facts_all_memory())
		return err_set(err, ERR_REFUSED,
			       "the VM has %llu MiB of memory, and that host has %llu MiB in all, swap "
			       "included; let it there, with 'drover serve --memory-max'",
			       (unsigned long long)(bytes >> 20),
			       (unsigned long long)(facts_all_memory() >> 20));
	return 0;
}

static void leave_out(char **text)
{
	free(*text);
	*text = NULL;
}

/* Somebody may boot the VM here one day, from one of its snapshots. */
static void check_boot_files(const struct permit *permit, struct vm_config *config)
{
	if (config->firmware && !permit_reads(permit, config->firmware))
		leave_out(&config->firmware);
	if (!config->kernel || (permit_reads(permit, config->kernel) &&
				(!config->initrd || permit_reads(permit, config->initrd))))
		return;
	leave_out(&config->kernel);
	leave_out(&config->initrd);
	leave_out(&config->cmdline);
}

int serve_bounds_config(struct serve *serve, struct err *err)
{
	struct vm_config *config = &serve->config;

	for (unsigned i = 0; i < config->ndevices; i++) {
		const struct device_config *device = &config->devices[i];

		if (device->kind == DEVICE_NET && *device->net.tap &&
		    !permit_tap(serve->permit, device->net.tap))
			return err_set(err, ERR_REFUSED,
				       "this key's VMs may not be connected to interface '%s' (slot %u)",
				       device->net.tap, device->slot);
	}
	check_boot_files(serve->permit, config);
	return check_memory(serve, err);
}

int serve_bounds_room(struct serve *serve, struct err *err)
{
	uint64_t held, there;
	struct stat st;

	/* A guest that runs may use all of its RAM, here as anywhere. */
	if (serve->owed.running || fstat(serve->ram_fd, &st))
		return 0;
	held = (uint64_t)st.st_blocks * 512;
	if (held < __atomic_load_n(&serve->ram_seen, __ATOMIC_RELAXED) + LOOK)
		return 0;
	__atomic_store_n(&serve->ram_seen, held, __ATOMIC_RELAXED);
	there = facts_available_memory();
	if (there >= RESERVE)
		return 0;
	return err_set(
	    err, ERR_SYSTEM,
	    "that host has %llu MiB of memory left, of which it keeps %d MiB, and the guest's is not "
	    "all there; free some",
	    (unsigned long long)(there >> 20), RESERVE >> 20);
}
