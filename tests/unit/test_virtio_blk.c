/* The block device, by a driver in this process: what each request does, in any framing, and what it refuses.  The disk's
 * content is compared with a copy that the test keeps. */
#include "imagefmt/dvol.h"
#include "tests/lib/blk_driver.h"
#include "tests/lib/need.h"
#include "tests/lib/random.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/devices.h"
#include "vmm/disk.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SECTORS = 16384, QUEUES = 4 };
#define WITHOUT(feature) (~VIRTIO_BIT(feature))

static char folder[TEMP_MAX], path[TEMP_MAX + 16];
static struct machine *machine;
static struct driver driver;
static uint8_t copy[SECTORS * 512], buffer[1 << 20];
static uint64_t seed;

static void open_disk(const char *file, enum disk_format format, bool read_only)
{
	struct vm_config config = blk_config(file, format, read_only, QUEUES);
	machine = blk_machine(&config);
	config_free(&config);
	blk_ready(&driver, machine, BLK_ALL_FEATURES, QUEUES);
}

static void close_disk(void)
{
	machine_destroy(machine);
	machine = NULL;
}

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	snprintf(path, sizeof(path), "%s/disk", folder);
	blk_volume(path, sizeof(copy));
	memset(copy, 0, sizeof(copy));
	seed = random_begin();
	open_disk(path, DISK_DVOL, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_disk();
	temp_remove(folder);
	return 0;
}

static uint64_t config(unsigned offset, unsigned len)
{
	return driver_get(&driver, driver.device + offset, len);
}

static void put(unsigned queue, uint64_t sector, uint32_t len)
{
	random_fill(&seed, copy + sector * 512, len);
	assert_int_equal(blk_do(&driver, queue, BLK_OUT, sector, copy + sector * 512, len), BLK_OK);
}

static void check(unsigned queue, uint64_t sector, uint32_t len)
{
	memset(buffer, 0x55, len);
	assert_int_equal(blk_do(&driver, queue, BLK_IN, sector, buffer, len), BLK_OK);
	assert_memory_equal(buffer, copy + sector * 512, len);
}

static void check_all(void)
{
	for (uint64_t sector = 0; sector < SECTORS; sector += 1024)
		check(0, sector, 1024 * 512);
}

static void test_configuration(void **state)
{
	(void)state;
	assert_int_equal(driver_config_get(&driver, 2, 2), 0x1042);
	/* SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, MQ, DISCARD, WRITE_ZEROES; not RO */
	assert_int_equal(driver.features & 0xffffff, 0x7644);
	assert_int_equal(config(0, 8), SECTORS);
	assert_int_equal(config(12, 4), 254);
	assert_int_equal(config(20, 4), 512);
	assert_int_equal(512 << config(24, 1), 4096);
	assert_int_equal(config(34, 2), QUEUES);
	assert_true(config(36, 4) > 0 && config(40, 4) > 0 && config(48, 4) > 0 && config(52, 4) > 0);
	assert_int_equal(config(44, 4), 8);
	/* Behind the end there is nothing; an access may reach over it. */
	assert_int_equal(config(56, 8), 1);
	assert_int_equal(config(4088, 8), 0);
}

static void test_reads_what_was_written(void **state)
{
	(void)state;
	put(0, 0, 512);
	put(0, SECTORS - 1, 512);
	put(0, 8, 4096);
	put(0, 13, 3 * 512);
	put(0, 1000, 1 << 20);
	check_all();
	for (int i = 0; i < 200; i++) {
		uint32_t sectors = 1 + (uint32_t)random_below(&seed, 40);
		uint64_t sector = random_below(&seed, SECTORS - sectors);
		if (random_below(&seed, 2))
			put(0, sector, sectors * 512);
		else
			check(0, sector, sectors * 512);
	}
	/* It is in the volume, and there after the machine has gone. */
	close_disk();
	open_disk(path, DISK_DVOL, false);
	check_all();
}

/* What a driver sends first may come without a flush for long; one that does not know flushes gets everything durable at
 * once: a copy of the file, made beside the device, has it. */
