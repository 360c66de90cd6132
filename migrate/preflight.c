#include "migrate/preflight.h"

#include "common/io.h"
#include "common/jobj.h"
#include "migrate/message.h"

#include <string.h>
#include <sys/random.h>

enum { ANSWER_MS = 20000, PROBE_BYTES = 128 << 10, PROBE_MAX = 512 };
#define PROBE_NS 300000000ull

/* The link's speed: frames of noise until they have taken long enough, then one answer to all of them. */
static int probe(struct link *link, struct preflight *preflight, struct err *err)
{
	uint8_t noise[PROBE_BYTES];
	uint64_t started = clock_mono_ns(), sent = 0, got, took;
	struct frame frame;

	for (size_t at = 0; at < sizeof(noise); at += 256)
		if (getrandom(noise + at, 256, 0) != 256)
			return err_sys(err, "cannot get random bytes");
	while (sent < PROBE_MAX && clock_mono_ns() - started < PROBE_NS) {
		buf_put(link_begin(link), noise, sizeof(noise));
		if (link_send(link, MESSAGE_PROBE, 0, err))
			return -1;
		sent++;
	}
	link_begin(link);
	if (link_send(link, MESSAGE_PROBE, 0, err) ||
	    message_await(link, MESSAGE_RECEIVED, ANSWER_MS, &frame, err) ||
	    message_number(&frame, &got, err))
		return -1;
	took = clock_mono_ns() - started;
	took = took > preflight->rtt_ns ? took - preflight->rtt_ns : 1;
	preflight->bytes_per_s = (uint64_t)((double)(sent * PROBE_BYTES) * 1e9 / (double)took);
	return got == sent * PROBE_BYTES ? 0 : err_set(err, ERR_INPUT, "%s counted wrong", link_peer(link));
}

static int ask(struct link *link, struct preflight *preflight, uint64_t started, struct err *err)
{
	json_t *hello = json_pack("{s:i, s:i, s:s, s:s}", "protocol", STREAM_PROTOCOL, "protocol_min",
				  STREAM_PROTOCOL_MIN, "drover", DROVER_VERSION, "purpose", "check"),
	       *welcome;
	struct frame frame;

	if (!hello)
		return err_set(err, ERR_SYSTEM, "out of memory for the greeting");
	if (message_send_json(link, MESSAGE_HELLO, hello, err) ||
	    message_await(link, MESSAGE_WELCOME, ANSWER_MS, &frame, err))
		return -1;
	preflight->connect_ns = clock_mono_ns() - started;
	preflight->rtt_ns = link_rtt_ns(link);
	welcome = message_json(&frame, err);
	if (!welcome)
		return -1;
	preflight->facts = json_incref(json_object_get(welcome, "facts"));
	json_decref(welcome);
	if (!json_is_object(preflight->facts))
		return err_set(err, ERR_INPUT, "%s says nothing of itself", link_peer(link));
	return probe(link, preflight, err);
}

int preflight_run(const struct peer *peer, struct preflight *preflight, struct err *err)
{
	uint64_t started = clock_mono_ns();
	struct ssh_target target;
	struct link *link;
	int status;

	*preflight = (struct preflight){.facts = NULL};
	if (peer_target(peer, &target, err))
		return -1;
	link = link_open_ssh(&target, err);
	status = link ? ask(link, preflight, started, err) : -1;
	link_close(link);
	return status;
}

void preflight_free(struct preflight *preflight)
{
	json_decref(preflight->facts);
	preflight->facts = NULL;
}
