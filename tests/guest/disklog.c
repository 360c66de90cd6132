/* The log is a ring of blocks; record n, from 1 on, lies in block n % blocks, over what was there before.  A batch of records is
 * written, flushed, read back and compared; only then it is told that it is flushed.  So record n must be there when n
 * was told and nothing after n + blocks - 1 was begun: of the ring, all but a batch. */
#include "disklog.h"
#include "arch.h"
#include "clock.h"
#include "console.h"
#include "disk.h"
#include "stop.h"
#include "text.h"
#include "work.h"
#include <stddef.h>

#define MAGIC   0x676f6c2d766f7264ull /* "drov-log" */
#define POLL_MS 20                    /* between looks for serial input */

struct record {
	uint64_t magic, number, block, sum;
	uint64_t words[]; /* to the end of the block */
};

static const struct params *params;
static uint64_t blocks, words;
static uint64_t flushed, errors;

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t word_of(uint64_t number, uint64_t i)
{
	return mix(number * 0x9e3779b97f4a7c15 + i + params->seed);
}

static void make(struct record *record, uint64_t number)
{
	record->magic = MAGIC;
	record->number = number;
	record->block = number % blocks;
	record->sum = number;
	for (uint64_t i = 0; i < words; i++) {
		record->words[i] = word_of(number, i);
		record->sum = mix(record->sum ^ record->words[i]);
	}
}

/* The number of the record in what was read from the block, 0 where there is none, or a damaged one. */
static uint64_t number_of(const struct record *record, uint64_t block)
{
	uint64_t number = record->number, sum = number;

	if (record->magic != MAGIC || number == 0 || number % blocks != block || record->block != block)
		return 0;
	for (uint64_t i = 0; i < words; i++) {
		if (record->words[i] != word_of(number, i))
			return 0;
		sum = mix(sum ^ record->words[i]);
	}
	return sum == record->sum ? number : 0;
}

static void say(const char *what, uint64_t number, const char *more, uint64_t value)
{
	struct text line = {0};

	text_str(&line, "drover-guest: log");
	text_field(&line, what, number);
	text_field(&line, more, value);
	text_field(&line, "errors", errors + work_errors());
	while (!console_line(&line))
		console_flush();
	console_flush();
}

static void wrong(const char *what, uint64_t number, uint64_t found)
{
	struct text line = {0};

	if (errors++ >= 10)
		return;
	text_str(&line, "drover-guest: ERROR log ");
	text_str(&line, what);
	text_field(&line, "record", number);
	text_field(&line, "found", found);
	console_line(&line);
	console_flush();
}

/* Records first to first + count - 1, all at once, written or read. */
static void transfer(uint64_t first, uint64_t count, enum disk_type type)
{
	for (unsigned i = 0; i < count; i++)
		disk_queue(i, type, (first + i) % blocks * params->block);
	disk_kick();
	for (uint64_t left = count; left;) {
		unsigned slot;
		bool good;

		if (!disk_done(&slot, &good)) {
			cpu_relax();
			continue;
		}
		if (!good)
			wrong(type == DISK_READ ? "read" : "write", first + slot, 0);
		left--;
	}
}

/* Reads all blocks.  Returns the highest record; what must be there (`told` was the last one that was flushed) and is not is
 * an error. */
static uint64_t check_all(uint64_t told)
{
	uint64_t highest = 0, depth = params->depth;
	uint64_t kept = blocks - depth; /* a batch that was not told may be over the oldest ones */
	uint64_t oldest = told > kept ? told - kept + 1 : 1;

	for (uint64_t at = 0; at < blocks; at += depth) {
		uint64_t count = blocks - at < depth ? blocks - at : depth;

		transfer(at, count, DISK_READ);
		for (unsigned i = 0; i < count; i++) {
			uint64_t block = at + i, number = number_of(disk_data(i), block);
			/* The last record for this block that was told. */
			uint64_t wanted = told - (told % blocks + blocks - block) % blocks;

			if (number > highest)
				highest = number;
			if (told >= (told % blocks + blocks - block) % blocks && wanted >= oldest &&
			    number < wanted)
				wrong("lost", wanted, number);
		}
	}
	return highest;
}

static void write_batch(uint64_t first)
{
	for (unsigned i = 0; i < params->depth; i++)
		make(disk_data(i), first + i);
	transfer(first, params->depth, DISK_WRITE);
	if (disk_flushes() && !disk_do(0, DISK_FLUSH, 0))
		wrong("flush", first, 0);
	for (unsigned i = 0; i < params->depth; i++)
		((struct record *)disk_data(i))->magic = 0;
	transfer(first, params->depth, DISK_READ);
	for (unsigned i = 0; i < params->depth; i++) {
		uint64_t number = number_of(disk_data(i), (first + i) % blocks);

		if (number != first + i)
			wrong("read back", first + i, number);
	}
	flushed = first + params->depth - 1;
}

static void command(const struct text *in)
{
	if (text_is(in->buf, in->len, "disk-verify")) {
		check_all(flushed);
		say("verified", flushed, "blocks", blocks);
	} else if (text_is(in->buf, in->len, "quit")) {
		say("quit", flushed, "blocks", blocks);
		stop_machine();
	}
}

static _Noreturn void log_forever(uint64_t first)
{
	uint64_t start = rdtsc(), last_report = start, batches = 0;
	uint64_t report = clock_cycles_of_ms(params->report), poll = clock_cycles_of_ms(POLL_MS);
	uint64_t pace = params->iops ? clock_khz() * 1000 * params->depth / params->iops : 0;

	for (;;) {
		uint64_t now = rdtsc();
		const struct text *in;

		if (!pace || now - start >= batches * pace) {
			write_batch(first);
			first += params->depth;
			batches++;
		}
		/* Where there is a rate of dirtying, memory is written to and looked at beside the disk. */
		if (params->dirty)
			(void)work_turn(work_worker(0));
		now = rdtsc();
		if (now - last_report >= report) {
			say("flushed", flushed, "t_ms", clock_ms(now - start));
			last_report = now;
		}
		console_turn(now, poll);
		in = console_input();
		if (in)
			command(in);
	}
}

_Noreturn void disklog_run(const struct params *p)
{
	uint64_t span, highest;

	params = p;
	disk_open((unsigned)p->depth, (uint32_t)p->block);
	span = p->span && p->span < disk_bytes() ? p->span : disk_bytes();
	blocks = span / p->block;
	words = (p->block - sizeof(struct record)) / sizeof(uint64_t);
	if (p->block % DISK_SECTOR || blocks <= 2 * p->depth)
		stop_error("the disk is too small for a log, or bs no whole sectors", NULL);
	highest = check_all(p->flushed);
	say("found", highest, "blocks", blocks);
	if (p->io == IO_VERIFY) {
		say("verified", p->flushed, "blocks", blocks);
		stop_machine();
	}
	if (p->dirty)
		work_fill(work_worker(0));
	/* Of the batch that was cut off any record may be missing: it is written again. */
	flushed = highest > p->depth ? highest - p->depth : 0;
	log_forever(flushed + 1);
}