static void test_stable_without_flush(void **state)
{
	(void)state;
	char twin[TEMP_MAX + 16], command[2 * TEMP_MAX + 64];
	const struct dvol_open_options options = {.writable = true};
	uint8_t segment[16] = {0};
	struct err err = {0};
	snprintf(twin, sizeof(twin), "%s/twin", folder);
	snprintf(command, sizeof(command), "cp '%s' '%s'", path, twin);
	blk_ready(&driver, machine, WITHOUT(9), 1);
	put(0, 64, 64 * 512);
	le64_put(segment, 72);
	le32_put(segment + 8, 16);
	assert_int_equal(blk_do(&driver, 0, BLK_WRITE_ZEROES, 0, segment, sizeof(segment)), BLK_OK);
	memset(copy + 72 * 512, 0, 16 * 512);
	assert_int_equal(system(command), 0);
	struct dvol *vol = dvol_open(twin, &options, &err);
	assert_non_null(vol);
	assert_int_equal(dvol_read(vol, buffer, 64 * 512, 64 * 512, &err), 0);
	assert_int_equal(dvol_close(vol, &err), 0);
	assert_memory_equal(buffer, copy + 64 * 512, 64 * 512);
}

/* ---- framing ---------------------------------------------------------------------------------------------------- */

struct framing {
	struct driver_buffer buffers[160];
	unsigned count;
};

/* cut: bytes of a request into `pieces` buffers, each at a place of its own, at any address. */
static void cut(struct framing *f, const uint8_t *from, uint32_t len, unsigned pieces, bool device_writes)
{
	for (unsigned i = 0; i < pieces; i++) {
		uint32_t most = len - (pieces - 1 - i);
		uint32_t part = i + 1 == pieces ? len : 1 + (uint32_t)random_below(&seed, most);
		uint64_t gpa = driver_alloc(&driver, part + 64) + random_below(&seed, 64);
		if (from)
			memcpy(driver_at(&driver, gpa, part), from, part);
		f->buffers[f->count++] = (struct driver_buffer){gpa, part, device_writes};
		from = from ? from + part : NULL;
		len -= part;
	}
}

/* gather: what the device wrote: all of the chain's writable bytes. */
static void gather(const struct framing *f, uint8_t *to)
{
	for (unsigned i = 0; i < f->count; i++) {
		const struct driver_buffer *b = &f->buffers[i];
		if (!b->device_writes)
			continue;
		memcpy(to, driver_at(&driver, b->gpa, b->len), b->len);
		to += b->len;
	}
}

/* framed: a read or write whose bytes are cut without regard to what they mean: the header shares buffers with the data of
 * a write, the status with that of a read. */
static void framed(uint32_t type, uint64_t sector, uint32_t len, unsigned out_pieces, unsigned in_pieces,
		   bool indirect)
{
	static uint8_t out[16 + 128 * 512], in[128 * 512 + 1];
	struct framing f = {.count = 0};
	uint64_t memory = driver.memory;
	memset(out, 0, 16);
	le32_put(out, type);
	le64_put(out + 8, sector);
	memcpy(out + 16, copy + sector * 512, len);
	uint32_t in_len = type == BLK_IN ? len + 1 : 1, used;
	cut(&f, out, type == BLK_OUT ? 16 + len : 16, out_pieces, false);
	cut(&f, NULL, in_len, in_pieces, true);
	uint16_t head = blk_send_buffers(&driver, 0, f.buffers, f.count, indirect);
	driver_kick(&driver, 0);
	assert_int_equal(driver_wait(&driver, 0, &used), head);
	assert_int_equal(used, in_len);
	gather(&f, in);
	assert_int_equal(in[in_len - 1], BLK_OK);
	if (type == BLK_IN)
		assert_memory_equal(in, copy + sector * 512, len);
	driver.memory = memory;
}

static void test_framing(void **state)
{
	(void)state;
	/* The header byte by byte, the status in a buffer of its own, or at the end of the data. */
	put(0, 0, 64 * 512);
	framed(BLK_IN, 3, 512, 16, 2, false);
	framed(BLK_IN, 3, 512, 16, 1, false);
	framed(BLK_OUT, 3, 512, 1, 1, false);
	for (int i = 0; i < 300; i++) {
		bool indirect = random_below(&seed, 2);
		uint32_t type = random_below(&seed, 2) ? BLK_OUT : BLK_IN;
		uint32_t len = 512 * (1 + (uint32_t)random_below(&seed, 40));
		uint64_t sector = random_below(&seed, 64);
		/* A table of its own has room for any number; the ring has 64 entries. */
		unsigned few = 1 + (unsigned)random_below(&seed, 16);
		unsigned many = 1 + (unsigned)random_below(&seed, indirect ? 100 : 40);
		if (type == BLK_OUT)
			random_fill(&seed, copy + sector * 512, len);
		framed(type, sector, len, type == BLK_OUT ? many : few, type == BLK_IN ? many : 1, indirect);
	}
	check_all();
}

