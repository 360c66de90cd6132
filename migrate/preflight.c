#include "migrate/preflight.h"

#include "common/io.h"
#include "common/jobj.h"
#include "migrate/message.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { ANSWER_MS = 20000, PROBE_BYTES = 128 << 10, PROBE_MAX = 512 };
#define PROBE_NS 300000000ull

/* One link of those that are measured together. */
struct prober {
	const struct ssh_target *target;
	const struct preflight_ask *ask;
	struct link *link;
	pthread_t thread;
	bool threaded;
	uint64_t bytes_per_s;
	struct err err;
	int status;
};

unsigned preflight_links(unsigned chosen, uint64_t rtt_ns)
{
	enum { NEAR = 2, FAR_NS = 6000000 };
	uint64_t links = NEAR + rtt_ns / FAR_NS;

	if (chosen)
		return chosen;
	if (sysconf(_SC_NPROCESSORS_ONLN) < NEAR && links == NEAR)
		links = 1;
	return links < STREAM_LINKS ? (unsigned)links : STREAM_LINKS;
}

/* Frames of noise until they have taken long enough, then one answer to all of them. */
static int probe(struct prober *prober, struct err *err)
{
	struct link *link = prober->link;
	uint8_t noise[PROBE_BYTES];
	uint64_t started, sent = 0, got, took;
	struct frame frame;

	for (size_t at = 0; at < sizeof(noise); at += 256)
		if (getrandom(noise + at, 256, 0) != 256)
			return err_sys(err, "cannot get random bytes");
	started = clock_mono_ns();
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
	took = took > link_rtt_ns(link) ? took - link_rtt_ns(link) : 1;
	prober->bytes_per_s = (uint64_t)((double)(sent * PROBE_BYTES) * 1e9 / (double)took);
	return got == sent * PROBE_BYTES ? 0 : err_set(err, ERR_INPUT, "%s counted wrong", link_peer(link));
}

static int greet(struct link *link, const struct preflight_ask *ask, json_t **welcome, struct err *err)
{
	json_t *hello = json_pack("{s:i, s:i, s:s, s:s}", "protocol", STREAM_PROTOCOL, "protocol_min",
				  STREAM_PROTOCOL_MIN, "drover", DROVER_VERSION, "purpose", "check");
	struct frame frame;

	if (!hello)
		return err_set(err, ERR_SYSTEM, "out of memory for the greeting");
	if (ask->vm)
		json_object_set_new(hello, "vm", json_pack("{s:s, s:s}", "name", ask->vm, "uuid", ask->uuid));
	if (message_send_json(link, MESSAGE_HELLO, hello, err) ||
	    message_await(link, MESSAGE_WELCOME, ANSWER_MS, &frame, err))
		return -1;
	*welcome = message_json(&frame, err);
	if (!*welcome || !message_chosen(*welcome, link, err))
		return *welcome ? 0 : -1;
	json_decref(*welcome);
	*welcome = NULL;
	return -1;
}

static void *connect_one(void *arg)
{
	struct prober *prober = arg;
	json_t *welcome = NULL;

	prober->link = link_open_ssh(prober->target, &prober->err);
	prober->status = prober->link ? greet(prober->link, prober->ask, &welcome, &prober->err) : -1;
	json_decref(welcome);
	return NULL;
}

static void *probe_one(void *arg)
{
	struct prober *prober = arg;

	if (!prober->status)
		prober->status = probe(prober, &prober->err);
	return NULL;
}

/* One that has no thread counts as one that failed. */
static void at_once(struct prober *prober, unsigned from, unsigned to, void *(*what)(void *))
{
	unsigned i;

	for (i = from; i < to; i++) {
		prober[i].threaded = !pthread_create(&prober[i].thread, NULL, what, &prober[i]);
		if (!prober[i].threaded)
			prober[i].status =
			    err_set(&prober[i].err, ERR_SYSTEM, "cannot start a thread for a link");
	}
	for (i = from; i < to; i++)
		if (prober[i].threaded)
			pthread_join(prober[i].thread, NULL);
}

/* All links together: they share what is between the hosts, and the CPUs at both ends. */
static int probe_all(struct prober *prober, unsigned links, struct preflight *preflight, struct err *err)
{
	for (unsigned i = 1; i < links; i++)
		prober[i] = (struct prober){.target = prober[0].target, .ask = prober[0].ask};
	at_once(prober, 1, links, connect_one);
	at_once(prober, 0, links, probe_one);
	for (unsigned i = 0; i < links; i++) {
		if (!prober[i].status) {
			preflight->links++;
			preflight->bytes_per_s += prober[i].bytes_per_s;
		}
		if (i > 0)
			link_close(prober[i].link);
	}
	if (prober[0].status)
		*err = prober[0].err;
	return prober[0].status;
}

static int ask_first(struct prober *prober, struct preflight *preflight, struct err *err)
{
	uint64_t started = clock_mono_ns();
	json_t *welcome;

	prober->link = link_open_ssh(prober->target, err);
	if (!prober->link || greet(prober->link, prober->ask, &welcome, err))
		return -1;
	preflight->connect_ns = clock_mono_ns() - started;
	preflight->rtt_ns = link_measure(prober->link);
	preflight->facts = json_incref(json_object_get(welcome, "facts"));
	preflight->there = json_incref(json_object_get(welcome, "there"));
	json_decref(welcome);
	return json_is_object(preflight->facts)
		   ? 0
		   : err_set(err, ERR_INPUT, "%s says nothing of itself", link_peer(prober->link));
}

int preflight_run(const struct peer *peer, const struct preflight_ask *ask, struct preflight *preflight,
		  struct err *err)
{
	struct prober prober[STREAM_LINKS];
	struct ssh_target target;
	int status;

	*preflight = (struct preflight){.facts = NULL};
	if (peer_target(peer, &target, err))
		return -1;
	prober[0] = (struct prober){.target = &target, .ask = ask};
	status = ask_first(&prober[0], preflight, err);
	if (!status && !ask->only_ask)
		status = probe_all(prober, preflight_links(ask->links, preflight->rtt_ns), preflight, err);
	link_close(prober[0].link);
	return status;
}

void preflight_free(struct preflight *preflight)
{
	json_decref(preflight->facts);
	json_decref(preflight->there);
	preflight->facts = preflight->there = NULL;
}
