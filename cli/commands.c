/* commands.c: the table of commands; those of a group are in a file of their own.  Help, the parser and the check of the manual page work from it. */
#include "cli/commands.h"

#include "cli/table.h"
#include "migrate/message.h"
#include "migrate/move.h"
#include "migrate/packer.h"
#include "replicate/job.h"
#include "vmm/config.h"

#include <stdio.h>
#include <string.h>

#define VM                                                                                                   \
	{                                                                                                    \
		.label = "NAME", .type = OPERAND_NAME                                                        \
	}

#define JOB                                                                                                  \
	{                                                                                                    \
		.label = "JOB", .type = OPERAND_NAME                                                         \
	}

static const struct option_spec json_only[] = {JSON, END};
static const struct option_spec none[] = {END};
static const char *const only_auto[] = {"auto", NULL};

static const struct option_spec run_options[] = {
    {.name = "name",
     .argument = "NAME",
     .help = "its name on every host that it comes to",
     .type = OPTION_NAME,
     .offset = AT(name),
     .required = true},
    {.name = "memory",
     .argument = "SIZE",
     .help = "RAM of the guest, as in 512M or 4G",
     .type = OPTION_SIZE,
     .offset = AT(memory_bytes),
     .min = CONFIG_MIN_MEMORY,
     .max = CONFIG_MAX_MEMORY,
     .required = true},
    {.name = "cpus",
     .argument = "N",
     .help = "virtual CPUs (1)",
     .type = OPTION_COUNT,
     .offset = AT(cpus),
     .min = 1,
     .max = CONFIG_MAX_CPUS,
     .initial = 1},
    {.name = "kernel",
     .argument = "FILE",
     .help = "boot it: a Linux bzImage or an ELF with PVH entry",
     .type = OPTION_TEXT,
     .offset = AT(kernel)},
    {.name = "initrd",
     .argument = "FILE",
     .help = "initial RAM disk",
     .type = OPTION_TEXT,
     .offset = AT(initrd)},
    {.name = "append",
     .argument = "TEXT",
     .help = "the kernel's command line",
     .type = OPTION_FREE,
     .offset = AT(append)},
    {.name = "firmware",
     .argument = "FILE",
     .help = "the BIOS that boots the first disk (SeaBIOS)",
     .type = OPTION_TEXT,
     .offset = AT(firmware)},
    {.name = "boot",
     .argument = "FROM",
     .help = "what its firmware boots: disk, network (disk)",
     .type = OPTION_WORD,
     .offset = AT(boot),
     .words = config_boot_sources,
     .initial = BOOT_DISK},
    {.name = "disk",
     .argument = "FILE[,read-only]",
     .help = "a volume, or a raw image read-only; again for more",
     .type = OPTION_LIST,
     .offset = AT(disks)},
    {.name = "net",
     .argument = "TAP|fd=N[,mac=MAC]",
     .help = "a network card on that tap; again for more",
     .type = OPTION_LIST,
     .offset = AT(nets)},
    {.name = "limit",
     .argument = "WHAT=VALUE",
     .help = "what it may use of the host; again for more",
     .type = OPTION_LIST,
     .offset = AT(limits)},
    {.name = "dirty-tracking",
     .argument = "HOW",
     .help = "finding written pages: auto, ring, bitmap (auto)",
     .type = OPTION_WORD,
     .offset = AT(dirty_tracking),
     .words = config_dirty_modes,
     .initial = DIRTY_AUTO},
    {.name = "huge-pages",
     .help = "RAM in huge pages, where the host has them",
     .type = OPTION_FLAG,
     .offset = AT(huge_pages)},
    {.name = "emulate",
     .help = "do what a KVM without hardware virtualization lacks",
     .type = OPTION_FLAG,
     .offset = AT(emulate)},
    {.name = "detach",
     .help = "leave it in the background, without a console",
     .type = OPTION_FLAG,
     .offset = AT(detach)},
    {.name = "json",
     .help = "with --detach: one JSON object on stdout",
     .type = OPTION_FLAG,
     .offset = AT(json)},
    END,
};