/* ---- other requests ------------------------------------------------------------------------------------------------- */

static void test_flush_id_unknown(void **state)
{
	(void)state;
	char id[32];
	put(0, 0, 4096);
	assert_int_equal(blk_do(&driver, 0, BLK_FLUSH, 0, NULL, 0), BLK_OK);
	assert_int_equal(blk_do(&driver, 0, BLK_GET_ID, 0, id, 20), BLK_OK);
	assert_memory_equal(id, "serial-0123456789abc", 20);
	assert_int_equal(blk_do(&driver, 0, BLK_GET_ID, 0, id, 6), BLK_OK);
	assert_memory_equal(id, "serial", 6);
	static const uint32_t unknown[] = {2, 3, 5, 10, 14, 0x80000000, UINT32_MAX};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(blk_do(&driver, 0, unknown[i], 0, NULL, 0), BLK_UNSUPP);
}

static uint8_t trim(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	uint8_t segment[16];
	le64_put(segment, sector);
	le32_put(segment + 8, sectors);
	le32_put(segment + 12, flags);
	return blk_do(&driver, 0, type, 0, segment, sizeof(segment));
}

static uint64_t used_bytes(void)
{
	struct dvol_info info;
	struct err err = {0};
	assert_int_equal(dvol_flush(virtio_blk_disk(machine->virtio[BLK_SLOT])->volume, &err), 0);
	assert_int_equal(dvol_info(virtio_blk_disk(machine->virtio[BLK_SLOT])->volume, &info, &err), 0);
	return info.used_bytes;
}

static void test_zeroes_and_discard(void **state)
{
	(void)state;
	put(0, 0, 1 << 20);
	assert_int_equal(trim(BLK_WRITE_ZEROES, 3, 100, 0), BLK_OK);
	memset(copy + 3 * 512, 0, 100 * 512);
	assert_int_equal(trim(BLK_WRITE_ZEROES, 201, 1, 1), BLK_OK);
	memset(copy + 201 * 512, 0, 512);
	check_all();
	/* Whole blocks are gone; the edges may stay. */
	uint64_t before = used_bytes();
	assert_int_equal(trim(BLK_DISCARD, 800, 800, 0), BLK_OK);
	memset(copy + 800 * 512, 0, 800 * 512);
	check_all();
	assert_true(used_bytes() + 100 * 4096 == before);
	/* Several segments in one; and when one of them is wrong, nothing is done. */
	uint8_t segments[3][16] = {{0}};
	for (unsigned i = 0; i < 3; i++) {
		le64_put(segments[i], 1600 + 100 * i);
		le32_put(segments[i] + 8, 10);
	}
	le64_put(segments[2], SECTORS - 9);
	assert_int_equal(blk_do(&driver, 0, BLK_WRITE_ZEROES, 0, segments, sizeof(segments)), BLK_IOERR);
	check_all();
	le64_put(segments[2], SECTORS - 10);
	assert_int_equal(blk_do(&driver, 0, BLK_WRITE_ZEROES, 0, segments, sizeof(segments)), BLK_OK);
	memset(copy + 1600 * 512, 0, 10 * 512);
	memset(copy + 1700 * 512, 0, 10 * 512);
	check_all();
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {{SECTORS, 512},
		   {SECTORS - 1, 1024},
		   {UINT64_MAX, 512},
		   {1ull << 55, 512},
		   {UINT64_MAX - 1, 1024},
		   {0, 511},
		   {0, 1},
		   {5, 4097},
		   {UINT64_MAX / 512 + 1, 512}};
	static uint8_t many[17 * 16];
	put(0, 0, 1 << 20);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(buffer, 0x99, bad[i].len);
		assert_int_equal(blk_do(&driver, 0, BLK_OUT, bad[i].sector, buffer, bad[i].len), BLK_IOERR);
		assert_int_equal(blk_do(&driver, 0, BLK_IN, bad[i].sector, buffer, bad[i].len), BLK_IOERR);
	}
	uint32_t most = (uint32_t)config(36, 4);
	assert_int_equal(config(40, 4), 16);
	assert_int_equal(trim(BLK_DISCARD, 0, 8, 1), BLK_UNSUPP);
	assert_int_equal(trim(BLK_DISCARD, 0, 8, 2), BLK_UNSUPP);
	assert_int_equal(trim(BLK_WRITE_ZEROES, 0, 8, 2), BLK_UNSUPP);
	assert_int_equal(trim(BLK_DISCARD, 0, most + 1, 0), BLK_IOERR);
	assert_int_equal(trim(BLK_DISCARD, 1, SECTORS, 0), BLK_IOERR);
	assert_int_equal(trim(BLK_DISCARD, UINT64_MAX, 8, 0), BLK_IOERR);
	assert_int_equal(blk_do(&driver, 0, BLK_DISCARD, 0, many, sizeof(many)), BLK_IOERR);
	assert_int_equal(blk_do(&driver, 0, BLK_DISCARD, 0, many, 15), BLK_IOERR);
	assert_int_equal(blk_do(&driver, 0, BLK_DISCARD, 0, NULL, 0), BLK_IOERR);
	/* Nothing of that has changed anything, or broken the device. */
	check_all();
	assert_int_equal(driver_status(&driver), 15);
}

