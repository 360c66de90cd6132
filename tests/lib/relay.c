/* relay.c: see relay.h.  One thread, one lock around everything but poll(). */
#include "tests/lib/relay.h"

#include "common/io.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONNECTIONS = 32,
	CHUNK = 64 << 10,
	CHUNKS = 128, /* in flight in one direction */
};

struct chunk {
	uint64_t due; /* clock_mono_ns */
	size_t len;
	size_t at;
	uint8_t data[CHUNK];
};

/* One direction of a connection. */
struct flow {
	struct chunk *chunks[CHUNKS]; /* a ring, allocated when first used */
	unsigned first;
	unsigned count;
	bool ended; /* the source sends no more */
	bool told;  /* and the sink was told */
};

struct connection {
	int fd[2];           /* client, server; -1 when free */
	struct flow flow[2]; /* from fd[0] to fd[1], and back */
	bool mute;           /* nothing is read or written */
};

struct relay {
	pthread_t thread;
	pthread_mutex_t lock;
	int listener;
	int wake;
	uint16_t port;
	struct sockaddr_in server;
	bool stop;
	bool stalled;
	bool corrupt; /* the next bytes */
	unsigned delay_us;
	uint64_t cut_at; /* 0: never */
	uint64_t bytes[2];
	unsigned accepted;
	unsigned answered; /* of these, UINT_MAX: all */
	struct connection connections[CONNECTIONS];
};

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

/* ---- connections ---- */

/* Dissolving the association sends the reset now.  Closing would not: a poll() under way holds the socket. */
static void drop(struct connection *connection)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	for (int side = 0; side < 2; side++) {
		if (connection->fd[side] < 0)
			continue;
		connect(connection->fd[side], &nobody, sizeof(nobody));
		io_close(&connection->fd[side]);
	}
	for (int side = 0; side < 2; side++) {
		for (int i = 0; i < CHUNKS; i++)
			free(connection->flow[side].chunks[i]);
		connection->flow[side] = (struct flow){.first = 0};
	}
}

static void drop_all(struct relay *relay)
{
	for (int i = 0; i < CONNECTIONS; i++)
		drop(&relay->connections[i]);
}

static void prepare(int fd)
{
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void accept_one(struct relay *relay)
{
	const struct sockaddr_in address = relay->server;
	int client = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);
	struct connection *connection = NULL;
	int server;

	if (client < 0)
		return;
	for (int i = 0; i < CONNECTIONS && !connection; i++)
		if (relay->connections[i].fd[0] < 0)
			connection = &relay->connections[i];
	server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!connection || connect(server, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(client);
		close(server);
		return;
	}
	prepare(client);
	prepare(server);
	connection->fd[0] = client;
	connection->fd[1] = server;
	connection->mute = relay->accepted++ >= relay->answered;
}

/* ---- moving bytes ---- */

/* Read into the next chunk of the flow that begins at this side. */
static void take(struct relay *relay, struct connection *connection, int side)
{
	struct flow *flow = &connection->flow[side];
	unsigned slot = (flow->first + flow->count) % CHUNKS;
	struct chunk *chunk;
	ssize_t got;

	if (!flow->chunks[slot])
		flow->chunks[slot] = malloc(sizeof(*flow->chunks[slot]));
	chunk = flow->chunks[slot];
	if (!chunk)
		abort();
	got = read(connection->fd[side], chunk->data, CHUNK);
	if (got < 0 && errno != EAGAIN && errno != EINTR) {
		drop(connection);
	} else if (got == 0) {
		flow->ended = true;
	} else if (got > 0) {
		if (relay->corrupt)
			chunk->data[got / 2] ^= 4;
		relay->corrupt = false;
		chunk->len = (size_t)got;
		chunk->at = 0;
		chunk->due = relay->delay_us ? clock_mono_ns() + relay->delay_us * 1000ull : 0;
		flow->count++;
	}
}

