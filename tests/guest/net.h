/* Frames between two guests, measured (README.md). */
#ifndef GUEST_NET_H
#define GUEST_NET_H

#include "params.h"

/* Sends or receives (p->net), prints the results and stops the machine; the receiver ends when the sender does. */
_Noreturn void net_run(const struct params *p);

#endif
