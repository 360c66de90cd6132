/* commands_image.c: the commands of 'drover image'. */
#include "cli/commands.h"
#include "cli/table.h"
#include "convert/convert.h"

#define EPOCH(text)                                                                                          \
	{                                                                                                    \
		.name = "epoch", .argument = "T.N", .help = text, .type = OPTION_EPOCH, .offset = AT(epoch)  \
	}
#define VOLUME                                                                                               \
	{                                                                                                    \
		.label = "FILE"                                                                              \
	}

static const struct option_spec json_only[] = {JSON, END};

static const struct option_spec create_options[] = {
    {.name = "backing",
     .argument = "BASE",
     .help = "read this volume where nothing is written",
     .type = OPTION_TEXT,
     .offset = AT(backing)},
    {.name = "backing-epoch",
     .argument = "T.N",
     .help = "which one (the newest)",
     .type = OPTION_EPOCH,
     .offset = AT(backing_epoch)},
    {.name = "backing-raw", .help = "BASE is a raw image", .type = OPTION_FLAG, .offset = AT(backing_raw)},
    {.name = "compress",
     .argument = "LEVEL",
     .help = "zstd level for data to stay, 0 to 19 (0, none)",
     .type = OPTION_COUNT,
     .offset = AT(compress),
     .max = DVOL_COMPRESS_MAX},
    JSON,
    END,
};

static const struct option_spec check_options[] = {
    {.name = "verify",
     .help = "read all blocks of closed epochs, too",
     .type = OPTION_FLAG,
     .offset = AT(verify)},
    EPOCH("of --verify: this one only"),
    {.name = "heal",
     .argument = "OTHER",
     .help = "of --verify: mend from this copy of the volume",
     .type = OPTION_TEXT,
     .offset = AT(heal)},
    JSON,
    END,
};

static const struct option_spec map_options[] = {EPOCH("this closed epoch (the head)"), JSON, END};
static const struct option_spec close_options[] = {EPOCH("its name (the next number)"), JSON, END};
static const char *const granularity_words[] = {"4K", "1M", NULL};

static const struct option_spec digest_options[] = {
    EPOCH("which one (the newest)"),
    {.name = "export",
     .argument = "OUT",
     .help = "write its digest tree, to compare with elsewhere",
     .type = OPTION_TEXT,
     .offset = AT(tree)},
    {.name = "granularity",
     .argument = "SIZE",
     .help = "of --export: what one digest covers, 4K or 1M (4K)",
     .type = OPTION_WORD,
     .offset = AT(granularity),
     .words = granularity_words},
    JSON,
    END,
};

static const struct option_spec newest_options[] = {EPOCH("which one (the newest)"), JSON, END};

#define FORGET_CLONES                                                                                        \
	{                                                                                                    \
		.name = "forget-clones", .help = "drop the pins of clones whose files are not there",        \
		.type = OPTION_FLAG, .offset = AT(forget_clones)                                             \
	}

static const struct option_spec delete_options[] = {FORGET_CLONES, JSON, END};

static const struct option_spec rollback_options[] = {
    {.name = "epoch",
     .argument = "T.N",
     .help = "the epoch to go back to",
     .type = OPTION_EPOCH,
     .offset = AT(epoch),
     .required = true},
    {.name = "delete-later",
     .help = "delete the epochs after it",
     .type = OPTION_FLAG,
     .offset = AT(delete_later)},
    FORGET_CLONES,
    JSON,
    END,
};

#define FROM                                                                                                 \
	{                                                                                                    \
		.name = "from", .argument = "T.N", .help = "the earlier epoch, or none",                     \
		.type = OPTION_BASE, .offset = AT(from), .required = true                                    \
	}

static const struct option_spec changed_options[] = {
    FROM,
    {.name = "to",
     .argument = "T.N",
     .help = "the later one (the head)",
     .type = OPTION_EPOCH,
     .offset = AT(to)},
    JSON,
    END,
};

static const struct option_spec export_options[] = {
    FROM,
    {.name = "to",
     .argument = "T.N",
     .help = "the later one (the newest)",
     .type = OPTION_EPOCH,
     .offset = AT(to)},
    JSON,
    END,
};

static const struct option_spec compare_options[] = {
    {.name = "epoch-a",
     .argument = "T.N",
     .help = "this epoch of A (its head; beside a tree the newest)",
     .type = OPTION_EPOCH,
     .offset = AT(epoch_a)},
    {.name = "epoch-b",
     .argument = "T.N",
     .help = "this epoch of B (its head)",
     .type = OPTION_EPOCH,
     .offset = AT(epoch_b)},
    JSON,
    END,
};