static void test_read_only(void **state)
{
	(void)state;
	char raw[TEMP_MAX + 16];
	uint8_t sector[512] = {1};
	put(0, 0, 1 << 20);
	close_disk();
	snprintf(raw, sizeof(raw), "%s/raw", folder);
	int fd = open(raw, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, copy, sizeof(copy)), sizeof(copy));
	assert_int_equal(write(fd, copy, 100), 100); /* no whole sector */
	close(fd);
	for (int i = 0; i < 2; i++) {
		open_disk(i ? raw : path, i ? DISK_RAW : DISK_DVOL, true);
		assert_int_equal(driver.features & 0xffffff, 0x1664);
		assert_int_equal(config(0, 8), SECTORS);
		check_all();
		assert_int_equal(blk_do(&driver, 0, BLK_OUT, 0, sector, 512), BLK_IOERR);
		assert_int_equal(trim(BLK_WRITE_ZEROES, 0, 8, 0), BLK_IOERR);
		assert_int_equal(trim(BLK_DISCARD, 0, 8, 0), BLK_IOERR);
		assert_int_equal(blk_do(&driver, 0, BLK_FLUSH, 0, NULL, 0), BLK_OK);
		check_all();
		close_disk();
	}
}

static void test_cannot_be_opened(void **state)
{
	(void)state;
	struct err err = {0};
	struct vm_config config = blk_config(path, DISK_DVOL, false, 1);
	/* The volume is in use. */
	assert_null(machine_create(&config, -1, NULL, &err));
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, "one process at a time may write it"));
	config_free(&config);
	config = blk_config("/nowhere/disk", DISK_RAW, true, 1);
	assert_null(machine_create(&config, -1, NULL, &err));
	assert_non_null(strstr(err.text, "/nowhere/disk: No such file"));
	config_free(&config);
	config = blk_config("/dev/null", DISK_DVOL, true, 1);
	assert_null(machine_create(&config, -1, NULL, &err));
	assert_non_null(strstr(err.text, "/dev/null"));
	config_free(&config);
}

/* The file may not grow: the guest gets an error, and what is there can still be read. */
static void test_error_of_the_host(void **state)
{
	(void)state;
	struct rlimit before, none;
	put(0, 0, 1 << 20);
	assert_int_equal(blk_do(&driver, 0, BLK_FLUSH, 0, NULL, 0), BLK_OK);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	uint8_t status = BLK_OK;
	memset(buffer, 0x77, sizeof(buffer));
	for (uint64_t sector = 2048; sector < SECTORS && status == BLK_OK; sector += 2048)
		status = blk_do(&driver, 0, BLK_OUT, sector, buffer, sizeof(buffer));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(status, BLK_IOERR);
	assert_int_equal(driver_status(&driver), 15);
	check(0, 0, 1 << 20);
}

static void test_queues(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++)
		put(i % QUEUES, i * 16, 8192);
	for (unsigned i = 0; i < 100; i++)
		check((i + 1) % QUEUES, i * 16, 8192);
	/* All at once: 20 requests in each queue, kicked together. */
	struct blk_request r[QUEUES][20];
	bool done[QUEUES][DRIVER_QUEUE_SIZE] = {{0}};
	for (unsigned q = 0; q < QUEUES; q++)
		for (unsigned i = 0; i < 20; i++) {
			uint64_t sector = 4000 + (q * 20 + i) * 9;
			random_fill(&seed, copy + sector * 512, 9 * 512);
			r[q][i] = blk_request(&driver, BLK_OUT, sector, copy + sector * 512, 9 * 512);
			(void)blk_send(&driver, q, &r[q][i]);
		}
	for (unsigned q = 0; q < QUEUES; q++)
		driver_kick(&driver, q);
	for (unsigned q = 0; q < QUEUES; q++) {
		for (unsigned i = 0; i < 20; i++) {
			uint16_t head = driver_wait(&driver, q, NULL);
			assert_false(done[q][head]);
			done[q][head] = true;
		}
		assert_true(driver_idle(&driver, q));
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(blk_status(&driver, &r[q][i]), BLK_OK);
	}
	check_all();
}

