/* open.c: making, opening and closing volumes. */
#include "imagefmt/vol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { CACHE_PAGES = 4096, TRIES = 8, FIRST_SPACE = 256 };

uint64_t dvol_size(const struct dvol *vol)
{
	return vol->view != 0 ? vol->view_size : vol->catalog.size_bytes;
}

void dvol_on_progress(struct dvol *vol, dvol_progress *tick, void *context)
{
	vol->tick = tick;
	vol->tick_context = context;
}

int vol_tick(struct dvol *vol, uint64_t done_bytes, uint64_t total_bytes, struct err *err)
{
	if (vol->tick == NULL || vol->tick(vol->tick_context, done_bytes, total_bytes))
		return 0;
	return err_set(err, ERR_CANCELLED, "%s: cancelled", vol->path);
}

static struct dvol *vol_make(const char *path, const struct file_ops *ops, void *context, size_t cache_pages)
{
	struct dvol *vol = must_alloc(1, sizeof(*vol));
	pthread_mutexattr_t attr;
	vol->ops = ops != NULL ? ops : &file_system;
	vol->files_context = context;
	vol->path = strdup(path);
	if (vol->path == NULL)
		abort();
	pthread_mutex_init(&vol->digesting, NULL);
	pthread_mutex_init(&vol->digester.lock, NULL);
	pthread_cond_init(&vol->digester.wake, NULL);
	pthread_mutex_init(&vol->commit, NULL);
	pthread_cond_init(&vol->checkpointed, NULL);
	/* Mostly held for less time than it takes to sleep and wake up. */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&vol->meta, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_mutex_init(&vol->packing, NULL);
	pthread_cond_init(&vol->range_free, NULL);
	gate_init(&vol->gate);
	gate_init(&vol->peeks);
	tables_init(vol, cache_pages != 0 ? cache_pages : CACHE_PAGES);
	windows_clear(vol);
	return vol;
}

static void vol_free(struct dvol *vol)
{
	backing_close(vol);
	if (vol->direct.file != NULL)
		vol->ops->close(vol->direct.file);
	if (vol->file.file != NULL)
		vol->ops->close(vol->file.file);
	packed_free(vol);
	tables_free(vol);
	catalog_free(&vol->catalog);
	undo_clear(&vol->undos);
	windows_clear(vol);
	alloc_free_state(&vol->alloc);
	free(vol->journal.pending.pages.list);
	free(vol->journal.pending.sets.list);
	free(vol->journal.pending.undos.list);
	buf_free(&vol->journal.pending.ops);
	pthread_mutex_destroy(&vol->digesting);
	pthread_mutex_destroy(&vol->digester.lock);
	pthread_cond_destroy(&vol->digester.wake);
	pthread_mutex_destroy(&vol->commit);
	pthread_cond_destroy(&vol->checkpointed);
	pthread_mutex_destroy(&vol->meta);
	pthread_mutex_destroy(&vol->packing);
	pthread_cond_destroy(&vol->range_free);
	gate_destroy(&vol->gate);
	gate_destroy(&vol->peeks);
	free(vol->path);
	free(vol);
}

/* ---- create ---- */
static int create_check(const char *path, const struct dvol_create_options *o, struct err *err)
{
	if (o->size_bytes < DVOL_BLOCK || o->size_bytes > DVOL_SIZE_MAX || o->size_bytes % DVOL_SECTOR != 0)
		return err_set(err, ERR_USAGE, "%s: a volume has 4096 bytes to 64 TiB, in multiples of 512",
			       path);
	if (o->journal_blocks != 0 && (o->journal_blocks < JOURNAL_MIN || o->journal_blocks > JOURNAL_MAX))
		return err_set(err, ERR_USAGE, "%s: a journal has %d to %d blocks", path, JOURNAL_MIN,
			       JOURNAL_MAX);
	if (o->compress > DVOL_COMPRESS_MAX)
		return err_set(err, ERR_USAGE, "%s: zstd levels go from 1 to %d, 0 is no compression", path,
			       DVOL_COMPRESS_MAX);
	if (o->backing_kind == DVOL_BACKING_NONE)
		return 0;
	if (o->backing_path == NULL || o->backing_path[0] == '\0' || strlen(o->backing_path) >= 1024)
		return err_set(err, ERR_USAGE, "%s: a backing has a path of 1 to 1023 bytes", path);
	if (o->backing_kind == DVOL_BACKING_DVOL && o->backing_epoch.number == 0)
		return err_set(err, ERR_USAGE, "%s: a backing volume is taken at one of its closed epochs",
			       path);
	return 0;
}

