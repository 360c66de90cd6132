/* drover list: one line for each VM that this host knows. */
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/vms.h"
#include "common/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 6, CELL = 352 };

struct row {
	char cell[COLUMNS][CELL];
};

static void number_cell(char cell[CELL], uint64_t value)
{
	if (value)
		snprintf(cell, CELL, "%" PRIu64, value);
	else
		snprintf(cell, CELL, "-");
}

static void fill_row(struct row *row, const struct vm_view *view)
{
	char size[16];

	snprintf(row->cell[0], CELL, "%s", view->name);
	vms_state_text(view, row->cell[1], CELL);
	snprintf(row->cell[2], CELL, "%s",
		 view->memory_bytes ? units_format_size(view->memory_bytes, size) : "-");
	number_cell(row->cell[3], view->cpus);
	number_cell(row->cell[4], view->pid);
	number_cell(row->cell[5], view->term);
}

static void print_rows(const struct row *rows, size_t count)
{
	size_t width[COLUMNS] = {0};

	for (size_t i = 0; i < count; i++)
		for (size_t c = 0; c < COLUMNS; c++)
			if (strlen(rows[i].cell[c]) > width[c])
				width[c] = strlen(rows[i].cell[c]);
	for (size_t i = 0; i < count; i++) {
		for (size_t c = 0; c + 1 < COLUMNS; c++)
			printf("%-*s  ", (int)width[c], rows[i].cell[c]);
		printf("%s\n", rows[i].cell[COLUMNS - 1]);
	}
}

static void print_text(const struct vm_view *views, size_t count)
{
	static const char *const titles[COLUMNS] = {"NAME", "STATE", "MEMORY", "CPUS", "PID", "TERM"};
	struct row *rows = calloc(count + 1, sizeof(*rows));

	if (!rows)
		abort();
	for (size_t c = 0; c < COLUMNS; c++)
		snprintf(rows[0].cell[c], CELL, "%s", titles[c]);
	for (size_t i = 0; i < count; i++)
		fill_row(&rows[i + 1], &views[i]);
	if (count)
		print_rows(rows, count + 1);
	else
		output_say("no VMs on this host");
	free(rows);
}

static void print_json(const struct vm_view *views, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, vms_json(&views[i]));
	output_json(json_pack("{s:o}", "vms", list));
}

int cmd_list(const struct args *args, struct err *err)
{
	struct vm_view *views;
	size_t count, shown = 0;
	char **names;

	if (vms_names(&names, &count, err))
		return -1;
	views = calloc(count + 1, sizeof(*views));
	if (!views)
		abort();
	for (size_t i = 0; i < count; i++) {
		vms_view(names[i], &views[shown]);
		/* A socket without a process or a folder was left by one that was killed. */
		shown += views[shown].known;
	}
	if (args->json)
		print_json(views, shown);
	else
		print_text(views, shown);
	free(views);
	vms_free_names(names, count);
	return 0;
}
