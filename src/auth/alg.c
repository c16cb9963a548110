/* The signature algorithms that PgUsher knows (RFC 7518 section 3, RFC 8037 section 3.1).
 * "none" is not among them, nor can configuration add it. Pure. */
#include <string.h>

#include "auth_int.h"

static const struct {
	uint32_t alg;
	const char *name;
} algs[] = {
	{CONF_ALG_HS256, "HS256"}, {CONF_ALG_RS256, "RS256"}, {CONF_ALG_ES256, "ES256"},
	{CONF_ALG_PS256, "PS256"}, {CONF_ALG_EDDSA, "EdDSA"},
};

uint32_t auth_alg_parse(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(algs); i++)
		if (strcmp(algs[i].name, name) == 0)
			return algs[i].alg;
	return 0;
}

const char *auth_alg_name(uint32_t alg)
{
	for (size_t i = 0; i < COUNT_OF(algs); i++)
		if (algs[i].alg == alg)
			return algs[i].name;
	return "?";
}
