/* drover status: everything that is known of one VM. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/text.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>

static void say_number(const char *key, uint64_t value)
{
	if (value)
		output_say("%-10s %" PRIu64, key, value);
}

static void say_text(const char *key, const char *value)
{
	if (value[0])
		output_say("%-10s %s", key, value);
}

static void print_text(const struct vm_view *view)
{
	char state[512], size[16], uptime[24];

	say_text("name", view->name);
	say_text("state", vms_state_text(view, state, sizeof(state)));
	say_text("uuid", view->uuid);
	say_number("pid", view->pid);
	if (view->memory_bytes)
		say_text("memory", units_format_size(view->memory_bytes, size));
	say_number("cpus", view->cpus);
	say_number("term", view->term);
	say_number("next term", view->next_term);
	say_text("peer", view->peer);
	say_text("tracking", view->dirty_mode);
	if (view->answered)
		say_text("up", units_format_duration(view->uptime_ms * 1000000, uptime));
}

/* What the host denied the VM process, or that it denied nothing. */
static void print_isolation(const json_t *reply)
{
	const json_t *lacks = json_object_get(json_object_get(reply, "isolation"), "lacks"), *part;
	char text[128] = "full";
	size_t i, len = 0;

	if (!json_is_array(lacks))
		return;
	json_array_foreach(lacks, i, part) len +=
	    text_format(text + len, sizeof(text) - len, "%s%s",
			i ? ", " : "lacks: ", json_is_string(part) ? json_string_value(part) : "?");
	say_text("isolation", text);
}

static void print_devices(const json_t *reply)
{
	size_t i;
	const json_t *device;

	json_array_foreach(json_object_get(reply, "devices"), i, device)
	{
		const char *kind = json_string_value(json_object_get(device, "kind"));
		const char *what = json_string_value(json_object_get(device, "path"));
		what = what ? what : json_string_value(json_object_get(device, "tap"));
		output_say("%-10s slot %d: %s%s%s", i ? "" : "devices",
			   (int)json_integer_value(json_object_get(device, "slot")), kind ? kind : "?",
			   what ? " " : "", what ? what : "");
	}
}

static void print_limits(const json_t *reply)
{
	const char *name;
	json_t *what;
	bool first = true;

	json_object_foreach(json_object_get(reply, "limits"), name, what)
	{
		output_say("%-10s %s: %s", first ? "limits" : "", name,
			   json_string_value(what) ? json_string_value(what) : "?");
		first = false;
	}
}

/* A guest that came before all of its memory did. */
static void print_postcopy(const json_t *reply)
{
	const json_t *postcopy = json_object_get(reply, "postcopy");

	if (postcopy)
		output_say("%-10s %" PRIu64 " pages of its memory are still on the other host", "post-copy",
			   (uint64_t)json_integer_value(json_object_get(postcopy, "pages_left")));
}

/* A move whose mover died. */
static void print_kept(const struct vm_view *view, const json_t *reply)
{
	const json_t *kept = json_object_get(reply, "kept");
	const char *peer = json_string_value(json_object_get(kept, "peer"));
	char text[400];

	if (!peer)
		return;
	text_format(text, sizeof(text),
		    "a move to %s; 'drover migrate %s HOST --resume' goes on for %d s more", peer, view->name,
		    (int)(json_integer_value(json_object_get(kept, "ms_left")) / 1000));
	say_text("broken off", text);
}

static void print_json(const struct vm_view *view, const json_t *reply)
{
	static const char *const keys[] = {"devices", "balloon", "limits", "isolation", "postcopy", "kept"};
	json_t *json = vms_json(view);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *value = json_object_get(reply, keys[i]);
		json_object_set_new(json, keys[i], value ? json_incref(value) : json_null());
	}
	output_json(json);
}

int cmd_status(const struct args *args, struct err *err)
{
	struct vm_view view;
	json_t *reply;

	vms_view_reply(args->operand[0], &view, &reply);
	if (!view.known)
		return vms_no_process(&view, err);
	if (args->json) {
		print_json(&view, reply);
	} else {
		print_text(&view);
		print_postcopy(reply);
		print_kept(&view, reply);
		print_isolation(reply);
		print_devices(reply);
		print_limits(reply);
	}
	json_decref(reply);
	return 0;
}
