#include "cli/move_options.h"

struct move_options move_options(const struct args *args, const volatile sig_atomic_t *cancel)
{
	return (struct move_options){
	    .vm = args->operand[0],
	    .peer = args->operand[1],
	    .identity = args->identity,
	    .known_hosts = args->known_hosts,
	    .remote_command = args->remote_command,
	    .downtime_ns = args->downtime_ns,
	    .if_busy = (enum move_if_busy)args->if_busy,
	    .throttle_max = (unsigned)args->throttle_max,
	    .reconnect_ns = args->reconnect_ns,
	    .links = (unsigned)args->streams,
	    .bytes_per_s = args->bytes_per_s,
	    .packing = (enum packer_mode)args->packing,
	    .postcopy = args->postcopy,
	    .resume = args->resume,
	    .cancel = cancel,
	};
}
