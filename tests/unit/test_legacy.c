/* test_legacy.c: the real-time clock, and the registers by which a guest resets or powers off. */
#include "tests/lib/test.h"
#include "vmm/power.h"
#include "vmm/rtc.h"

#include <string.h>
#include <time.h>

static uint8_t cmos(struct rtc *rtc, uint8_t index)
{
	rtc_write(rtc, 0, index);
	return rtc_read(rtc, 1);
}

static int bcd(uint8_t value)
{
	assert_true((value & 0xf) < 10 && value >> 4 < 10);
	return (value >> 4) * 10 + (value & 0xf);
}

static void test_clock_shows_utc(void **state)
{
	struct rtc rtc;
	struct tm shown = {0};
	time_t before = time(NULL), got;

	(void)state;
	rtc_init(&rtc);
	assert_int_equal(cmos(&rtc, 0x0a) & 0x80, 0); /* never in an update */
	shown.tm_sec = bcd(cmos(&rtc, 0));
	shown.tm_min = bcd(cmos(&rtc, 2));
	shown.tm_hour = bcd(cmos(&rtc, 4));
	shown.tm_mday = bcd(cmos(&rtc, 7));
	shown.tm_mon = bcd(cmos(&rtc, 8)) - 1;
	shown.tm_year = bcd(cmos(&rtc, 9)) + 100 * (bcd(cmos(&rtc, 0x32)) - 19);
	got = timegm(&shown);
	assert_in_range(got, before, time(NULL) + 1);
	assert_int_equal(cmos(&rtc, 6), shown.tm_wday + 1);
	assert_int_equal(cmos(&rtc, 0x0d), 0x80);
	assert_int_equal(cmos(&rtc, 0x0c), 0);
}

static void test_clock_formats(void **state)
{
	struct rtc rtc;
	int hour;

	(void)state;
	rtc_init(&rtc);
	cmos(&rtc, 0);
	hour = bcd(cmos(&rtc, 4));
	rtc_write(&rtc, 0, 0x0b);
	rtc_write(&rtc, 1, 0x06); /* 24 hours, binary */
	assert_int_equal(cmos(&rtc, 4), hour);
	rtc_write(&rtc, 0, 0x0b);
	rtc_write(&rtc, 1, 0x04); /* 12 hours, binary */
	assert_int_equal(cmos(&rtc, 4) & 0x7f, hour % 12 ? hour % 12 : 12);
	assert_int_equal(cmos(&rtc, 4) >> 7, hour >= 12);
}

static void test_clock_state(void **state)
{
	struct rtc a, b;
	struct buf saved = {0};
	struct err err = {0};

	(void)state;
	rtc_init(&a);
	rtc_init(&b);
	rtc_write(&a, 0, 0x40);
	rtc_write(&a, 1, 0x77);
	rtc_save(&a, &saved);
	assert_int_equal(rtc_load(&b, saved.data, saved.len, &err), 0);
	assert_int_equal(rtc_read(&b, 1), 0x77);
	for (size_t len = 0; len < saved.len; len++)
		assert_int_equal(rtc_load(&b, saved.data, len, &err), -1);
	saved.data[0] = RTC_CMOS;
	assert_int_equal(rtc_load(&b, saved.data, saved.len, &err), -1);
	buf_free(&saved);
}

static void test_reset(void **state)
{
	struct power power;

	(void)state;
	power_init(&power);
	assert_int_equal(power_read(&power, 0x64), 0);
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x64, 0xaa));
	assert_int_equal(POWER_RESET_KEYBOARD, power_write(&power, 0x64, 0xfe));
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x60, 0x00)); /* no command is waiting for it */
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x64, 0xd1));
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x60, 0x03));
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x64, 0xd1));
	assert_int_equal(POWER_RESET_KEYBOARD, power_write(&power, 0x60, 0x02));
	assert_int_equal(POWER_NOTHING, power_write(&power, 0xcf9, 0x02));
	assert_int_equal(power_read(&power, 0xcf9), 0x02);
	assert_int_equal(POWER_RESET_PORT_CF9, power_write(&power, 0xcf9, 0x06));
}

static void test_power_off(void **state)
{
	struct power power;

	(void)state;
	power_init(&power);
	assert_int_equal(power_read(&power, 0x604), 1); /* in ACPI mode */
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x604, 0));
	assert_int_equal(power_read(&power, 0x604), 1);
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x605, 0x20));   /* S0 */
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x605, 5 << 2)); /* the type alone does nothing */
	assert_int_equal(power_read(&power, 0x605), 5 << 2);
	assert_int_equal(POWER_OFF, power_write(&power, 0x605, 5 << 2 | 0x20));
	assert_int_equal(power_read(&power, 0x605), 5 << 2);
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x600, 0xff)); /* status: nothing to clear */
	assert_int_equal(power_read(&power, 0x600), 0);
	assert_int_equal(POWER_NOTHING, power_write(&power, 0x602, 0x20));
	assert_int_equal(power_read(&power, 0x602), 0x20);
}

