#include "vmm/ledger.h"

#include "common/buf.h"
#include "common/io.h"
#include "common/paths.h"
#include "common/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* A slot, little-endian: magic, version, state, 0, sequence, term, next term, then three text fields, each
 * padded with NULs, and the checksum of all before it in the last 8 bytes. */
enum {
	SLOT = 512,
	MAGIC = 0x4752444c, /* "LDRG" */
	VERSION = 1,
	AT_SEQUENCE = 16,
	AT_TERM = 24,
	AT_NEXT_TERM = 32,
	AT_UUID = 40,
	UUID_FIELD = 40,
	AT_SESSION = AT_UUID + UUID_FIELD,
	SESSION_FIELD = 40,
	AT_PEER = AT_SESSION + SESSION_FIELD,
	PEER_FIELD = LEDGER_PEER_MAX + 1,
	AT_RAN_TERM = AT_PEER + PEER_FIELD,
	AT_SUM = SLOT - 8,
};
_Static_assert(AT_RAN_TERM + 8 <= AT_SUM, "a slot holds the longest peer");

static const char *const state_names[] = {
    [LEDGER_NONE] = "none",         [LEDGER_RUNNING] = "running",
    [LEDGER_INTENT] = "intent",     [LEDGER_HANDED_OVER] = "handed-over",
    [LEDGER_INCOMING] = "incoming", [LEDGER_REFUSED] = "refused",
    [LEDGER_STOPPED] = "stopped",   [LEDGER_STANDBY] = "standby",
};

const char *ledger_state_name(enum ledger_state state)
{
	return state_names[state];
}

static void encode(const struct ledger_record *record, uint64_t sequence, uint8_t slot[SLOT])
{
	memset(slot, 0, SLOT);
	le32_put(slot, MAGIC);
	le32_put(slot + 4, VERSION);
	le32_put(slot + 8, (uint32_t)record->state);
	le64_put(slot + AT_SEQUENCE, sequence);
	le64_put(slot + AT_TERM, record->term);
	le64_put(slot + AT_NEXT_TERM, record->next_term);
	le64_put(slot + AT_RAN_TERM, record->ran_term);
	memcpy(slot + AT_UUID, record->uuid, strnlen(record->uuid, CONFIG_UUID_LEN));
	memcpy(slot + AT_SESSION, record->session, strnlen(record->session, LEDGER_SESSION_LEN));
	memcpy(slot + AT_PEER, record->peer, strnlen(record->peer, LEDGER_PEER_MAX));
	le64_put(slot + AT_SUM, XXH3_64bits(slot, AT_SUM));
}

enum slot_kind { SLOT_EMPTY, SLOT_BAD, SLOT_GOOD };

static enum slot_kind decode(const uint8_t slot[SLOT], struct ledger_record *record, uint64_t *sequence)
{
	static const uint8_t zeroes[SLOT];

	if (!memcmp(slot, zeroes, SLOT))
		return SLOT_EMPTY;
	if (le64_get(slot + AT_SUM) != XXH3_64bits(slot, AT_SUM) || le32_get(slot) != MAGIC ||
	    le32_get(slot + 4) != VERSION || le32_get(slot + 8) > LEDGER_STANDBY)
		return SLOT_BAD;
	memset(record, 0, sizeof(*record));
	record->state = (enum ledger_state)le32_get(slot + 8);
	record->term = le64_get(slot + AT_TERM);
	record->next_term = le64_get(slot + AT_NEXT_TERM);
	record->ran_term = le64_get(slot + AT_RAN_TERM);
	memcpy(record->uuid, slot + AT_UUID, CONFIG_UUID_LEN);
	memcpy(record->session, slot + AT_SESSION, LEDGER_SESSION_LEN);
	memcpy(record->peer, slot + AT_PEER, LEDGER_PEER_MAX);
	*sequence = le64_get(slot + AT_SEQUENCE);
	return SLOT_GOOD;
}

/* Read the newer good slot of fd into *record, LEDGER_NONE when nothing was ever written. */
static int read_slots(int fd, const char *name, struct ledger_record *record, uint64_t *sequence,
		      struct err *err)
{
	uint8_t file[2 * SLOT] = {0};
	bool any_bad = false;
	ssize_t got;

	memset(record, 0, sizeof(*record));
	*sequence = 0;
	if (lseek(fd, 0, SEEK_SET) < 0 || (got = io_read_full(fd, file, sizeof(file))) < 0)
		return err_sys(err, "cannot read the hand-over ledger of VM '%s'", name);
	for (int i = 0; i < 2; i++) {
		struct ledger_record candidate;
		uint64_t number;

		switch (decode(file + i * SLOT, &candidate, &number)) {
		case SLOT_GOOD:
			if (number > *sequence) {
				*sequence = number;
				*record = candidate;
			}
			break;
		case SLOT_BAD:
			any_bad = true;
			break;
		case SLOT_EMPTY:
			break;
		}
	}
	/* One torn slot is what a crash in ledger_write leaves; the other one then holds what was promised.
	 */
	if (any_bad && *sequence == 0)
		return err_set(
		    err, ERR_INPUT,
		    "the hand-over ledger of VM '%s' is damaged, so it is not known which host may run it; "
		    "make sure that no other host does, then remove it with 'drover forget --force %s'",
		    name, name);
	return 0;
}