static const struct option_spec kill_options[] = {
    {.name = "force", .help = "also while a hand-over is pending", .type = OPTION_FLAG, .offset = AT(force)},
    JSON,
    END,
};

static const struct option_spec stop_options[] = {
    {.name = "timeout",
     .argument = "TIME",
     .help = "how long the guest has, 1ms to 24h (60s)",
     .type = OPTION_DURATION,
     .offset = AT(timeout_ns),
     .min = 1000000,
     .max = 86400000000000,
     .initial = 60000000000},
    JSON,
    END,
};

static const struct option_spec create_options[] = {
    {.name = "file",
     .letter = 'f',
     .argument = "FILE",
     .help = "the VM's YAML",
     .type = OPTION_TEXT,
     .offset = AT(file),
     .required = true},
    JSON,
    END,
};

static const struct option_spec remove_options[] = {
    {.name = "disks",
     .help = "also its clones and copies that drover made",
     .type = OPTION_FLAG,
     .offset = AT(with_disks)},
    JSON,
    END,
};

static const struct option_spec edit_options[] = {
    {.name = "file",
     .letter = 'f',
     .argument = "FILE",
     .help = "what it is to be, without an editor",
     .type = OPTION_TEXT,
     .offset = AT(file)},
    JSON,
    END,
};

static const struct option_spec start_options[] = {
    {.name = "console", .help = "show its serial console", .type = OPTION_FLAG, .offset = AT(console)},
    JSON,
    END,
};

static const struct option_spec dirty_rate_options[] = {
    {.name = "interval",
     .argument = "TIME",
     .help = "how long to measure, 1ms to 60s (1s)",
     .type = OPTION_DURATION,
     .offset = AT(interval_ns),
     .min = 1000000,
     .max = 60000000000,
     .initial = 1000000000},
    JSON,
    END,
};

/* What a move will be like. */
#define MOVE_OPTIONS                                                                                         \
	{.name = "downtime",                                                                                 \
	 .argument = "TIME",                                                                                 \
	 .help = "how long the guest may stand still, 1ms to 1h (30ms)",                                     \
	 .type = OPTION_DURATION,                                                                            \
	 .offset = AT(downtime_ns),                                                                          \
	 .min = 1000000,                                                                                     \
	 .max = 3600000000000,                                                                               \
	 .initial = 30000000},                                                                               \
	    STREAM_OPTIONS,                                                                                  \
	    {.name = "if-busy",                                                                              \
	     .argument = "HOW",                                                                              \
	     .help = "throttle, postcopy, wait or cancel (throttle)",                                        \
	     .type = OPTION_WORD,                                                                            \
	     .offset = AT(if_busy),                                                                          \
	     .words = move_if_busy_words},                                                                   \
	{                                                                                                    \
		.name = "throttle-max", .argument = "PERCENT",                                               \
		.help = "how much it may be slowed down, 1 to 99 (99)", .type = OPTION_COUNT,                \
		.offset = AT(throttle_max), .min = 1, .max = 99, .initial = 99                               \
	}

static const struct option_spec plan_options[] = {SSH_OPTIONS, MOVE_OPTIONS, JSON, END};

static const struct option_spec migrate_options[] = {
    SSH_OPTIONS,
    MOVE_OPTIONS,
    {.name = "postcopy",
     .help = "let the guest go over before all of its memory",
     .type = OPTION_FLAG,
     .offset = AT(postcopy)},
    {.name = "resume",
     .help = "go on with a move whose command was killed",
     .type = OPTION_FLAG,
     .offset = AT(resume)},
    {.name = "reconnect",
     .argument = "TIME",
     .help = "how long to try again after a break, up to 1h (60s)",
     .type = OPTION_DURATION,
     .offset = AT(reconnect_ns),
     .min = 0,
     .max = 3600000000000,
     .initial = 60000000000},
    JSON,
    END,
};