static int create_fill(struct dvol *vol, const struct dvol_create_options *o, struct err *err)
{
	struct super *super = &vol->super;
	struct catalog *catalog = &vol->catalog;
	if (getrandom(super->uuid, 16, 0) != 16 || getrandom(super->lineage, 16, 0) != 16)
		return err_sys(err, "%s: random numbers", vol->path);
	if (o->lineage != NULL)
		memcpy(super->lineage, o->lineage, 16);
	super->journal_start = JOURNAL_START;
	super->journal_blocks = o->journal_blocks != 0 ? o->journal_blocks : JOURNAL_DEFAULT;
	catalog->size_bytes = o->size_bytes;
	catalog->open_index = catalog->next_run = 1;
	catalog->tree.number = 1;
	catalog->compress = (uint8_t)o->compress;
	if (o->backing_kind != DVOL_BACKING_NONE) {
		catalog->backing_kind = (uint8_t)o->backing_kind;
		catalog->backing_epoch = o->backing_epoch;
		catalog->backing_size = DVOL_SIZE_MAX;
		strcpy(catalog->backing_path, o->backing_path); /* its length was checked */
		if (backing_open(vol, err) < 0)
			return -1;
		/* What the volume grows by later is zeroes, also where the backing goes on. */
		catalog->backing_size = vol->backing_size < o->size_bytes ? vol->backing_size : o->size_bytes;
		if (vol->backing != NULL)
			memcpy(catalog->backing_lineage, vol->backing->super.lineage, 16);
	}
	return 0;
}

static int create_write(struct dvol *vol, struct err *err)
{
	uint64_t first = JOURNAL_START + vol->super.journal_blocks;
	struct super_state state = {.generation = 1,
				    .catalog_pbn = first,
				    .end = (first + FIRST_SPACE + 63) / 64 * 64,
				    .cursor = first,
				    .journal_chain = le64_get(vol->super.uuid)};
	struct buf catalog = {0};
	catalog_encode(&vol->catalog, &catalog);
	state.catalog_bytes = catalog.len;
	state.catalog_sum = hash64(catalog.data, catalog.len, 0);
	/* The journal is written once, so that later records need no new blocks of the file system. */
	uint8_t *zeroes = must_alloc(vol->super.journal_blocks, BLOCK);
	int result = 0;
	if (vol->ops->truncate(vol->file.file, state.end * BLOCK) < 0 ||
	    file_write(&vol->file, zeroes, vol->super.journal_blocks * BLOCK, JOURNAL_START * BLOCK) < 0 ||
	    file_write(&vol->file, zeroes, SUPER_SLOTS * BLOCK, 0) < 0 ||
	    file_write(&vol->file, catalog.data, catalog.len, first * BLOCK) < 0 ||
	    vol->ops->sync(vol->file.file) < 0)
		result = err_sys(err, "%s", vol->path);
	if (result == 0)
		result = state_write_super(vol, &state, err);
	if (result == 0 &&
	    (vol->ops->sync(vol->file.file) < 0 || vol->ops->sync_folder(vol->files_context, vol->path) < 0))
		result = err_sys(err, "%s", vol->path);
	free(zeroes);
	buf_free(&catalog);
	return result;
}

int dvol_create(const char *path, const struct dvol_create_options *options, struct err *err)
{
	if (create_check(path, options, err) < 0)
		return -1;
	struct dvol *vol = vol_make(path, options->files, options->files_context, 0);
	int result = create_fill(vol, options, err);
	if (result == 0) {
		vol->file.ops = vol->ops;
		vol->file.file = vol->ops->open(vol->files_context, path, O_RDWR | O_CREAT | O_EXCL);
		if (vol->file.file == NULL) {
			result = err_sys(err, "%s", path);
		} else if ((result = create_write(vol, err)) < 0) {
			vol->ops->unlink(vol->files_context, path);
		}
	}
	vol_free(vol);
	return result;
}

/* ---- open ---- */
static int lock(struct dvol *vol, int kind, uint64_t byte, const char *who, struct err *err)
{
	if (vol->ops->lock(vol->file.file, kind, byte) == 0)
		return 0;
	if (errno == EAGAIN)
		return err_set(err, ERR_STATE, "%s is in use: %s", vol->path, who);
	return err_sys(err, "%s: locking it", vol->path);
}

/* open_view: find the epoch, hold it, and see that it was not deleted before it was held. */
static int open_view(struct dvol *vol, struct dvol_id id, struct err *err)
{
	for (int i = 0; i < 2; i++) {
		const struct epoch *epoch = catalog_id(&vol->catalog, id);
		if (epoch == NULL)
			return err_set(err, ERR_STATE, "%s has no epoch %llu.%llu", vol->path,
				       (unsigned long long)id.term, (unsigned long long)id.number);
		if (i > 0 && vol->view != epoch->index)
			return err_set(err, ERR_STATE, "%s: this epoch was replaced just now; try again",
				       vol->path);
		vol->view = epoch->index;
		vol->view_size = epoch->size_bytes;
		if (i == 0 &&
		    lock(vol, F_RDLCK, LOCK_EPOCH + vol->view, "this epoch is being deleted", err) < 0)
			return -1;
		if (i == 0 && view_refresh(vol, err) < 0)
			return -1;
	}
	return 0;
}

