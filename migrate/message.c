#include "migrate/message.h"

#include "common/io.h"
#include "common/jobj.h"

#include <stdlib.h>
#include <string.h>

enum { JSON_SHORT = 16384 };

static const char *const names[MESSAGE_TYPES] = {
    [MESSAGE_HELLO] = "HELLO",       [MESSAGE_WELCOME] = "WELCOME",   [MESSAGE_REFUSE] = "REFUSE",
    [MESSAGE_BEGIN] = "BEGIN",       [MESSAGE_READY] = "READY",       [MESSAGE_EPOCH] = "EPOCH",
    [MESSAGE_PAGES] = "PAGES",       [MESSAGE_STATE] = "STATE",       [MESSAGE_SEAL] = "SEAL",
    [MESSAGE_ACK] = "ACK",           [MESSAGE_PREPARED] = "PREPARED", [MESSAGE_COMMIT] = "COMMIT",
    [MESSAGE_STARTED] = "STARTED",   [MESSAGE_ABORT] = "ABORT",       [MESSAGE_OUTCOME] = "OUTCOME",
    [MESSAGE_RECEIVED] = "RECEIVED", [MESSAGE_PROBE] = "PROBE",       [MESSAGE_OWED] = "OWED",
    [MESSAGE_REQUEST] = "REQUEST",   [MESSAGE_WHOLE] = "WHOLE",       [MESSAGE_COMPARE] = "COMPARE",
    [MESSAGE_DIGESTS] = "DIGESTS",   [MESSAGE_POINT] = "POINT",
};

const char *message_name(unsigned type)
{
	return type < MESSAGE_TYPES && names[type] ? names[type] : "an unknown message";
}

int message_send_json(struct link *link, enum message_type type, json_t *payload, struct err *err)
{
	char *text = json_dumps(payload, JSON_COMPACT);

	json_decref(payload);
	if (!text)
		return err_set(err, ERR_SYSTEM, "out of memory for a %s message", message_name(type));
	buf_put(link_begin(link), text, strlen(text));
	free(text);
	return link_send(link, type, 0, err);
}

int message_send_number(struct link *link, enum message_type type, uint64_t number, struct err *err)
{
	buf_put_u64(link_begin(link), number);
	return link_send(link, type, 0, err);
}

int message_send_epoch(struct link *link, const struct message_epoch *epoch, struct err *err)
{
	struct buf *out = link_begin(link);

	buf_put_u64(out, epoch->term);
	buf_put_u64(out, epoch->epoch);
	buf_put_u64(out, epoch->parent);
	buf_put_u32(out, epoch->flags);
	buf_put_u32(out, 0);
	buf_put_u64(out, epoch->disks.term);
	buf_put_u64(out, epoch->disks.number);
	return link_send(link, MESSAGE_EPOCH, 0, err);
}

int message_send_seal(struct link *link, const struct message_seal *seal, struct err *err)
{
	struct buf *out = link_begin(link);

	buf_put_u64(out, seal->epoch);
	buf_put_u64(out, seal->state_bytes);
	buf_put_u32(out, seal->links);
	buf_put_u32(out, 0);
	for (unsigned i = 0; i < seal->links; i++) {
		buf_put_u32(out, seal->link[i].id);
		buf_put_u32(out, 0);
		buf_put_u64(out, seal->link[i].frames);
	}
	return link_send(link, MESSAGE_SEAL, 0, err);
}

int message_send_ack(struct link *link, const struct message_ack *ack, struct err *err)
{
	struct buf *out = link_begin(link);

	buf_put_u64(out, ack->epoch);
	buf_put_u32(out, ack->links);
	buf_put_u32(out, 0);
	for (unsigned i = 0; i < ack->links; i++)
		buf_put_u32(out, ack->lost[i]);
	return link_send(link, MESSAGE_ACK, 0, err);
}

