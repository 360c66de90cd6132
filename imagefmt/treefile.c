/* treefile.c: writing a tree file. */
#include "imagefmt/treefile.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

void treefile_encode(const struct treefile_header *header, uint8_t out[TREEFILE_HEADER])
{
	memset(out, 0, TREEFILE_HEADER);
	memcpy(out, TREEFILE_MAGIC, 8);
	le32_put(out + 8, 1);
	le32_put(out + 12, header->leaf == 0 ? DVOL_TREE_FINE : DVOL_TREE_COARSE);
	memcpy(out + 16, header->lineage, 16);
	le64_put(out + 32, header->id.term);
	le64_put(out + 40, header->id.number);
	le64_put(out + 48, header->size_bytes);
	memcpy(out + 56, header->root, DVOL_ROOT);
	memcpy(out + 88, header->top, DIGEST);
	le64_put(out + TREEFILE_HEADER - 8, hash64(out, TREEFILE_HEADER - 8, 0));
}

int treefile_decode(struct treefile_header *header, const uint8_t in[TREEFILE_HEADER], const char *path,
		    struct err *err)
{
	if (memcmp(in, TREEFILE_MAGIC, 8) != 0)
		return err_set(err, ERR_INPUT, "%s is not a digest tree of a .dvol volume", path);
	if (le64_get(in + TREEFILE_HEADER - 8) != hash64(in, TREEFILE_HEADER - 8, 0))
		return err_set(err, ERR_INPUT, "%s: its header is damaged; fetch it again", path);
	if (le32_get(in + 8) != 1)
		return err_set(err, ERR_INPUT, "%s was made by a newer drover", path);
	uint32_t granularity = le32_get(in + 12);
	memcpy(header->lineage, in + 16, 16);
	header->id = (struct dvol_id){.term = le64_get(in + 32), .number = le64_get(in + 40)};
	header->size_bytes = le64_get(in + 48);
	header->leaf = granularity == DVOL_TREE_COARSE;
	memcpy(header->root, in + 56, DVOL_ROOT);
	memcpy(header->top, in + 88, DIGEST);
	if ((granularity != DVOL_TREE_FINE && granularity != DVOL_TREE_COARSE) || header->id.number == 0 ||
	    header->size_bytes < DVOL_BLOCK || header->size_bytes > DVOL_SIZE_MAX ||
	    header->size_bytes % DVOL_SECTOR != 0)
		return err_set(err, ERR_INPUT, "%s: its header does not make sense", path);
	return 0;
}

struct writer {
	struct tree tree;
	struct treefile_header header;
	struct file file;
	const char *path;
	uint64_t at;
	struct buf out;
	struct sha *sha; /* of the whole file */
};

static int put_out(struct writer *writer, struct err *err)
{
	if (file_write(&writer->file, writer->out.data, writer->out.len, writer->at) < 0)
		return err_sys(err, "%s", writer->path);
	writer->at += writer->out.len;
	buf_clear(&writer->out);
	return 0;
}

static int put(struct writer *writer, const void *data, size_t len, struct err *err)
{
	sha_add(writer->sha, data, len);
	buf_put(&writer->out, data, len);
	return writer->out.len < TREEFILE_BUFFER ? 0 : put_out(writer, err);
}

