/* limits.c: see limits.h. */
#include "vmm/limits.h"
#include "common/jobj.h"
#include "common/units.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Beside its RAM a VM process has KVM's page tables (1/512 of the RAM, twice that where they are shadowed), dirty bitmaps
 * and device buffers; a volume's maps are cached. */
#define OVERHEAD_BYTES      (128ull << 20)
#define OVERHEAD_DISK_BYTES (64ull << 20)
enum { OVERHEAD_RAM_PART = 128 };

enum kind { SIZE, NUMBER, HUNDREDTHS };
enum { NUMBERS = LIMITS_WORDS - 1 };
#define AT(field) offsetof(struct vm_limits, field)

static const struct {
	const char *key; /* in JSON */
	size_t offset;
	enum kind kind;
	uint64_t min, max;
} numbers[NUMBERS] = {
    {"memory_bytes", AT(memory_bytes), SIZE, LIMITS_MIN_MEMORY, 1ull << 44},
    {"cpu_percent", AT(cpu_percent), HUNDREDTHS, 1, 100000},
    {"read_bytes", AT(read_bytes), SIZE, 4096, 1ull << 44},
    {"write_bytes", AT(write_bytes), SIZE, 4096, 1ull << 44},
    {"read_iops", AT(read_iops), NUMBER, 1, 1u << 30},
    {"write_iops", AT(write_iops), NUMBER, 1, 1u << 30},
};

const char *const limits_words[LIMITS_WORDS] = {"memory-max", "cpu",        "read-bytes", "write-bytes",
						"read-iops",  "write-iops", "required"};

static uint64_t *field(struct vm_limits *limits, unsigned i)
{
	return (uint64_t *)((char *)limits + numbers[i].offset);
}

static uint64_t value_of(const struct vm_limits *limits, unsigned i)
{
	return *(const uint64_t *)((const char *)limits + numbers[i].offset);
}

/* "1.5": at most two digits behind the point, in hundredths. */
static int parse_hundredths(const char *text, uint64_t *value, struct err *err)
{
	size_t whole = strspn(text, "0123456789");
	size_t part = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") : 0;
	bool point = text[whole] == '.';
	if (!whole || whole > 6 || (point && (part < 1 || part > 2)) || text[whole + point + part])
		return err_set(err, ERR_USAGE, "\"%.40s\" is not a number of CPUs, as in 2, 0.5 or 1.25",
			       text);
	*value = strtoull(text, NULL, 10) * 100;
	if (part)
		*value += strtoull(text + whole + 1, NULL, 10) * (part == 1 ? 10 : 1);
	return 0;
}

static int set_number(struct vm_limits *limits, unsigned i, const char *text, struct err *err)
{
	uint64_t value = 0;
	if (numbers[i].offset == AT(memory_bytes) && !strcmp(text, "auto")) {
		limits->memory_bytes = LIMITS_AUTO_MEMORY;
		return 0;
	}
	if (numbers[i].kind == NUMBER && units_parse_uint(text, numbers[i].min, numbers[i].max, &value, err))
		return -1;
	if ((numbers[i].kind == SIZE && units_parse_size(text, &value, err)) ||
	    (numbers[i].kind == HUNDREDTHS && parse_hundredths(text, &value, err)))
		return -1;
	if (value < numbers[i].min || value > numbers[i].max)
		return err_set(err, ERR_USAGE, "\"%.40s\" is not %s", text,
			       numbers[i].kind == HUNDREDTHS           ? "between 0.01 and 1000 CPUs"
			       : numbers[i].offset == AT(memory_bytes) ? "between 32M and 16T"
								       : "between 4K and 16T a second");
	*field(limits, i) = value;
	return 0;
}

int limits_set(struct vm_limits *limits, const char *word, const char *value, struct err *err)
{
	for (unsigned i = 0; i < NUMBERS; i++)
		if (!strcmp(word, limits_words[i]))
			return set_number(limits, i, value, err);
	if (strcmp(word, limits_words[NUMBERS]))
		return err_set(err, ERR_USAGE,
			       "\"%.40s\" is none of memory-max, cpu, read-bytes, write-bytes, read-iops, "
			       "write-iops, required",
			       word);
	limits->required = !strcmp(value, "true");
	if (!limits->required && strcmp(value, "false"))
		return err_set(err, ERR_USAGE, "\"%.40s\" is neither true nor false", value);
	return 0;
}

void limits_settle(struct vm_limits *limits, uint64_t memory_bytes, unsigned disks)
{
	if (limits->memory_bytes == LIMITS_AUTO_MEMORY)
		limits->memory_bytes = memory_bytes + memory_bytes / OVERHEAD_RAM_PART + OVERHEAD_BYTES +
				       disks * OVERHEAD_DISK_BYTES;
}

bool limits_any_io(const struct vm_limits *limits)
{
	return limits->read_bytes || limits->write_bytes || limits->read_iops || limits->write_iops;
}

bool limits_any(const struct vm_limits *limits)
{
	return limits->memory_bytes || limits->cpu_percent || limits_any_io(limits);
}

json_t *limits_to_json(const struct vm_limits *limits)
{
	json_t *json = json_object();
	for (unsigned i = 0; i < NUMBERS; i++)
		if (value_of(limits, i))
			json_object_set_new(json, numbers[i].key,
					    json_integer((json_int_t)value_of(limits, i)));
	if (limits->required)
		json_object_set_new(json, "required", json_true());
	return json;
}

int limits_check(const struct vm_limits *limits, struct err *err)
{
	for (unsigned i = 0; i < NUMBERS; i++) {
		uint64_t value = value_of(limits, i);
		if (value && (value < numbers[i].min || value > numbers[i].max))
			return err_set(err, ERR_INPUT, "limits: %s: %llu is not between %llu and %llu",
				       limits_words[i], (unsigned long long)value,
				       (unsigned long long)numbers[i].min,
				       (unsigned long long)numbers[i].max);
	}
	if (limits->required && !limits_any(limits))
		return err_set(err, ERR_INPUT, "limits: there is none that could be required");
	return 0;
}

int limits_from_json(const json_t *json, struct vm_limits *limits, struct err *err)
{
	const char *key;
	json_t *value;
	*limits = (struct vm_limits){0};
	json_object_foreach((json_t *)json, key, value)
	{
		unsigned i = 0;
		while (i < NUMBERS && strcmp(key, numbers[i].key))
			i++;
		if (i == NUMBERS && strcmp(key, "required"))
			return err_set(err, ERR_INPUT,
				       "limits: this version of drover does not know the field \"%.40s\"",
				       key);
		if (i == NUMBERS
			? jobj_bool(json, key, true, &limits->required, err)
			: jobj_u64(json, key, true, numbers[i].min, numbers[i].max, field(limits, i), err))
			return err_context(err, "limits");
	}
	return limits_check(limits, err);
}
