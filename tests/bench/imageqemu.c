#include "tests/bench/imageqemu.h"
#include "common/io.h"
#include "tests/bench/proc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS 600000000000ull

/* Run it; what it printed goes to *text, which the caller frees. */
static int run(const char *dir, const char *const *argv, char **text, struct err *err)
{
	char out[DISK_PATH];
	struct proc_spawn spawn = {.argv = argv, .out = out, .errors = out};
	size_t len;
	void *data;
	int result;

	snprintf(out, sizeof(out), "%.*s/qemu-img.out", DISK_PATH - 32, dir);
	result = proc_run(&spawn, clock_mono_ns() + PATIENCE_NS, err);
	if (result == 0 && text) {
		result = io_read_file(out, 1 << 20, &data, &len);
		if (result != 0)
			err_sys(err, "%s", out);
		else
			*text = data;
	}
	unlink(out);
	return result;
}

int qemu_img_create(const char *dir, const char *path, const char *format, uint64_t size_bytes,
		    struct err *err)
{
	char size[24];
	const char *argv[] = {"qemu-img", "create", "-q", "-f", format, path, size, NULL};

	snprintf(size, sizeof(size), "%llu", (unsigned long long)size_bytes);
	return run(dir, argv, NULL, err);
}

int qemu_img_snapshot(const char *dir, const char *path, const char *option, const char *name,
		      struct err *err)
{
	const char *argv[] = {"qemu-img", "snapshot", option, name, path, NULL};

	return run(dir, argv, NULL, err);
}

double qemu_img_bench(const char *dir, const char *path, const char *format, uint64_t size_bytes,
		      const struct load *load, unsigned depth, struct err *err)
{
	char count[24], depth_text[16], bytes[24], step[24], offset[24], flush[48];
	const char *argv[24] = {"qemu-img", "bench",    "-t", "none", "-n", "-f", format, "-c",  count,
				"-d",       depth_text, "-s", bytes,  "-S", step, "-o",   offset};
	int n = 17;
	double took_s;
	char *text = NULL, *at;

	snprintf(count, sizeof(count), "%llu", (unsigned long long)load->operations);
	snprintf(depth_text, sizeof(depth_text), "%u", depth);
	snprintf(bytes, sizeof(bytes), "%u", load->bytes);
	snprintf(step, sizeof(step), "%llu", (unsigned long long)load->step);
	snprintf(offset, sizeof(offset), "%llu",
		 (unsigned long long)((unsigned __int128)load->first * load->step % size_bytes));
	snprintf(flush, sizeof(flush), "--flush-interval=%u", load->flush_every);
	if (load->write) {
		argv[n++] = "-w";
		argv[n++] = "--pattern=90";
	}
	if (load->flush_every != 0) {
		argv[n++] = flush;
		argv[n++] = "--no-drain";
	}
	argv[n++] = path;
	if (run(dir, argv, &text, err) != 0)
		return -1;
	at = strstr(text, "completed in ");
	took_s = at ? strtod(at + strlen("completed in "), NULL) : 0;
	free(text);
	if (took_s <= 0)
		return err_set(err, ERR_SYSTEM, "qemu-img bench %s did not say how long it took", path);
	return (double)load->operations / took_s;
}
