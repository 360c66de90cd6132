/* vm.c: a machine in a test. */
#include "tests/lib/vm.h"
#include "tests/lib/temp.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void on_ended(void *arg, enum machine_end why, const char *detail)
{
	struct vm *vm = arg;

	pthread_mutex_lock(&vm->lock);
	vm->ended = true;
	vm->ends++;
	vm->why = why;
	snprintf(vm->detail, sizeof(vm->detail), "%s", detail);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static void on_console(void *arg, const uint8_t *data, size_t len)
{
	struct vm *vm = arg;

	pthread_mutex_lock(&vm->lock);
	if (len > vm->longest)
		vm->longest = len;
	if (len > VM_CONSOLE - vm->console_len)
		len = VM_CONSOLE - vm->console_len;
	memcpy(vm->console + vm->console_len, data, len);
	vm->console_len += len;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static void make_on(struct vm *vm, int ram_fd)
{
	const struct machine_owner owner = {.arg = vm, .ended = on_ended, .console = on_console};
	struct err err = {0};

	vm->machine = machine_create(&vm->config, ram_fd, &owner, &err);
	if (!vm->machine || machine_start(vm->machine, &err))
		fail_msg("%s", err.text);
}

void vm_make(struct vm *vm, uint64_t mib, unsigned cpus, enum dirty_mode mode)
{
	memset(vm, 0, sizeof(*vm));
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	vm->console = calloc(1, VM_CONSOLE);
	vm->config =
	    (struct vm_config){.name = "test", .memory_bytes = mib << 20, .cpus = cpus, .dirty_mode = mode};
	config_new_uuid(vm->config.uuid);
	make_on(vm, -1);
}

static void boot(struct vm *vm, const struct kernel *kernel)
{
	char folder[TEMP_MAX], path[TEMP_MAX];
	struct vm_config config = vm->config;
	struct err err = {0};
	int failed;

	temp_make(folder);
	kernel_write(kernel, folder, path);
	config.kernel = path;
	failed = machine_boot(vm->machine, &config, &err);
	temp_remove(folder);
	if (failed)
		fail_msg("%s", err.text);
}

void vm_boot32(struct vm *vm, const uint8_t *code, const uint8_t *end)
{
	struct kernel kernel = {.len = 0};

	kernel_elf(&kernel, code, (size_t)(end - code));
	boot(vm, &kernel);
}

void vm_boot64(struct vm *vm, const uint8_t *code, const uint8_t *end)
{
	struct kernel kernel = {.len = 0};

	kernel_bzimage(&kernel, code, (size_t)(end - code));
	boot(vm, &kernel);
}

void vm_free(struct vm *vm)
{
	machine_destroy(vm->machine);
	vm->machine = NULL;
	free(vm->console);
	vm->console = NULL;
}

/* Wait for a change; with the lock held. */
static void wait_change(struct vm *vm, const struct timespec *deadline, const char *what)
{
	enum { TAIL = 400 };

	if (pthread_cond_timedwait(&vm->changed, &vm->lock, deadline) != ETIMEDOUT)
		return;
	pthread_mutex_unlock(&vm->lock);
	fail_msg("%s did not come: %zu bytes, ended %d: %s; the console ends: %.*s", what, vm->console_len,
		 vm->ended, vm->detail, (int)(vm->console_len < TAIL ? vm->console_len : TAIL),
		 vm->console + (vm->console_len < TAIL ? 0 : vm->console_len - TAIL));
}

static struct timespec patience(void)
{
	struct timespec deadline;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += VM_PATIENCE_S;
	return deadline;
}

void vm_wait_console(struct vm *vm, size_t len)
{
	const struct timespec deadline = patience();

	pthread_mutex_lock(&vm->lock);
	while (vm->console_len < len) {
		if (vm->ended) {
			pthread_mutex_unlock(&vm->lock);
			fail_msg("the guest ended: %s", vm->detail);
		}
		wait_change(vm, &deadline, "output");
	}
	pthread_mutex_unlock(&vm->lock);
}

/* plain(vm, to): the console without its control sequences.  Returns its length.  With the lock held. */
static size_t plain(const struct vm *vm, char *to)
{
	size_t n = 0;

	for (size_t i = 0; i < vm->console_len; i++) {
		if (vm->console[i] != '\033') {
			to[n++] = (char)vm->console[i];
			continue;
		}
		/* ECMA-48, 5.4: ESC [, parameters, and a final byte; or ESC and one byte. */
		if (++i < vm->console_len && vm->console[i] == '[')
			while (++i < vm->console_len && (vm->console[i] < 0x40 || vm->console[i] > 0x7e))
				;
	}
	return n;
}

size_t vm_wait_text(struct vm *vm, const char *text, size_t from)
{
	for (size_t len = 0;; len++) {
		char *seen, *at = NULL;
		size_t n;

		vm_wait_console(vm, len);
		pthread_mutex_lock(&vm->lock);
		len = vm->console_len;
		seen = malloc(len + 1);
		assert_non_null(seen);
		n = plain(vm, seen);
		pthread_mutex_unlock(&vm->lock);
		if (n > from)
			at = memmem(seen + from, n - from, text, strlen(text));
		n = at ? (size_t)(at - seen) + strlen(text) : 0;
		free(seen);
		if (at)
			return n;
	}
}

void vm_wait_end(struct vm *vm)
{
	const struct timespec deadline = patience();

	pthread_mutex_lock(&vm->lock);
	while (!vm->ended)
		wait_change(vm, &deadline, "the end");
	pthread_mutex_unlock(&vm->lock);
}

void vm_type(struct vm *vm, const void *data, size_t len)
{
	const struct timespec deadline = patience();
	const uint8_t *at = data;
	struct timespec now;

	while (len) {
		size_t taken = machine_console_input(vm->machine, at, len);
		at += taken;
		len -= taken;
		if (!taken)
			sched_yield();
		clock_gettime(CLOCK_REALTIME, &now);
		if (now.tv_sec > deadline.tv_sec)
			fail_msg("the guest does not read what is typed");
	}
}

size_t vm_console_len(struct vm *vm)
{
	size_t len;

	pthread_mutex_lock(&vm->lock);
	len = vm->console_len;
	pthread_mutex_unlock(&vm->lock);
	return len;
}

void vm_save(struct vm *vm, struct buf *state)
{
	struct err err = {0};

	machine_pause(vm->machine);
	if (machine_save(vm->machine, state, &err))
		fail_msg("save: %s", err.text);
}

void vm_replace(struct vm *vm)
{
	int ram_fd = dup(machine_ram_fd(vm->machine));

	machine_destroy(vm->machine);
	make_on(vm, ram_fd);
}

void vm_load(struct vm *vm, const struct buf *state)
{
	struct err err = {0};

	vm_replace(vm);
	if (machine_load(vm->machine, state->data, state->len, &err))
		fail_msg("load: %s", err.text);
}

void vm_move(struct vm *vm)
{
	struct buf state = {0};

	vm_save(vm, &state);
	vm_load(vm, &state);
	buf_free(&state);
}
