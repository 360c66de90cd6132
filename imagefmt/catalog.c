/* catalog.c: epochs, pins, runs and the rest that is neither table nor data: in memory, as bytes, and the operations on
 * it that the journal holds. */
#include "imagefmt/vol.h"

#include <stdlib.h>
#include <string.h>

void catalog_free(struct catalog *catalog)
{
	for (size_t i = 0; i < catalog->nruns; i++)
		free(catalog->runs[i].fences);
	free(catalog->epochs);
	free(catalog->pins);
	free(catalog->runs);
	memset(catalog, 0, sizeof(*catalog));
}

int id_compare(struct dvol_id a, struct dvol_id b)
{
	if (a.term != b.term)
		return a.term < b.term ? -1 : 1;
	return a.number < b.number ? -1 : a.number > b.number;
}

uint32_t catalog_newest(const struct catalog *catalog)
{
	for (size_t i = catalog->nepochs; i-- > 0;)
		if (!(catalog->epochs[i].flags & EPOCH_CONDEMNED))
			return catalog->epochs[i].index;
	return 0;
}

uint32_t catalog_below(const struct catalog *catalog, uint32_t index)
{
	for (size_t i = catalog->nepochs; i-- > 0;)
		if (catalog->epochs[i].index < index)
			return catalog->epochs[i].index;
	return 0;
}

struct epoch *catalog_index(const struct catalog *catalog, uint32_t index)
{
	for (size_t i = 0; i < catalog->nepochs; i++)
		if (catalog->epochs[i].index == index)
			return &catalog->epochs[i];
	return NULL;
}

bool tree_needs(const struct catalog *catalog, uint32_t index)
{
	return index != 0 && (catalog->tree.at == index || catalog->tree.moving == index);
}

struct epoch *catalog_id(const struct catalog *catalog, struct dvol_id id)
{
	for (size_t i = 0; i < catalog->nepochs; i++)
		if (id_compare(catalog->epochs[i].id, id) == 0 &&
		    !(catalog->epochs[i].flags & EPOCH_CONDEMNED))
			return &catalog->epochs[i];
	return NULL;
}

void catalog_encode(const struct catalog *catalog, struct buf *out)
{
	buf_put_u64(out, catalog->size_bytes);
	buf_put_u32(out, catalog->open_index);
	buf_put_u32(out, catalog->rolling);
	buf_put_u32(out, catalog->tree.at);
	buf_put_u32(out, catalog->tree.moving);
	buf_put_u32(out, catalog->tree.covered);
	buf_put_u32(out, catalog->tree.number);
	buf_put_u32(out, catalog->tree.moves);
	buf_put_u32(out, catalog->next_run);
	buf_put_u8(out, catalog->compress);
	buf_put_u8(out, catalog->backing_kind);
	buf_put_u64(out, catalog->backing_epoch.term);
	buf_put_u64(out, catalog->backing_epoch.number);
	buf_put(out, catalog->backing_lineage, 16);
	buf_put_u64(out, catalog->backing_size);
	size_t len = strlen(catalog->backing_path);
	buf_put_u16(out, (uint16_t)len);
	buf_put(out, catalog->backing_path, len);
	buf_put_u64(out, catalog->last.term);
	buf_put_u64(out, catalog->last.number);
	buf_put_u32(out, (uint32_t)catalog->nepochs);
	for (size_t i = 0; i < catalog->nepochs; i++) {
		const struct epoch *epoch = &catalog->epochs[i];
		buf_put_u32(out, epoch->index);
		buf_put_u32(out, epoch->flags);
		buf_put_u64(out, epoch->id.term);
		buf_put_u64(out, epoch->id.number);
		buf_put_u64(out, epoch->parent.term);
		buf_put_u64(out, epoch->parent.number);
		buf_put_u64(out, epoch->time_ns);
		buf_put_u64(out, epoch->size_bytes);
		buf_put(out, epoch->root, DVOL_ROOT);
	}
	buf_put_u32(out, (uint32_t)catalog->npins);
	for (size_t i = 0; i < catalog->npins; i++) {
		size_t n = strlen(catalog->pins[i].name);
		buf_put_u32(out, catalog->pins[i].index);
		buf_put_u8(out, (uint8_t)n);
		buf_put(out, catalog->pins[i].name, n);
	}
	buf_put_u32(out, (uint32_t)catalog->nruns);
	for (size_t i = 0; i < catalog->nruns; i++) {
		buf_put_u32(out, catalog->runs[i].id);
		buf_put_u32(out, catalog->runs[i].owner);
		buf_put_u32(out, catalog->runs[i].count);
		buf_put_u64(out, catalog->runs[i].pbn);
	}
}

