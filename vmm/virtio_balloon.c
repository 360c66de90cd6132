/* virtio_balloon.c: memory that the guest gives back (VIRTIO 1.2, 5.5): by the balloon, or as free pages that it reports.
 *
 * A page given back becomes a hole of the RAM's memfd: it reads as zeroes, here and for whoever else maps the file, and has
 * no memory behind it until the guest touches it again, which needs nobody's help.  That changes the page, so that it is
 * marked dirty like any write of ours: a copy of the RAM that has its old content gets zeroes (some bytes on the wire), and
 * stays equal to the guest, page by page.  A copy that begins later finds the hole and skips it.
 *
 * Of the queues only the first two have fixed numbers in practice: the specification counts all, Linux's driver only those
 * that are in use.  Without FREE_PAGE_HINT, which this device does not offer, free pages are reported in queue 4 or 3, or
 * even 2 without statistics. */
#include "common/io.h"
#include "common/iovec.h"
#include "vmm/devices.h"
#include "vmm/machine_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum {
	QUEUE_INFLATE,
	QUEUE_DEFLATE,
	QUEUE_STATISTICS,
	QUEUE_REPORT_PACKED,
	QUEUE_REPORT,
	QUEUES,
	QUEUE_SIZE = 128,
	F_STATS_VQ = 1,
	F_DEFLATE_ON_OOM = 2,
	F_PAGE_REPORTING = 5,
	CONFIG_TARGET = 0, /* pages that the balloon is to have */
	CONFIG_ACTUAL = 4, /* and has */
	CONFIG_BYTES = 8,
	PAGE_NUMBER = 4,
	CHAIN_PAGES = 64 << 10, /* more than any driver tells at once (256), and soon done */
	STATISTIC = 10,         /* tag (u16), value (u64) */
	FD_ASK = 0,
};

struct balloon {
	struct virtio dev; /* first */
	struct virtio_loop loop;
	int ask_fd;                   /* eventfd: new statistics are wanted */
	bool asking;                  /* and the guest's buffer is to go back for them; loop's thread */
	uint8_t config[CONFIG_BYTES]; /* virtio.lock */
	pthread_mutex_t lock;         /* innermost, of what follows */
	uint32_t known;
	uint64_t statistic[BALLOON_STATISTICS];
	struct virtqueue_chain chain;
};

static struct balloon *of(struct virtio *dev)
{
	return (struct balloon *)dev;
}

/* ---- giving memory back -------------------------------------------------------------------------------------------- */

/* A run of RAM, as offsets into the memfd. */
struct run {
	uint64_t first, end;
};

static void discard(struct machine *machine, const struct run *run)
{
	uint64_t len = run->end - run->first;
	if (len && !fallocate(machine->ram.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)run->first,
			      (off_t)len))
		dirty_mark(machine, run->first, len);
}

/* The page joins the run, or begins a new one. */
static void add_page(struct machine *machine, struct run *run, uint64_t offset)
{
	if (offset == run->end && run->end > run->first) {
		run->end += MEMORY_PAGE;
	} else if (offset + MEMORY_PAGE == run->first && run->end > run->first) {
		run->first = offset;
	} else {
		discard(machine, run);
		*run = (struct run){.first = offset, .end = offset + MEMORY_PAGE};
	}
}

static int64_t inflate(struct virtio *dev, unsigned queue)
{
	struct machine *machine = dev->machine;
	const struct virtqueue_chain *chain = &of(dev)->chain;
	struct run run = {0};
	uint8_t numbers[256 * PAGE_NUMBER];
	(void)queue;
	if (chain->out_bytes > CHAIN_PAGES * PAGE_NUMBER)
		return VIRTIO_BROKEN;
	for (size_t at = 0; at < chain->out_bytes; at += sizeof(numbers)) {
		size_t len = iovec_get(chain->iov, chain->out, at, numbers, sizeof(numbers));
		for (size_t i = 0; i + PAGE_NUMBER <= len; i += PAGE_NUMBER) {
			uint64_t gpa = (uint64_t)le32_get(numbers + i) * MEMORY_PAGE;
			if (!memory_at(&machine->ram, gpa, MEMORY_PAGE))
				return VIRTIO_BROKEN;
			add_page(machine, &run, memory_offset(&machine->ram, gpa));
		}
	}
	discard(machine, &run);
	return 0;
}

