/* The block device while the world around it changes: pauses, a machine that takes over RAM and volume, epochs of the volume
 * that are closed, dirty tracking; always with requests under way. */
#include "imagefmt/dvol.h"
#include "tests/lib/blk_driver.h"
#include "tests/lib/need.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"
#include "vmm/devices.h"
#include "vmm/disk.h"

#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	QUEUES = 2,
	DEPTH = 20, /* in each queue; three descriptors each */
	RECORDS = QUEUES * DEPTH,
	RECORD_MAX = BLK_BLOCK,
	SECTORS = 16384,
};

/* Of a record: whole blocks, which are transferred by the front thread once they have their place, or fewer sectors, so that
 * records share blocks and go to workers. */
static unsigned record_bytes;

static char folder[TEMP_MAX], path[TEMP_MAX + 16];
static struct machine *machine;
static struct driver driver;

static struct vm_config config_of_disk(void)
{
	return blk_config(path, DISK_DVOL, false, QUEUES);
}

static int setup(void **state)
{
	(void)state;
	if (!need_kvm())
		return -1;
	temp_make(folder);
	snprintf(path, sizeof(path), "%s/disk", folder);
	blk_volume(path, SECTORS * 512);
	struct vm_config config = config_of_disk();
	machine = blk_machine(&config);
	config_free(&config);
	blk_ready(&driver, machine, BLK_ALL_FEATURES, QUEUES);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_destroy(machine);
	machine = NULL;
	temp_remove(folder);
	return 0;
}

static struct virtio *device(void)
{
	return machine->virtio[BLK_SLOT];
}

/* ---- rounds of records: each round writes every record anew, with the round's number ------------------------------- */

struct round {
	struct blk_request request[RECORDS];
	uint16_t head[RECORDS];
	uint64_t memory;
};

static void record(uint32_t data[RECORD_MAX / 4], unsigned number, uint32_t round)
{
	for (unsigned i = 0; i < record_bytes / 4; i++)
		data[i] = round << 8 | number;
}

static void send_round(struct round *r, uint32_t number)
{
	uint32_t data[RECORD_MAX / 4];
	r->memory = driver.memory;
	for (unsigned i = 0; i < RECORDS; i++) {
		record(data, i, number);
		r->request[i] = blk_request(&driver, BLK_OUT, i * (record_bytes / 512), data, record_bytes);
		uint16_t before = driver.queue[i % QUEUES].next_avail;
		r->head[i] = blk_send(&driver, i % QUEUES, &r->request[i]);
		blk_kick_if_wanted(&driver, i % QUEUES, before);
	}
}

/* finish_round: every request is given back once, and was done. */
static void finish_round(const struct round *r)
{
	for (unsigned q = 0; q < QUEUES; q++) {
		bool given[DRIVER_QUEUE_SIZE] = {false};
		for (unsigned i = 0; i < DEPTH; i++) {
			uint16_t head = driver_wait(&driver, q, NULL);
			assert_false(given[head]);
			given[head] = true;
		}
		assert_true(driver_idle(&driver, q));
		for (unsigned i = q; i < RECORDS; i += QUEUES)
			assert_true(given[r->head[i]]);
	}
	for (unsigned i = 0; i < RECORDS; i++)
		assert_int_equal(blk_status(&driver, &r->request[i]), BLK_OK);
	driver.memory = r->memory;
}

static void check_round(uint32_t number)
{
	uint32_t want[RECORD_MAX / 4], have[RECORD_MAX / 4];
	for (unsigned i = 0; i < RECORDS; i++) {
		record(want, i, number);
		assert_int_equal(
		    blk_do(&driver, i % QUEUES, BLK_IN, i * (record_bytes / 512), have, record_bytes),
		    BLK_OK);
		assert_memory_equal(have, want, record_bytes);
	}
}

/* given_back: how many of the queue's requests the device has done. */
static unsigned given_back(unsigned queue)
{
	const struct driver_queue *q = &driver.queue[queue];
	const uint16_t *idx = driver_at(&driver, q->used + 2, 2);
	return (uint16_t)(__atomic_load_n(idx, __ATOMIC_SEQ_CST) - q->next_used);
}

static void pause_and_resume(uint64_t features)
{
	struct round r;
	blk_ready(&driver, machine, features, QUEUES);
	for (uint32_t round = 1; round <= 50; round++) {
		send_round(&r, round);
		machine_pause(machine);
		/* What is done now is all that will be: it stands still. */
		unsigned done = given_back(0) + given_back(1);
		for (unsigned q = 0; q < QUEUES; q++)
			driver_kick(&driver, q);
		machine_pause(machine);
		unsigned statuses = 0;
		for (unsigned i = 0; i < RECORDS; i++)
			statuses += blk_status(&driver, &r.request[i]) != BLK_NO_STATUS;
		assert_int_equal(statuses, done);
		assert_int_equal(given_back(0) + given_back(1), done);
		devices_resume(machine);
		finish_round(&r);
	}
	check_round(50);
	/* What is offered during a pause waits, and needs no kick afterwards. */
	machine_pause(machine);
	send_round(&r, 51);
	assert_true(driver_idle(&driver, 0) && driver_idle(&driver, 1));
	devices_resume(machine);
	finish_round(&r);
	check_round(51);
}

