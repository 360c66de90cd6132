/* drover peer check: can VMs go to that host? */
#include "cli/commands.h"
#include "cli/output.h"
#include "common/jobj.h"
#include "common/units.h"
#include "migrate/preflight.h"

#include <stdio.h>

static void print(const struct peer *peer, const struct preflight *preflight)
{
	const json_t *facts = preflight->facts;
	const char *kvm = json_string_value(json_object_get(facts, "kvm"));
	uint64_t memory = (uint64_t)json_integer_value(json_object_get(facts, "memory_bytes"));
	uint64_t disk = (uint64_t)json_integer_value(json_object_get(facts, "disk_bytes"));
	const char *version = json_string_value(json_object_get(facts, "drover"));
	char connect[24], rtt[24], rate[16], memory_text[16], disk_text[16];

	output_say("%s: drover %s answers", peer->name, version ? version : "of an unknown version");
	output_say("  KVM        %s", kvm && !*kvm ? "yes" : kvm ? kvm : "unknown");
	output_say("  memory     %s to be had", units_format_size(memory, memory_text));
	output_say("  disk       %s free", units_format_size(disk, disk_text));
	output_say("  link       %s/s on one connection, round trip %s, connected in %s",
		   units_format_size(preflight->bytes_per_s, rate),
		   units_format_duration(preflight->rtt_ns, rtt),
		   units_format_duration(preflight->connect_ns, connect));
}

int cmd_peer_check(const struct args *args, struct err *err)
{
	const struct preflight_ask ask = {.links = 1};
	struct preflight preflight = {.facts = NULL};
	struct peer peer;
	const char *kvm;
	int status = peer_find(args->operand[0], &peer, err);

	if (!status) {
		peer_override(&peer, args->identity, args->known_hosts, args->remote_command);
		status = preflight_run(&peer, &ask, &preflight, err);
	}
	if (!status && args->json)
		output_json(json_pack("{s:o, s:o, s:o, s:I, s:O}", "peer", output_string(peer.name),
				      "connect_ms", output_ms(preflight.connect_ns), "rtt_ms",
				      output_ms(preflight.rtt_ns), "bytes_per_s",
				      (json_int_t)preflight.bytes_per_s, "facts", preflight.facts));
	else if (!status)
		print(&peer, &preflight);
	kvm = json_string_value(json_object_get(preflight.facts, "kvm"));
	if (!status && (!kvm || *kvm))
		status = err_set(err, ERR_REFUSED, "%s cannot run VMs: %.300s", peer.name,
				 kvm ? kvm : "it does not say whether it has KVM");
	preflight_free(&preflight);
	peer_free(&peer);
	return status;
}
