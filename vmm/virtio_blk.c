/* virtio_blk.c: the block device (VIRTIO 1.2, 5.2): requests of the guest become reads and writes of a disk.
 *
 * Most reads and writes are transfers of a file, begun and ended by one thread (vmm/virtio_pool.h); what may have to wait, for a
 * place on the disk, or for it to be durable, is served by workers.  The data goes between guest RAM and the disk without a copy, so a guest that changes a buffer under way writes whatever was there at some moment; lengths and addresses are
 * those of the chain that was copied when it was popped. */
#include "common/io.h"
#include "common/iovec.h"
#include "common/log.h"
#include "vmm/devices.h"
#include "vmm/disk.h"
#include "vmm/virtio_pool.h"
#include <stdlib.h>
#include <string.h>

enum {
	F_SEG_MAX = 2,
	F_RO = 5,
	F_BLK_SIZE = 6,
	F_FLUSH = 9,
	F_TOPOLOGY = 10,
	F_MQ = 12,
	F_DISCARD = 13,
	F_WRITE_ZEROES = 14,

	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,

	S_OK = 0,
	S_IOERR = 1,
	S_UNSUPP = 2,

	HEADER_BYTES = 16, /* type, reserved, sector */
	ID_BYTES = 20,
	SEGMENT_BYTES = 16, /* of discard and write-zeroes: sector, number of sectors, flags */
	SEGMENT_UNMAP = 1,
};

/* The configuration structure (5.2.4). */
enum {
	CONFIG_CAPACITY = 0,
	CONFIG_SEG_MAX = 12,
	CONFIG_BLK_SIZE = 20,
	CONFIG_PHYSICAL_BLOCK_EXP = 24,
	CONFIG_MIN_IO_SIZE = 26,
	CONFIG_NUM_QUEUES = 34,
	CONFIG_MAX_DISCARD_SECTORS = 36,
	CONFIG_MAX_DISCARD_SEG = 40,
	CONFIG_DISCARD_ALIGNMENT = 44,
	CONFIG_MAX_ZEROES_SECTORS = 48,
	CONFIG_MAX_ZEROES_SEG = 52,
	CONFIG_ZEROES_MAY_UNMAP = 56,
	CONFIG_BYTES = 60,
};

enum {
	QUEUE_SIZE = 256,
	SEG_MAX = QUEUE_SIZE - 2,
	THREADS = 32,       /* requests that block, at once */
	DIRECT_IOVS = 1024, /* the most that one transfer takes */
	/* A block of a volume is 4096 bytes, 1 << 3 sectors. */
	BLOCK_EXP = 3,
	/* Of one request, so that a pause does not wait for long.  Linux stays far below; firmware loads files as
	 * large as this in one piece. */
	REQUEST_MAX = 1 << 30,
	TRIM_SECTORS_MAX = (128 << 20) / DISK_SECTOR, /* of a segment */
	TRIM_SEGMENTS_MAX = 16,
};
#define LOG_EVERY_NS 10000000000ull

struct blk {
	struct virtio dev; /* first */
	struct virtio_pool *pool;
	struct disk disk;
	uint8_t id[ID_BYTES];
	uint8_t config[CONFIG_BYTES];
	uint64_t logged_ns; /* atomic: when the last error was, 0: none yet */
};

/* One request.  data: what of the chain is neither header nor status. */
struct request {
	struct virtio_job job; /* first */
	struct blk *blk;
	uint32_t type;
	int count;
	uint64_t sector;
	uint64_t bytes;
	uint64_t filled;    /* of data, from the first byte on, by the device */
	uint64_t in_bytes;  /* that the driver lets the device fill, the status last */
	struct iovec where; /* of the status */
	struct dvol_direct direct;
	struct iovec data[];
};

