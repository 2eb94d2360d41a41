/* The event of a change as Socket.IO text, in every shape that was ever seen. One thread. */
#pragma once

#include "simsock.h"

/* Appends the packet, Engine.IO's type digit included. space: the joined namespace. */
void simevent_write(const struct simsock_knobs *knobs, const struct simsock_subscription *sub,
		    const char *space, struct simjson *out);