/* ---- chains that make no sense -------------------------------------------------------------------------------------- */

/* Each puts descriptors from 0 on. */
static void no_status(void)
{
	struct blk_request r = blk_request(&driver, BLK_OUT, 0, NULL, 512);
	driver_put_desc(&driver, 0, 0, r.header, 16, 1, 1);
	driver_put_desc(&driver, 0, 1, r.data, 512, 0, 0);
}

static void empty_status(void)
{
	struct blk_request r = blk_request(&driver, BLK_OUT, 0, NULL, 512);
	driver_put_desc(&driver, 0, 0, r.header, 16, 1, 1);
	driver_put_desc(&driver, 0, 1, r.data, 512, 1, 2);
	driver_put_desc(&driver, 0, 2, r.status, 0, 2, 0);
}

static void short_header(void)
{
	struct blk_request r = blk_request(&driver, BLK_IN, 0, NULL, 512);
	driver_put_desc(&driver, 0, 0, r.header, 15, 1, 1);
	driver_put_desc(&driver, 0, 1, r.data, 513, 2, 0);
}

static void no_header(void)
{
	driver_put_desc(&driver, 0, 0, driver_alloc(&driver, 64), 64, 2, 0);
}

static void writable_before_readable(void)
{
	struct blk_request r = blk_request(&driver, BLK_IN, 0, NULL, 512);
	driver_put_desc(&driver, 0, 0, r.status, 1, 1 | 2, 1);
	driver_put_desc(&driver, 0, 1, r.header, 16, 0, 0);
}

static void outside_of_ram(void)
{
	struct blk_request r = blk_request(&driver, BLK_IN, 0, NULL, 512);
	driver_put_desc(&driver, 0, 0, r.header, 16, 1, 1);
	driver_put_desc(&driver, 0, 1, BLK_RAM - 512, 513, 2, 0);
}

static void loop(void)
{
	struct blk_request r = blk_request(&driver, BLK_IN, 0, NULL, 512);
	driver_put_desc(&driver, 0, 0, r.header, 16, 1, 1);
	driver_put_desc(&driver, 0, 1, r.data, 16, 1 | 2, 2);
	driver_put_desc(&driver, 0, 2, r.data, 16, 1 | 2, 1);
}

static void indirect_table_with_loop(void)
{
	uint64_t table = driver_alloc(&driver, 32);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *at = driver_at(&driver, table + 16 * i, 16);
		le64_put(at, table);
		le32_put(at + 8, 16);
		le16_put(at + 12, 1);
		le16_put(at + 14, (uint16_t)(1 - i));
	}
	driver_put_desc(&driver, 0, 0, table, 32, 4, 0);
}

static void test_broken(void **state)
{
	(void)state;
	static void (*const cases[])(void) = {no_status,
					      empty_status,
					      short_header,
					      no_header,
					      writable_before_readable,
					      outside_of_ram,
					      loop,
					      indirect_table_with_loop};
	put(0, 0, 1 << 20);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		blk_ready(&driver, machine, BLK_ALL_FEATURES, 1);
		cases[i]();
		driver_offer(&driver, 0, 0);
		driver_kick(&driver, 0);
		driver_wait_broken(&driver);
		assert_true(driver_idle(&driver, 0));
		/* A kick does not wake it again. */
		driver_kick(&driver, 0);
		virtio_pause(machine->virtio[BLK_SLOT]);
		assert_true(driver_idle(&driver, 0));
		virtio_resume(machine->virtio[BLK_SLOT]);
	}
	blk_ready(&driver, machine, BLK_ALL_FEATURES, QUEUES);
	check_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_configuration, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reads_what_was_written, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_stable_without_flush, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_framing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flush_id_unknown, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_zeroes_and_discard, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cannot_be_opened, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_error_of_the_host, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_queues, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