static struct blk *of(struct virtio *dev)
{
	return (struct blk *)dev;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* The guest learns only that it failed; the reason is for whoever runs it.  A disk that fails does so often. */
static uint8_t failed(struct blk *blk, const char *what, const struct err *err)
{
	uint64_t now = clock_mono_ns(), before = __atomic_load_n(&blk->logged_ns, __ATOMIC_RELAXED);
	if ((!before || now - before > LOG_EVERY_NS) &&
	    __atomic_compare_exchange_n(&blk->logged_ns, &before, now, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		log_error("the guest gets an error: %s, disk in slot %u: %s", what, blk->dev.pci.slot,
			  err->text);
	return S_IOERR;
}

static bool within(const struct blk *blk, uint64_t sector, uint64_t sectors)
{
	return sector <= blk->disk.sectors && sectors <= blk->disk.sectors - sector;
}

static bool transfer_valid(const struct request *r)
{
	return r->bytes <= REQUEST_MAX && r->bytes % DISK_SECTOR == 0 &&
	       within(r->blk, r->sector, r->bytes / DISK_SECTOR);
}

static uint8_t flush(struct blk *blk)
{
	struct err err = {0};
	return disk_flush(&blk->disk, &err) ? failed(blk, "a flush", &err) : S_OK;
}

/* A driver that does not flush takes for durable what is done (5.2.6.2). */
static uint8_t changed(struct blk *blk)
{
	return virtio_has(&blk->dev, F_FLUSH) ? S_OK : flush(blk);
}

static uint8_t do_read(struct request *r)
{
	struct err err = {0};
	if (!transfer_valid(r))
		return S_IOERR;
	int result = disk_readv(&r->blk->disk, r->data, r->count, r->sector, &err);
	/* Some of it may have been written also when it failed. */
	r->filled = r->bytes;
	return result ? failed(r->blk, "a read", &err) : S_OK;
}

static uint8_t do_write(struct request *r)
{
	struct err err = {0};
	if (r->blk->disk.read_only || !transfer_valid(r))
		return S_IOERR;
	if (disk_writev(&r->blk->disk, r->data, r->count, r->sector, &err))
		return failed(r->blk, "a write", &err);
	return changed(r->blk);
}

static uint8_t do_get_id(struct request *r)
{
	r->filled = r->bytes < ID_BYTES ? r->bytes : ID_BYTES;
	iovec_put(r->data, r->count, 0, r->blk->id, r->filled);
	return S_OK;
}

struct segment {
	uint64_t sector;
	uint32_t sectors, flags;
};

static uint8_t check_segment(const struct request *r, const struct segment *s)
{
	/* A volume takes no space for zeroes whether it may unmap or not. */
	uint32_t known = r->type == T_WRITE_ZEROES ? SEGMENT_UNMAP : 0;
	if (s->flags & ~known)
		return S_UNSUPP;
	return s->sectors <= TRIM_SECTORS_MAX && within(r->blk, s->sector, s->sectors) ? S_OK : S_IOERR;
}

/* do_trim: discard or write zeroes; nothing is done unless all segments are right. */
static uint8_t do_trim(struct request *r)
{
	uint8_t raw[TRIM_SEGMENTS_MAX * SEGMENT_BYTES];
	struct segment segments[TRIM_SEGMENTS_MAX];
	struct disk *disk = &r->blk->disk;
	struct err err = {0};
	if (disk->read_only || r->bytes == 0 || r->bytes % SEGMENT_BYTES || r->bytes > sizeof(raw))
		return S_IOERR;
	size_t count = r->bytes / SEGMENT_BYTES;
	iovec_get(r->data, r->count, 0, raw, r->bytes);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *at = raw + i * SEGMENT_BYTES;
		segments[i] = (struct segment){le64_get(at), le32_get(at + 8), le32_get(at + 12)};
		uint8_t status = check_segment(r, &segments[i]);
		if (status != S_OK)
			return status;
	}
	for (size_t i = 0; i < count; i++) {
		const struct segment *s = &segments[i];
		if (r->type == T_DISCARD ? disk_discard(disk, s->sector, s->sectors, &err)
					 : disk_write_zeroes(disk, s->sector, s->sectors, &err))
			return failed(r->blk, r->type == T_DISCARD ? "a discard" : "writing zeroes", &err);
	}
	return changed(r->blk);
}

static uint8_t execute(struct request *r)
{
	switch (r->type) {
	case T_IN:
		return do_read(r);
	case T_OUT:
		return do_write(r);
	case T_FLUSH:
		return flush(r->blk);
	case T_GET_ID:
		return do_get_id(r);
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return do_trim(r);
	default:
		return S_UNSUPP;
	}
}

/* finish: what the driver learns of the request. */
static void finish(struct request *r, uint8_t status)
{
	struct virtqueue *vq = &r->blk->dev.queue[r->job.queue].vq;
	if (r->filled)
		virtqueue_wrote_iov(vq, r->data, (unsigned)r->count, r->filled);
	*(uint8_t *)r->where.iov_base = status;
	virtqueue_wrote_iov(vq, &r->where, 1, 1);
	/* The status is the last byte, and counts when there is no gap before it. */
	r->job.written = (uint32_t)(r->filled + (r->filled + 1 == r->in_bytes));
}

static struct virtio_job *make(struct virtio *dev, const struct virtqueue_chain *chain)
{
	const struct iovec *in = chain->iov + chain->out;
	uint8_t header[HEADER_BYTES];
	struct request *r;
	if (chain->out_bytes < HEADER_BYTES || chain->in_bytes < 1)
		return NULL; /* no header, or nowhere to put the status */
	r = malloc(sizeof(*r) + (chain->out + chain->in) * sizeof(r->data[0]));
	if (!r)
		return NULL;
	iovec_get(chain->iov, (int)chain->out, 0, header, sizeof(header));
	r->blk = of(dev);
	r->type = le32_get(header);
	r->sector = le64_get(header + 8);
	r->filled = 0;
	r->in_bytes = chain->in_bytes;
	bool fills = r->type == T_IN || r->type == T_GET_ID;
	r->bytes = fills ? chain->in_bytes - 1 : chain->out_bytes - HEADER_BYTES;
	r->count = fills ? iovec_slice(in, (int)chain->in, 0, r->bytes, r->data)
			 : iovec_slice(chain->iov, (int)chain->out, HEADER_BYTES, r->bytes, r->data);
	(void)iovec_slice(in, (int)chain->in, chain->in_bytes - 1, 1, &r->where);
	return &r->job;
}

static struct request *request_of(struct virtio_job *job)
{
	return (struct request *)job;
}

/* Reads, and writes that are durable only after a flush, are transfers where the disk has them, or room for them, in one
 * piece. */
static enum virtio_step begin(struct virtio *dev, struct virtio_job *job)
{
	struct request *r = request_of(job);
	struct disk *disk = &r->blk->disk;
	bool write = r->type == T_OUT;
	if (write ? disk->read_only || !virtio_has(dev, F_FLUSH) : r->type != T_IN)
		return VIRTIO_JOB_BLOCKS;
	if (r->count == 0 || r->count > DIRECT_IOVS || !transfer_valid(r))
		return VIRTIO_JOB_BLOCKS;
	switch (disk_direct(disk, write, r->data, r->count, r->sector, &r->direct)) {
	case DVOL_DIRECT_IO:
		job->write = write;
		job->fd = r->direct.fd;
		job->offset = r->direct.at;
		job->iov = r->data;
		job->count = r->count;
		return VIRTIO_JOB_TRANSFER;
	case DVOL_DIRECT_DONE:
		r->filled = r->bytes;
		finish(r, S_OK);
		return VIRTIO_JOB_DONE;
	default:
		return VIRTIO_JOB_BLOCKS;
	}
}

/* One that failed or was cut short is done again, all of it, in the way that says why. */
static enum virtio_step transferred(struct virtio *dev, struct virtio_job *job, int result)
{
	struct request *r = request_of(job);
	(void)dev;
	if (!disk_direct_end(&r->blk->disk, &r->direct, result >= 0 && (uint64_t)result == r->bytes))
		return VIRTIO_JOB_BLOCKS;
	r->filled = r->type == T_IN ? r->bytes : 0;
	finish(r, S_OK);
	return VIRTIO_JOB_DONE;
}

static void serve(struct virtio *dev, struct virtio_job *job)
{
	(void)dev;
	finish(request_of(job), execute(request_of(job)));
}

static const struct virtio_pool_ops pool_ops = {
    .make = make, .begin = begin, .transferred = transferred, .serve = serve};

/* ---- the device ---------------------------------------------------------------------------------------------------- */

static void config_read(struct virtio *dev, unsigned offset, void *data, unsigned len)
{
	if (offset < CONFIG_BYTES)
		memcpy(data, of(dev)->config + offset,
		       len < CONFIG_BYTES - offset ? len : CONFIG_BYTES - offset);
}

static void start(struct virtio *dev)
{
	virtio_pool_start(of(dev)->pool);
}

static void stop(struct virtio *dev)
{
	virtio_pool_stop(of(dev)->pool);
}

static void destroy(struct virtio *dev)
{
	struct blk *blk = of(dev);
	struct err err = {0};
	virtio_pool_destroy(blk->pool);
	if (disk_close(&blk->disk, &err))
		log_error("disk in slot %u: the last changes may be lost: %s", blk->dev.pci.slot, err.text);
	free(blk);
}

static const struct virtio_ops ops = {.name = "blk",
				      .id = 2,
				      .class_code = 0x018000, /* mass storage, of another kind */
				      .config_read = config_read,
				      .start = start,
				      .stop = stop,
				      .destroy = destroy};

static void fill_config(struct blk *blk, unsigned queues)
{
	uint8_t *config = blk->config;
	le64_put(config + CONFIG_CAPACITY, blk->disk.sectors);
	le32_put(config + CONFIG_SEG_MAX, SEG_MAX);
	le32_put(config + CONFIG_BLK_SIZE, DISK_SECTOR);
	config[CONFIG_PHYSICAL_BLOCK_EXP] = BLOCK_EXP;
	le16_put(config + CONFIG_MIN_IO_SIZE, 1 << BLOCK_EXP);
	le16_put(config + CONFIG_NUM_QUEUES, (uint16_t)queues);
	if (blk->disk.read_only)
		return;
	le32_put(config + CONFIG_MAX_DISCARD_SECTORS, TRIM_SECTORS_MAX);
	le32_put(config + CONFIG_MAX_DISCARD_SEG, TRIM_SEGMENTS_MAX);
	le32_put(config + CONFIG_DISCARD_ALIGNMENT, 1 << BLOCK_EXP);
	le32_put(config + CONFIG_MAX_ZEROES_SECTORS, TRIM_SECTORS_MAX);
	le32_put(config + CONFIG_MAX_ZEROES_SEG, TRIM_SEGMENTS_MAX);
	config[CONFIG_ZEROES_MAY_UNMAP] = 1;
}

struct virtio *virtio_blk_create(struct machine *machine, const struct device_config *config, struct err *err)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	if (!blk) {
		err_sys(err, "cannot make the disk in slot %u", config->slot);
		return NULL;
	}
	if (disk_open(&blk->disk, config, err)) {
		free(blk);
		return NULL;
	}
	memcpy(blk->id, config->disk.serial, strnlen(config->disk.serial, ID_BYTES));
	fill_config(blk, config->disk.queues);
	uint64_t offered = VIRTIO_BIT(F_SEG_MAX) | VIRTIO_BIT(F_BLK_SIZE) | VIRTIO_BIT(F_TOPOLOGY) |
			   VIRTIO_BIT(F_FLUSH) | VIRTIO_BIT(F_MQ);
	offered |=
	    blk->disk.read_only ? VIRTIO_BIT(F_RO) : VIRTIO_BIT(F_DISCARD) | VIRTIO_BIT(F_WRITE_ZEROES);
	if (virtio_init(&blk->dev, &ops, machine, config->slot, offered, config->disk.queues, QUEUE_SIZE,
			err) ||
	    !(blk->pool = virtio_pool_create(&blk->dev, &pool_ops, THREADS, err))) {
		virtio_release(&blk->dev);
		destroy(&blk->dev);
		return NULL;
	}
	return &blk->dev;
}

struct disk *virtio_blk_disk(struct virtio *dev)
{
	return dev && dev->ops == &ops ? &of(dev)->disk : NULL;
}
