/* fuzz_pages.c: any bytes as a payload of pages; and any memory there and back.
 *
 * The first byte chooses: a payload as it is, or the rest as what is written to a memory, in two rounds, of which the second one
 * goes as what has changed; it must arrive unchanged. */
#include "migrate/sentpages.h"
#include "tests/lib/pages.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pages_encoder *encoder;
static struct pages_decoder *decoder;
static struct pages_target targets[2];
static uint8_t *from, *to;
static struct sentpages *sent;
static int from_fd;

static void open_all(void)
{
	size_t bytes = PAGES * PAGES_SIZE;
	struct pageset all;
	int fd[3];

	for (int i = 0; i < 3; i++) {
		fd[i] = memfd_create("fuzz", MFD_CLOEXEC);
		if (ftruncate(fd[i], (off_t)bytes) < 0)
			abort();
	}
	for (int i = 0; i < 2; i++)
		if (pages_target_open(&targets[i], (uint16_t)(i * 7), fd[i], PAGES, NULL) < 0)
			abort();
	from_fd = fd[2];
	from = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd[2], 0);
	to = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd[0], 0);
	encoder = pages_encoder_open(PACKER_AUTO, NULL);
	sent = sentpages_open(PAGES, SENTPAGES_BYTES, NULL);
	if (!sent)
		abort();
	decoder = pages_decoder_open(NULL);
	if (pageset_create(&all, PAGES, NULL))
		abort();
	pageset_add_range(&all, 0, PAGES);
	sentpages_round(sent, &all);
	pageset_close(&all);
	if (from == MAP_FAILED || to == MAP_FAILED || !encoder || !decoder)
		abort();
}

static void decode(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1); /* so that reading past it is seen */
	struct err err = {0};
	int64_t rc;

	if (!copy)
		abort();
	memcpy(copy + 1, data, size);
	rc = pages_decode(decoder, targets, 2, copy + 1, size, &err);
	if (rc == 0 || rc > PAGES || (rc < 0 && (err.kind != ERR_INPUT || !err.text[0])))
		abort();
	free(copy);
}

/* The bytes are cut into pieces that start at pages all over the memory. */
static void write_pieces(const uint8_t *data, size_t size, size_t most)
{
	for (size_t page = 0, at = 0; at < size;) {
		size_t n = size - at < most ? size - at : most;

		page = (page * 5 + data[at] + 1) % PAGES;
		memcpy(from + page * PAGES_SIZE + at % 7 * 512, data + at, n);
		at += n;
	}
}

static void send_all(void)
{
	const struct pages_source source = {.volume = 0, .fd = from_fd, .pages = PAGES, .sent = sent};
	struct buf out = {0};

	for (uint64_t first = 0; first < PAGES;) {
		int64_t taken = encode_range(encoder, &source, first, PAGES - first, &out, NULL);

		if (taken <= 0 || pages_decode(decoder, targets, 1, out.data, out.len, NULL) != taken)
			abort();
		first += (uint64_t)taken;
		buf_clear(&out);
	}
	buf_free(&out);
	if (memcmp(from, to, PAGES * PAGES_SIZE) != 0)
		abort();
}

static void round_trip(const uint8_t *data, size_t size)
{
	sentpages_drop(sent, 0, PAGES);
	memset(from, 0, PAGES * PAGES_SIZE);
	write_pieces(data, size / 2, 500);
	send_all();
	write_pieces(data + size / 2, size - size / 2, 40);
	send_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!encoder)
		open_all();
	if (size < 1)
		return 0;
	if (data[0] % 8 == 7)
		round_trip(data + 1, size - 1);
	else
		decode(data + 1, size - 1);
	return 0;
}