int message_send_commit(struct link *link, const struct message_commit *commit, struct err *err)
{
	struct buf *out = link_begin(link);

	buf_put_u64(out, commit->term);
	buf_put(out, commit->session, LEDGER_SESSION_LEN);
	return link_send(link, MESSAGE_COMMIT, 0, err);
}

int message_begin_pages(struct link *link, uint64_t epoch, struct pages_encoder *encoder,
			const struct pages_source *source, const uint64_t *pages, size_t n,
			struct message_pages *frame, struct err *err)
{
	struct buf *out = link_begin(link);
	size_t start = out->len - FRAME_HEADER, payload;
	int64_t encoded;

	buf_put_u64(out, epoch);
	payload = out->len;
	encoded = pages_encode(encoder, source, pages, n, out, err);
	if (encoded < 0) {
		link_drop(link);
		return -1;
	}
	*frame = (struct message_pages){
	    .payload = out->data + payload, .pages = (size_t)encoded, .len = out->len - start};
	return 0;
}

void message_send_error(struct link *link, enum message_type type, const struct err *why)
{
	json_t *payload = json_pack("{s:s, s:s}", "kind", err_kind_name(why->kind), "message", why->text);
	struct err ignored;

	/* Text that came from elsewhere may not be UTF-8; the kind still is. */
	if (!payload)
		payload = json_pack("{s:s, s:s}", "kind", err_kind_name(why->kind), "message",
				    "an error without text");
	if (!message_send_json(link, type, payload, &ignored))
		(void)link_flush(link, &ignored);
}

/* A connection that is closed with something of the other side's unread is reset, which may overtake what was sent last. */
void message_abort(struct link *link, const struct err *why)
{
	enum { PATIENCE_MS = 2000 };
	uint64_t until = clock_mono_ns() + PATIENCE_MS * 1000000ull;
	struct frame frame;
	struct err ignored;

	link_watch(link, NULL, 0); /* what ended the session must not end this */
	link_set_stall(link, PATIENCE_MS);
	message_send_error(link, MESSAGE_ABORT, why);
	while (link_receive(link, until, &frame, &ignored) > 0 && frame.type != MESSAGE_ABORT)
		;
}

int message_choose(const json_t *hello, unsigned *protocol, struct err *err)
{
	uint64_t newest, oldest;

	if (jobj_u64(hello, "protocol", true, 1, UINT32_MAX, &newest, err) ||
	    jobj_u64(hello, "protocol_min", true, 1, UINT32_MAX, &oldest, err))
		return -1;
	*protocol = newest < STREAM_PROTOCOL ? (unsigned)newest : STREAM_PROTOCOL;
	if (*protocol >= STREAM_PROTOCOL_MIN && *protocol >= oldest)
		return 0;
	return err_set(err, ERR_REFUSED,
		       "it speaks versions %d to %d of the stream, the sender %llu to %llu; upgrade "
		       "the older side",
		       STREAM_PROTOCOL_MIN, STREAM_PROTOCOL, (unsigned long long)oldest,
		       (unsigned long long)newest);
}

int message_chosen(const json_t *welcome, const struct link *link, struct err *err)
{
	uint64_t protocol;

	if (jobj_u64(welcome, "protocol", true, 1, UINT32_MAX, &protocol, err))
		return -1;
	if (protocol >= STREAM_PROTOCOL_MIN && protocol <= STREAM_PROTOCOL)
		return 0;
	return err_set(err, ERR_REFUSED,
		       "%s wants version %llu of the stream, and this host speaks versions %d to %d; upgrade "
		       "the older side",
		       link_peer(link), (unsigned long long)protocol, STREAM_PROTOCOL_MIN, STREAM_PROTOCOL);
}

static int bad(const struct frame *frame, struct err *err)
{
	return err_set(err, ERR_INPUT, "a %s message of the stream has a malformed payload",
		       message_name(frame->type));
}

