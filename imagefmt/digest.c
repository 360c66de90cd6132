/* digest.c: giving closed epochs their root: which passes take the digest tree where (docs/dvol.md, "Digest"). */
#include "imagefmt/pass.h"

#include <string.h>

/* neighbour: the next epoch that stays after index, or with `before` also the one before when there is none; 0 for none. */
static uint32_t neighbour(const struct catalog *catalog, uint32_t index, bool before)
{
	uint32_t found = 0;
	for (size_t i = 0; i < catalog->nepochs && found <= index; i++) {
		const struct epoch *epoch = &catalog->epochs[i];
		if (epoch->index != index && !(epoch->flags & EPOCH_CONDEMNED) &&
		    (before || epoch->index > index))
			found = epoch->index;
	}
	return found;
}

/* advance (digesting and commit held; commit is released meanwhile): one step towards a root for the epoch `index`. */
static int advance(struct dvol *vol, uint32_t index, enum pass_for who, struct err *err)
{
	struct tree_state state = vol->catalog.tree;
	if (state.at == 0) {
		state.at = neighbour(&vol->catalog, 0, false);
		state.number++;
		state.moves++;
		state.moving = state.covered = 0;
		return pass_mark(vol, &state, NULL, err);
	}
	if (state.moving != 0)
		return pass_move(vol, state.moving > state.at ? state.moving : state.at, who, err);
	if (state.covered != TREE_COVERED)
		return pass_extend(vol, who, err);
	if (index > state.at)
		return pass_move(vol, neighbour(&vol->catalog, state.at, false), who, err);
	/* Epochs get their roots in order; one that was passed by means that the tree is not what it should be. */
	return pass_give_up(vol, err);
}

int digest_leave(struct dvol *vol, uint32_t index, struct err *err)
{
	int result = 0;
	pthread_mutex_lock(&vol->commit);
	while (result == 0 && tree_needs(&vol->catalog, index)) {
		const struct tree_state *state = &vol->catalog.tree;
		uint32_t to = state->at;
		if (state->moving == 0)
			to = neighbour(&vol->catalog, index, true);
		else if (state->at == index)
			to = state->moving;
		struct err why = {0};
		result = to != 0 ? pass_move(vol, to, PASS_MUST, &why) : -1;
		if (result == 0)
			continue;
		/* What cannot be read elsewhere must not keep an epoch from being deleted. */
		if (vol_may_change(vol, NULL) == 0)
			result = pass_give_up(vol, err);
		else if (err != NULL)
			*err = why;
	}
	pthread_mutex_unlock(&vol->commit);
	return result;
}

int digest_newest(struct dvol *vol, struct err *err)
{
	int result = 0;
	pthread_mutex_lock(&vol->digesting);
	pthread_mutex_lock(&vol->commit);
	while (result == 0) {
		const struct epoch *epoch = catalog_index(&vol->catalog, catalog_newest(&vol->catalog));
		if (epoch == NULL || (epoch->flags & EPOCH_HAS_ROOT))
			break;
		result = advance(vol, epoch->index, PASS_BACKGROUND, err);
	}
	pthread_mutex_unlock(&vol->commit);
	pthread_mutex_unlock(&vol->digesting);
	return result;
}

/* find_root (commit held): 1 with the root, 0 when the epoch has none, -1. */
static int find_root(const struct dvol *vol, struct dvol_id id, uint8_t root[DVOL_ROOT], uint32_t *index,
		     struct err *err)
{
	const struct epoch *epoch = catalog_id(&vol->catalog, id);
	if (epoch == NULL)
		return err_set(err, ERR_STATE, "%s has no epoch %llu.%llu", vol->path,
			       (unsigned long long)id.term, (unsigned long long)id.number);
	*index = epoch->index;
	memcpy(root, epoch->root, DVOL_ROOT);
	return (epoch->flags & EPOCH_HAS_ROOT) != 0;
}

int dvol_digest(struct dvol *vol, struct dvol_id id, uint8_t root[DVOL_ROOT], struct err *err)
{
	uint32_t index;
	if (vol_may_change(vol, err) < 0)
		return -1;
	pthread_mutex_lock(&vol->commit);
	int result = find_root(vol, id, root, &index, err);
	pthread_mutex_unlock(&vol->commit);
	if (result != 0)
		return result < 0 ? -1 : 0;
	if (digest_failure(vol, err) < 0)
		return -1;
	digest_claim(vol);
	pthread_mutex_lock(&vol->commit);
	while ((result = find_root(vol, id, root, &index, err)) == 0)
		if (advance(vol, index, PASS_ASKED, err) < 0) {
			result = -1;
			break;
		}
	pthread_mutex_unlock(&vol->commit);
	digest_release(vol);
	return result < 0 ? -1 : 0;
}
