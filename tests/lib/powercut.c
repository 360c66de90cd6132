/* powercut.c: states of files after a power cut. */
#include "tests/lib/powercut.h"

#include "tests/lib/random.h"

#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, OPEN_MAX = 512 };

void powercut_begin(struct powercut *pc)
{
	memdisk_forget(&pc->disk);
	memdisk_copy(&pc->base, &pc->disk);
	pc->disk.recording = true;
}

/* synced: for each file the number of the event behind its last sync before event k. */
static void synced(const struct powercut *pc, size_t k, size_t behind[MEMDISK_FILES])
{
	memset(behind, 0, sizeof(*behind) * MEMDISK_FILES);
	for (size_t i = 0; i < k; i++)
		if (pc->disk.events[i].kind == MEMDISK_SYNC)
			behind[pc->disk.events[i].file] = i + 1;
}

void powercut_settle(struct powercut *pc)
{
	struct memdisk *disk = &pc->disk;
	size_t behind[MEMDISK_FILES], kept = 0;
	synced(pc, disk->nevents, behind);
	for (size_t i = 0; i < disk->nevents; i++) {
		struct memdisk_event *event = &disk->events[i];
		if (i >= behind[event->file]) {
			disk->events[kept++] = *event;
			continue;
		}
		memdisk_do(&pc->base.files[event->file], event, 0, event->len);
		free(event->data);
	}
	disk->nevents = kept;
}

/* do_some: an event of the time after the last sync: not at all, whole, or some of its sectors. */
static void do_some(struct memdisk_file *file, const struct memdisk_event *event, uint64_t *random)
{
	uint64_t mode = random_below(random, 4);
	if (mode == 0)
		return;
	if (mode == 1 || event->kind != MEMDISK_WRITE) {
		memdisk_do(file, event, 0, event->len);
		return;
	}
	for (uint64_t from = 0, to; from < event->len; from = to) {
		to = (event->offset + from) / SECTOR * SECTOR + SECTOR - event->offset;
		to = to < event->len ? to : event->len;
		if (random_below(random, 2))
			memdisk_do(file, event, from, to);
	}
}

void powercut_make(struct powercut *pc, uint64_t *random)
{
	const struct memdisk_event *events = pc->disk.events;
	size_t k = random_below(random, pc->disk.nevents + 1), n = 0;
	size_t behind[MEMDISK_FILES], order[OPEN_MAX];
	memdisk_mirror(&pc->cut, &pc->base);
	synced(pc, k, behind);
	for (size_t i = 0; i < k; i++) {
		if (i < behind[events[i].file]) {
			memdisk_do(&pc->cut.files[events[i].file], &events[i], 0, events[i].len);
		} else if (n < OPEN_MAX) { /* what is more is lost */
			size_t other = random_below(random, n + 1);
			order[n++] = i;
			order[n - 1] = order[other];
			order[other] = i;
		}
	}
	for (size_t i = 0; i < n; i++)
		do_some(&pc->cut.files[events[order[i]].file], &events[order[i]], random);
}

void powercut_continue(struct powercut *pc)
{
	memdisk_copy(&pc->disk, &pc->cut);
	powercut_begin(pc);
}

struct powercut *powercut_recovery(struct powercut *pc)
{
	if (pc->recovery == NULL)
		pc->recovery = calloc(1, sizeof(*pc->recovery));
	if (pc->recovery == NULL)
		abort();
	memdisk_copy(&pc->recovery->disk, &pc->cut);
	powercut_begin(pc->recovery);
	return pc->recovery;
}

void powercut_free(struct powercut *pc)
{
	if (pc->recovery != NULL)
		powercut_free(pc->recovery);
	free(pc->recovery);
	memdisk_free(&pc->disk);
	memdisk_free(&pc->base);
	memdisk_free(&pc->cut);
	pc->recovery = NULL;
}