static const struct option_spec apply_options[] = {
    {.name = "compress",
     .argument = "LEVEL",
     .help = "of a volume that is made: as in 'image create' (0)",
     .type = OPTION_COUNT,
     .offset = AT(compress),
     .max = DVOL_COMPRESS_MAX},
    JSON,
    END,
};

static const struct option_spec pack_options[] = {
    {.name = "level",
     .argument = "LEVEL",
     .help = "of zstd, 1 to 19 (the volume's, else 3)",
     .type = OPTION_COUNT,
     .offset = AT(level),
     .min = 1,
     .max = DVOL_COMPRESS_MAX},
    JSON,
    END,
};

static const struct option_spec convert_options[] = {
    {.name = "from",
     .argument = "FORMAT",
     .help = "of SRC (found out)",
     .type = OPTION_WORD,
     .offset = AT(from_format),
     .words = convert_format_words,
     .initial = CONVERT_FORMATS},
    {.name = "to",
     .argument = "FORMAT",
     .help = "of DST (what its name ends with)",
     .type = OPTION_WORD,
     .offset = AT(to_format),
     .words = convert_format_words,
     .initial = CONVERT_FORMATS},
    EPOCH("of a volume SRC: this closed epoch (the head)"),
    {.name = "compress",
     .argument = "LEVEL",
     .help = "of a volume DST: as in 'image create' (0)",
     .type = OPTION_COUNT,
     .offset = AT(compress),
     .max = DVOL_COMPRESS_MAX},
    {.name = "no-epoch",
     .help = "of a volume DST: close none at the end",
     .type = OPTION_FLAG,
     .offset = AT(no_epoch)},
    {.name = "allow-backing",
     .help = "SRC may read other files that it names",
     .type = OPTION_FLAG,
     .offset = AT(allow_backing)},
    {.name = "force", .help = "replace DST if it exists", .type = OPTION_FLAG, .offset = AT(force)},
    JSON,
    END,
};