static const struct option_spec protect_options[] = {
    {.name = "rpo",
     .argument = "TIME",
     .help = "how old the newest point may become, 1s to 168h",
     .type = OPTION_DURATION,
     .offset = AT(rpo_ns),
     .min = JOB_RPO_MIN_NS,
     .max = JOB_RPO_MAX_NS,
     .required = true},
    {.name = "keep",
     .argument = "RULES",
     .help = "which points stay there (12x5m,24x1h,7x1d)",
     .type = OPTION_TEXT,
     .offset = AT(keep)},
    {.name = "job",
     .argument = "JOB",
     .help = "the job's name (the VM's)",
     .type = OPTION_NAME,
     .offset = AT(job)},
    {.name = "window",
     .argument = "WHEN",
     .help = "points may be made then; again for more (any time)",
     .type = OPTION_LIST,
     .offset = AT(windows)},
    {.name = "priority",
     .argument = "N",
     .help = "0 to 9: which job goes first when many are due (0)",
     .type = OPTION_COUNT,
     .offset = AT(priority),
     .max = JOB_PRIORITY_MAX},
    STREAM_OPTIONS,
    JSON,
    END,
};

static const struct option_spec daemon_options[] = {
    {.name = "parallel",
     .argument = "N",
     .help = "how many points at a time (2, or the processors)",
     .type = OPTION_COUNT,
     .offset = AT(parallel),
     .min = 1,
     .max = 256},
    END,
};

static const struct option_spec failover_options[] = {
    {.name = "point",
     .argument = "POINT",
     .help = "which one, as 'drover points' has it (the newest)",
     .type = OPTION_EPOCH,
     .offset = AT(point)},
    JSON,
    END,
};

static const struct option_spec serve_options[] = {PERMIT_OPTIONS,
						   {.name = "disks",
						    .argument = "FOLDER",
						    .help = "for disks of VMs that come (each VM's own)",
						    .type = OPTION_TEXT,
						    .offset = AT(disks_folder)},
						   END};

static const struct option_spec resolve_options[] = {SSH_OPTIONS, JSON, END};

static const struct option_spec snapshot_options[] = {
    {.name = "disks-only",
     .help = "without RAM and machine state",
     .type = OPTION_FLAG,
     .offset = AT(disks_only)},
    JSON,
    END,
};

static const struct option_spec snapshots_options[] = {
    {.name = "delete",
     .argument = "EPOCH",
     .help = "delete that one",
     .type = OPTION_EPOCH,
     .offset = AT(delete_epoch)},
    JSON,
    END,
};

static const struct option_spec restore_options[] = {
    {.name = "epoch",
     .argument = "EPOCH",
     .help = "which snapshot (the newest)",
     .type = OPTION_EPOCH,
     .offset = AT(epoch)},
    {.name = "as",
     .argument = "NAME",
     .help = "make a second VM of it, under that name",
     .type = OPTION_NAME,
     .offset = AT(as)},
    {.name = "net",
     .argument = "TAP",
     .help = "a tap for its nth card; again for more",
     .type = OPTION_LIST,
     .offset = AT(nets)},
    {.name = "discard-current",
     .help = "do not keep what is on the disks now",
     .type = OPTION_FLAG,
     .offset = AT(discard_current)},
    JSON,
    END,
};

static const struct option_spec forget_options[] = {
    {.name = "force",
     .help = "also when only the peer knows who runs it",
     .type = OPTION_FLAG,
     .offset = AT(force)},
    JSON,
    END,
};