/* Whoever wants a page back just uses it. */
static int64_t deflate(struct virtio *dev, unsigned queue)
{
	(void)dev, (void)queue;
	return 0;
}

/* Buffers of free memory: the whole pages in them. */
static int64_t report(struct virtio *dev, unsigned queue)
{
	const struct virtqueue_chain *chain = &of(dev)->chain;
	(void)queue;
	for (unsigned i = 0; i < chain->in; i++) {
		const struct iovec *iov = &chain->iov[chain->out + i];
		uint64_t at = (uint64_t)((uint8_t *)iov->iov_base - dev->machine->ram.base);
		struct run run = {.first = (at + MEMORY_PAGE - 1) & ~(uint64_t)(MEMORY_PAGE - 1),
				  .end = (at + iov->iov_len) & ~(uint64_t)(MEMORY_PAGE - 1)};
		if (run.first < run.end)
			discard(dev->machine, &run);
	}
	return 0;
}

/* ---- statistics ---------------------------------------------------------------------------------------------------- */

static void keep_statistics(struct balloon *balloon)
{
	const struct virtqueue_chain *chain = &balloon->chain;
	uint8_t entry[STATISTIC];
	pthread_mutex_lock(&balloon->lock);
	for (size_t at = 0; at < (size_t)STATISTIC * 64; at += STATISTIC) {
		if (iovec_get(chain->iov, chain->out, at, entry, sizeof(entry)) < sizeof(entry))
			break;
		unsigned tag = le16_get(entry);
		if (tag >= BALLOON_STATISTICS)
			continue;
		balloon->known |= 1u << tag;
		balloon->statistic[tag] = le64_get(entry + 2);
	}
	pthread_mutex_unlock(&balloon->lock);
}

/* The guest's buffer with them stays in the queue; to ask for new ones is to give it back. */
static int64_t statistics(struct virtio *dev, unsigned queue)
{
	struct balloon *balloon = of(dev);
	(void)queue;
	keep_statistics(balloon);
	if (!balloon->asking)
		return VIRTIO_LATER;
	balloon->asking = false;
	return 0;
}

/* ---- the device --------------------------------------------------------------------------------------------------- */

static void kicked(struct virtio *dev, unsigned queue)
{
	static int64_t (*const serve[QUEUES])(struct virtio *, unsigned) = {inflate, deflate, statistics,
									    report, report};
	bool counted = queue != QUEUE_STATISTICS || virtio_has(dev, F_STATS_VQ);
	int64_t (*what)(struct virtio *, unsigned) = counted ? serve[queue] : report;
	if ((what == inflate || what == report) && __atomic_load_n(&dev->machine->ram_kept, __ATOMIC_SEQ_CST))
		return; /* virtio_balloon_wake comes */
	virtio_drain(dev, queue, &of(dev)->chain, what);
}

static void ready(struct virtio *dev, unsigned number)
{
	struct balloon *balloon = of(dev);
	eventfd_t times;
	(void)number;
	if (eventfd_read(balloon->ask_fd, &times))
		return;
	balloon->asking = true;
	kicked(dev, QUEUE_STATISTICS);
	balloon->asking = false; /* there was no buffer: it has been asked already */
}

static void config_read(struct virtio *dev, unsigned offset, void *data, unsigned len)
{
	virtio_config_get(of(dev)->config, CONFIG_BYTES, offset, data, len);
}

static void config_write(struct virtio *dev, unsigned offset, const void *data, unsigned len)
{
	if (offset >= CONFIG_ACTUAL && offset < CONFIG_BYTES && len <= CONFIG_BYTES - offset)
		memcpy(of(dev)->config + offset, data, len);
}

static void start(struct virtio *dev)
{
	virtio_loop_start(&of(dev)->loop);
}

static void stop(struct virtio *dev)
{
	virtio_loop_stop(&of(dev)->loop);
}

static void reset(struct virtio *dev)
{
	struct balloon *balloon = of(dev);
	le32_put(balloon->config + CONFIG_ACTUAL, 0);
	pthread_mutex_lock(&balloon->lock);
	balloon->known = 0;
	pthread_mutex_unlock(&balloon->lock);
}

static void save(struct virtio *dev, struct buf *out)
{
	buf_put(out, of(dev)->config, CONFIG_BYTES);
}

