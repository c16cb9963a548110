/* A key set as the console shows it. */
#include "auth_look.h"

#include "auth_int.h"

void auth_keys_each(const struct auth_keys *keys,
                    void (*visit)(void *arg, const struct auth_key_info *info), void *arg)
{
	for (size_t i = 0; i < keys->n_keys; i++) {
		struct auth_key_info info = {.kid = keys->keys[i].kid,
		                             .alg = auth_alg_name(keys->keys[i].alg)};

		visit(arg, &info);
	}
}