/* put_node: a node that is not all zeroes, and what is below it. */
static int put_node(struct writer *writer, unsigned level, uint64_t number, const uint64_t digest[2],
		    struct err *err)
{
	uint64_t children[TREE_FANOUT][2];
	uint8_t record[TREEFILE_BITMAP + sizeof(children)] = {0};
	size_t len = TREEFILE_BITMAP;
	struct dvol *vol = writer->tree.vol;
	if (tree_children(&writer->tree, level, number, digest, children, err) < 0 ||
	    (level <= 2 &&
	     vol_tick(vol, number * tree_blocks(level) * BLOCK, writer->header.size_bytes, err) < 0))
		return -1;
	for (unsigned i = 0; i < TREE_FANOUT; i++) {
		if (digest_zero(children[i]))
			continue;
		record[i / 8] |= (uint8_t)(1U << (i % 8));
		memcpy(record + len, children[i], DIGEST);
		len += DIGEST;
	}
	if (put(writer, record, len, err) < 0)
		return -1;
	for (unsigned i = 0; i < TREE_FANOUT && level - 1 > writer->header.leaf; i++)
		if (!digest_zero(children[i]) &&
		    put_node(writer, level - 1, number * TREE_FANOUT + i, children[i], err) < 0)
			return -1;
	return 0;
}

static int put_all(struct writer *writer, struct err *err)
{
	uint8_t header[TREEFILE_HEADER], digest[SHA_BYTES];
	const struct dvol *vol = writer->tree.vol;
	unsigned top = writer->tree.levels;
	treefile_encode(&writer->header, header);
	sha_begin(writer->sha);
	if (put(writer, header, sizeof(header), err) < 0)
		return -1;
	if (top > writer->header.leaf && !digest_zero(writer->tree.top) &&
	    put_node(writer, top, 0, writer->tree.top, err) < 0)
		return -1;
	sha_end(writer->sha, digest);
	buf_put(&writer->out, digest, sizeof(digest));
	if (put_out(writer, err) < 0)
		return -1;
	if (vol->ops->sync(writer->file.file) < 0 ||
	    vol->ops->sync_folder(vol->files_context, writer->path) < 0)
		return err_sys(err, "%s", writer->path);
	return 0;
}

static int write_file(struct writer *writer, struct err *err)
{
	struct dvol *vol = writer->tree.vol;
	writer->file.ops = vol->ops;
	writer->file.file = vol->ops->open(vol->files_context, writer->path, O_RDWR | O_CREAT | O_EXCL);
	if (writer->file.file == NULL)
		return err_sys(err, "%s", writer->path);
	writer->sha = sha_make();
	int result = put_all(writer, err);
	vol->ops->close(writer->file.file);
	if (result < 0)
		vol->ops->unlink(vol->files_context, writer->path);
	sha_free(writer->sha);
	buf_free(&writer->out);
	return result;
}

int dvol_tree_export(struct dvol *vol, struct dvol_id id, uint32_t granularity, const char *path,
		     struct err *err)
{
	struct writer writer = {.path = path};
	struct treefile_header *header = &writer.header;
	struct dvol_open_options options = {
	    .epoch = id, .files = vol->ops, .files_context = vol->files_context};
	if (granularity != DVOL_TREE_FINE && granularity != DVOL_TREE_COARSE)
		return err_set(err, ERR_USAGE, "a tree file has digests of every %d or every %d bytes",
			       DVOL_TREE_FINE, DVOL_TREE_COARSE);
	if (id.number == 0)
		return err_set(err, ERR_USAGE, "%s: closed epochs have digests, the head has none",
			       vol->path);
	struct dvol *reader = vol_open(vol->path, &options, vol->depth, err);
	if (reader == NULL)
		return -1;
	dvol_on_progress(reader, vol->tick, vol->tick_context);
	int result = view_root(reader, header->root, err);
	if (result == 0) {
		result = tree_open(&writer.tree, reader, err);
		if (result == 0)
			result = err_set(
			    err, ERR_STATE,
			    "%s: its digest tree is not there; compute the newest epoch's digest", vol->path);
		memcpy(header->lineage, reader->super.lineage, 16);
		memcpy(header->top, writer.tree.top, DIGEST);
		header->id = id;
		header->size_bytes = dvol_size(reader);
		header->leaf = granularity == DVOL_TREE_COARSE;
		if (result > 0)
			result = write_file(&writer, err);
		tree_close(&writer.tree);
	}
	(void)dvol_close(reader, NULL);
	return result < 0 ? -1 : 0;
}
