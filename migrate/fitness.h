/* fitness.h: can this VM run on that host?  What a move would be refused for, before anything is made there.  Pure. */
#ifndef MIGRATE_FITNESS_H
#define MIGRATE_FITNESS_H

#include "vmm/config.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FITNESS_CHECKS = 8, FITNESS_TEXT = 400 };

struct fitness_check {
	const char *what; /* "kvm", "cpu", "memory", … */
	bool fit;
	char text[FITNESS_TEXT]; /* one sentence; parts of it are the other host's words */
};

struct fitness {
	bool fit; /* all of them are */
	size_t count;
	struct fitness_check check[FITNESS_CHECKS];
};

/* What moves. */
struct fitness_vm {
	const struct vm_config *config;
	const json_t *cpu;      /* machine_cpu_json */
	uint64_t touched_bytes; /* of its RAM */
	uint64_t disk_bytes;    /* of the disks that move with it */
	uint64_t rtt_ns;        /* of a round trip to that host */
	uint64_t downtime_ns;   /* how long a switch-over may take; UINT64_MAX: it does not matter */
};

/* fitness_check(vm, facts, there, fitness): facts: the host's (facts.h); there: what it says of this very VM (docs/stream.md, WELCOME
 * to a check), NULL where it says nothing.  Neither's form is trusted. */
void fitness_check(const struct fitness_vm *vm, const json_t *facts, const json_t *there,
		   struct fitness *fitness);

#endif