json_t *message_json(const struct frame *frame, struct err *err)
{
	/* What speaks of disks and CPUs is long; all else is a few words, and is not worth the memory that JSON can take. */
	bool may_be_long =
	    frame->type == MESSAGE_BEGIN || frame->type == MESSAGE_READY || frame->type == MESSAGE_WELCOME;
	json_t *json;

	if (!may_be_long && frame->len > JSON_SHORT) {
		err_set(err, ERR_INPUT, "a %s message of the stream has %zu bytes; at most %d are allowed",
			message_name(frame->type), frame->len, JSON_SHORT);
		return NULL;
	}
	json = jobj_parse((const char *)frame->payload, frame->len, err);

	if (!json)
		err_context(err, "%s message of the stream", message_name(frame->type));
	return json;
}

int message_number(const struct frame *frame, uint64_t *number, struct err *err)
{
	if (frame->len != 8)
		return bad(frame, err);
	*number = le64_get(frame->payload);
	return 0;
}

int message_epoch(const struct frame *frame, struct message_epoch *epoch, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);
	uint32_t reserved;

	epoch->term = reader_u64(&reader);
	epoch->epoch = reader_u64(&reader);
	epoch->parent = reader_u64(&reader);
	epoch->flags = reader_u32(&reader);
	reserved = reader_u32(&reader);
	epoch->disks.term = reader_u64(&reader);
	epoch->disks.number = reader_u64(&reader);
	if (reader.bad || reader.left || reserved || (epoch->flags & ~(uint32_t)EPOCH_CONSISTENT) ||
	    epoch->disks.term > INT64_MAX || epoch->disks.number > INT64_MAX ||
	    !epoch->disks.term != !epoch->disks.number)
		return bad(frame, err);
	return 0;
}

int message_seal(const struct frame *frame, struct message_seal *seal, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);

	uint32_t reserved;

	seal->epoch = reader_u64(&reader);
	seal->state_bytes = reader_u64(&reader);
	seal->links = reader_u32(&reader);
	reserved = reader_u32(&reader);
	if (reader.bad || reserved || seal->links > SEAL_LINKS)
		return bad(frame, err);
	for (unsigned i = 0; i < seal->links; i++) {
		seal->link[i].id = reader_u32(&reader);
		reserved |= reader_u32(&reader);
		seal->link[i].frames = reader_u64(&reader);
	}
	return reader.bad || reader.left || reserved ? bad(frame, err) : 0;
}

int message_ack(const struct frame *frame, struct message_ack *ack, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);
	uint32_t reserved;

	ack->epoch = reader_u64(&reader);
	ack->links = reader_u32(&reader);
	reserved = reader_u32(&reader);
	if (reader.bad || reserved || ack->links > SEAL_LINKS)
		return bad(frame, err);
	for (unsigned i = 0; i < ack->links; i++)
		ack->lost[i] = reader_u32(&reader);
	return reader.bad || reader.left ? bad(frame, err) : 0;
}

int message_commit(const struct frame *frame, struct message_commit *commit, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);
	const void *session;

	commit->term = reader_u64(&reader);
	session = reader_bytes(&reader, LEDGER_SESSION_LEN);
	if (reader.bad || reader.left)
		return bad(frame, err);
	memcpy(commit->session, session, LEDGER_SESSION_LEN);
	commit->session[LEDGER_SESSION_LEN] = 0;
	return 0;
}

int message_owed(const struct frame *frame, struct message_owed *owed, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);
	uint32_t more;

	owed->epoch = reader_u64(&reader);
	owed->runs = reader_u32(&reader);
	more = reader_u32(&reader);
	owed->more = more == 1;
	owed->data = reader.at;
	if (reader.bad || more > 1 || owed->runs > OWED_RUNS || reader.left != (size_t)owed->runs * OWED_RUN)
		return bad(frame, err);
	return 0;
}