const struct command image_commands[] = {
    {.name = "image create",
     .summary = "make a volume",
     .synopsis = "FILE SIZE\n"
		 "[--backing BASE [--backing-epoch T.N|--backing-raw]]\n"
		 "[--compress LEVEL] [--json]",
     .details = "FILE must not exist. SIZE is a multiple of 512 from 4K to 64T; space is taken\n"
		"as it is written. Upon a volume: 'drover image clone' tells more.",
     .run = cmd_image_create,
     .options = create_options,
     .operands = {VOLUME, {.label = "SIZE", .type = OPERAND_SIZE}}},
    {.name = "image convert",
     .summary = "copy a disk image into another format",
     .synopsis = "SRC DST [--from FORMAT] [--to FORMAT]\n"
		 "[--epoch T.N] [--compress LEVEL] [--no-epoch]\n"
		 "[--allow-backing] [--force] [--json]",
     .details = "FORMAT is raw, dvol, qcow2, vmdk, vpc (VHD), vhdx, vdi or parallels. That of\n"
		"SRC is found out, but raw only where SRC is called .raw or .img: a guest can\n"
		"write any header into a raw disk. Zeroes are neither copied nor stored. DST\n"
		"appears when it is complete and durable, and else never. A SRC that reads\n"
		"other files is refused: one from elsewhere could read any file of this host.",
     .run = cmd_image_convert,
     .options = convert_options,
     .operands = {{.label = "SRC"}, {.label = "DST"}}},
    {.name = "image info",
     .summary = "what a volume is, and how much it holds",
     .synopsis = "FILE [--json]",
     .details = "Also while another process writes it.",
     .run = cmd_image_info,
     .options = json_only,
     .operands = {VOLUME}},
    {.name = "image check",
     .summary = "look for damage in a volume",
     .synopsis = "FILE [--verify [--epoch T.N] [--heal OTHER]]\n[--json]",
     .details = "The metadata against itself; with --verify every block of the closed epochs\n"
		"against its digest ('drover image digest'), also while the head is written.\n"
		"Exit status 1 when something is damaged, and stays so.",
     .run = cmd_image_check,
     .options = check_options,
     .operands = {VOLUME}},
    {.name = "image map",
     .summary = "where a volume has data",
     .synopsis = "FILE [--epoch T.N] [--json]",
     .details = "Extents in bytes, without gaps: hole (never written), zero, data, packed\n"
		"(data, compressed) or backing (never written here: as the backing has it).",
     .run = cmd_image_map,
     .options = map_options,
     .operands = {VOLUME}},
    {.name = "image epochs",
     .summary = "the closed epochs of a volume",
     .synopsis = "FILE [--json]",
     .details = "Oldest first, with the pins that keep them from being deleted. Also while\n"
		"another process writes the volume.",
     .run = cmd_image_epochs,
     .options = json_only,
     .operands = {VOLUME}},
    {.name = "image close",
     .summary = "make what the head holds a closed epoch",
     .synopsis = "FILE [--epoch T.N] [--json]",
     .details = "It reads for ever as the head does now.",
     .run = cmd_image_close,
     .options = close_options,
     .operands = {VOLUME}},
    {.name = "image clone",
     .summary = "make a volume upon an epoch of another one",
     .synopsis = "FILE NEW [--epoch T.N] [--json]",
     .details = "NEW takes only the space of what is written to it. It reads FILE by its\n"
		"absolute path. The epoch is pinned: it cannot be deleted while there is a\n"
		"clone NEW.",
     .run = cmd_image_clone,
     .options = newest_options,
     .operands = {VOLUME, {.label = "NEW"}}},
    {.name = "image rollback",
     .summary = "make the head read as a closed epoch again",
     .synopsis = "FILE --epoch T.N [--delete-later]\n[--forget-clones] [--json]",
     .details = "What was written to the head since then is lost; what later epochs hold, too,\n"
		"as they have to be deleted.",
     .run = cmd_image_rollback,
     .options = rollback_options,
     .operands = {VOLUME}},
    {.name = "image delete",
     .summary = "delete closed epochs",
     .synopsis = "FILE T.N... [--forget-clones] [--json]",
     .details = "The space that only they used is free in the file then. None is deleted when\n"
		"one is not there, or is pinned. A clone whose file is not there keeps its pin,\n"
		"since its disk may only be away; --forget-clones drops it.",
     .run = cmd_image_delete,
     .options = delete_options,
     .operands = {VOLUME, {.label = "T.N", .type = OPERAND_EPOCH, .many = true}}},
    {.name = "image changed",
     .summary = "what differs between two epochs",
     .synopsis = "FILE --from T.N [--to T.N] [--json]",
     .details = "Extents in bytes, known without reading the data: every block that differs,\n"
		"and those that were written with what they had. From none: all that is there.",
     .run = cmd_image_changed,
     .options = changed_options,
     .operands = {VOLUME}},
    {.name = "image digest",
     .summary = "the digest of a closed epoch",
     .synopsis = "FILE [--epoch T.N]\n[--export OUT [--granularity 4K|1M]] [--json]",
     .details = "Depends on its content and size alone: two volumes with the same digest hold\n"
		"the same bytes. Computed, and kept, where it is not known yet. A digest tree\n"
		"lets 'drover image compare' find what differs on a host that has no other\n"
		"copy.",
     .run = cmd_image_digest,
     .options = digest_options,
     .operands = {VOLUME}},
    {.name = "image compare",
     .summary = "whether two volumes hold the same",
     .synopsis = "A B [--epoch-a T.N] [--epoch-b T.N] [--json]",
     .details = "Prints where they differ. A shorter one counts as continued with zeroes. B is\n"
		"a volume, or a digest tree that 'drover image digest' wrote. Exit status as of\n"
		"cmp: 0 the same, 1 different, 2 trouble.",
     .run = cmd_image_compare,
     .options = compare_options,
     .operands = {{.label = "A"}, {.label = "B"}}},
    {.name = "image export",
     .summary = "write what changed between two epochs to a file",
     .synopsis = "FILE --from T.N [--to T.N] OUT [--json]",
     .details = "'drover image apply' makes the later epoch of it where the earlier one is.\n"
		"From none: a seed, the whole epoch. OUT must not exist.",
     .run = cmd_image_export,
     .options = export_options,
     .operands = {VOLUME, {.label = "OUT"}}},
    {.name = "image apply",
     .summary = "make an epoch of an exported file",
     .synopsis = "FILE DELTA [--compress LEVEL] [--json]",
     .details = "FILE is a copy of the volume that DELTA is of, and its newest epoch is the one\n"
		"that DELTA begins with; or FILE does not exist, and DELTA is a seed. All or\n"
		"nothing: on failure FILE holds what it held.",
     .run = cmd_image_apply,
     .options = apply_options,
     .operands = {VOLUME, {.label = "DELTA"}}},
    {.name = "image resize",
     .summary = "make a volume larger",
     .synopsis = "FILE SIZE [--json]",
     .details = "What is added reads as zeroes; closed epochs keep their size.",
     .run = cmd_image_resize,
     .options = json_only,
     .operands = {VOLUME, {.label = "SIZE", .type = OPERAND_SIZE}}},
    {.name = "image pack",
     .summary = "compress what closed epochs hold",
     .synopsis = "FILE [--level LEVEL] [--json]",
     .details = "Of a volume without closed epochs, the head. Content and digests stay.",
     .run = cmd_image_pack,
     .options = pack_options,
     .operands = {VOLUME}},
    {.name = NULL},
};
