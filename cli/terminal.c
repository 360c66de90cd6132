#include "cli/terminal.h"

#include "common/io.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static const int caught_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { CAUGHT_SIGNALS = sizeof(caught_signals) / sizeof(caught_signals[0]) };

static struct sigaction saved_actions[CAUGHT_SIGNALS];
static sigset_t saved_mask;
static volatile sig_atomic_t caught;

static struct termios saved_termios;
static int raw_fd = -1;

static void note_signal(int number)
{
	if (!caught)
		caught = number;
}

void terminal_catch(void)
{
	struct sigaction action = {.sa_handler = note_signal};
	sigset_t block;

	caught = 0;
	sigemptyset(&block);
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < CAUGHT_SIGNALS; i++) {
		sigaction(caught_signals[i], NULL, &saved_actions[i]);
		/* nohup, and shells that start background jobs: what was ignored stays so. */
		if (saved_actions[i].sa_handler == SIG_IGN)
			continue;
		sigaddset(&block, caught_signals[i]);
		sigaction(caught_signals[i], &action, NULL);
	}
	sigprocmask(SIG_BLOCK, &block, &saved_mask);
}

const sigset_t *terminal_mask(void)
{
	return &saved_mask;
}

int terminal_caught(void)
{
	return caught;
}

void terminal_release(void)
{
	/* Unblock first: a signal that came meanwhile is noted by our handler rather than ends the process. */
	sigprocmask(SIG_SETMASK, &saved_mask, NULL);
	for (size_t i = 0; i < CAUGHT_SIGNALS; i++)
		sigaction(caught_signals[i], &saved_actions[i], NULL);
}

bool terminal_raw(int fd)
{
	struct termios raw;

	if (raw_fd >= 0 || tcgetattr(fd, &saved_termios))
		return false;
	raw = saved_termios;
	cfmakeraw(&raw);
	raw.c_oflag = saved_termios.c_oflag;
	if (tcsetattr(fd, TCSANOW, &raw))
		return false;
	raw_fd = fd;
	return true;
}

void terminal_restore(void)
{
	sigset_t block, old;

	if (raw_fd < 0)
		return;
	/* A process that went into the background would be stopped by SIGTTOU instead of restoring. */
	sigemptyset(&block);
	sigaddset(&block, SIGTTOU);
	sigprocmask(SIG_BLOCK, &block, &old);
	tcsetattr(raw_fd, TCSANOW, &saved_termios);
	sigprocmask(SIG_SETMASK, &old, NULL);
	raw_fd = -1;
}

void terminal_line(const char *line)
{
	struct winsize window = {0};
	char text[512];
	int width = 80, len;

	if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &window) && window.ws_col > 1)
		width = window.ws_col;
	len = snprintf(text, sizeof(text), "\r%.*s\033[K", width - 1, line);
	(void)io_write_full(STDERR_FILENO, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

void terminal_line_end(void)
{
	(void)io_write_full(STDERR_FILENO, "\r\033[K", 4);
}