int ledger_open(struct ledger *ledger, const char *name, struct err *err)
{
	char path[PATHS_MAX];

	*ledger = (struct ledger){.dir_fd = -1, .lock_fd = -1, .fd = -1};
	if (paths_vm_dir(name, path, err))
		return -1;
	if (io_mkdirs(path, 0700))
		return err_sys(err, "cannot make the folder %s", path);
	ledger->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ledger->dir_fd < 0)
		return err_sys(err, "cannot open the folder %s", path);
	ledger->lock_fd = openat(ledger->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (ledger->lock_fd < 0) {
		err_sys(err, "cannot open %s/lock", path);
		goto fail;
	}
	/* An open-file-description lock: it ends with the process, and others can ask for it without taking
	 * it. */
	if (fcntl(ledger->lock_fd, F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK})) {
		if (errno == EAGAIN || errno == EACCES)
			err_set(err, ERR_STATE,
				"VM '%s' lives on this host already (its process holds %s/lock)", name, path);
		else
			err_sys(err, "cannot lock %s/lock", path);
		goto fail;
	}
	ledger->fd = openat(ledger->dir_fd, "handover", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (ledger->fd < 0) {
		err_sys(err, "cannot open %s/handover", path);
		goto fail;
	}
	if (read_slots(ledger->fd, name, &ledger->now, &ledger->sequence, err))
		goto fail;
	return 0;
fail:
	ledger_close(ledger);
	return -1;
}

void ledger_close(struct ledger *ledger)
{
	io_close(&ledger->fd);
	io_close(&ledger->lock_fd);
	io_close(&ledger->dir_fd);
}

int ledger_write(struct ledger *ledger, const struct ledger_record *record, struct err *err)
{
	uint64_t sequence = ledger->sequence + 1;
	uint8_t slot[SLOT];

	encode(record, sequence, slot);
	/* The first write of a file also gives it both slots, zeroes in the other, and makes its name
	 * durable; later ones change no metadata. */
	if (ledger->sequence == 0) {
		uint8_t other[SLOT] = {0};

		if (pwrite(ledger->fd, other, SLOT, 0) != SLOT)
			return err_sys(err, "cannot write the hand-over ledger");
	}
	if (pwrite(ledger->fd, slot, SLOT, (off_t)(sequence % 2) * SLOT) != SLOT)
		return err_sys(err, "cannot write the hand-over ledger");
	if (fdatasync(ledger->fd) || (ledger->sequence == 0 && fsync(ledger->dir_fd)))
		return err_sys(err, "cannot sync the hand-over ledger");
	ledger->sequence = sequence;
	ledger->now = *record;
	return 0;
}

int ledger_peek(const char *name, struct ledger_record *record, bool *locked, struct err *err)
{
	struct flock lock = {.l_type = F_RDLCK};
	char path[PATHS_MAX];
	uint64_t sequence;
	int fd, status;

	memset(record, 0, sizeof(*record));
	*locked = false;
	if (paths_vm_file(name, "lock", path, err))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot open %s", path);
	*locked = !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
	close(fd);
	if (paths_vm_file(name, "handover", path, err))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot open %s", path);
	status = read_slots(fd, name, record, &sequence, err);
	close(fd);
	return status;
}

static bool listens(const char *name)
{
	char path[PATHS_MAX];
	int fd = paths_vm_socket(name, path, NULL) ? -1 : unixsock_connect(path, SOCK_SEQPACKET, 0);

	if (fd < 0)
		return errno != ENOENT && errno != ECONNREFUSED;
	close(fd);
	return true;
}

int ledger_peek_settled(const char *name, struct ledger_record *record, bool *locked, struct err *err)
{
	enum { TRIES = 100, TRY_MS = 20 };

	for (int i = 0;; i++) {
		if (ledger_peek(name, record, locked, err))
			return -1;
		if (!*locked || i == TRIES || listens(name))
			return 0;
		poll(NULL, 0, TRY_MS);
	}
}

static int buried_path(const char *uuid, char path[PATHS_MAX], struct err *err)
{
	size_t len;

	if (paths_state(path, err))
		return -1;
	len = strlen(path);
	if (snprintf(path + len, PATHS_MAX - len, "/forgotten/%s", uuid) >= (int)(PATHS_MAX - len))
		return err_set(err, ERR_USAGE, "the state folder's path is too long");
	return 0;
}

int ledger_bury(const struct ledger_record *record, struct err *err)
{
	uint8_t file[2 * SLOT] = {0};
	char path[PATHS_MAX];

	/* Term 1 is begun where the VM is made: no other host waits to hear of it. */
	if (record->ran_term <= 1)
		return 0;
	if (buried_path(record->uuid, path, err))
		return -1;
	*strrchr(path, '/') = 0;
	if (io_mkdirs(path, 0700))
		return err_sys(err, "cannot make the folder %s", path);
	encode(record, 1, file + SLOT);
	if (buried_path(record->uuid, path, err))
		return -1;
	return io_replace_file(path, file, sizeof(file)) ? err_sys(err, "cannot write %s", path) : 0;
}

