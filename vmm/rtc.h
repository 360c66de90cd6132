/* rtc.h: the MC146818 real-time clock with 128 bytes of CMOS RAM at ports 0x70 and 0x71.
 * Shows the host's UTC; setting the time has no effect, and it raises no interrupts.
 * Not locked: its user serializes. */
#ifndef VMM_RTC_H
#define VMM_RTC_H

#include "common/buf.h"
#include "common/err.h"
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { RTC_CMOS = 128, RTC_STATE_VERSION = 1 };

struct rtc {
	uint8_t index;
	uint8_t cmos[RTC_CMOS];
	struct tm shown; /* what the time registers give, read at once so that no carry falls between them */
	time_t shown_at;
};

void rtc_init(struct rtc *rtc);
/* rtc_describe: what a PC's firmware looks for in the CMOS RAM: RAM below and above 4 GiB in bytes, processors. */
void rtc_describe(struct rtc *rtc, uint64_t low, uint64_t high, unsigned cpus);
uint8_t rtc_read(struct rtc *rtc, unsigned port);              /* port 0: index, 1: data */
void rtc_write(struct rtc *rtc, unsigned port, uint8_t value); /* the same */
void rtc_save(const struct rtc *rtc, struct buf *out);
int rtc_load(struct rtc *rtc, const void *data, size_t len, struct err *err);

#endif