/* get_text: n bytes without a NUL into text, which has room for them. */
static void get_text(struct reader *reader, size_t n, char *text, size_t cap)
{
	const void *at = reader_bytes(reader, n);
	if (at == NULL || n >= cap || memchr(at, '\0', n) != NULL) {
		reader->bad = true;
		return;
	}
	memcpy(text, at, n);
	text[n] = '\0';
}

static void get_bytes(struct reader *reader, void *out, size_t len)
{
	const void *at = reader_bytes(reader, len);
	if (at != NULL)
		memcpy(out, at, len);
}

/* count_of: how many entries of at least `least` bytes follow; more than there are bytes for is bad. */
static size_t count_of(struct reader *reader, size_t least)
{
	size_t count = reader_u32(reader);
	if (count > reader->left / least)
		reader->bad = true;
	return reader->bad ? 0 : count;
}

static struct tree_state tree_get_state(struct reader *reader)
{
	struct tree_state tree = {.at = reader_u32(reader)};
	tree.moving = reader_u32(reader);
	tree.covered = reader_u32(reader);
	tree.number = reader_u32(reader);
	tree.moves = reader_u32(reader);
	return tree;
}

/* tree_sound: the epochs that it names are there to stay; without a tree there is nowhere to move from. */
static bool tree_sound(const struct catalog *catalog, const struct tree_state *tree)
{
	const struct epoch *at = catalog_index(catalog, tree->at), *to = catalog_index(catalog, tree->moving);
	if (tree->at == 0)
		return tree->moving == 0;
	return at != NULL && !(at->flags & EPOCH_CONDEMNED) &&
	       (tree->moving == 0 || (to != NULL && to != at && !(to->flags & EPOCH_CONDEMNED)));
}

static void decode_epochs(struct catalog *catalog, struct reader *reader)
{
	size_t count = count_of(reader, 80);
	catalog->epochs = must_alloc(count + 1, sizeof(struct epoch));
	for (size_t i = 0; i < count && !reader->bad; i++) {
		struct epoch *epoch = &catalog->epochs[i];
		epoch->index = reader_u32(reader);
		epoch->flags = reader_u32(reader);
		epoch->id.term = reader_u64(reader);
		epoch->id.number = reader_u64(reader);
		epoch->parent.term = reader_u64(reader);
		epoch->parent.number = reader_u64(reader);
		epoch->time_ns = reader_u64(reader);
		epoch->size_bytes = reader_u64(reader);
		get_bytes(reader, epoch->root, DVOL_ROOT);
		if (epoch->index == 0 || epoch->index >= catalog->open_index ||
		    epoch->size_bytes > catalog->size_bytes || epoch->id.number == 0 ||
		    (i > 0 && (epoch->index <= epoch[-1].index || id_compare(epoch->id, epoch[-1].id) <= 0 ||
			       epoch->size_bytes < epoch[-1].size_bytes)))
			reader->bad = true;
		catalog->nepochs = i + 1;
	}
}

static void decode_pins_and_runs(struct catalog *catalog, struct reader *reader)
{
	size_t count = count_of(reader, 5);
	catalog->pins = must_alloc(count + 1, sizeof(struct pin));
	for (size_t i = 0; i < count && !reader->bad; i++) {
		catalog->pins[i].index = reader_u32(reader);
		get_text(reader, reader_u8(reader), catalog->pins[i].name, DVOL_NAME_MAX + 1);
		catalog->npins = i + 1;
	}
	count = count_of(reader, 20);
	catalog->runs = must_alloc(count + 1, sizeof(struct run));
	for (size_t i = 0; i < count && !reader->bad; i++) {
		struct run *run = &catalog->runs[i];
		run->id = reader_u32(reader);
		run->owner = reader_u32(reader);
		run->count = reader_u32(reader);
		run->pbn = reader_u64(reader);
		if (run->count == 0 || run->count > RUN_MAX || run->pbn >= PBN_LIMIT ||
		    run->id >= catalog->next_run || catalog_index(catalog, run->owner) == NULL)
			reader->bad = true;
		catalog->nruns = i + 1;
	}
}

