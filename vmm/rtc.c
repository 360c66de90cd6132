/* rtc.c: the clock registers, after the MC146818 data sheet. */
#include "vmm/rtc.h"
#include <string.h>

enum {
	REG_SECONDS = 0,
	REG_MINUTES = 2,
	REG_HOURS = 4,
	REG_WEEKDAY = 6,
	REG_DAY = 7,
	REG_MONTH = 8,
	REG_YEAR = 9,
	REG_A = 0x0a,
	REG_B = 0x0b,
	REG_C = 0x0c,
	REG_D = 0x0d,
	REG_CENTURY = 0x32, /* as the ACPI FADT says */
	A_32KHZ = 0x26,     /* time base, 1024 Hz; "update in progress" is never set */
	B_24H = 0x02,
	B_BINARY = 0x04,
	D_VALID = 0x80,
	/* what the firmware's makers keep in the RAM */
	CMOS_BASE = 0x15,          /* KiB below 1 MiB */
	CMOS_EXTENDED = 0x17,      /* KiB above it, as far as they fit */
	CMOS_EXTENDED_COPY = 0x30, /* the same */
	CMOS_ABOVE_16M = 0x34,     /* in units of 64 KiB */
	CMOS_BOOT = 0x3d,          /* which kind of drive first */
	CMOS_ABOVE_4G = 0x5b,      /* three bytes, in units of 64 KiB */
	CMOS_CPUS = 0x5f,          /* less one */
	BOOT_DISK = 2,
};

void rtc_init(struct rtc *rtc)
{
	memset(rtc, 0, sizeof(*rtc));
	rtc->cmos[REG_A] = A_32KHZ;
	rtc->cmos[REG_B] = B_24H;
}

static void put16(struct rtc *rtc, unsigned at, uint64_t value)
{
	le16_put(rtc->cmos + at, (uint16_t)(value < UINT16_MAX ? value : UINT16_MAX));
}

void rtc_describe(struct rtc *rtc, uint64_t low, uint64_t high, unsigned cpus)
{
	const uint64_t first = 1 << 20, second = 16 << 20;
	put16(rtc, CMOS_BASE, 640);
	put16(rtc, CMOS_EXTENDED, (low - first) >> 10);
	put16(rtc, CMOS_EXTENDED_COPY, (low - first) >> 10);
	put16(rtc, CMOS_ABOVE_16M, low > second ? (low - second) >> 16 : 0);
	for (unsigned i = 0; i < 3; i++)
		rtc->cmos[CMOS_ABOVE_4G + i] = (uint8_t)(high >> (16 + 8 * i));
	rtc->cmos[CMOS_CPUS] = (uint8_t)(cpus - 1);
	rtc->cmos[CMOS_BOOT] = BOOT_DISK;
}

static void look_at_clock(struct rtc *rtc)
{
	rtc->shown_at = time(NULL);
	gmtime_r(&rtc->shown_at, &rtc->shown);
}

static uint8_t number(const struct rtc *rtc, int value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static uint8_t hours(const struct rtc *rtc)
{
	int hour = rtc->shown.tm_hour;
	if (rtc->cmos[REG_B] & B_24H)
		return number(rtc, hour);
	return number(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static uint8_t read_data(struct rtc *rtc)
{
	/* A reader looks at the seconds or at register A first, and then reads the rest. */
	if (rtc->index == REG_SECONDS || rtc->index == REG_A || time(NULL) - rtc->shown_at > 1)
		look_at_clock(rtc);
	switch (rtc->index) {
	case REG_SECONDS:
		return number(rtc, rtc->shown.tm_sec);
	case REG_MINUTES:
		return number(rtc, rtc->shown.tm_min);
	case REG_HOURS:
		return hours(rtc);
	case REG_WEEKDAY:
		return number(rtc, rtc->shown.tm_wday + 1);
	case REG_DAY:
		return number(rtc, rtc->shown.tm_mday);
	case REG_MONTH:
		return number(rtc, rtc->shown.tm_mon + 1);
	case REG_YEAR:
		return number(rtc, rtc->shown.tm_year % 100);
	case REG_CENTURY:
		return number(rtc, 19 + rtc->shown.tm_year / 100);
	case REG_C:
		return 0;
	case REG_D:
		return D_VALID;
	default:
		return rtc->cmos[rtc->index];
	}
}

uint8_t rtc_read(struct rtc *rtc, unsigned port)
{
	return port ? read_data(rtc) : 0xff;
}

void rtc_write(struct rtc *rtc, unsigned port, uint8_t value)
{
	if (!port)
		rtc->index = value % RTC_CMOS;
	else
		rtc->cmos[rtc->index] = value;
}

void rtc_save(const struct rtc *rtc, struct buf *out)
{
	buf_put_u8(out, rtc->index);
	buf_put(out, rtc->cmos, RTC_CMOS);
}

int rtc_load(struct rtc *rtc, const void *data, size_t len, struct err *err)
{
	struct reader r = reader_of(data, len);
	uint8_t index = reader_u8(&r);
	const void *cmos = reader_bytes(&r, RTC_CMOS);
	if (r.bad || r.left || index >= RTC_CMOS)
		return err_set(err, ERR_INPUT, "real-time clock state: its %zu bytes are not valid", len);
	rtc->index = index;
	memcpy(rtc->cmos, cmos, RTC_CMOS);
	rtc->shown_at = 0;
	return 0;
}