static void test_pause(void **state)
{
	(void)state;
	pause_and_resume(BLK_ALL_FEATURES);
	pause_and_resume(0);
}

/* No kick is lost that the driver was told it need not send. */
static void test_notifications(void **state)
{
	(void)state;
	struct round r;
	for (int i = 0; i < 2; i++) {
		blk_ready(&driver, machine, i ? 0 : BLK_ALL_FEATURES, QUEUES);
		for (uint32_t round = 1; round <= 300; round++) {
			send_round(&r, round);
			finish_round(&r);
		}
		check_round(300);
	}
}

static unsigned threads(void)
{
	unsigned count = 0;
	char file[64], name[32];
	DIR *tasks = opendir("/proc/self/task");
	assert_non_null(tasks);
	for (struct dirent *task; (task = readdir(tasks));) {
		snprintf(file, sizeof(file), "/proc/self/task/%.20s/comm", task->d_name);
		FILE *comm = fopen(file, "re");
		if (!comm)
			continue;
		count += fgets(name, sizeof(name), comm) && !strcmp(name, "virtio-blk\n");
		fclose(comm);
	}
	closedir(tasks);
	return count;
}

/* One request at a time is the work of the front thread and of one worker; several are not, and the threads are bounded. */
static void test_threads(void **state)
{
	(void)state;
	struct round r;
	uint8_t data[4096] = {0};
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(blk_do(&driver, i % QUEUES, BLK_OUT, 8 * i, data, sizeof(data)), BLK_OK);
	assert_int_equal(threads(), 2);
	for (uint32_t round = 1; round <= 20; round++) {
		machine_pause(machine);
		send_round(&r, round);
		devices_resume(machine);
		finish_round(&r);
	}
	/* Only what blocks makes workers. */
	assert_in_range(threads(), record_bytes % BLK_BLOCK ? 3 : 2, 33);
}

/* hand_over: another machine on the same RAM and the same volume, which the first one closes. */
static void hand_over(void)
{
	struct err err = {0};
	struct buf saved = {0};
	machine_pause(machine);
	virtio_save(device(), &saved);
	int fd = dup(machine_ram_fd(machine));
	machine_destroy(machine);
	struct vm_config config = config_of_disk();
	machine = driver.machine = machine_create(&config, fd, NULL, &err);
	config_free(&config);
	if (!machine)
		fail_msg("%s", err.text);
	if (virtio_load(device(), saved.data, saved.len, &err))
		fail_msg("%s", err.text);
	buf_free(&saved);
	devices_resume(machine);
}

static void test_save_under_load(void **state)
{
	(void)state;
	struct round r;
	unsigned left = 0;
	for (uint32_t round = 1; round <= 20; round++) {
		send_round(&r, round);
		/* At another moment each time: when so many are done. */
		while (given_back(0) < round % DEPTH)
			sched_yield();
		hand_over();
		left += 2 * DEPTH - given_back(0) - given_back(1);
		finish_round(&r);
		check_round(round);
	}
	print_message("%u requests were still to be done\n", left);
}

/* ---- epochs ----------------------------------------------------------------------------------------------------------- */

static atomic_bool stop, failed;
static atomic_uint closed;

static void *close_epochs(void *context)
{
	struct dvol *volume = context;
	struct err err = {0};
	while (!stop && closed < 30) {
		if (dvol_epoch_close(volume, NULL, NULL, &err)) {
			print_message("%s\n", err.text);
			failed = true;
			break;
		}
		closed++;
	}
	return NULL;
}

/* Whatever an epoch holds, it is of one moment: the round before is complete in it. */
static void check_epoch(struct dvol_id id)
{
	const struct dvol_open_options options = {.epoch = id};
	static uint32_t data[RECORDS * RECORD_MAX / 4];
	uint32_t lowest = UINT32_MAX, highest = 0;
	struct err err = {0};
	struct dvol *epoch = dvol_open(path, &options, &err);
	if (!epoch)
		fail_msg("%s", err.text);
	assert_int_equal(dvol_read(epoch, data, RECORDS * record_bytes, 0, &err), 0);
	for (unsigned s = 0; s < RECORDS * record_bytes / 4; s += 128) {
		uint32_t round = data[s] >> 8;
		assert_memory_equal(&data[s], &data[s + 1], 508);
		lowest = round < lowest ? round : lowest;
		highest = round > highest ? round : highest;
	}
	assert_true(highest - lowest <= 1);
	dvol_close(epoch, NULL);
}

