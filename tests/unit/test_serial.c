/* test_serial.c: the UART as a driver sees it, and its state there and back. */
#include "tests/lib/random.h"
#include "tests/lib/test.h"
#include "vmm/serial.h"

#include <string.h>

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

struct port {
	struct serial serial;
	bool level;
	unsigned rises;
	uint8_t sent[256];
	size_t sent_len;
	unsigned calls;
};

static void on_irq(void *arg, bool level)
{
	struct port *port = arg;

	assert_int_not_equal(level, port->level); /* changes only */
	port->level = level;
	port->rises += level;
}

static void on_transmit(void *arg, const uint8_t *data, size_t len)
{
	struct port *port = arg;

	assert_true(port->sent_len + len <= sizeof(port->sent));
	memcpy(port->sent + port->sent_len, data, len);
	port->sent_len += len;
	port->calls++;
}

static void make(struct port *port)
{
	const struct serial_wires wires = {port, on_irq, on_transmit};

	serial_init(&port->serial, &wires);
}

static uint8_t in(struct port *port, unsigned reg)
{
	return serial_read(&port->serial, reg);
}

static void out(struct port *port, unsigned reg, uint8_t value)
{
	serial_write(&port->serial, reg, value);
}

static size_t type(struct port *port, const char *text)
{
	return serial_input(&port->serial, (const uint8_t *)text, strlen(text));
}

static void test_transmit(void **state)
{
	struct port port = {.level = false};

	(void)state;
	make(&port);
	assert_int_equal(in(&port, LSR), 0x60);
	out(&port, DATA, 'a');
	serial_write_string(&port.serial, (const uint8_t *)"bcd", 3);
	assert_int_equal(port.calls, 2);
	assert_int_equal(port.sent_len, 4);
	assert_memory_equal(port.sent, "abcd", 4);
	assert_int_equal(in(&port, LSR), 0x60);
	assert_int_equal(port.rises, 0); /* no interrupt was enabled */
	serial_destroy(&port.serial);
}

static void test_divisor_is_not_data(void **state)
{
	struct port port = {.level = false};

	(void)state;
	make(&port);
	out(&port, LCR, 0x83);
	out(&port, DATA, 12);
	out(&port, IER, 34);
	serial_write_string(&port.serial, (const uint8_t *)"\x01\x02", 2);
	assert_int_equal(in(&port, DATA), 2);
	assert_int_equal(in(&port, IER), 34);
	out(&port, LCR, 0x03);
	assert_int_equal(in(&port, LCR), 0x03);
	assert_int_equal(in(&port, IER), 0);
	assert_int_equal(port.sent_len, 0);
	out(&port, SCR, 0x5a);
	assert_int_equal(in(&port, SCR), 0x5a);
	serial_destroy(&port.serial);
}

static void test_transmit_interrupt(void **state)
{
	struct port port = {.level = false};

	(void)state;
	make(&port);
	out(&port, IER, 2); /* empty already: the interrupt is due */
	assert_true(port.level);
	assert_int_equal(in(&port, IIR), 0x02);
	assert_false(port.level); /* reading it acknowledged it */
	assert_int_equal(in(&port, IIR), 0x01);
	out(&port, DATA, 'x');
	assert_int_equal(port.rises, 2);
	out(&port, DATA, 'y'); /* not acknowledged, and yet an edge for each byte */
	assert_int_equal(port.rises, 3);
	out(&port, IER, 0);
	assert_false(port.level);
	serial_destroy(&port.serial);
}

static void test_receive_without_fifo(void **state)
{
	struct port port = {.level = false};

	(void)state;
	make(&port);
	out(&port, IER, 1);
	assert_int_equal(type(&port, "ab"), 1);
	assert_true(port.level);
	assert_int_equal(in(&port, IIR), 0x04);
	assert_int_equal(in(&port, LSR), 0x61);
	assert_int_equal(in(&port, DATA), 'a');
	assert_false(port.level);
	assert_int_equal(in(&port, LSR), 0x60);
	assert_int_equal(in(&port, DATA), 0);
	assert_int_equal(type(&port, "b"), 1);
	serial_destroy(&port.serial);
}

static void test_receive_fifo(void **state)
{
	struct port port = {.level = false};

	(void)state;
	make(&port);
	out(&port, FCR, 0x81); /* on, trigger at 8 */
	out(&port, IER, 1);
	assert_int_equal(type(&port, "1234567"), 7);
	assert_int_equal(in(&port, IIR), 0xcc); /* below the trigger: a time-out */
	assert_int_equal(type(&port, "89abcdefgh"), 9);
	assert_int_equal(in(&port, IIR), 0xc4);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		assert_int_equal(in(&port, DATA), "123456789abcdefg"[i]);
	assert_false(port.level);
	type(&port, "xyz");
	out(&port, FCR, 0x83); /* clears it */
	assert_int_equal(in(&port, LSR), 0x60);
	assert_false(port.level);
	serial_destroy(&port.serial);
}

