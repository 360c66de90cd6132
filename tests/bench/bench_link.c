/* bench_link.c: how fast memory goes through a link: a real sshd, frames of pages, a sink that puts them into a memfd.
 *
 *   bench_link [--mib N] [--runs N] [--case N]      the table, or one line of it, as JSON on stdout
 *   bench_link --sink                    the far end (started through ssh)
 *
 * Each run is timed from the first frame to the sink's answer that all of it is applied; connecting is apart. */
#include "common/io.h"
#include "migrate/link.h"
#include "tests/lib/pages.h"
#include "tests/lib/random.h"
#include "tests/lib/sshd.h"
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAME_SIZE, FRAME_PAGES, FRAME_END, FRAME_REPORT, PART = 1024, LINKS_MAX = 4, RUNS_MAX = 99 };

static char program[PATH_MAX];

static void die(const char *what, const struct err *err)
{
	fprintf(stderr, "bench_link: %s: %s\n", what, err ? err->text : "failed");
	exit(1);
}

static double cpu_ms(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

/* CPU time of another process: sshd's, which carries the sink's connection. */
static double cpu_ms_of(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64], *end;
	void *text;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (io_read_file(path, 4096, &text, &len) < 0)
		return 0;
	end = strrchr(text, ')');
	if (end)
		sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
	free(text);
	return (double)(user + system) * 1e3 / (double)sysconf(_SC_CLK_TCK);
}

/* ---- the far end ---- */

static void answer(struct link *link, const struct pages_decoder *decoder)
{
	struct buf *out = link_begin(link);
	struct err err;

	buf_put_u64(out, pages_decoder_stats(decoder)->pages);
	buf_put_u64(out, (uint64_t)(cpu_ms(RUSAGE_SELF) * 1e3));
	buf_put_u64(out, (uint64_t)(cpu_ms_of(getppid()) * 1e3));
	if (link_send(link, FRAME_REPORT, 0, &err) < 0 || link_flush(link, &err) < 0)
		die("sink", &err);
}

static int sink(void)
{
	struct err err;
	struct link *link = link_open_fds(STDIN_FILENO, STDOUT_FILENO, "the bench", &err);
	struct pages_decoder *decoder = pages_decoder_open(&err);
	struct pages_target target = {.fd = -1};
	struct frame frame;
	int rc;

	prctl(PR_SET_NAME, "sink"); /* for a profile */
	if (!link || !decoder)
		die("sink", &err);
	while ((rc = link_receive(link, UINT64_MAX, &frame, &err)) > 0) {
		if (frame.type == FRAME_SIZE) {
			uint64_t pages = le64_get(frame.payload);
			int fd = memfd_create("sink", MFD_CLOEXEC);

			if (ftruncate(fd, (off_t)(pages * PAGES_SIZE)) < 0 ||
			    pages_target_open(&target, 0, fd, pages, &err) < 0)
				die("sink", &err);
			answer(link, decoder);
		} else if (frame.type == FRAME_PAGES) {
			if (pages_decode(decoder, &target, 1, frame.payload, frame.len, &err) < 0)
				die("sink", &err);
		} else {
			answer(link, decoder);
		}
	}
	return 0; /* the bench closed the link */
}

/* ---- the near end ---- */

struct run {
	const struct sshd *sshd;
	struct pages_source source;
	bool compress;
	atomic_ulong next; /* first page not yet taken by a connection */
	pthread_barrier_t ready;
	double sink_ms, sshd_ms;
	uint64_t sent;
	uint64_t pages;
	pthread_mutex_t lock;
};

static void ask(struct link *link, struct frame *frame)
{
	struct err err;

	if (link_receive(link, UINT64_MAX, frame, &err) != 1 || frame->type != FRAME_REPORT)
		die("receive", &err);
}

