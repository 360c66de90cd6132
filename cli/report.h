/* report.h: what a finished move has to say, for people and for programs. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "migrate/move.h"
#include <jansson.h>
#include <stdio.h>

/* report_text(out, options, report): aligned lines.  Control characters in the names are shown as '?'. */
void report_text(FILE *out, const struct move_options *options, const struct move_report *report);

/* report_json(options, report): the same as one object; times in milliseconds with fractions, sizes in bytes.
 * New reference. */
json_t *report_json(const struct move_options *options, const struct move_report *report);

#endif
