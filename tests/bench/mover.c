#include "tests/bench/mover.h"
#include <stdio.h>
#include <string.h>

#define QEMU .ops = &mover_qemu_ops, .firmware = "qboot.rom"

/* A new way to move a guest is a line here.  drover itself stands first: the others are compared with it. */
const struct mover mover_table[] = {
    {.name = "drover",
     .title = "drover over SSH",
     .ops = &mover_drover_ops,
     .at = AT_IDLE | AT_LOW | AT_HIGH | AT_FLAT,
     .over_ssh = true},
    {.name = "drover-postcopy",
     .title = "drover over SSH, `--if-busy postcopy`",
     .ops = &mover_drover_ops,
     .if_busy = "postcopy",
     .at = AT_FLAT,
     .over_ssh = true},
    {.name = "drover-far",
     .title = "drover over SSH, limit 1 s",
     .ops = &mover_drover_ops,
     .downtime_ms = 1000,
     .over_ssh = true},
    {.name = "drover-one",
     .title = "drover over one SSH connection, limit 1 s",
     .ops = &mover_drover_ops,
     .streams = 1,
     .downtime_ms = 1000,
     .over_ssh = true},
    {.name = "qemu-plain",
     .title = "QEMU pre-copy, plain UNIX socket, limit 30 ms",
     QEMU,
     .at = AT_IDLE | AT_LOW | AT_HIGH | AT_FLAT,
     .downtime_ms = 30},
    {.name = "qemu-plain-300",
     .title = "QEMU pre-copy, plain UNIX socket, limit 300 ms",
     QEMU,
     .at = AT_IDLE | AT_LOW | AT_HIGH,
     .downtime_ms = 300},
    {.name = "qemu-multifd",
     .title = "QEMU multifd, 4 channels, plain UNIX sockets, limit 300 ms",
     QEMU,
     .at = AT_IDLE | AT_LOW | AT_HIGH,
     .channels = 4,
     .downtime_ms = 300},
    {.name = "qemu-multifd-zstd",
     .title = "QEMU multifd, 2 channels, zstd, plain UNIX sockets, limit 300 ms",
     QEMU,
     .at = AT_IDLE | AT_LOW,
     .channels = 2,
     .compression = "zstd",
     .downtime_ms = 300},
    {.name = "qemu-ssh-300",
     .title = "QEMU pre-copy through `ssh -L`, limit 300 ms",
     QEMU,
     .at = AT_IDLE | AT_LOW,
     .over_ssh = true,
     .downtime_ms = 300},
    {.name = "qemu-multifd-ssh",
     .title = "QEMU multifd, 4 channels, through `ssh -L`, limit 300 ms",
     QEMU,
     .at = AT_IDLE | AT_LOW,
     .over_ssh = true,
     .channels = 4,
     .downtime_ms = 300},
    {.name = "qemu-ssh",
     .title = "QEMU pre-copy through `ssh -L`, limit 30 ms",
     QEMU,
     .over_ssh = true,
     .downtime_ms = 30},
    {.name = "qemu-postcopy",
     .title = "QEMU post-copy after the first pass, plain UNIX socket",
     QEMU,
     .at = AT_FLAT,
     .postcopy = true,
     .downtime_ms = 30},
};
const size_t mover_count = sizeof(mover_table) / sizeof(mover_table[0]);

const struct mover *mover_find(const char *name)
{
	for (size_t i = 0; i < mover_count; i++)
		if (strcmp(name, mover_table[i].name) == 0)
			return &mover_table[i];
	return NULL;
}

enum mover_at mover_at(uint32_t dirty_mb)
{
	if (dirty_mb == 0)
		return AT_IDLE;
	if (dirty_mb == MOVE_DIRTY_MAX)
		return AT_FLAT;
	return dirty_mb <= MOVER_LOW_MB ? AT_LOW : AT_HIGH;
}

const char *mover_cmdline(const struct move *move, char text[256])
{
	const struct benchenv *env = move->env;
	char dirty[16] = "max";

	if (move->dirty_mb != MOVE_DIRTY_MAX)
		snprintf(dirty, sizeof(dirty), "%u", move->dirty_mb);
	if (move->words)
		snprintf(text, 256, "%s report=%u", move->words, env->report_ms);
	else
		snprintf(text, 256, "fill=%uM compress=%u dirty=%s report=%u", env->fill_mib, env->compress,
			 dirty, env->report_ms);
	return text;
}
