/* pass.c: passes over the digest tree of the closed epochs (docs/dvol.md, "Digest").
 *
 * The tree stands at one epoch and is taken to others by passes: only nodes above what changed between the two are computed,
 * each wholly from its children.  While that is under way the catalog names both epochs, so that a pass which was cut short can
 * be done again, in either direction, at the cost of what changed between them.  The first tree is built from the left, and the
 * catalog says how far it goes.
 *
 * Where the tree stands is changed with `digesting` and `commit` held; a pass holds `digesting` alone while it reads and
 * hashes. */
#include "imagefmt/pass.h"
#include "imagefmt/tree.h"

#include <stdlib.h>
#include <string.h>

/* Nodes of the first level (1 MiB each) of a first tree after which it is recorded how far it goes. */
enum { STEP = 1024 };

struct pass {
	struct dvol *vol, *reader; /* reader: at the epoch to which the tree goes */
	struct sha *sha;
	enum pass_for who;
	uint32_t to;
	uint32_t first, last; /* nodes of the first level that may be computed: [first, last) */
	uint64_t *nodes;      /* numbers of nodes of the present level that are to be computed, rising */
	size_t count;
	uint64_t blocks;  /* of the volume at `to` */
	uint64_t reached; /* every node of the first level below it is computed */
};

int pass_mark(struct dvol *vol, const struct tree_state *state, const uint8_t *root, struct err *err)
{
	static const uint8_t none[DVOL_ROOT];
	struct buf ops = {0};
	buf_put_u8(&ops, OP_DIGESTED);
	buf_put_u32(&ops, state->at);
	buf_put_u32(&ops, state->moving);
	buf_put_u32(&ops, state->covered);
	buf_put_u32(&ops, state->number);
	buf_put_u32(&ops, state->moves);
	buf_put_u8(&ops, root != NULL);
	buf_put(&ops, root != NULL ? root : none, DVOL_ROOT);
	return commit_op(vol, &ops, err);
}

int pass_give_up(struct dvol *vol, struct err *err)
{
	struct tree_state state = vol->catalog.tree;
	state.at = state.moving = state.covered = 0;
	state.moves++;
	return pass_mark(vol, &state, NULL, err);
}

/* ---- which nodes ---- */

/* to_parents: the numbers of the nodes one level up; node 0 is always among them, since a volume that grew has new
 * levels above what did not change. */
static void to_parents(struct pass *pass)
{
	size_t kept = 0;
	uint64_t *parents = must_alloc(pass->count + 1, sizeof(*parents));
	parents[kept++] = 0;
	for (size_t i = 0; i < pass->count; i++)
		if (pass->nodes[i] / TREE_FANOUT != parents[kept - 1])
			parents[kept++] = pass->nodes[i] / TREE_FANOUT;
	free(pass->nodes);
	pass->nodes = parents;
	pass->count = kept;
}

/* all_blocks: one block for each node of the first level with something in it, for a first tree. */
static int all_blocks(struct pass *pass, struct err *err)
{
	struct dvol *reader = pass->reader;
	uint64_t backed = (reader->backing_size + BLOCK - 1) / BLOCK;
	size_t cap = 0;
	int result = 0;
	pthread_mutex_lock(&reader->meta);
	for (uint64_t block = 0; block < pass->blocks; block = (block / TREE_FANOUT + 1) * TREE_FANOUT) {
		if (block >= backed)
			result = view_seek(reader, block, &block, err);
		if (result < 0 || block >= pass->blocks)
			break;
		pass->nodes = must_grow(pass->nodes, pass->count, &cap, sizeof(uint64_t));
		pass->nodes[pass->count++] = block;
		tables_trim(reader);
	}
	pthread_mutex_unlock(&reader->meta);
	return result;
}

/* ---- work: neither commit nor meta held ---- */
static int interrupted(const struct pass *pass, struct err *err)
{
	if (pass->who == PASS_BACKGROUND && digest_interrupted(pass->vol))
		return err_set(err, ERR_CANCELLED, "%s: somebody else wants the digests", pass->vol->path);
	return 0;
}

