/* options.h: command lines, read by tables.
 *
 * One option means the same in every command, so all values land in one struct args; a command's table says
 * which options it takes and what they may hold. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ARGS_MAX_OPERANDS = 3, ARGS_LIST_MAX = 30 };

/* What an option said each time that it was given. */
struct args_list {
	const char *item[ARGS_LIST_MAX];
	size_t count;
};

/* What a command line said.  Strings point into argv. */
struct args {
	const char *operand[ARGS_MAX_OPERANDS]; /* NULL where an optional one was left out */
	char *const *many;                      /* of an operand that may be many: all of them */
	size_t many_count;
	bool help;
	bool json;
	bool detach;
	bool emulate;
	bool huge_pages;
	bool force;
	const char *name;
	const char *kernel;
	const char *firmware;
	struct args_list disks;
	struct args_list nets;
	struct args_list limits;
	const char *initrd;
	const char *append;
	const char *identity;
	const char *known_hosts;
	const char *remote_command;
	const char *disks_folder;
	struct args_list vms;     /* patterns */
	struct args_list actions; /* permit_words */
	struct args_list images;
	struct args_list taps;
	uint64_t memory_max; /* 0: not given */
	uint64_t memory_bytes;
	uint64_t cpus;
	uint64_t boot;           /* enum boot_source */
	uint64_t dirty_tracking; /* enum dirty_mode */
	uint64_t downtime_ns;
	uint64_t if_busy;      /* enum move_if_busy */
	uint64_t throttle_max; /* percent */
	uint64_t reconnect_ns;
	uint64_t streams;     /* 0: as many as seem useful */
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t packing;     /* enum packer_mode */
	bool postcopy;
	bool resume;
	uint64_t interval_ns;
	/* of volumes; an epoch with number 0 was not given */
	uint64_t size_bytes; /* an operand */
	const char *backing;
	const char *heal;
	const char *tree; /* file to be written */
	bool backing_raw;
	bool verify;
	bool delete_later;
	bool forget_clones;
	bool console;
	const char *file; /* a VM's YAML */
	uint64_t timeout_ns;
	uint64_t compress;
	uint64_t level;
	uint64_t granularity; /* index of the word */
	struct dvol_id backing_epoch;
	struct dvol_id epoch;
	struct dvol_id epoch_a;
	struct dvol_id epoch_b;
	struct dvol_id from; /* number 0 also for "none" */
	struct dvol_id to;
	/* of image convert, where --from and --to are formats: enum convert_format */
	uint64_t from_format;
	uint64_t to_format;
	bool no_epoch;
	bool allow_backing;
	/* of snapshots */
	bool disks_only;
	bool with_disks;
	bool discard_current;
	struct dvol_id delete_epoch;
	const char *as; /* a new VM's name */
	/* of replication */
	const char *job;
	const char *keep;
	uint64_t rpo_ns;
	uint64_t priority;
	uint64_t parallel; /* 0: not given */
	struct args_list windows;
	struct dvol_id point;
};

enum option_type {
	OPTION_FLAG,     /* bool */
	OPTION_TEXT,     /* const char *, not empty */
	OPTION_FREE,     /* const char *, may be empty */
	OPTION_NAME,     /* const char *, a VM's name */
	OPTION_LIST,     /* struct args_list: not empty, and may be given several times */
	OPTION_EPOCH,    /* struct dvol_id, as in 1.5 */
	OPTION_BASE,     /* the same, or "none": number 0 */
	OPTION_SIZE,     /* uint64_t bytes */
	OPTION_DURATION, /* uint64_t ns */
	OPTION_COUNT,    /* uint64_t */
	OPTION_WORD,     /* uint64_t: the index of the word in words[] */
};

struct option_spec {
	const char *name;     /* without the dashes */
	char letter;          /* the same as -x; 0: there is none */
	const char *argument; /* what help calls its argument; NULL for a flag */
	const char *help;     /* one line */
	enum option_type type;
	size_t offset;            /* in struct args */
	uint64_t min, max;        /* of SIZE, DURATION and COUNT, both included */
	uint64_t initial;         /* value of SIZE, DURATION, COUNT and WORD when the option is not given */
	const char *const *words; /* of a WORD; of a COUNT the one, if any, that stands for 0 */
	bool required;
};

enum operand_type {
	OPERAND_TEXT,
	OPERAND_NAME,  /* a VM's name */
	OPERAND_SIZE,  /* args->size_bytes is its value */
	OPERAND_EPOCH, /* as in 1.5; the command reads it again */
};

struct operand_spec {
	const char *label; /* NULL ends the list */
	enum operand_type type;
	bool optional;
	bool many; /* the last one: once or more often; args->many */
};

struct command {
	const char *name;     /* of a command in a group both words, as in "image close" */
	const char *summary;  /* one line */
	const char *synopsis; /* what follows the command's name */
	const char *details;  /* paragraphs for its help, lines of at most 78 columns */
	/* run(args, err): the exit status, or -1 with *err. */
	int (*run)(const struct args *args, struct err *err);
	const struct option_spec *options; /* ends with a NULL name; every command takes --help besides */
	struct operand_spec operands[ARGS_MAX_OPERANDS];
	bool plumbing; /* started by programs; listed apart */
	/* A group has commands of its own (ends with a NULL name) and nothing else but name, summary and details. */
	const struct command *group;
};

/* options_parse(command, argc, argv, args, err): argv[0] is the command's name; argv may be reordered.
 * Returns 0, or -1 with ERR_USAGE: a sentence that begins with the command's name and ends with where its
 * help is.  args->json is right also after a failure.  When --help is among the options, args->help is set
 * and what else is missing does not matter. */
int options_parse(const struct command *command, int argc, char **argv, struct args *args, struct err *err);

#endif