static void test_priority(void **state)
{
	struct port port = {.level = false};

	(void)state;
	make(&port);
	out(&port, FCR, 0x01);
	out(&port, IER, 7);
	type(&port, "k");
	assert_int_equal(in(&port, IIR), 0xc4); /* received data before empty transmitter */
	assert_int_equal(in(&port, DATA), 'k');
	assert_true(port.level);
	assert_int_equal(in(&port, IIR), 0xc2);
	assert_int_equal(in(&port, IIR), 0xc1);
	serial_destroy(&port.serial);
}

static void test_loopback(void **state)
{
	struct port port = {.level = false};

	(void)state;
	make(&port);
	assert_int_equal(in(&port, MSR), 0xb0);
	out(&port, MCR, 0x1a); /* loop, OUT2, RTS */
	assert_int_equal(in(&port, MSR) & 0xf0, 0x90);
	assert_int_equal(type(&port, "no"), 0);
	out(&port, DATA, 'L');
	assert_int_equal(port.sent_len, 0);
	out(&port, DATA, 'M'); /* no room */
	assert_int_equal(in(&port, LSR), 0x63);
	assert_int_equal(in(&port, LSR), 0x61); /* reading clears the overrun */
	assert_int_equal(in(&port, DATA), 'L');
	out(&port, MCR, 0);
	assert_int_equal(type(&port, "y"), 1);
	serial_destroy(&port.serial);
}

static void compare_registers(struct port *a, struct port *b)
{
	for (unsigned i = 0; i < 40; i++)
		for (unsigned reg = 0; reg < 8; reg++)
			assert_int_equal(in(a, reg), in(b, reg));
	out(a, LCR, 0x80);
	out(b, LCR, 0x80);
	assert_int_equal(in(a, DATA), in(b, DATA));
	assert_int_equal(in(a, IER), in(b, IER));
}

/* From any state that a driver can bring it into, a copy behaves the same. */
static void test_state_round_trip(void **state)
{
	uint64_t random = random_begin();

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		struct port a = {.level = false}, b = {.level = false};
		struct buf saved = {0};
		struct err err = {0};

		make(&a);
		make(&b);
		for (unsigned i = 0; i < 30; i++) {
			uint64_t r = random_next(&random);
			if (r & 0x100)
				type(&a, "hello");
			else
				out(&a, r >> 16 & 7, (uint8_t)r);
			a.sent_len = 0;
		}
		serial_save(&a.serial, &saved);
		assert_int_equal(serial_load(&b.serial, saved.data, saved.len, &err), 0);
		assert_int_equal(a.level, b.level);
		compare_registers(&a, &b);
		buf_free(&saved);
		serial_destroy(&a.serial);
		serial_destroy(&b.serial);
	}
}

static void test_hostile_state(void **state)
{
	static const uint8_t good[] = {1, 3, 0, 0, 1, 1, 0, 0, 2, 'a', 'b'};
	static const struct {
		unsigned at;
		uint8_t value;
	} bad[] = {{0, 0x10}, {2, 0x20}, {4, 0x03}, {4, 0x00}, {7, 4}, {8, 1}, {8, 3}, {8, 17}, {8, 255}};
	struct port port = {.level = false};
	struct err err = {0};

	(void)state;
	make(&port);
	assert_int_equal(serial_load(&port.serial, good, sizeof(good), &err), 0);
	assert_true(port.level);
	for (size_t len = 0; len < sizeof(good); len++)
		assert_int_equal(serial_load(&port.serial, good, len, &err), -1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t copy[sizeof(good)];
		memcpy(copy, good, sizeof(good));
		copy[bad[i].at] = bad[i].value;
		assert_int_equal(serial_load(&port.serial, copy, sizeof(copy), &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
	}
	assert_int_equal(in(&port, DATA), 'a'); /* a refused load changed nothing */
	serial_destroy(&port.serial);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_transmit),           cmocka_unit_test(test_divisor_is_not_data),
	    cmocka_unit_test(test_transmit_interrupt), cmocka_unit_test(test_receive_without_fifo),
	    cmocka_unit_test(test_receive_fifo),       cmocka_unit_test(test_priority),
	    cmocka_unit_test(test_loopback),           cmocka_unit_test(test_state_round_trip),
	    cmocka_unit_test(test_hostile_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
