/* drover serve: the receiving end of a hand-over, started through SSH. */
#include "cli/commands.h"
#include "migrate/serve.h"

#include <unistd.h>

int cmd_serve(const struct args *args, struct err *err)
{
	(void)args;
	if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO))
		return err_set(
		    err, ERR_USAGE,
		    "serve: it speaks with another host's drover on stdin and stdout, not with a terminal; "
		    "see 'drover help serve'");
	return serve_run(STDIN_FILENO, STDOUT_FILENO, err) ? -1 : 0;
}
