/* snapshot_record.h: the commit record of a snapshot (docs/snapshots.md): what there is of it, and of what VM.  Works on bytes
 * only; the store (snapshot_store.h) has the files. */
#ifndef VMM_SNAPSHOT_RECORD_H
#define VMM_SNAPSHOT_RECORD_H

#include "common/err.h"
#include "imagefmt/dvol.h"
#include "vmm/config.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SNAPSHOT_NOTE_MAX = 200, SNAPSHOT_RECORD_MAX = 1 << 20, SNAPSHOT_STATE_MAX = 16 << 20 };

/* A VM that was made of the snapshot, with the clones of its disks. */
struct snapshot_clone {
	char vm[CONFIG_NAME_MAX + 1];
	char *disk; /* path */
};

/* What a snapshot has besides that a job made, or that came from one (docs/replication.md). */
struct snapshot_point {
	bool is; /* else the rest is empty */
	char job[CONFIG_NAME_MAX + 1];
	char from[CONFIG_NAME_MAX + 193]; /* the primary's name for itself */
	bool quiet;                       /* file systems were frozen: consistent for applications */
	uint64_t arrived_ns;              /* this host's CLOCK_REALTIME; 0: it was made here */
	uint64_t verified_ns;             /* when it was last read and found right; 0: never */
};

struct snapshot_record {
	struct dvol_id id;
	uint64_t time_ns; /* CLOCK_REALTIME at the boundary */
	bool ram;         /* with RAM and machine state; else only disks */
	bool paused;      /* by the user, when it was made; with ram */
	char note[SNAPSHOT_NOTE_MAX + 1];
	char made_by[32];
	struct vm_config config;
	json_t *cpu;             /* machine_cpu_json; with ram, else NULL */
	char **disks;            /* paths of the volumes that have the epoch */
	size_t ndisks;           /* at most CONFIG_MAX_DEVICES */
	uint64_t state_bytes;    /* of the machine state; with ram */
	uint64_t state_checksum; /* its XXH3 */
	struct snapshot_clone *clones;
	size_t nclones;
	struct snapshot_point point;
};

/* snapshot_record_encode: the record's text, NUL-terminated; the caller frees.  snapshot_record_decode(text, len, record, err): text is not
 * trusted; on failure *record is left empty.  snapshot_record_free: what it holds; harmless on a zeroed struct. */
char *snapshot_record_encode(const struct snapshot_record *record);
int snapshot_record_decode(const char *text, size_t len, struct snapshot_record *record, struct err *err);
void snapshot_record_free(struct snapshot_record *record);

/* For those who fill one.  Copies; memory as in common/buf.h. */
void snapshot_record_add_disk(struct snapshot_record *record, const char *path);
void snapshot_record_add_clone(struct snapshot_record *record, const char *vm, const char *disk);

/* The list of disks as it stands in records and elsewhere: absolute paths, CONFIG_MAX_DEVICES of them at most. */
json_t *snapshot_disks_to_json(char *const *disks, size_t count);
int snapshot_disks_from_json(const json_t *list, char ***disks, size_t *count, struct err *err);
void snapshot_disks_free(char **disks, size_t count);

#endif
