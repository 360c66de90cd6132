#include "replicate/window.h"

#include <stdio.h>
#include <string.h>

enum { DAYS = 7, ALL_DAYS = (1 << DAYS) - 1 };
static const char *const names[DAYS] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* The day that *text begins with, which is passed over; -1: none. */
static int take_day(const char **text)
{
	for (int i = 0; i < DAYS; i++) {
		size_t len = strlen(names[i]);

		if (!strncmp(*text, names[i], len)) {
			*text += len;
			return i;
		}
	}
	return -1;
}

/* "mon-fri,sun ", passed over. */
static bool take_days(const char **text, unsigned *days)
{
	*days = 0;
	do {
		int first = take_day(text), last = first;

		if (first >= 0 && **text == '-') {
			(*text)++;
			last = take_day(text);
		}
		if (first < 0 || last < 0)
			return false;
		for (int day = first;; day = (day + 1) % DAYS) {
			*days |= 1u << day;
			if (day == last)
				break;
		}
	} while (*(*text)++ == ',');
	return (*text)[-1] == ' ';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "06:30", passed over. */
static bool take_time(const char **text, unsigned *minutes)
{
	const char *at = *text;

	if (!is_digit(at[0]) || !is_digit(at[1]) || at[2] != ':' || !is_digit(at[3]) || !is_digit(at[4]))
		return false;
	*minutes = (unsigned)((at[0] - '0') * 10 + (at[1] - '0')) * 60 +
		   (unsigned)((at[3] - '0') * 10 + (at[4] - '0'));
	*text = at + 5;
	return at[3] < '6' && *minutes <= WINDOW_DAY;
}

int window_parse(const char *text, struct window *window, struct err *err)
{
	const char *at = text;
	unsigned to;

	*window = (struct window){.days = ALL_DAYS};
	if ((is_digit(*at) || take_days(&at, &window->days)) && take_time(&at, &window->from) &&
	    *at++ == '-' && take_time(&at, &to) && !*at && window->from < WINDOW_DAY && to != window->from) {
		window->length = to > window->from ? to - window->from : to + WINDOW_DAY - window->from;
		return 0;
	}
	return err_set(
	    err, ERR_USAGE,
	    "'%.60s' is no part of a week: give it as in 22:00-06:00, or mon-fri 20:00-06:00, or sat,sun "
	    "00:00-24:00",
	    text);
}

const char *window_format(const struct window *window, char text[WINDOW_TEXT])
{
	unsigned to = window->from + window->length;
	size_t len = 0;

	text[0] = '\0';
	for (int day = 0; day < DAYS && window->days != ALL_DAYS; day++)
		if (window->days >> day & 1)
			len += (size_t)snprintf(text + len, WINDOW_TEXT - len, "%s%s", len ? "," : "",
						names[day]);
	if (to > WINDOW_DAY)
		to -= WINDOW_DAY;
	snprintf(text + len, WINDOW_TEXT - len, "%s%02u:%02u-%02u:%02u", len ? " " : "", window->from / 60,
		 window->from % 60, to / 60, to % 60);
	return text;
}

/* tm_wday: 0 is Sunday. */
static unsigned today(const struct tm *local)
{
	return (unsigned)(local->tm_wday + DAYS - 1) % DAYS;
}

bool window_is_open(const struct window *window, const struct tm *local)
{
	unsigned now = (unsigned)(local->tm_hour * 60 + local->tm_min), day = today(local);
	unsigned yesterday = (day + DAYS - 1) % DAYS;

	return ((window->days >> day & 1) && now >= window->from && now < window->from + window->length) ||
	       ((window->days >> yesterday & 1) && now + WINDOW_DAY < window->from + window->length);
}

unsigned windows_wait(const struct window *windows, size_t n, const struct tm *local)
{
	unsigned now = (unsigned)(local->tm_hour * 60 + local->tm_min), best = (DAYS + 1) * WINDOW_DAY;

	for (size_t i = 0; i < n; i++) {
		if (window_is_open(&windows[i], local))
			return 0;
		for (unsigned ahead = 0; ahead <= DAYS; ahead++) {
			unsigned at = ahead * WINDOW_DAY + windows[i].from;

			if ((windows[i].days >> (today(local) + ahead) % DAYS & 1) && at > now &&
			    at - now < best)
				best = at - now;
		}
	}
	return n ? best * 60 - (unsigned)local->tm_sec : 0;
}