const struct command commands[] = {
    {.name = "run",
     .summary = "boot a VM",
     .synopsis = "--name NAME --memory SIZE [--cpus N]\n"
		 "[--disk FILE[,read-only]]... [--net TAP|fd=N[,mac=MAC]]...\n"
		 "[--kernel FILE [--initrd FILE] [--append TEXT]]\n"
		 "[--boot disk|network] [--firmware FILE] [--huge-pages]\n"
		 "[--emulate]\n"
		 "[--limit WHAT=VALUE]... [--dirty-tracking auto|ring|bitmap]\n"
		 "[--detach [--json]]",
     .details = "Without --kernel the VM boots from its first disk, by its firmware; with\n"
		"--boot network from its network cards first, by iPXE.\n"
		"\n"
		"The VM runs in a process of its own. Without --detach the guest's serial console\n"
		"is shown here (Ctrl-] leaves it, the VM runs on), and drover ends when the guest\n"
		"does: with 0 after a reset, a power-off, a stop or a move, with 1 after a crash.\n"
		"What the guest writes is kept in console.log in the VM's folder in either case.\n"
		"\n"
		"Limits are memory-max=SIZE|auto, cpu=CPUS (1.5), read-bytes=SIZE,\n"
		"write-bytes=SIZE, read-iops=N, write-iops=N (a second), and required=true:\n"
		"with all of them or not at all. 'man drover-vm.yaml' tells what they mean.",
     .run = cmd_run,
     .options = run_options},
    {.name = "list",
     .summary = "the VMs that this host knows",
     .synopsis = "[--json]",
     .details = "Those that run here, and those it handed over, gave up or ran before. A VM\n"
		"process that does not answer within 2 seconds is shown as 'not answering'.",
     .run = cmd_list,
     .options = json_only},
    {.name = "status",
     .summary = "one VM, in detail",
     .synopsis = "NAME [--json]",
     .details = "What the VM's process says of itself or, where there is none, what this host\n"
		"has recorded of it.",
     .run = cmd_status,
     .options = json_only,
     .operands = {VM}},
    {.name = "console",
     .summary = "the guest's serial console on this terminal",
     .synopsis = "NAME",
     .details = "Begins with the last 4096 bytes. Ctrl-] leaves it; the VM runs on. The exit\n"
		"status is that of 'drover run'.",
     .run = cmd_console,
     .options = none,
     .operands = {VM}},
    {.name = "pause",
     .summary = "stop the guest's CPUs",
     .synopsis = "NAME [--json]",
     .details = "Nothing of the guest is lost; 'drover resume' lets it run on.",
     .run = cmd_pause,
     .options = json_only,
     .operands = {VM}},
    {.name = "resume",
     .summary = "let a paused guest run on",
     .synopsis = "NAME [--json]",
     .details = "Refused while only the peer knows how a hand-over ended ('drover resolve').",
     .run = cmd_resume,
     .options = json_only,
     .operands = {VM}},
    {.name = "create",
     .summary = "define a VM",
     .synopsis = "NAME --file FILE [--json]",
     .details = "FILE is YAML: memory: 2G, cpus: 2, disks: [{path: /…/root.dvol}], nets: [{tap:\n"
		"tap0}] and more; 'man drover' tells all keys. '-' is the standard input. What\n"
		"it leaves open - the UUID, MAC addresses, the places of devices on the bus - is\n"
		"decided now and stays.",
     .run = cmd_create,
     .options = create_options,
     .operands = {VM}},
    {.name = "edit",
     .summary = "change a VM's definition",
     .synopsis = "NAME [--file FILE] [--json]",
     .details = "In $VISUAL or $EDITOR, or by the FILE given. Devices that stay keep their places\n"
		"and addresses. A running VM goes on as it is; the next start has the change.",
     .run = cmd_edit,
     .options = edit_options,
     .operands = {VM}},
    {.name = "remove",
     .summary = "drop a VM's definition",
     .synopsis = "NAME [--disks] [--json]",
     .details = "Its snapshots go. Its disks stay, or with --disks those that you made yourself.\n"
		"Refused while the VM runs here.",
     .run = cmd_remove,
     .options = remove_options,
     .operands = {VM}},
    {.name = "start",
     .summary = "boot a VM that was defined",
     .synopsis = "NAME [--console | --json]",
     .details = "It runs in the background; --console shows its serial console as 'drover run'\n"
		"does.",
     .run = cmd_start,
     .options = start_options,
     .operands = {VM}},
    {.name = "stop",
     .summary = "shut a VM down",
     .synopsis = "NAME [--timeout TIME] [--json]",
     .details = "Presses the power button, which the guest's operating system heeds. One that has\n"
		"not powered off within the time is ended as by 'drover kill'.",
     .run = cmd_stop,
     .options = stop_options,
     .operands = {VM}},
    {.name = "kill",
     .summary = "end a VM at once",
     .synopsis = "NAME [--force] [--json]",
     .details = "As if its power were cut. Refused while a hand-over is pending: the copy here\n"
		"may be the only one. --force drops it all the same.",
     .run = cmd_kill,
     .options = kill_options,
     .operands = {VM}},
    {.name = "reset",
     .summary = "let a VM begin anew",
     .synopsis = "NAME [--json]",
     .details = "As by the reset button, for VMs that boot by firmware.",
     .run = cmd_reset,
     .options = json_only,
     .operands = {VM}},
    {.name = "balloon",
     .summary = "how much memory a VM is to make do with",
     .synopsis = "NAME SIZE [--json]",
     .details = "Asks the guest's balloon driver to give back the rest, or to take it again.",
     .run = cmd_balloon,
     .options = json_only,
     .operands = {VM, {.label = "SIZE", .type = OPERAND_SIZE}}},
    {.name = "dirty-rate",
     .summary = "how fast the guest writes to its memory",
     .synopsis = "NAME [--interval TIME] [--json]",
     .details = "Counts the different pages written within the interval. A guest that dirties\n"
		"more than the link carries cannot be moved without slowing it down.",
     .run = cmd_dirty_rate,
     .options = dirty_rate_options,
     .operands = {VM}},
    {.name = "snapshot",
     .summary = "keep a VM as it is now",
     .synopsis = "NAME [--disks-only] [--json]",
     .details = "Its RAM, its machine state and an epoch of each disk that it writes to, all of\n"
		"one moment. The guest stands still for that moment only: its memory is copied\n"
		"while it runs on. Where this host does not allow that (userfaultfd), it stands\n"
		"still until its memory is copied, and drover says so. Of a VM that does not run,\n"
		"or with --disks-only, the disks alone. What has not changed since the last\n"
		"snapshot takes no space again. Ctrl-C leaves nothing behind.",
     .run = cmd_snapshot,
     .options = snapshot_options,
     .operands = {VM}},
    {.name = "snapshots",
     .summary = "list a VM's snapshots, or delete one",
     .synopsis = "NAME [--delete EPOCH] [--json]",
     .details = "--delete frees exactly what only that snapshot used; refused while a VM that was\n"
		"made of it ('drover restore --as') needs it.",
     .run = cmd_snapshots,
     .options = snapshots_options,
     .operands = {VM}},
    {.name = "restore",
     .summary = "let a VM go on where a snapshot was taken",
     .synopsis = "NAME [--epoch EPOCH] [--discard-current] [--json]\n"
		 "NAME [--epoch EPOCH] --as NAME [--net TAP]... [--json]",
     .details = "The VM must be stopped. Its disks become what they were; what they are now is\n"
		"kept as a snapshot of its own first, and so are all others. With RAM in the\n"
		"snapshot the guest runs on at once, and its memory comes as it needs it. One of\n"
		"disks only is booted with 'drover start'.\n"
		"\n"
		"--as makes a second VM, beside the first one, which may be running: with a UUID\n"
		"and a definition of its own, clones of the disks, and network cards that are\n"
		"connected to nothing but what --net says.",
     .run = cmd_restore,
     .options = restore_options,
     .operands = {VM}},
    {.name = "plan",
     .summary = "could a VM move to another host, and how would it go",
     .synopsis = "NAME HOST [--identity FILE] [--known-hosts FILE]\n"
		 "[--remote-command COMMAND] [--downtime TIME] [--streams N]\n"
		 "[--bandwidth SIZE] [--compress HOW]\n"
		 "[--if-busy HOW] [--throttle-max PERCENT] [--json]",
     .details = "Whether that host is fit for the VM, how fast the way there is, what the guest\n"
		"writes, and what follows: how long a move with these options would take, how\n"
		"long the guest would stand still, and how much would be sent. Nothing moves.\n"
		"It takes some two seconds, in which the VM's state is \"migrating\", and it runs.\n"
		"Exit status 1: that host is not fit.",
     .run = cmd_plan,
     .options = plan_options,
     .operands = {VM, {.label = "HOST"}}},
    {.name = "migrate",
     .summary = "move a running VM to another host",
     .synopsis = "NAME HOST [--identity FILE] [--known-hosts FILE]\n"
		 "[--remote-command COMMAND] [--downtime TIME] [--streams N]\n"
		 "[--bandwidth SIZE] [--compress HOW]\n"
		 "[--if-busy HOW] [--throttle-max PERCENT] [--postcopy]\n"
		 "[--resume] [--reconnect TIME] [--json]",
     .details = "HOST is a peer ('drover peer'), or ssh://[USER@]HOST[:PORT]. It needs an OpenSSH\n"
		"server and drover.\n"
		"The guest runs on here while its memory is copied, and stands still only for\n"
		"the last part. If it writes faster than that can be carried away, --if-busy says\n"
		"what happens: it is slowed down, moved at once with its memory behind it, waited\n"
		"for until it is quieter, or not moved.\n"
		"Until the destination may have started it, anything that goes wrong - Ctrl-C\n"
		"too - leaves it running here. After that moment only the destination knows:\n"
		"drover waits for its answer, and a signal does not end it. If the answer cannot\n"
		"be had, the guest stays paused here, and 'drover resolve' asks again.\n"
		"In post-copy the guest runs there before all of its memory is; a broken link is\n"
		"then tried until it is back, and if drover is ended, 'drover resolve' goes on.\n"
		"If it is killed while the guest is this host's, --resume goes on for as long as\n"
		"--reconnect said; what was there already is not sent again.",
     .run = cmd_migrate,
     .options = migrate_options,
     .operands = {VM, {.label = "HOST"}}},
    {.name = "cancel",
     .summary = "give up a migration under way",
     .synopsis = "NAME [--json]",
     .details = "The guest runs on here. Refused once the destination may have started it.",
     .run = cmd_cancel,
     .options = json_only,
     .operands = {VM}},
    {.name = "protect",
     .summary = "keep recovery points of a VM on another host",
     .synopsis = "NAME HOST --rpo TIME [--keep RULES] [--job JOB]\n"
		 "[--window WHEN]... [--priority N] [--bandwidth SIZE]\n"
		 "[--streams N] [--compress HOW] [--json]",
     .details = "Makes a job, or changes one: 'drover daemon' then sends what the VM has written\n"
		"to HOST often enough that the newest point there is never older than --rpo, 1s\n"
		"to 168h. A point has all disks of one moment. The first one sends all of them.\n"
		"--keep says which points stay there: 'all', or rules as in 12x5m,24x1h,7x1d: the\n"
		"newest point of each of the last 12 spans of 5 minutes that have any, and so on.\n"
		"--window, as in 'mon-fri 20:00-06:00', says when points may be made.",
     .run = cmd_protect,
     .options = protect_options,
     .operands = {VM, {.label = "HOST"}}},
    {.name = "unprotect",
     .summary = "end a replication job",
     .synopsis = "JOB [--json]",
     .details = "What it kept on this host goes. The points on the other host stay.",
     .run = cmd_unprotect,
     .options = json_only,
     .operands = {JOB}},
    {.name = "jobs",
     .summary = "list the replication jobs of this host",
     .synopsis = "[--json]",
     .details = "With the age of each one's newest point, and how often that was more than the\n"
		"job's --rpo.",
     .run = cmd_jobs,
     .options = json_only},
    {.name = "job",
     .summary = "one replication job: show, pause, resume, run-now",
     .synopsis = "COMMAND JOB [OPTION...]",
     .details = "'drover protect' makes one, 'drover unprotect' ends it.",
     .options = none,
     .group = job_commands},
    {.name = "daemon",
     .summary = "send recovery points, as the jobs of this host say",
     .synopsis = "[--parallel N]",
     .details = "In the foreground, until SIGTERM or SIGINT; drover-daemon.service runs it. Each\n"
		"point is made by a process of its own ('drover job run-now'), which goes on\n"
		"should this one end. It says on stderr what goes wrong, and which objectives\n"
		"were missed and why; 'drover jobs' has the sums.",
     .run = cmd_daemon,
     .options = daemon_options},
    {.name = "points",
     .summary = "list the recovery points that this host has of a VM",
     .synopsis = "NAME [--json]",
     .details = "On the standby: what 'drover failover' can start. On the primary: what its jobs\n"
		"send the next difference from. They are snapshots, too: 'drover restore --as'\n"
		"makes a second VM of one.",
     .run = cmd_points,
     .options = json_only,
     .operands = {VM}},
    {.name = "failover",
     .summary = "start a VM from its recovery points here",
     .synopsis = "NAME [--point POINT] [--json]",
     .details = "On the standby, when the primary is lost: nothing else needs to be alive. The VM\n"
		"is this host's from then on: points of the old primary are refused. What it did\n"
		"since the point is lost, and drover says how much that is. Be sure that the\n"
		"primary does not run it any more.",
     .run = cmd_failover,
     .options = failover_options,
     .operands = {VM}},
    {.name = "resolve",
     .summary = "learn how a broken hand-over ended",
     .synopsis = "NAME [HOST] [--identity FILE] [--known-hosts FILE]\n"
		 "[--remote-command COMMAND] [--json]",
     .details = "Asks the destination (HOST, or the recorded one) whether it runs the VM. If so,\n"
		"the copy here ends; if not, it never will, and the guest resumes here.",
     .run = cmd_resolve,
     .options = resolve_options,
     .operands = {VM, {.label = "HOST", .optional = true}}},
    {.name = "forget",
     .summary = "remove what this host has recorded of a VM",
     .synopsis = "NAME [--force] [--json]",
     .details = "For a VM that does not live here: its folder, with console.log, vm.log and its\n"
		"snapshots, but not the disks of one that 'drover restore --as' made.\n"
		"The record is what keeps this host from starting a VM that another one runs;\n"
		"--force removes it even while only the peer knows how a hand-over ended, and\n"
		"where recovery points of a VM that runs elsewhere go with it.",
     .run = cmd_forget,
     .options = forget_options,
     .operands = {VM}},
    {.name = "image",
     .summary = "volumes: copy-on-write disks with epochs",
     .synopsis = "COMMAND [OPTION...]",
     .details = "A volume is one file (.dvol). Its head is read and written like a disk; a closed\n"
		"epoch reads for ever as the head did when it was closed. An epoch is named by\n"
		"term and number, as in 1.5.",
     .options = none,
     .group = image_commands},
    {.name = "peer",
     .summary = "other hosts, by names of your own",
     .synopsis = "",
     .details = "Wherever a command wants another host it takes a peer's name or an ssh URL. What\n"
		"a peer was added with - key, known hosts, command - counts unless the command\n"
		"line says otherwise.",
     .options = none,
     .group = peer_commands},
    {.name = "serve",
     .summary = "receive a VM on stdin and stdout",
     .synopsis = "[--vm PATTERN]... [--action ACTION]... [--images PATH]...\n"
		 "[--tap PATTERN]... [--memory-max SIZE] [--disks FOLDER]",
     .details = "Started by the other host through SSH, for one hand-over or one question; fit\n"
		"for a forced command in authorized_keys ('drover peer authorize' prints the\n"
		"line), where the options say what that key may ask for: without, anything, but\n"
		"that a VM reads no file of this host's unless --images names it.",
     .run = cmd_serve,
     .options = serve_options,
     .plumbing = true},
    {.name = "help",
     .summary = "what a command does",
     .synopsis = "[COMMAND [SUBCOMMAND]]",
     .details = "Without COMMAND: the list of commands.",
     .run = cmd_help,
     .options = none,
     .operands = {{.label = "COMMAND", .optional = true}, {.label = "SUBCOMMAND", .optional = true}}},
    {.name = NULL},
};

static const struct command *find_in(const struct command *table, const char *prefix, const char *name)
{
	size_t len = strlen(prefix);

	for (const struct command *command = table; command->name; command++)
		if (!strncmp(command->name, prefix, len) && !strcmp(command->name + len, name))
			return command;
	return NULL;
}

const struct command *commands_find(const char *const *words, size_t count, size_t *used)
{
	const struct command *command = count > 0 ? find_in(commands, "", words[0]) : NULL, *inner;
	char prefix[32];

	*used = command ? 1 : 0;
	if (!command || !command->group || count < 2)
		return command;
	snprintf(prefix, sizeof(prefix), "%s ", command->name);
	inner = find_in(command->group, prefix, words[1]);
	*used += inner ? 1 : 0;
	return inner ? inner : command;
}
