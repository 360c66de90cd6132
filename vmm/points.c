/* points.c: see points.h. */
#include "vmm/points.h"
#include "vmm/snapshot_delete.h"
#include <stdlib.h>
#include <string.h>

struct list {
	struct dvol_id *id;
	struct retention_point *point;
	size_t count;
};

static void list_free(struct list *list)
{
	free(list->id);
	free(list->point);
}

/* Those of the job, oldest first.  One whose record cannot be read is nobody's to delete. */
static int list_of(const struct snapshot_store *store, const char *job, struct list *list, struct err *err)
{
	struct dvol_id *ids;
	size_t count;
	*list = (struct list){.count = 0};
	if (snapshot_store_ids(store, "json", &ids, &count, err))
		return -1;
	list->id = calloc(count + 1, sizeof(*list->id));
	list->point = calloc(count + 1, sizeof(*list->point));
	if (!list->id || !list->point)
		abort();
	for (size_t i = 0; i < count; i++) {
		struct snapshot_record record;
		if (snapshot_store_load(store, ids[i], &record, NULL))
			continue;
		if (record.point.is && !strcmp(record.point.job, job)) {
			list->id[list->count] = ids[i];
			list->point[list->count++] = (struct retention_point){
			    .taken_ns = record.time_ns,
			    .held = record.nclones > 0,
			    .verified = record.point.verified_ns > 0,
			};
		}
		snapshot_record_free(&record);
	}
	free(ids);
	return 0;
}

static int delete_others(const struct snapshot_store *store, const struct list *list, size_t *deleted,
			 struct err *err)
{
	int status = 0;
	for (size_t i = 0; i < list->count; i++) {
		struct err why;
		if (list->point[i].keep)
			continue;
		if (!snapshot_delete_one(store, list->id[i], &why))
			++*deleted;
		else if (why.kind != ERR_STATE && !status)
			status = err_set(err, why.kind, "%s", why.text);
	}
	return status;
}

int points_prune(const struct snapshot_store *store, const char *job, const struct retention *retention,
		 size_t *pruned, struct err *err)
{
	struct list list;
	*pruned = 0;
	if (list_of(store, job, &list, err))
		return -1;
	retention_choose(retention, list.point, list.count);
	int status = delete_others(store, &list, pruned, err);
	list_free(&list);
	return status;
}

int points_leave(const struct snapshot_store *store, const char *job, struct dvol_id id, struct err *err)
{
	struct list list;
	size_t deleted = 0;
	if (list_of(store, job, &list, err))
		return -1;
	for (size_t i = 0; i < list.count; i++)
		list.point[i].keep = !snapshot_id_compare(list.id[i], id);
	int status = delete_others(store, &list, &deleted, err);
	list_free(&list);
	return status;
}
