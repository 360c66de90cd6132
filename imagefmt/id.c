/* id.c: the names of epochs as people write them. */
#include "common/units.h"
#include "imagefmt/dvol.h"

#include <stdio.h>
#include <string.h>

int dvol_id_parse(const char *text, struct dvol_id *id, struct err *err)
{
	const char *dot = strchr(text, '.');
	char term[24];

	if (dot != NULL && (size_t)(dot - text) < sizeof(term)) {
		snprintf(term, sizeof(term), "%.*s", (int)(dot - text), text);
		if (units_parse_uint(term, 1, UINT64_MAX, &id->term, NULL) == 0 &&
		    units_parse_uint(dot + 1, 1, UINT64_MAX, &id->number, NULL) == 0)
			return 0;
	}
	return err_set(err, ERR_USAGE, "'%.60s' is not an epoch: write its term and number, as in 1.5", text);
}
