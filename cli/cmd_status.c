/* drover status: everything that is known of one VM. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
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

int cmd_status(const struct args *args, struct err *err)
{
	struct vm_view view;

	vms_view(args->operand[0], &view);
	if (!view.known)
		return vms_no_process(&view, err);
	if (args->json)
		output_json(vms_json(&view));
	else
		print_text(&view);
	return 0;
}