static void test_power_state(void **state)
{
	struct power a, b;
	struct buf saved = {0};
	struct err err = {0};

	(void)state;
	power_init(&a);
	power_init(&b);
	power_write(&a, 0x64, 0xd1);
	power_write(&a, 0x602, 0x20);
	power_save(&a, &saved);
	assert_int_equal(power_load(&b, saved.data, saved.len, &err), 0);
	assert_int_equal(power_read(&b, 0x602), 0x20);
	assert_int_equal(POWER_RESET_KEYBOARD,
			 power_write(&b, 0x60, 0)); /* the command still waits for its data */
	for (size_t len = 0; len < saved.len; len++)
		if (len != POWER_STATE_LEN_1)
			assert_int_equal(power_load(&b, saved.data, len, &err), -1);
	/* What version 1 saved: the same registers, and no more. */
	power_button(&b);
	assert_int_equal(power_load(&b, saved.data, POWER_STATE_LEN_1, &err), 0);
	assert_int_equal(power_read(&b, 0x602), 0x20);
	assert_int_equal(power_read(&b, 0x601), 0);
	buf_free(&saved);
}

/* An event raises the interrupt while it is enabled, until it is acknowledged. */
static void test_power_events(void **state)
{
	static const struct {
		void (*happens)(struct power *power);
		uint16_t status, enable; /* ports */
	} events[] = {
	    {power_button, 0x601, 0x603},
	    {power_generation, POWER_GPE, POWER_GPE + 1},
	};
	struct power power;

	(void)state;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		power_init(&power);
		events[i].happens(&power);
		assert_false(power_sci(&power));
		power_write(&power, events[i].enable, 1);
		assert_true(power_sci(&power));
		assert_int_equal(power_read(&power, events[i].status), 1);
		power_write(&power, events[i].status, 0xfe); /* others */
		assert_true(power_sci(&power));
		power_write(&power, events[i].status, 1);
		assert_false(power_sci(&power));
		assert_int_equal(power_read(&power, events[i].status), 0);
	}
}

/* Ticks of about 279 ns since a moment that the saved state says, wherever it is loaded. */
static void test_power_timer(void **state)
{
	struct power a, b;
	struct buf saved = {0};
	struct err err = {0};

	(void)state;
	power_init(&a);
	power_init(&b);
	a.timer_zero_ns -= 1000000000000; /* 1000 s */
	uint32_t before = power_timer(&a);
	assert_true(before >= 3579545000u);
	power_save(&a, &saved);
	assert_int_equal(power_load(&b, saved.data, saved.len, &err), 0);
	/* Not back, and not ahead of what has passed in this process. */
	uint32_t loaded = power_timer(&b), after = power_timer(&a);
	assert_true(loaded - before <= after - before + POWER_TIMER_HZ / 10);
	/* It wraps at 32 bits: 2000 s are more than that. */
	a.timer_zero_ns -= 1000000000000;
	assert_true(power_timer(&a) < 3579545000u);
	buf_free(&saved);
}

/* What firmware finds in the CMOS RAM, in its units. */
static void test_cmos_memory(void **state)
{
	struct rtc rtc;

	(void)state;
	rtc_init(&rtc);
	rtc_describe(&rtc, 3ull << 30, 5ull << 30, 4);
	assert_int_equal(cmos(&rtc, 0x15) | cmos(&rtc, 0x16) << 8, 640);
	assert_int_equal(cmos(&rtc, 0x17) | cmos(&rtc, 0x18) << 8, 0xffff);
	assert_int_equal(cmos(&rtc, 0x34) | cmos(&rtc, 0x35) << 8, ((3u << 30) - (16u << 20)) >> 16);
	assert_int_equal(cmos(&rtc, 0x5b) | cmos(&rtc, 0x5c) << 8 | cmos(&rtc, 0x5d) << 16,
			 (5ull << 30) >> 16);
	assert_int_equal(cmos(&rtc, 0x5f), 3);
	rtc_describe(&rtc, 8 << 20, 0, 1);
	assert_int_equal(cmos(&rtc, 0x17) | cmos(&rtc, 0x18) << 8, 7 << 10);
	assert_int_equal(cmos(&rtc, 0x34) | cmos(&rtc, 0x35) << 8, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_clock_shows_utc), cmocka_unit_test(test_clock_formats),
	    cmocka_unit_test(test_clock_state),     cmocka_unit_test(test_reset),
	    cmocka_unit_test(test_power_events),    cmocka_unit_test(test_power_timer),
	    cmocka_unit_test(test_cmos_memory),     cmocka_unit_test(test_power_off),
	    cmocka_unit_test(test_power_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