int ledger_buried(const char *uuid, struct ledger_record *record, struct err *err)
{
	char path[PATHS_MAX];
	uint64_t sequence;
	int fd, status;

	memset(record, 0, sizeof(*record));
	if (buried_path(uuid, path, err))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot open %s", path);
	status = read_slots(fd, uuid, record, &sequence, err);
	close(fd);
	return status;
}

bool ledger_outcome(const struct ledger_record *record, const char *uuid, uint64_t term, const char *session,
		    struct ledger_record *promise)
{
	bool same = !strcmp(record->uuid, uuid);
	bool this_attempt = same && record->term == term && !strcmp(record->session, session);
	bool died = this_attempt && (record->state == LEDGER_RUNNING || record->state == LEDGER_INCOMING);

	*promise = (struct ledger_record){.state = LEDGER_NONE};
	/* While the asker holds the VM, nobody but this host can have run it under that term or a later one.
	 */
	if (same && record->ran_term >= term && !died)
		return true;
	if (record->state == LEDGER_NONE || (same && (died || record->term < term))) {
		promise->state = LEDGER_REFUSED;
		strcpy(promise->uuid, uuid);
		promise->term = term;
		promise->ran_term = !same ? 0 : record->ran_term < term ? record->ran_term : term - 1;
	}
	return false;
}

uint64_t ledger_start_term(const struct ledger_record *record, const char *uuid)
{
	uint64_t promised = ledger_promised_term(record, uuid);

	if (promised == 0)
		return 1;
	return record->ran_term == promised ? promised : promised + 1;
}

int ledger_may_receive(const struct ledger_record *record, const char *name, const char *uuid, uint64_t term,
		       struct err *err)
{
	bool binding = record->state == LEDGER_INTENT || record->state == LEDGER_HANDED_OVER;

	if (!strcmp(record->uuid, uuid)) {
		if (record->state == LEDGER_INTENT)
			return err_set(
			    err, ERR_REFUSED,
			    "VM '%s' has an unfinished hand-over from this host to %s; run 'drover resolve "
			    "%s' here first",
			    name, record->peer, name);
		if (term <= ledger_promised_term(record, uuid))
			return err_set(err, ERR_REFUSED,
				       "term %llu of VM '%s' is spent on this host; the next one is %llu",
				       (unsigned long long)term, name,
				       (unsigned long long)ledger_promised_term(record, uuid) + 1);
	} else if (binding) {
		return err_set(
		    err, ERR_REFUSED,
		    "this host knows another VM by the name '%s' (%s, handed to %s); run 'drover forget %s' "
		    "here if that one is over",
		    name, record->uuid, record->peer, name);
	}
	return 0;
}

int ledger_may_keep(const struct ledger_record *record, const char *name, const char *uuid, uint64_t term,
		    struct err *err)
{
	bool same = !strcmp(record->uuid, uuid);
	bool seen = record->state == LEDGER_STANDBY || record->state == LEDGER_HANDED_OVER;

	if (record->state == LEDGER_INTENT)
		return err_set(
		    err, ERR_REFUSED,
		    "VM '%s' has an unfinished hand-over from that host to %s; run 'drover resolve %s' "
		    "there first",
		    name, record->peer, name);
	if (!same && seen)
		return err_set(
		    err, ERR_REFUSED,
		    "that host knows another VM by the name '%s' (%s); run 'drover forget %s' there if "
		    "that one is over",
		    name, record->uuid, name);
	if (same && record->ran_term >= term)
		return err_set(err, ERR_REFUSED,
			       "VM '%s' has run on that host under term %llu, and is older here (term %llu)",
			       name, (unsigned long long)record->ran_term, (unsigned long long)term);
	if (same && seen && record->term > term)
		return err_set(err, ERR_REFUSED,
			       "that host has seen VM '%s' under term %llu, and it is older here (term %llu)",
			       name, (unsigned long long)record->term, (unsigned long long)term);
	return 0;
}

struct ledger_record ledger_standby(const struct ledger_record *record, const char *uuid, uint64_t term,
				    const char *peer)
{
	struct ledger_record standby = {.state = LEDGER_STANDBY, .term = term};
	uint64_t promised = ledger_promised_term(record, uuid);

	if (promised > term)
		standby.next_term = promised;
	if (!strcmp(record->uuid, uuid))
		standby.ran_term = record->ran_term;
	snprintf(standby.uuid, sizeof(standby.uuid), "%s", uuid);
	snprintf(standby.peer, sizeof(standby.peer), "%s", peer);
	return standby;
}

uint64_t ledger_promised_term(const struct ledger_record *record, const char *uuid)
{
	if (strcmp(record->uuid, uuid))
		return 0;
	return record->next_term > record->term ? record->next_term : record->term;
}
