/* delta.c: the bytes of a delta file. */
#include "imagefmt/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

void delta_header_encode(const struct delta_header *header, uint8_t out[DELTA_HEADER])
{
	memset(out, 0, DELTA_HEADER);
	memcpy(out, DELTA_MAGIC, 8);
	le32_put(out + 8, 1);
	memcpy(out + 16, header->lineage, 16);
	le64_put(out + 32, header->from.term);
	le64_put(out + 40, header->from.number);
	le64_put(out + 48, header->to.term);
	le64_put(out + 56, header->to.number);
	le64_put(out + 64, header->size_bytes);
	out[72] = header->has_from_root;
	out[73] = header->has_to_root;
	memcpy(out + 80, header->from_root, DVOL_ROOT);
	memcpy(out + 112, header->to_root, DVOL_ROOT);
	le64_put(out + DELTA_HEADER - 8, hash64(out, DELTA_HEADER - 8, 0));
}

void delta_record_encode(const struct delta_record *record, uint8_t out[DELTA_RECORD])
{
	le64_put(out, record->block);
	le32_put(out + 8, record->count);
	le32_put(out + 12, record->kind);
	le64_put(out + 16,
		 record->kind == DELTA_DATA ? hash64(record->data, (size_t)record->count * BLOCK, 0) : 0);
	le64_put(out + 24, hash64(out, 24, 0));
}

static int take(struct delta_reader *reader, void *data, size_t len, struct err *err)
{
	if (len > reader->size - reader->at)
		return err_set(err, ERR_INPUT, "%s ends too early; fetch it again", reader->path);
	if (file_read(&reader->file, data, len, reader->at) < 0)
		return err_sys(err, "%s", reader->path);
	reader->at += len;
	return 0;
}

static int header_decode(struct delta_reader *reader, const uint8_t *in, struct err *err)
{
	struct delta_header *header = &reader->header;
	if (memcmp(in, DELTA_MAGIC, 8) != 0)
		return err_set(err, ERR_INPUT, "%s is not a delta of a .dvol volume", reader->path);
	if (le64_get(in + DELTA_HEADER - 8) != hash64(in, DELTA_HEADER - 8, 0))
		return err_set(err, ERR_INPUT, "%s: its header is damaged; fetch it again", reader->path);
	if (le32_get(in + 8) != 1)
		return err_set(err, ERR_INPUT, "%s was made by a newer drover", reader->path);
	memcpy(header->lineage, in + 16, 16);
	header->from = (struct dvol_id){.term = le64_get(in + 32), .number = le64_get(in + 40)};
	header->to = (struct dvol_id){.term = le64_get(in + 48), .number = le64_get(in + 56)};
	header->size_bytes = le64_get(in + 64);
	header->has_from_root = in[72];
	header->has_to_root = in[73];
	memcpy(header->from_root, in + 80, DVOL_ROOT);
	memcpy(header->to_root, in + 112, DVOL_ROOT);
	if (header->size_bytes < DVOL_BLOCK || header->size_bytes > DVOL_SIZE_MAX ||
	    header->size_bytes % DVOL_SECTOR != 0 || header->to.number == 0 ||
	    id_compare(header->to, header->from) <= 0)
		return err_set(err, ERR_INPUT, "%s: its header does not make sense", reader->path);
	return 0;
}

int delta_open(struct delta_reader *reader, const struct file_ops *files, void *files_context,
	       const char *path, struct err *err)
{
	uint8_t header[DELTA_HEADER];
	*reader = (struct delta_reader){.path = path, .sha = sha_make()};
	reader->data = must_alloc(DELTA_BLOCKS, BLOCK);
	reader->file.ops = files;
	reader->file.file = files->open(files_context, path, O_RDONLY);
	if (reader->file.file == NULL || files->size(reader->file.file, &reader->size) < 0)
		return err_sys(err, "%s", path);
	if (take(reader, header, sizeof(header), err) < 0)
		return -1;
	sha_begin(reader->sha);
	sha_add(reader->sha, header, sizeof(header));
	return header_decode(reader, header, err);
}

void delta_close(struct delta_reader *reader)
{
	if (reader->file.file != NULL)
		reader->file.ops->close(reader->file.file);
	sha_free(reader->sha);
	free(reader->data);
}

static int take_end(struct delta_reader *reader, struct err *err)
{
	uint8_t found[SHA_BYTES], stored[SHA_BYTES];
	sha_end(reader->sha, found);
	if (take(reader, stored, sizeof(stored), err) < 0)
		return -1;
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	memcpy(stored, found, sizeof(stored)); /* as hash64 */
#endif
	if (memcmp(found, stored, sizeof(found)) != 0 || reader->at != reader->size)
		return err_set(err, ERR_INPUT, "%s is damaged (wrong digest); fetch it again", reader->path);
	return 0;
}

int delta_next(struct delta_reader *reader, struct delta_record *record, struct err *err)
{
	uint8_t in[DELTA_RECORD];
	uint64_t blocks = (reader->header.size_bytes + BLOCK - 1) / BLOCK;
	uint64_t at = reader->at;
	if (take(reader, in, sizeof(in), err) < 0)
		return -1;
	*record = (struct delta_record){.block = le64_get(in), .count = le32_get(in + 8)};
	uint32_t kind = le32_get(in + 12);
	bool end = kind == DELTA_END;
	record->kind = (enum delta_kind)kind;
	if (le64_get(in + 24) != hash64(in, 24, 0) || kind < DELTA_DATA || kind > DELTA_END ||
	    (end && (record->block != 0 || record->count != 0)) ||
	    (!end && (record->count == 0 || record->block < reader->next || record->block >= blocks ||
		      record->count > blocks - record->block)) ||
	    (kind == DELTA_DATA && record->count > DELTA_BLOCKS))
		return err_set(err, ERR_INPUT, "%s: the record at byte %llu is damaged; fetch it again",
			       reader->path, (unsigned long long)at);
	sha_add(reader->sha, in, sizeof(in));
	if (end)
		return take_end(reader, err);
	reader->next = record->block + record->count;
	if (kind == DELTA_DATA) {
		size_t len = (size_t)record->count * BLOCK;
		if (take(reader, reader->data, len, err) < 0)
			return -1;
		if (hash64(reader->data, len, 0) != le64_get(in + 16))
			return err_set(err, ERR_INPUT, "%s: the data at byte %llu is damaged; fetch it again",
				       reader->path, (unsigned long long)at + DELTA_RECORD);
		sha_add(reader->sha, reader->data, len);
		record->data = reader->data;
	}
	return 1;
}

int dvol_delta_info(const char *path, struct dvol_delta_info *info, struct err *err)
{
	struct delta_reader reader;
	int result = delta_open(&reader, &file_system, NULL, path, err);
	if (result == 0) {
		*info = (struct dvol_delta_info){.from = reader.header.from,
						 .to = reader.header.to,
						 .size_bytes = reader.header.size_bytes};
		memcpy(info->lineage, reader.header.lineage, sizeof(info->lineage));
	}
	delta_close(&reader);
	return result;
}