static int load(struct dvol *vol, bool alone, struct err *err)
{
	int result = -1;
	/* Beside a writer what is read may be of two moments; then it fails a checksum. */
	for (int i = 0; i < (alone ? 1 : TRIES) && result < 0; i++)
		result = state_load(vol, err);
	return result;
}

static int open_files(struct dvol *vol, const struct dvol_open_options *o, struct err *err)
{
	vol->file.ops = vol->ops;
	vol->file.file = vol->ops->open(vol->files_context, vol->path, o->writable ? O_RDWR : O_RDONLY);
	if (vol->file.file == NULL)
		return err_sys(err, "%s", vol->path);
	if (!o->direct)
		return 0;
	vol->direct.file =
	    vol->ops->open(vol->files_context, vol->path, (o->writable ? O_RDWR : O_RDONLY) | O_DIRECT);
	if (vol->direct.file == NULL)
		return err_sys(err, "%s: with direct I/O", vol->path);
	vol->direct.ops = vol->ops;
	return 0;
}

static int open_all(struct dvol *vol, const struct dvol_open_options *o, struct err *err)
{
	bool head = o->epoch.number == 0 && !o->list;
	if (o->list && (o->writable || o->epoch.number != 0))
		return err_set(err, ERR_USAGE, "%s: a list is of the whole volume, and read-only", vol->path);
	if (o->writable && !head)
		return err_set(err, ERR_USAGE, "%s: closed epochs cannot be written; make a clone",
			       vol->path);
	if (open_files(vol, o, err) < 0)
		return -1;
	if (head && lock(vol, o->writable ? F_WRLCK : F_RDLCK, LOCK_WRITER,
			 o->writable ? "one process at a time may write it"
				     : "its head is being written; read a closed epoch",
			 err) < 0)
		return -1;
	if (load(vol, head, err) < 0)
		return -1;
	vol->list = o->list;
	if (vol->list)
		return 0;
	if ((!head && open_view(vol, o->epoch, err) < 0) || backing_open(vol, err) < 0)
		return -1;
	if (!o->writable)
		return head ? revert_refuse(vol, err) : 0;
	vol->writable = true;
	pthread_mutex_lock(&vol->commit);
	int result = vol->journal.since > 0 ? commit_run(vol, true, err) : 0;
	pthread_mutex_unlock(&vol->commit);
	if (result < 0 || epoch_finish(vol, err) < 0 || revert_finish(vol, err) < 0)
		return -1;
	return o->digest_in_background ? digester_start(vol, err) : 0;
}

struct dvol *vol_open(const char *path, const struct dvol_open_options *options, unsigned depth,
		      struct err *err)
{
	static const struct dvol_open_options plain;
	const struct dvol_open_options *o = options != NULL ? options : &plain;
	struct dvol *vol = vol_make(path, o->files, o->files_context, o->cache_pages);
	vol->depth = depth;
	vol->compact = o->compact;
	if (open_all(vol, o, err) < 0) {
		vol_free(vol);
		return NULL;
	}
	return vol;
}

struct dvol *dvol_open_raw(const char *path, const struct file_ops *files, void *files_context,
			   struct err *err)
{
	struct dvol *vol = vol_make(path, files, files_context, 1);
	/* A volume without a file, all of which is the backing's. */
	vol->catalog.backing_kind = DVOL_BACKING_RAW;
	vol->catalog.open_index = 1;
	vol->backing_file.ops = vol->ops;
	vol->backing_file.file = vol->ops->open(vol->files_context, path, O_RDONLY);
	if (vol->backing_file.file == NULL ||
	    vol->ops->size(vol->backing_file.file, &vol->backing_size) < 0) {
		err_sys(err, "%s", path);
		vol_free(vol);
		return NULL;
	}
	vol->catalog.size_bytes = vol->catalog.backing_size = vol->backing_size;
	return vol;
}

struct dvol *dvol_open(const char *path, const struct dvol_open_options *options, struct err *err)
{
	return vol_open(path, options, 0, err);
}

int dvol_close(struct dvol *vol, struct err *err)
{
	if (vol == NULL)
		return 0;
	int result = 0;
	digester_stop(vol);
	if (vol->writable) {
		pthread_mutex_lock(&vol->commit);
		result = commit_run(vol, true, err);
		checkpoint_wait(vol);
		pthread_mutex_unlock(&vol->commit);
	}
	vol_free(vol);
	return result;
}