static int load(struct virtio *dev, struct reader *reader, struct err *err)
{
	const void *config = reader_bytes(reader, CONFIG_BYTES);
	(void)err;
	if (config)
		memcpy(of(dev)->config, config, CONFIG_BYTES);
	return 0;
}

static void destroy(struct virtio *dev)
{
	struct balloon *balloon = of(dev);
	virtio_loop_destroy(&balloon->loop);
	io_close(&balloon->ask_fd);
	pthread_mutex_destroy(&balloon->lock);
	free(balloon);
}

static const struct virtio_ops ops = {.name = "balloon",
				      .id = 5,
				      .class_code = 0x00ff00,
				      .config_read = config_read,
				      .config_write = config_write,
				      .start = start,
				      .stop = stop,
				      .reset = reset,
				      .save = save,
				      .load = load,
				      .destroy = destroy};

void virtio_balloon_wake(struct virtio *dev)
{
	for (unsigned i = 0; dev->ops == &ops && i < dev->nqueues; i++)
		(void)eventfd_write(dev->queue[i].kick_fd, 1);
}

struct virtio *virtio_balloon_create(struct machine *machine, const struct device_config *config,
				     struct err *err)
{
	struct balloon *balloon = calloc(1, sizeof(*balloon));
	if (!balloon) {
		err_sys(err, "cannot make the balloon device");
		return NULL;
	}
	uint64_t features =
	    VIRTIO_BIT(F_STATS_VQ) | VIRTIO_BIT(F_DEFLATE_ON_OOM) | VIRTIO_BIT(F_PAGE_REPORTING);
	pthread_mutex_init(&balloon->lock, NULL);
	balloon->ask_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (balloon->ask_fd < 0)
		err_sys(err, "virtio-balloon: cannot make its thread");
	else if (!virtio_init(&balloon->dev, &ops, machine, config->slot, features, QUEUES, QUEUE_SIZE,
			      err) &&
		 !virtio_loop_init(&balloon->loop, &balloon->dev, kicked, ready, err)) {
		balloon->loop.fds[FD_ASK] = balloon->ask_fd;
		return &balloon->dev;
	}
	virtio_release(&balloon->dev);
	destroy(&balloon->dev);
	return NULL;
}

/* ---- the machine's side -------------------------------------------------------------------------------------------- */

static struct balloon *balloon_of(struct machine *machine)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (machine->virtio[slot] && machine->virtio[slot]->ops == &ops)
			return of(machine->virtio[slot]);
	return NULL;
}

int machine_balloon_set(struct machine *machine, uint64_t target_bytes, struct err *err)
{
	struct balloon *balloon = balloon_of(machine);
	if (!balloon)
		return err_set(err, ERR_STATE,
			       "this VM has no balloon device; it can have one only from its next start on");
	if (target_bytes > machine->ram.size)
		return err_set(err, ERR_USAGE,
			       "the guest cannot keep %llu bytes: its RAM has %llu; ask for that or less",
			       (unsigned long long)target_bytes, (unsigned long long)machine->ram.size);
	uint64_t pages = (machine->ram.size - target_bytes) / MEMORY_PAGE;
	pthread_mutex_lock(&balloon->dev.lock);
	le32_put(balloon->config + CONFIG_TARGET, pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX);
	virtio_config_changed(&balloon->dev);
	pthread_mutex_unlock(&balloon->dev.lock);
	return 0;
}

static uint64_t kept(const struct machine *machine, uint32_t pages)
{
	uint64_t bytes = (uint64_t)pages * MEMORY_PAGE;
	return bytes < machine->ram.size ? machine->ram.size - bytes : 0;
}

bool machine_balloon_get(struct machine *machine, struct machine_balloon *out)
{
	struct balloon *balloon = balloon_of(machine);
	if (!balloon)
		return false;
	pthread_mutex_lock(&balloon->dev.lock);
	out->target_bytes = kept(machine, le32_get(balloon->config + CONFIG_TARGET));
	out->kept_bytes = kept(machine, le32_get(balloon->config + CONFIG_ACTUAL));
	pthread_mutex_unlock(&balloon->dev.lock);
	pthread_mutex_lock(&balloon->lock);
	out->known = balloon->known;
	memcpy(out->statistic, balloon->statistic, sizeof(out->statistic));
	pthread_mutex_unlock(&balloon->lock);
	(void)eventfd_write(balloon->ask_fd, 1);
	return true;
}