static int leaf(struct pass *pass, uint64_t block, uint64_t out[2], struct err *err)
{
	struct dvol *vol = pass->vol;
	uint64_t word;
	bool known;
	if (interrupted(pass, err) < 0 ||
	    block_digest(pass->reader, pass->sha, block, out, &word, &known, err) < 0)
		return -1;
	uint64_t pbn = word_pbn(word);
	if (known || pbn == 0)
		return 0;
	pthread_mutex_lock(&vol->meta);
	int result = table_set(vol, TABLE_PDIG, pbn * 2, out[0], err);
	if (result == 0)
		result = table_set(vol, TABLE_PDIG, pbn * 2 + 1, out[1], err);
	commit_note(vol);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

/* node_digest: of a node that is in the tree already; one that is not is all zeroes. */
static int node_digest(struct pass *pass, unsigned level, uint64_t number, uint64_t out[2], struct err *err)
{
	struct dvol *vol = pass->vol;
	enum table table = (enum table)(TABLE_HASH1 + level - 1);
	uint64_t words[3] = {0};
	int result = 0;
	pthread_mutex_lock(&vol->meta);
	for (unsigned i = 0; i < 3 && result == 0; i++)
		result = table_get(vol, table, number * 3 + i, &words[i], err);
	bool ours = words[2] == vol->catalog.tree.number;
	pthread_mutex_unlock(&vol->meta);
	out[0] = ours ? words[0] : 0;
	out[1] = ours ? words[1] : 0;
	return result;
}

static int compute_node(struct pass *pass, unsigned level, uint64_t number, struct err *err)
{
	uint64_t children[TREE_FANOUT][2] = {0}, node[3];
	uint64_t first = number * TREE_FANOUT;
	for (uint64_t i = 0; i < TREE_FANOUT && (first + i) * tree_blocks(level - 1) < pass->blocks; i++)
		if ((level == 1 ? leaf(pass, first + i, children[i], err)
				: node_digest(pass, level - 1, first + i, children[i], err)) < 0)
			return -1;
	sha_short(pass->sha, children, sizeof(children), node);
	struct dvol *vol = pass->vol;
	enum table table = (enum table)(TABLE_HASH1 + level - 1);
	pthread_mutex_lock(&vol->meta);
	node[2] = vol->catalog.tree.number;
	int result = 0;
	for (unsigned i = 0; i < 3 && result == 0; i++)
		result = table_set(vol, table, number * 3 + i, node[i], err);
	commit_note(vol);
	tables_trim(vol);
	pthread_mutex_unlock(&vol->meta);
	return result;
}

static int save(struct pass *pass, struct err *err);

/* first_level: the nodes that may be computed; of a first tree what is done is recorded now and then. */
static int first_level(struct pass *pass, struct err *err)
{
	size_t from = 0, steps = 0;
	to_parents(pass);
	while (from < pass->count && pass->nodes[from] < pass->first)
		from++;
	pass->reached = pass->first;
	for (size_t i = from; i < pass->count && pass->nodes[i] < pass->last; i++) {
		if (pass->nodes[i] * TREE_FANOUT >= pass->blocks)
			break; /* of a later, larger state of the volume */
		if ((pass->who == PASS_ASKED &&
		     vol_tick(pass->vol, (i - from) * TREE_FANOUT * BLOCK,
			      (pass->count - from) * TREE_FANOUT * BLOCK, err) < 0) ||
		    commit_pressure(pass->vol, err) < 0 || compute_node(pass, 1, pass->nodes[i], err) < 0)
			return -1;
		pass->reached = pass->nodes[i] + 1;
		if (++steps % STEP == 0 && save(pass, err) < 0)
			return -1;
	}
	return 0;
}

static int upper_levels(struct pass *pass, uint8_t root[DVOL_ROOT], struct err *err)
{
	unsigned levels = tree_levels(pass->blocks);
	uint64_t top[2];
	for (unsigned level = 2; level <= levels; level++) {
		to_parents(pass);
		for (size_t i = 0; i < pass->count; i++) {
			if (pass->nodes[i] * tree_blocks(level) >= pass->blocks)
				break;
			if (interrupted(pass, err) < 0 || commit_pressure(pass->vol, err) < 0 ||
			    compute_node(pass, level, pass->nodes[i], err) < 0)
				return -1;
		}
	}
	if (node_digest(pass, levels, 0, top, err) < 0)
		return -1;
	tree_root(pass->sha, dvol_size(pass->reader), top, root);
	return 0;
}

/* ---- begin and end: commit held (settle releases it for a while) ---- */
static int pass_begin(struct pass *pass, struct dvol *vol, uint32_t to, enum pass_for who, struct err *err)
{
	const struct epoch *epoch = catalog_index(&vol->catalog, to);
	*pass = (struct pass){.vol = vol, .to = to, .who = who, .last = TREE_COVERED};
	pass->blocks = (epoch->size_bytes + BLOCK - 1) / BLOCK;
	pass->sha = sha_make();
	/* It is closed and committed: another handle sees it. */
	pass->reader = vol_open_beside(vol, epoch->id, err);
	return pass->reader == NULL ? -1 : 0;
}

static void pass_end(struct pass *pass)
{
	if (pass->reader != NULL)
		(void)dvol_close(pass->reader, NULL);
	sha_free(pass->sha);
	free(pass->nodes);
}

/* put_in_place: all that was computed is in its place in the file on return, while others flush.  A checkpoint of its own, also
 * where nothing seems to be changed: one that has just begun may have taken the pages, and not written them. */
static int put_in_place(struct dvol *vol, struct err *err)
{
	struct checkpoint *cp = checkpoint_begin(vol, err);
	if (cp == NULL)
		return -1;
	pthread_mutex_unlock(&vol->commit);
	int result = checkpoint_finish(vol, cp, err);
	pthread_mutex_lock(&vol->commit);
	return result;
}

/* settle: all that the tree consists of is put in place; then it counts, as far as `covered`. */
static int settle(struct pass *pass, uint32_t covered, const uint8_t *root, struct err *err)
{
	struct dvol *vol = pass->vol;
	if (put_in_place(vol, err) < 0)
		return -1;
	const struct epoch *epoch = catalog_index(&vol->catalog, pass->to);
	if (root != NULL && (epoch->flags & EPOCH_HAS_ROOT) && memcmp(epoch->root, root, DVOL_ROOT) != 0) {
		if (pass_give_up(vol, err) == 0)
			err_set(err, ERR_INPUT,
				"%s: the digest tree does not give the root of epoch %llu.%llu; verify it, "
				"then compute the digests anew",
				vol->path, (unsigned long long)epoch->id.term,
				(unsigned long long)epoch->id.number);
		return -1;
	}
	struct tree_state state = vol->catalog.tree;
	state.at = pass->to;
	state.moving = 0;
	state.covered = covered;
	return pass_mark(vol, &state, root, err);
}

/* save (commit not held): how far a first tree goes by now; other passes have nothing to record. */
static int save(struct pass *pass, struct err *err)
{
	struct dvol *vol = pass->vol;
	int result = 0;
	pthread_mutex_lock(&vol->commit);
	if (vol->catalog.tree.covered < pass->reached && vol->catalog.tree.moving == 0)
		result = settle(pass, (uint32_t)pass->reached, NULL, err);
	pthread_mutex_unlock(&vol->commit);
	return result;
}

int pass_extend(struct dvol *vol, enum pass_for who, struct err *err)
{
	struct pass pass;
	uint8_t root[DVOL_ROOT];
	int result = pass_begin(&pass, vol, vol->catalog.tree.at, who, err);
	pass.first = vol->catalog.tree.covered;
	pthread_mutex_unlock(&vol->commit);
	if (result == 0)
		result = all_blocks(&pass, err);
	if (result == 0) {
		result = first_level(&pass, err);
		if (result < 0)
			(void)save(&pass, NULL);
	}
	if (result == 0)
		result = upper_levels(&pass, root, err);
	pthread_mutex_lock(&vol->commit);
	if (result == 0)
		result = settle(&pass, TREE_COVERED, root, err);
	pass_end(&pass);
	return result;
}

int pass_move(struct dvol *vol, uint32_t to, enum pass_for who, struct err *err)
{
	struct tree_state state = vol->catalog.tree;
	struct pass pass;
	uint8_t root[DVOL_ROOT];
	uint32_t other = state.moving != 0 ? state.moving : to;
	bool whole = state.covered == TREE_COVERED;
	int result = pass_begin(&pass, vol, to, who, err);
	pass.last = state.covered;
	if (result == 0) {
		pthread_mutex_lock(&vol->meta);
		result = changed_blocks(vol, state.at < other ? state.at : other,
					state.at < other ? other : state.at, &pass.nodes, &pass.count, err);
		pthread_mutex_unlock(&vol->meta);
	}
	if (result == 0 && state.moving == 0) {
		state.moving = to;
		state.moves++;
		result = pass_mark(vol, &state, NULL, err);
	}
	pthread_mutex_unlock(&vol->commit);
	if (result == 0)
		result = first_level(&pass, err);
	if (result == 0 && whole)
		result = upper_levels(&pass, root, err);
	pthread_mutex_lock(&vol->commit);
	if (result == 0)
		result = settle(&pass, state.covered, whole ? root : NULL, err);
	pass_end(&pass);
	return result;
}
