#include "tests/bench/mover.h"
#include <stdio.h>

/* A new way to move a guest is a line here.  drover itself stands first: the others are compared with it. */
const struct mover mover_table[] = {
    {.name = "drover",
     .title = "drover over SSH",
     .ops = &mover_drover_ops,
     .by_default = true,
     .over_ssh = true},
    {.name = "drover-postcopy",
     .title = "drover over SSH, post-copy after the first round",
     .ops = &mover_drover_ops,
     .postcopy = true,
     .over_ssh = true},
    {.name = "qemu-plain",
     .title = "QEMU pre-copy, plain UNIX socket, limit 30 ms",
     .ops = &mover_qemu_ops,
     .firmware = "qboot.rom",
     .by_default = true,
     .downtime_ms = 30},
    {.name = "qemu-ssh",
     .title = "QEMU pre-copy through `ssh -L`, limit 30 ms",
     .ops = &mover_qemu_ops,
     .firmware = "qboot.rom",
     .by_default = true,
     .over_ssh = true,
     .downtime_ms = 30},
    {.name = "qemu-plain-300",
     .title = "QEMU pre-copy, plain UNIX socket, limit 300 ms",
     .ops = &mover_qemu_ops,
     .by_default = true,
     .firmware = "qboot.rom",
     .downtime_ms = 300},
    {.name = "qemu-ssh-300",
     .title = "QEMU pre-copy through `ssh -L`, limit 300 ms",
     .ops = &mover_qemu_ops,
     .firmware = "qboot.rom",
     .over_ssh = true,
     .downtime_ms = 300},
    {.name = "qemu-multifd",
     .title = "QEMU multifd, 4 channels, plain UNIX socket, limit 30 ms",
     .ops = &mover_qemu_ops,
     .firmware = "qboot.rom",
     .channels = 4,
     .downtime_ms = 30},
};
const size_t mover_count = sizeof(mover_table) / sizeof(mover_table[0]);

const char *mover_cmdline(const struct move *move, char text[256])
{
	const struct benchenv *env = move->env;
	char dirty[16] = "max";

	if (move->dirty_mb != MOVE_DIRTY_MAX)
		snprintf(dirty, sizeof(dirty), "%u", move->dirty_mb);
	snprintf(text, 256, "fill=%uM compress=%u dirty=%s report=%u", env->fill_mib, env->compress, dirty,
		 env->report_ms);
	return text;
}
