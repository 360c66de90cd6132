#include "params.h"
#include "pattern.h"
#include "stop.h"
#include "text.h"

#define RATE_LIMIT 1000000 /* MB/s; above it, "max" is meant */

static bool parse_size(const char *s, size_t len, uint64_t *value)
{
	static const char units[] = "KMG";
	unsigned shift = 0;

	for (unsigned i = 0; len && units[i]; i++)
		if (s[len - 1] == units[i])
			shift = 10 * (i + 1);
	return text_parse_u64(s, shift ? len - 1 : len, value) && *value < 1ull << 50 &&
	       (*value <<= shift) < 1ull << 50;
}

/* As many as the page has equal parts. */
static bool parse_words(const char *s, size_t len, uint64_t *value)
{
	return text_parse_u64(s, len, value) && *value && (*value & (*value - 1)) == 0;
}

bool params_rate(const char *s, size_t len, uint64_t *rate)
{
	if (text_is(s, len, "max")) {
		*rate = RATE_MAX;
		return true;
	}
	return text_parse_u64(s, len, rate) && *rate <= RATE_LIMIT;
}

static bool parse_name(const char *const *names, const char *s, size_t len, uint64_t *value)
{
	for (unsigned i = 0; names[i]; i++) {
		if (text_is(s, len, names[i])) {
			*value = i;
			return true;
		}
	}
	return false;
}

static bool parse_order(const char *s, size_t len, uint64_t *value)
{
	static const char *const names[] = {
	    [ORDER_SEQ] = "seq", [ORDER_RANDOM] = "random", [ORDER_HOT] = "hot", NULL};

	return parse_name(names, s, len, value);
}

static bool parse_io(const char *s, size_t len, uint64_t *value)
{
	static const char *const names[] = {[IO_NONE] = "none",           [IO_RANDREAD] = "randread",
					    [IO_RANDWRITE] = "randwrite", [IO_READ] = "read",
					    [IO_WRITE] = "write",         [IO_LOG] = "disk-log",
					    [IO_VERIFY] = "disk-verify",  NULL};

	return parse_name(names, s, len, value);
}

static bool parse_net(const char *s, size_t len, uint64_t *value)
{
	static const char *const names[] = {
	    [NET_NONE] = "none", [NET_SEND] = "send", [NET_RECEIVE] = "receive", NULL};

	return parse_name(names, s, len, value);
}

static const struct {
	const char *key;
	bool (*parse)(const char *s, size_t len, uint64_t *value);
	size_t offset;
	uint64_t min, max;
} keys[] = {
    {"fill", parse_size, offsetof(struct params, fill), 1, UINT64_MAX},
    {"working", parse_size, offsetof(struct params, working), 1, UINT64_MAX},
    {"compress", text_parse_u64, offsetof(struct params, compress), 0, 100},
    {"dirty", params_rate, offsetof(struct params, dirty), 0, UINT64_MAX},
    {"verify", params_rate, offsetof(struct params, verify), 0, UINT64_MAX},
    {"pattern", parse_order, offsetof(struct params, order), 0, UINT64_MAX},
    {"words", parse_words, offsetof(struct params, words), 1, PATTERN_WORDS},
    {"report", text_parse_u64, offsetof(struct params, report), 20, 3600000},
    {"cpus", text_parse_u64, offsetof(struct params, cpus), 1, CPUS_MAX},
    {"tsc_khz", text_parse_u64, offsetof(struct params, tsc_khz), 100000, 10000000},
    {"seed", text_parse_u64, offsetof(struct params, seed), 0, UINT64_MAX},
    {"io", parse_io, offsetof(struct params, io), 0, UINT64_MAX},
    {"net", parse_net, offsetof(struct params, net), 0, UINT64_MAX},
    {"qd", text_parse_u64, offsetof(struct params, depth), 1, DEPTH_MAX},
    {"bs", parse_size, offsetof(struct params, block), 512, BLOCK_MAX},
    {"frame", text_parse_u64, offsetof(struct params, frame), FRAME_MIN, FRAME_MAX},
    {"seconds", text_parse_u64, offsetof(struct params, seconds), 1, 3600},
    {"span", parse_size, offsetof(struct params, span), 1, UINT64_MAX},
    {"iops", text_parse_u64, offsetof(struct params, iops), 0, 1000000},
    {"flushed", text_parse_u64, offsetof(struct params, flushed), 0, UINT64_MAX},
};

static bool parse_word(struct params *p, const char *word, size_t len)
{
	size_t key_len = 0;

	while (key_len < len && word[key_len] != '=')
		key_len++;
	for (unsigned i = 0; key_len < len && i < sizeof(keys) / sizeof(keys[0]); i++) {
		uint64_t *value = (uint64_t *)((char *)p + keys[i].offset);

		if (text_is(word, key_len, keys[i].key))
			return keys[i].parse(word + key_len + 1, len - key_len - 1, value) &&
			       *value >= keys[i].min && *value <= keys[i].max;
	}
	return false;
}

static _Noreturn void bad_word(const char *word, size_t len)
{
	struct text copy = {0};

	text_bytes(&copy, word, len < TEXT_MAX ? len : TEXT_MAX - 1);
	copy.buf[copy.len] = '\0';
	stop_error("bad parameter", copy.buf);
}

void params_parse(struct params *p, const char *cmdline, uint64_t ram)
{
	size_t len;

	*p = (struct params){.fill = ram / 4 >> 20 << 20,
			     .compress = 50,
			     .verify = RATE_MAX,
			     .words = 4,
			     .report = 1000,
			     .cpus = 1,
			     .depth = 1,
			     .block = 4096,
			     .frame = FRAME_MIN,
			     .seconds = 2};
	for (const char *word = cmdline; *word; word += len) {
		len = 0;
		while (word[len] && word[len] != ' ')
			len++;
		if (len == 0)
			len = 1;
		else if (!parse_word(p, word, len))
			bad_word(word, len);
	}
}