/* Write what is due of the flow that ends at the other side. */
static void give(struct relay *relay, struct connection *connection, int side, uint64_t now)
{
	struct flow *flow = &connection->flow[side];
	int to = connection->fd[!side];

	while (flow->count > 0 && flow->chunks[flow->first]->due <= now) {
		struct chunk *chunk = flow->chunks[flow->first];
		ssize_t put = send(to, chunk->data + chunk->at, chunk->len - chunk->at, MSG_NOSIGNAL);

		if (put < 0) {
			if (errno != EAGAIN && errno != EINTR)
				drop(connection);
			return;
		}
		chunk->at += (size_t)put;
		relay->bytes[side] += (uint64_t)put;
		if (chunk->at < chunk->len)
			return;
		flow->first = (flow->first + 1) % CHUNKS;
		flow->count--;
	}
	if (flow->ended && !flow->told && flow->count == 0) {
		shutdown(to, SHUT_WR);
		flow->told = true;
		if (connection->flow[!side].told)
			drop(connection);
	}
}

static void serve(struct relay *relay, struct connection *connection, const short revents[2])
{
	uint64_t now = clock_mono_ns();

	for (int side = 0; side < 2; side++) {
		if (connection->fd[0] >= 0 && (revents[side] & (POLLIN | POLLHUP | POLLERR)) &&
		    connection->flow[side].count < CHUNKS && !connection->flow[side].ended)
			take(relay, connection, side);
	}
	for (int side = 0; side < 2; side++)
		if (connection->fd[0] >= 0)
			give(relay, connection, side, now);
	if (relay->cut_at && relay->bytes[0] >= relay->cut_at) {
		relay->cut_at = 0;
		drop_all(relay);
	}
}

/* What to poll for on a connection, and how long at most until something is due. */
static void want(const struct connection *connection, struct pollfd fds[2], int *timeout_ms)
{
	uint64_t now = clock_mono_ns();

	for (int side = 0; side < 2; side++)
		fds[side] = (struct pollfd){.fd = connection->fd[side]};
	for (int side = 0; side < 2 && connection->fd[0] >= 0; side++) {
		const struct flow *flow = &connection->flow[side];

		if (!flow->ended && flow->count < CHUNKS)
			fds[side].events |= POLLIN;
		if (flow->count > 0 && flow->chunks[flow->first]->due <= now) {
			fds[!side].events |= POLLOUT;
		} else if (flow->count > 0) {
			int ms = (int)((flow->chunks[flow->first]->due - now) / 1000000) + 1;

			if (*timeout_ms < 0 || ms < *timeout_ms)
				*timeout_ms = ms;
		}
	}
	/* An end that is neither read nor written any more would wake every poll. */
	for (int side = 0; side < 2; side++)
		if (!fds[side].events)
			fds[side].fd = -1;
}

static void *run(void *arg)
{
	struct relay *relay = arg;

	pthread_mutex_lock(&relay->lock);
	while (!relay->stop) {
		struct pollfd fds[2 + 2 * CONNECTIONS];
		int timeout_ms = -1;

		fds[0] = (struct pollfd){.fd = relay->wake, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = relay->stalled ? -1 : relay->listener, .events = POLLIN};
		for (int i = 0; i < CONNECTIONS; i++) {
			want(&relay->connections[i], &fds[2 + 2 * i], &timeout_ms);
			if (relay->stalled || relay->connections[i].mute)
				fds[2 + 2 * i].fd = fds[3 + 2 * i].fd = -1;
		}
		pthread_mutex_unlock(&relay->lock);
		poll(fds, 2 + 2 * CONNECTIONS, relay->stalled ? -1 : timeout_ms);
		pthread_mutex_lock(&relay->lock);
		if (fds[0].revents) {
			/* Something was changed: what poll said may be about connections that are no more. */
			eventfd_t value;

			eventfd_read(relay->wake, &value);
			continue;
		}
		if (relay->stalled)
			continue;
		for (int i = 0; i < CONNECTIONS; i++)
			if (relay->connections[i].fd[0] >= 0 && !relay->connections[i].mute)
				serve(relay, &relay->connections[i],
				      (short[2]){fds[2 + 2 * i].revents, fds[3 + 2 * i].revents});
		if (fds[1].revents)
			accept_one(relay);
	}
	drop_all(relay);
	pthread_mutex_unlock(&relay->lock);
	return NULL;
}