static void send_part(struct run *run, struct link *link, struct pages_encoder *encoder, uint64_t first)
{
	uint64_t count = run->source.pages - first < PART ? run->source.pages - first : PART;
	struct err err;

	while (count > 0) {
		int64_t taken = encode_range(encoder, &run->source, first, count, link_begin(link), &err);

		if (taken < 0 || link_send(link, FRAME_PAGES, 0, &err) < 0)
			die("send", &err);
		pages_encoder_link(encoder, link_send_ns(link), link_bytes_sent(link));
		first += (uint64_t)taken;
		count -= (uint64_t)taken;
	}
}

static void *send_all(void *arg)
{
	struct run *run = arg;
	char command[sizeof(program) + 8];
	struct ssh_target target;
	struct link *link;
	struct pages_encoder *encoder;
	struct frame frame;
	struct err err;
	uint64_t first;
	double sshd_before, sink_before;

	snprintf(command, sizeof(command), "%s --sink", program);
	target = sshd_target(run->sshd, command);
	link = link_open_ssh(&target, &err);
	encoder = pages_encoder_open(run->compress ? PACKER_AUTO : PACKER_NONE, &err);
	if (!link || !encoder)
		die("connect", &err);
	buf_put_u64(link_begin(link), run->source.pages);
	if (link_send(link, FRAME_SIZE, 0, &err) < 0)
		die("send", &err);
	ask(link, &frame);
	sink_before = (double)le64_get(frame.payload + 8) / 1e3;
	sshd_before = (double)le64_get(frame.payload + 16) / 1e3;
	pthread_barrier_wait(&run->ready);
	while ((first = atomic_fetch_add(&run->next, PART)) < run->source.pages)
		send_part(run, link, encoder, first);
	link_begin(link);
	if (link_send(link, FRAME_END, 0, &err) < 0)
		die("send", &err);
	ask(link, &frame);
	pthread_mutex_lock(&run->lock);
	run->pages += le64_get(frame.payload);
	run->sink_ms += (double)le64_get(frame.payload + 8) / 1e3 - sink_before;
	run->sshd_ms += (double)le64_get(frame.payload + 16) / 1e3 - sshd_before;
	run->sent += link_bytes_sent(link);
	pthread_mutex_unlock(&run->lock);
	pthread_barrier_wait(&run->ready);
	link_close(link);
	pages_encoder_close(encoder);
	return NULL;
}

struct result {
	double seconds, near_ms, sink_ms, sshd_ms, sent_mib;
};

static struct result measure(const struct sshd *sshd, const struct pages_source *source, bool compress,
			     int links)
{
	struct run run = {.sshd = sshd, .source = *source, .compress = compress};
	pthread_t threads[LINKS_MAX];
	struct result result;
	uint64_t start;
	double cpu;

	pthread_mutex_init(&run.lock, NULL);
	pthread_barrier_init(&run.ready, NULL, (unsigned)links + 1);
	for (int i = 0; i < links; i++)
		if (pthread_create(&threads[i], NULL, send_all, &run) != 0)
			die("thread", NULL);
	pthread_barrier_wait(&run.ready);
	start = clock_mono_ns();
	cpu = cpu_ms(RUSAGE_SELF);
	pthread_barrier_wait(&run.ready);
	result.seconds = (double)(clock_mono_ns() - start) / 1e9;
	result.near_ms = cpu_ms(RUSAGE_SELF) - cpu;
	for (int i = 0; i < links; i++)
		pthread_join(threads[i], NULL);
	if (run.pages != source->pages)
		die("pages were lost", NULL);
	result.sink_ms = run.sink_ms;
	result.sshd_ms = run.sshd_ms;
	result.sent_mib = (double)run.sent / (1 << 20);
	return result;
}

static void fill(const struct pages_source *source, bool half)
{
	uint64_t random = 42;
	uint8_t page[PAGES_SIZE];

	for (uint64_t i = 0; i < source->pages; i++) {
		random_fill(&random, page, half ? PAGES_SIZE / 2 : PAGES_SIZE);
		if (half)
			memset(page + PAGES_SIZE / 2, (int)(i % 251) + 1, PAGES_SIZE / 2);
		if (pwrite(source->fd, page, PAGES_SIZE, (off_t)(i * PAGES_SIZE)) != PAGES_SIZE)
			die("fill", NULL);
	}
}