static void test_epochs_under_load(void **state)
{
	(void)state;
	struct dvol *volume = virtio_blk_disk(device())->volume;
	struct dvol_epoch *list;
	struct err err = {0};
	size_t count;
	pthread_t closer;
	struct round r;
	uint32_t round = 0;
	stop = failed = false;
	closed = 0;
	assert_int_equal(pthread_create(&closer, NULL, close_epochs, volume), 0);
	while (round < 100 || (closed < 5 && !failed)) {
		send_round(&r, ++round);
		finish_round(&r);
	}
	stop = true;
	pthread_join(closer, NULL);
	assert_false(failed);
	check_round(round);
	assert_int_equal(dvol_epochs(volume, &list, &count, &err), 0);
	assert_int_equal(count, closed);
	for (size_t i = 0; i < count; i++)
		check_epoch(list[i].id);
	free(list);
}

/* ---- dirty tracking --------------------------------------------------------------------------------------------------- */

/* The device writes to RAM behind KVM's back: the pages of what it read, of the status, and of the used ring are found. */
static void test_dirty(void **state)
{
	(void)state;
	enum { LEN = 64 << 10 };
	static uint8_t data[LEN];
	struct err err = {0};
	struct pageset set;
	memset(data, 7, sizeof(data));
	assert_int_equal(blk_do(&driver, 0, BLK_OUT, 0, data, LEN), BLK_OK);
	struct blk_request r = blk_request(&driver, BLK_IN, 0, NULL, LEN);
	struct blk_request w = blk_request(&driver, BLK_OUT, 0, data, LEN);
	/* The status of the write is in a page of its own. */
	w.status = (driver_alloc(&driver, 2 * 4096) + 4095) & ~4095ull;
	assert_int_equal(pageset_create(&set, BLK_RAM / 4096, &err), 0);
	machine_pause(machine);
	assert_int_equal(machine_dirty_start(machine, &set, &err), 0);
	devices_resume(machine);
	blk_send(&driver, 0, &r);
	driver_kick(&driver, 0);
	driver_wait(&driver, 0, NULL);
	assert_int_equal(*(uint8_t *)driver_at(&driver, r.data + LEN - 1, 1), 7);
	machine_pause(machine);
	assert_int_equal(machine_dirty_harvest(machine, &err), 0);
	for (uint64_t page = r.data / 4096; page <= (r.data + LEN - 1) / 4096; page++)
		assert_true(pageset_has(&set, page));
	assert_true(pageset_has(&set, r.status / 4096));
	assert_true(pageset_has(&set, driver.queue[0].used / 4096));
	pageset_clear(&set);
	devices_resume(machine);
	blk_send(&driver, 0, &w);
	driver_kick(&driver, 0);
	driver_wait(&driver, 0, NULL);
	assert_int_equal(blk_status(&driver, &w), BLK_OK);
	machine_pause(machine);
	assert_int_equal(machine_dirty_harvest(machine, &err), 0);
	/* What it only reads is not taken for written. */
	for (uint64_t page = w.data / 4096 + 1; page < (w.data + LEN - 1) / 4096; page++)
		assert_false(pageset_has(&set, page));
	assert_true(pageset_has(&set, w.status / 4096));
	machine_dirty_stop(machine);
	pageset_close(&set);
}

/* ---- interrupts -------------------------------------------------------------------------------------------------------- */

/* A driver that waits for an interrupt after the last of several requests gets it, whatever their order. */
static void test_interrupts(void **state)
{
	(void)state;
	driver_begin(&driver, machine, BLK_SLOT, BLK_MEMORY);
	driver_negotiate(&driver, BLK_ALL_FEATURES);
	driver_vectors(&driver, QUEUES);
	driver_ready(&driver, QUEUES);
	struct round r;
	for (uint32_t round = 1; round <= 50; round++) {
		for (unsigned q = 0; q < QUEUES; q++) {
			struct driver_queue *queue = &driver.queue[q];
			uint16_t last = (uint16_t)(queue->next_used + DEPTH - 1);
			le16_put(driver_at(&driver, queue->avail + 4 + 2u * queue->size, 2), last);
			(void)driver_pending(&driver, 1 + q);
		}
		send_round(&r, round);
		finish_round(&r);
		virtio_pause(device()); /* the interrupt comes after the used ring */
		virtio_resume(device());
		for (unsigned q = 0; q < QUEUES; q++)
			assert_true(driver_pending(&driver, 1 + q));
	}
}

/* From now on this process is refused io_uring, as containers and hardened systems do. */
static void no_io_uring(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("seccomp");
		exit(1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_pause, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_notifications, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_save_under_load, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_epochs_under_load, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_dirty, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_interrupts, setup, teardown),
	};
	int failures = 0;
	record_bytes = BLK_BLOCK;
	failures += cmocka_run_group_tests_name("whole blocks", tests, NULL, NULL);
	record_bytes = 3 * 512;
	failures += cmocka_run_group_tests_name("parts of blocks", tests, NULL, NULL);
	no_io_uring();
	record_bytes = BLK_BLOCK;
	failures += cmocka_run_group_tests_name("whole blocks without io_uring", tests, NULL, NULL);
	return failures;
}
