/* A key set as the console shows it: never the keys themselves. */
#ifndef PGUSHER_AUTH_LOOK_H
#define PGUSHER_AUTH_LOOK_H

#include "auth.h"

struct auth_key_info {
	const char *kid; /* NULL: none */
	const char *alg; /* "RS256" */
};
void auth_keys_each(const struct auth_keys *keys,
                    void (*visit)(void *arg, const struct auth_key_info *info), void *arg);

#endif