/* ---- from outside ---- */

static void changed(struct relay *relay)
{
	eventfd_write(relay->wake, 1);
	pthread_mutex_unlock(&relay->lock);
}

struct relay *relay_start(uint16_t port)
{
	return relay_start_to("127.0.0.1", port);
}

struct relay *relay_start_to(const char *address_there, uint16_t port)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	struct sockaddr_in address = loopback(0);
	socklen_t len = sizeof(address);

	if (!relay)
		abort();
	relay->server = loopback(port);
	relay->answered = UINT_MAX;
	inet_pton(AF_INET, address_there, &relay->server.sin_addr);
	pthread_mutex_init(&relay->lock, NULL);
	for (int i = 0; i < CONNECTIONS; i++)
		relay->connections[i].fd[0] = relay->connections[i].fd[1] = -1;
	relay->wake = eventfd(0, EFD_CLOEXEC);
	relay->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(relay->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(relay->listener, CONNECTIONS) < 0 ||
	    getsockname(relay->listener, (struct sockaddr *)&address, &len) < 0 ||
	    pthread_create(&relay->thread, NULL, run, relay) != 0) {
		perror("relay");
		io_close(&relay->listener);
		io_close(&relay->wake);
		free(relay);
		return NULL;
	}
	relay->port = ntohs(address.sin_port);
	return relay;
}

void relay_stop(struct relay *relay)
{
	if (!relay)
		return;
	pthread_mutex_lock(&relay->lock);
	relay->stop = true;
	changed(relay);
	pthread_join(relay->thread, NULL);
	io_close(&relay->listener);
	io_close(&relay->wake);
	pthread_mutex_destroy(&relay->lock);
	free(relay);
}

uint16_t relay_port(const struct relay *relay)
{
	return relay->port;
}

void relay_cut(struct relay *relay)
{
	pthread_mutex_lock(&relay->lock);
	drop_all(relay);
	changed(relay);
}

void relay_cut_after(struct relay *relay, uint64_t bytes)
{
	pthread_mutex_lock(&relay->lock);
	relay->cut_at = relay->bytes[0] + bytes;
	changed(relay);
}

void relay_stall(struct relay *relay, bool on)
{
	pthread_mutex_lock(&relay->lock);
	relay->stalled = on;
	changed(relay);
}

void relay_answer(struct relay *relay, unsigned connections)
{
	pthread_mutex_lock(&relay->lock);
	relay->answered = relay->accepted + connections;
	changed(relay);
}

void relay_corrupt(struct relay *relay)
{
	pthread_mutex_lock(&relay->lock);
	relay->corrupt = true;
	changed(relay);
}

void relay_delay(struct relay *relay, unsigned us)
{
	pthread_mutex_lock(&relay->lock);
	relay->delay_us = us;
	changed(relay);
}

uint64_t relay_bytes_up(struct relay *relay)
{
	uint64_t bytes;

	pthread_mutex_lock(&relay->lock);
	bytes = relay->bytes[0];
	pthread_mutex_unlock(&relay->lock);
	return bytes;
}

uint64_t relay_bytes_down(struct relay *relay)
{
	uint64_t bytes;

	pthread_mutex_lock(&relay->lock);
	bytes = relay->bytes[1];
	pthread_mutex_unlock(&relay->lock);
	return bytes;
}

unsigned relay_connections(struct relay *relay)
{
	unsigned count;

	pthread_mutex_lock(&relay->lock);
	count = relay->accepted;
	pthread_mutex_unlock(&relay->lock);
	return count;
}