int catalog_decode(struct catalog *catalog, const void *data, size_t len, struct err *err)
{
	struct reader reader = reader_of(data, len);
	memset(catalog, 0, sizeof(*catalog));
	catalog->size_bytes = reader_u64(&reader);
	catalog->open_index = reader_u32(&reader);
	catalog->rolling = reader_u32(&reader);
	catalog->tree = tree_get_state(&reader);
	catalog->next_run = reader_u32(&reader);
	catalog->compress = reader_u8(&reader);
	catalog->backing_kind = reader_u8(&reader);
	catalog->backing_epoch.term = reader_u64(&reader);
	catalog->backing_epoch.number = reader_u64(&reader);
	get_bytes(&reader, catalog->backing_lineage, 16);
	catalog->backing_size = reader_u64(&reader);
	get_text(&reader, reader_u16(&reader), catalog->backing_path, sizeof(catalog->backing_path));
	catalog->last.term = reader_u64(&reader);
	catalog->last.number = reader_u64(&reader);
	if (catalog->size_bytes < DVOL_BLOCK || catalog->size_bytes > DVOL_SIZE_MAX ||
	    catalog->size_bytes % DVOL_SECTOR != 0 || catalog->open_index == 0 ||
	    catalog->open_index >= BIRTH_LIMIT || catalog->backing_kind > DVOL_BACKING_DVOL ||
	    catalog->backing_size > DVOL_SIZE_MAX || catalog->compress > DVOL_COMPRESS_MAX)
		reader.bad = true;
	if (!reader.bad)
		decode_epochs(catalog, &reader);
	if (!reader.bad)
		decode_pins_and_runs(catalog, &reader);
	if ((catalog->nepochs > 0 &&
	     id_compare(catalog->epochs[catalog->nepochs - 1].id, catalog->last) > 0) ||
	    (catalog->rolling != 0 && catalog->rolling != catalog_newest(catalog)) ||
	    !tree_sound(catalog, &catalog->tree))
		reader.bad = true;
	if (reader.bad || reader.left != 0) {
		catalog_free(catalog);
		return err_set(err, ERR_INPUT, "the catalog does not make sense");
	}
	return 0;
}

/* ---- operations ---- */
static bool do_close(struct catalog *catalog, struct reader *reader)
{
	struct epoch epoch = {.index = reader_u32(reader)};
	epoch.id.term = reader_u64(reader);
	epoch.id.number = reader_u64(reader);
	epoch.time_ns = reader_u64(reader);
	epoch.size_bytes = catalog->size_bytes;
	if (catalog->nepochs > 0)
		epoch.parent = catalog->epochs[catalog->nepochs - 1].id;
	if (reader->bad || epoch.index != catalog->open_index || epoch.index + 1 >= BIRTH_LIMIT ||
	    id_compare(epoch.id, epoch.parent) <= 0)
		return false;
	size_t cap = catalog->nepochs; /* room for one more is all that is asked */
	catalog->epochs = must_grow(catalog->epochs, catalog->nepochs, &cap, sizeof(struct epoch));
	catalog->epochs[catalog->nepochs++] = epoch;
	catalog->open_index++;
	if (id_compare(epoch.id, catalog->last) > 0)
		catalog->last = epoch.id;
	return true;
}

static bool do_drop(struct catalog *catalog, uint32_t index)
{
	struct epoch *epoch = catalog_index(catalog, index);
	if (epoch == NULL || tree_needs(catalog, index))
		return false;
	for (size_t i = 0; i < catalog->nruns; i++)
		if (catalog->runs[i].owner == index)
			return false;
	size_t at = (size_t)(epoch - catalog->epochs);
	memmove(epoch, epoch + 1, (catalog->nepochs - at - 1) * sizeof(*epoch));
	catalog->nepochs--;
	return true;
}

static struct run *run_of(struct catalog *catalog, uint32_t id)
{
	for (size_t i = 0; i < catalog->nruns; i++)
		if (catalog->runs[i].id == id)
			return &catalog->runs[i];
	return NULL;
}

static bool do_run_add(struct catalog *catalog, struct reader *reader)
{
	struct run run = {.id = reader_u32(reader)};
	run.owner = reader_u32(reader);
	run.count = reader_u32(reader);
	run.pbn = reader_u64(reader);
	if (reader->bad || run.count == 0 || run.count > RUN_MAX || run.pbn >= PBN_LIMIT ||
	    run.id < catalog->next_run || run.id == UINT32_MAX || catalog_index(catalog, run.owner) == NULL)
		return false;
	catalog->next_run = run.id + 1;
	size_t cap = catalog->nruns;
	catalog->runs = must_grow(catalog->runs, catalog->nruns, &cap, sizeof(struct run));
	catalog->runs[catalog->nruns++] = run;
	return true;
}