/* What a guest's vCPU does beside a migration. */
static pid_t spin(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (volatile unsigned i = 0;; i++)
			;
	}
	return pid;
}

static int by_seconds(const void *a, const void *b)
{
	const struct result *x = a, *y = b;

	return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

static json_t *run_case(const struct sshd *sshd, const struct pages_source *source, const char *content,
			bool compress, int links, bool spinning, int runs)
{
	double mib = (double)source->pages * PAGES_SIZE / (1 << 20);
	struct result results[RUNS_MAX], *median = &results[runs / 2];
	pid_t spinner = spinning ? spin() : 0;

	for (int i = 0; i < runs; i++)
		results[i] = measure(sshd, source, compress, links);
	if (spinner > 0) {
		kill(spinner, SIGKILL);
		waitpid(spinner, NULL, 0);
	}
	qsort(results, (size_t)runs, sizeof(*results), by_seconds);
	return json_pack("{s:s, s:b, s:i, s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "content", content,
			 "lz4", compress, "connections", links, "spinner", spinning, "mib", mib, "seconds",
			 median->seconds, "seconds_best", results[0].seconds, "mib_per_s",
			 mib / median->seconds, "sent_mib", median->sent_mib, "sender_cpu_ms_per_mib",
			 median->near_ms / mib, "sshd_cpu_ms_per_mib", median->sshd_ms / mib,
			 "sink_cpu_ms_per_mib", median->sink_ms / mib);
}

/* Its keys and configuration do not outlive a bench that fails. */
static char dir[] = "/tmp/drover-bench-link.XXXXXX";

static void remove_dir(void)
{
	char command[sizeof(dir) + 8];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		fprintf(stderr, "bench_link: %s is left\n", dir);
}

static void run_cases(const struct sshd *sshd, uint64_t pages, int runs, int only)
{
	static const struct {
		bool half, compress;
		int links;
		bool spinning;
	} cases[] = {
	    {false, false, 1, false}, {true, true, 1, false}, {true, true, 2, false},
	    {true, false, 1, false},  {true, true, 1, true},  {true, true, 2, true},
	    {false, true, 1, false},
	};
	struct pages_source sources[2] = {{.pages = 0}};
	json_t *table = json_array();

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pages_source *source = &sources[cases[i].half];

		if (only >= 0 && (size_t)only != i)
			continue;
		if (source->pages == 0) {
			*source =
			    (struct pages_source){.fd = memfd_create("bench", MFD_CLOEXEC), .pages = pages};
			if (ftruncate(source->fd, (off_t)(pages * PAGES_SIZE)) < 0)
				die("memory", NULL);
			fill(source, cases[i].half);
		}
		json_array_append_new(table,
				      run_case(sshd, source, cases[i].half ? "half" : "random",
					       cases[i].compress, cases[i].links, cases[i].spinning, runs));
	}
	json_dumpf(table, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
	putchar('\n');
	json_decref(table);
}

int main(int argc, char **argv)
{
	unsigned long mib = 512;
	int runs = 3, only = -1;
	struct sshd sshd;

	if (argc == 2 && strcmp(argv[1], "--sink") == 0)
		return sink();
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--mib") == 0)
			mib = strtoul(argv[i + 1], NULL, 10);
		if (strcmp(argv[i], "--runs") == 0)
			runs = atoi(argv[i + 1]);
		if (strcmp(argv[i], "--case") == 0)
			only = atoi(argv[i + 1]);
	}
	if (mib == 0 || runs < 1 || runs > RUNS_MAX)
		die("usage: bench_link [--mib N] [--runs 1..99] [--case N]", NULL);
	if (!realpath("/proc/self/exe", program) || !mkdtemp(dir) || atexit(remove_dir) != 0 ||
	    sshd_start(dir, "", &sshd) < 0)
		die("sshd", NULL);
	run_cases(&sshd, mib * 256, runs, only);
	sshd_stop(&sshd);
	return 0;
}
