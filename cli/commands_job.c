/* commands_job.c: the commands of 'drover job'. */
#include "cli/commands.h"
#include "cli/table.h"

#define JOB                                                                                                  \
	{                                                                                                    \
		.label = "JOB", .type = OPERAND_NAME                                                         \
	}

static const struct option_spec json_only[] = {JSON, END};

const struct command job_commands[] = {
    {.name = "job show",
     .summary = "what a replication job is, and how it goes",
     .synopsis = "JOB [--json]",
     .details = "With the reason of its last failure.",
     .run = cmd_job_show,
     .options = json_only,
     .operands = {JOB}},
    {.name = "job pause",
     .summary = "let a job rest",
     .synopsis = "JOB [--json]",
     .details = "A cycle that is under way ends. Until 'drover job resume' only 'drover job\n"
		"run-now' makes points.",
     .run = cmd_job_pause,
     .options = json_only,
     .operands = {JOB}},
    {.name = "job resume",
     .summary = "let a job go on",
     .synopsis = "JOB [--json]",
     .details = "Its next point is due at once where the newest one is too old.",
     .run = cmd_job_resume,
     .options = json_only,
     .operands = {JOB}},
    {.name = "job run-now",
     .summary = "make a point, and wait until it is on the other host",
     .synopsis = "JOB [--json]",
     .details = "One cycle, also of a job that is paused. Ctrl-C gives it up: the other host\n"
		"keeps the point before it.",
     .run = cmd_job_run_now,
     .options = json_only,
     .operands = {JOB}},
    {.name = NULL},
};