static bool do_run_drop(struct catalog *catalog, uint32_t id)
{
	struct run *run = run_of(catalog, id);
	if (run == NULL)
		return false;
	free(run->fences);
	*run = catalog->runs[--catalog->nruns];
	return true;
}

static bool do_pin(struct catalog *catalog, struct reader *reader, bool add)
{
	struct pin pin = {.index = reader_u32(reader)};
	get_text(reader, reader_u8(reader), pin.name, sizeof(pin.name));
	size_t at = 0;
	while (at < catalog->npins &&
	       !(catalog->pins[at].index == pin.index && strcmp(catalog->pins[at].name, pin.name) == 0))
		at++;
	if (reader->bad || catalog_index(catalog, pin.index) == NULL || add != (at == catalog->npins))
		return false;
	if (!add) {
		catalog->pins[at] = catalog->pins[--catalog->npins];
		return true;
	}
	size_t cap = catalog->npins;
	catalog->pins = must_grow(catalog->pins, catalog->npins, &cap, sizeof(struct pin));
	catalog->pins[catalog->npins++] = pin;
	return true;
}

static bool do_resize(struct catalog *catalog, uint64_t bytes)
{
	if (bytes < catalog->size_bytes || bytes > DVOL_SIZE_MAX || bytes % DVOL_SECTOR != 0)
		return false;
	catalog->size_bytes = bytes;
	return true;
}

static bool do_digested(struct catalog *catalog, struct reader *reader)
{
	struct tree_state tree = tree_get_state(reader);
	bool has_root = reader_u8(reader) != 0;
	const void *root = reader_bytes(reader, DVOL_ROOT);
	struct epoch *epoch = catalog_index(catalog, tree.at);
	if (root == NULL || !tree_sound(catalog, &tree) || (has_root && epoch == NULL))
		return false;
	catalog->tree = tree;
	if (has_root) {
		memcpy(epoch->root, root, DVOL_ROOT);
		epoch->flags |= EPOCH_HAS_ROOT;
	}
	return true;
}

static bool do_condemn(struct catalog *catalog, uint32_t index)
{
	struct epoch *epoch = catalog_index(catalog, index);
	if (epoch == NULL || tree_needs(catalog, index))
		return false;
	epoch->flags |= EPOCH_CONDEMNED;
	return true;
}

static bool do_one(struct catalog *catalog, struct reader *reader, bool *spill)
{
	struct run *run;
	switch (reader_u8(reader)) {
	case OP_CLOSE:
		return do_close(catalog, reader);
	case OP_CONDEMN:
		return do_condemn(catalog, reader_u32(reader));
	case OP_DROP:
		return do_drop(catalog, reader_u32(reader));
	case OP_RUN_ADD:
		return do_run_add(catalog, reader);
	case OP_RUN_DROP:
		return do_run_drop(catalog, reader_u32(reader));
	case OP_REOWN:
		run = run_of(catalog, reader_u32(reader));
		if (run != NULL)
			run->owner = reader_u32(reader);
		return run != NULL && catalog_index(catalog, run->owner) != NULL;
	case OP_SPILL:
		*spill = true;
		return true;
	case OP_ROLL_BEGIN:
		catalog->rolling = reader_u32(reader);
		return catalog->rolling != 0 && catalog->rolling == catalog_newest(catalog);
	case OP_ROLL_END:
		catalog->rolling = 0;
		return true;
	case OP_RESIZE:
		return do_resize(catalog, reader_u64(reader));
	case OP_PIN:
		return do_pin(catalog, reader, true);
	case OP_UNPIN:
		return do_pin(catalog, reader, false);
	case OP_DIGESTED:
		return do_digested(catalog, reader);
	default:
		return false;
	}
}

int catalog_apply(struct catalog *catalog, const void *ops, size_t len, bool *spill, struct err *err)
{
	struct reader reader = reader_of(ops, len);
	while (reader.left > 0 && !reader.bad)
		if (!do_one(catalog, &reader, spill) || reader.bad)
			return err_set(err, ERR_INPUT, "an operation in the journal does not make sense");
	return 0;
}
