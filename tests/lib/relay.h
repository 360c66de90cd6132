/* relay.h: a TCP relay on loopback between a client and a server, to cut, stall or delay what runs through it. */
#ifndef TESTS_LIB_RELAY_H
#define TESTS_LIB_RELAY_H

#include <stdbool.h>
#include <stdint.h>

struct relay;

/* relay_start(port): listen on a free port of 127.0.0.1 and pass every connection on to 127.0.0.1:port; runs in a
 * thread of its own.  relay_start_to: to another IPv4 address.  NULL with the reason on stderr.  relay_stop: cuts all and ends;
 * harmless on NULL. */
struct relay *relay_start(uint16_t port);
struct relay *relay_start_to(const char *address, uint16_t port);
void relay_stop(struct relay *relay);
uint16_t relay_port(const struct relay *relay);

/* All of these may be called from any thread, and are in force on return.
 * relay_cut(relay): reset every connection there is; new ones are accepted.
 * relay_cut_after(relay, bytes): do so once, when so many more bytes went from clients to the server.
 * relay_stall(relay, on): read and write nothing any more, as a network does that loses everything.
 * relay_answer(relay, connections): so many from now on are served; those that come behind them are accepted and hear nothing.
 * relay_corrupt(relay): one bit of the next bytes, in either direction, arrives as another one.
 * relay_delay(relay, us): every byte arrives so much later, in both directions; for bytes to come. */
void relay_cut(struct relay *relay);
void relay_cut_after(struct relay *relay, uint64_t bytes);
void relay_stall(struct relay *relay, bool on);
void relay_answer(struct relay *relay, unsigned connections);
void relay_corrupt(struct relay *relay);
void relay_delay(struct relay *relay, unsigned us);

uint64_t relay_bytes_up(struct relay *relay); /* client to server, since the start */
uint64_t relay_bytes_down(struct relay *relay);
unsigned relay_connections(struct relay *relay); /* accepted since the start */

#endif
