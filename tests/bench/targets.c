#include "tests/bench/targets.h"
#include <assert.h>
#include <string.h>

struct target *target_add(struct targets *targets, const char *id, const char *unit, const char *text,
			  const char *allowed)
{
	struct target *target = &targets->row[targets->count];

	assert(targets->count < TARGETS_MAX);
	targets->count++;
	*target = (struct target){.unit = unit};
	snprintf(target->id, sizeof(target->id), "%s", id);
	snprintf(target->text, sizeof(target->text), "%s", text);
	snprintf(target->allowed, sizeof(target->allowed), "%s", allowed);
	return target;
}

void target_judge(struct target *target, double got, double limit)
{
	bool good = got >= 0 && (limit < 0 || (target->least ? got >= limit : got <= limit));

	target->got = got;
	target->limit = limit;
	target->verdict = good ? VERDICT_MET : VERDICT_MISSED;
}

const char *target_verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
	    [VERDICT_NOT_MEASURED] = "not measured", [VERDICT_MET] = "met", [VERDICT_MISSED] = "MISSED"};

	return names[verdict];
}

/* Three digits, whatever the size. */
static void put_number(FILE *out, double value, const char *unit)
{
	int digits = value >= 100 || value == 0 ? 0 : value >= 10 ? 1 : 2;

	fprintf(out, " %.*f%s%s |", digits, value, unit[0] ? " " : "", unit);
}

void targets_markdown(const struct targets *targets, FILE *out)
{
	fputs("| id | promise | drover | limit | which is | set by | verdict "
	      "|\n|---|---|---|---|---|---|---|\n",
	      out);
	for (size_t i = 0; i < targets->count; i++) {
		const struct target *target = &targets->row[i];
		bool measured = target->verdict != VERDICT_NOT_MEASURED;

		fprintf(out, "| %s | %s |", target->id, target->text);
		if (!measured || target->got < 0)
			fputs(" - |", out);
		else
			put_number(out, target->got, target->unit);
		if (!measured)
			fputs(" - |", out);
		else if (target->limit < 0)
			fputs(" none |", out);
		else
			put_number(out, target->limit, target->unit);
		fprintf(out, " %s %s | %s | %s |\n", target->least ? ">=" : "<=", target->allowed,
			target->against[0] ? target->against : "-", target_verdict_name(target->verdict));
	}
}

/* A number that is negative where it is unknown. */
static json_t *known(double value)
{
	return value < 0 ? json_null() : json_real(value);
}

json_t *targets_json(const struct targets *targets)
{
	json_t *list = json_array();

	for (size_t i = 0; i < targets->count; i++) {
		const struct target *target = &targets->row[i];
		json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", target->id, "promise",
					   target->text, "bound", target->least ? "least" : "most", "allowed",
					   target->allowed, "verdict", target_verdict_name(target->verdict));

		if (target->verdict != VERDICT_NOT_MEASURED)
			json_object_update_new(object,
					       json_pack("{s:o, s:o, s:s, s:s}", "got", known(target->got),
							 "limit", known(target->limit), "unit", target->unit,
							 "set_by", target->against));
		json_array_append_new(list, object);
	}
	return list;
}