int message_owed_run(const struct message_owed *owed, uint32_t n, uint64_t pages, uint64_t *first,
		     uint64_t *count, struct err *err)
{
	*first = le64_get(owed->data + (size_t)n * OWED_RUN);
	*count = le64_get(owed->data + (size_t)n * OWED_RUN + 8);
	if (*count > 0 && *first < pages && *count <= pages - *first)
		return 0;
	return err_set(err, ERR_INPUT, "a run of owed pages is empty or goes past the end of the memory");
}

/* One frame with at most OWED_RUNS runs, from *cursor on. */
static int send_some_owed(struct link *link, uint64_t epoch, const struct pageset *set, uint64_t *cursor,
			  struct err *err)
{
	struct buf *out = link_begin(link);
	size_t head = out->len;
	uint32_t runs = 0;
	uint64_t first, count;

	buf_put_u64(out, epoch);
	buf_put_u32(out, 0);
	buf_put_u32(out, 0);
	for (; runs < OWED_RUNS && pageset_next_run(set, cursor, &first, &count); runs++) {
		buf_put_u64(out, first);
		buf_put_u64(out, count);
	}
	le32_put(out->data + head + 8, runs);
	le32_put(out->data + head + 12, runs == OWED_RUNS);
	return link_send(link, MESSAGE_OWED, 0, err) ? -1 : runs == OWED_RUNS;
}

int message_send_owed(struct link *link, uint64_t epoch, const struct pageset *set, struct err *err)
{
	uint64_t cursor = 0;
	int more;

	do
		more = send_some_owed(link, epoch, set, &cursor, err);
	while (more > 0);
	return more;
}

int message_request(const struct frame *frame, uint64_t pages[REQUEST_PAGES], size_t *count, struct err *err)
{
	struct reader reader = reader_of(frame->payload, frame->len);

	*count = frame->len / 8;
	if (frame->len % 8 || *count > REQUEST_PAGES)
		return bad(frame, err);
	for (size_t i = 0; i < *count; i++)
		pages[i] = reader_u64(&reader);
	return 0;
}

/* The sentence that the other side sent, made fit for a terminal. */
static int their_error(struct link *link, const struct frame *frame, struct err *err)
{
	const char *kind = "", *text = "";
	json_t *json = message_json(frame, err);
	char clean[400];
	size_t len = 0;

	if (!json)
		return -1;
	if (jobj_string(json, "kind", true, 32, &kind, err) ||
	    jobj_string(json, "message", true, 1024, &text, err)) {
		json_decref(json);
		return -1;
	}
	for (; len < sizeof(clean) - 1 && text[len]; len++)
		clean[len] = (unsigned char)text[len] < 0x20 || text[len] == 0x7f ? '?' : text[len];
	clean[len] = 0;
	if (frame->type == MESSAGE_REFUSE)
		err_set(err, ERR_REFUSED, "%s refused: %s", link_peer(link), clean);
	else
		err_set(err, err_kind_from_name(kind), "%s gave up: %s", link_peer(link), clean);
	json_decref(json);
	return -1;
}

int message_unexpected(struct link *link, const struct frame *frame, struct err *err)
{
	if (frame->type == MESSAGE_ABORT || frame->type == MESSAGE_REFUSE)
		return their_error(link, frame, err);
	if (frame->flags)
		return err_set(err, ERR_INPUT, "%s sent %s with flags (0x%x) that this version does not know",
			       link_peer(link), message_name(frame->type), frame->flags);
	return err_set(err, ERR_INPUT, "%s sent %s where the protocol has no place for it", link_peer(link),
		       message_name(frame->type));
}

int message_await(struct link *link, enum message_type type, int timeout_ms, struct frame *frame,
		  struct err *err)
{
	int got = link_receive(link, clock_mono_ns() + (uint64_t)timeout_ms * 1000000, frame, err);

	if (got < 0)
		return -1;
	if (got == 0)
		return err_set(err, ERR_LINK, "%s did not answer within %d s", link_peer(link),
			       timeout_ms / 1000);
	return frame->type == type && !frame->flags ? 0 : message_unexpected(link, frame, err);
}
