/* JWK sets (RFC 7517 section 5): immutable once built, counted, shared between threads; the
 * counter is their only changing part. A key that we cannot use is left out with a line in the
 * log, as the RFC wants; a set without any usable key is an error, and so are two usable keys
 * with one kid, because the token would then choose between them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

#define KEYS_MAGIC 0xa07ce7a5u

char *auth_keys_read_file(const char *path, size_t *len, char *err, size_t err_size)
{
	FILE *file = fopen(path, "re");
	char *text;

	if (file == NULL) {
		snprintf(err, err_size, "%s: %s", path, strerror(errno));
		return NULL;
	}
	/* The byte over the limit tells a file of exactly that size from a longer one. */
	text = mem_alloc(AUTH_KEY_FILE_MAX + 1);
	*len = fread(text, 1, AUTH_KEY_FILE_MAX + 1, file);
	if (ferror(file) || *len > AUTH_KEY_FILE_MAX) {
		snprintf(err, err_size, "%s: %s", path,
		         ferror(file) ? strerror(errno) : "longer than 1 MiB");
		auth_secret_free(text, *len);
		text = NULL;
	} else {
		text[*len] = '\0';
	}
	fclose(file);
	return text;
}

json_t *auth_keys_parse_json(const char *text, size_t len, char *err, size_t err_size)
{
	json_error_t why;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	json_t *array = NULL;

	if (root == NULL) {
		/* why.text would quote the file, that is, key material. */
		snprintf(err, err_size, "line %d: not valid JSON", why.line);
		return NULL;
	}
	if (json_is_array(json_object_get(root, "keys"))) {
		array = json_incref(json_object_get(root, "keys"));
	} else if (json_object_get(root, "kty") != NULL) {
		array = json_array();
		MUST(array != NULL && json_array_append(array, root) == 0);
	} else {
		snprintf(err, err_size, "neither a JWK set (\"keys\") nor a JWK (\"kty\")");
	}
	json_decref(root);
	if (array != NULL && json_array_size(array) > AUTH_KEYS_MAX) {
		snprintf(err, err_size, "more than %d keys", AUTH_KEYS_MAX);
		json_decref(array);
		array = NULL;
	}
	return array;
}

static void key_fini(struct auth_key *key)
{
	auth_secret_free(key->material, key->material_len);
	MEM_FREE(&key->kid);
}

static void keys_free(struct auth_keys *keys)
{
	for (size_t i = 0; i < keys->n_keys; i++)
		key_fini(&keys->keys[i]);
	mem_free(keys->keys);
	OBJ_FINI(keys, KEYS_MAGIC);
	mem_free(keys);
}

static const struct auth_key *keys_find(const struct auth_keys *keys, const char *kid)
{
	for (size_t i = 0; i < keys->n_keys; i++)
		if (keys->keys[i].kid != NULL && strcmp(keys->keys[i].kid, kid) == 0)
			return &keys->keys[i];
	return NULL;
}

/* False, with err, only where the whole set must be refused. */
static bool keys_add(struct auth_keys *keys, const json_t *json, size_t index, char *err,
                     size_t err_size)
{
	struct auth_key *key = &keys->keys[keys->n_keys];
	struct auth_jwk jwk;
	char why[128];

	if (!auth_jwk_parse(json, AUTH_JWK_VERIFY, &jwk, why, sizeof(why))) {
		/* Kept: it is the reason when none is left. */
		snprintf(err, err_size, "no usable key; key %zu: %s", index + 1, why);
		log_warning("key set: key %zu left out: %s", index + 1, why);
		return true;
	}
	if (jwk.kid != NULL && keys_find(keys, jwk.kid) != NULL) {
		snprintf(err, err_size, "two keys with kid \"%.64s\"", jwk.kid);
		auth_jwk_fini(&jwk);
		return false;
	}
	if (json_object_get(json, "d") != NULL)
		log_warning("key set: key %zu holds its private half; PgUsher needs the public one "
		            "only (pgusher token --public)",
		            index + 1);
	key->alg = jwk.alg;
	key->material = auth_jwk_material(&jwk, AUTH_JWK_VERIFY, &key->material_len);
	key->kid = jwk.kid;
	jwk.kid = NULL;
	keys->n_keys++;
	auth_jwk_fini(&jwk);
	return true;
}

struct auth_keys *auth_keys_parse(const char *json, size_t len, char *err, size_t err_size)
{
	json_t *array = auth_keys_parse_json(json, len, err, err_size);
	struct auth_keys *keys;
	const json_t *one;
	bool ok = true;
	size_t i;

	if (array == NULL)
		return NULL;
	keys = mem_zalloc(sizeof(*keys));
	OBJ_INIT(keys, KEYS_MAGIC);
	atomic_init(&keys->refs, 1);
	keys->keys = mem_zalloc(json_array_size(array) * sizeof(keys->keys[0]));
	snprintf(err, err_size, "no usable key; the set is empty");
	json_array_foreach(array, i, one)
	{
		ok = keys_add(keys, one, i, err, err_size);
		if (!ok)
			break;
	}
	json_decref(array);
	if (!ok || keys->n_keys == 0) {
		keys_free(keys);
		return NULL;
	}
	if (err_size > 0)
		err[0] = '\0';
	return keys;
}

struct auth_keys *auth_keys_load(const char *path, char *err, size_t err_size)
{
	size_t len;
	char *text = auth_keys_read_file(path, &len, err, err_size), why[200];
	struct auth_keys *keys;

	if (text == NULL)
		return NULL;
	keys = auth_keys_parse(text, len, why, sizeof(why));
	if (keys == NULL)
		snprintf(err, err_size, "%s: %s", path, why);
	auth_secret_free(text, len);
	return keys;
}

struct auth_keys *auth_keys_get(struct auth_keys *keys)
{
	OBJ_CHECK(keys, KEYS_MAGIC);
	atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
	return keys;
}

void auth_keys_put(struct auth_keys **keysp)
{
	struct auth_keys *keys = *keysp;

	*keysp = NULL;
	if (keys == NULL)
		return;
	OBJ_CHECK(keys, KEYS_MAGIC);
	if (atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) == 1)
		keys_free(keys);
}

size_t auth_keys_count(const struct auth_keys *keys)
{
	OBJ_CHECK(keys, KEYS_MAGIC);
	return keys->n_keys;
}

enum auth_reason auth_keys_choose(const struct auth_keys *keys, const char *kid, uint32_t alg,
                                  const struct auth_key **key)
{
	OBJ_CHECK(keys, KEYS_MAGIC);
	*key = NULL;
	if (kid != NULL) {
		*key = keys_find(keys, kid);
		if (*key == NULL)
			return AUTH_UNKNOWN_KEY;
		return (*key)->alg == alg ? AUTH_OK : AUTH_ALGORITHM;
	}
	for (size_t i = 0; i < keys->n_keys; i++) {
		if (keys->keys[i].alg != alg)
			continue;
		if (*key != NULL) /* two would fit: the token must say which */
			return AUTH_UNKNOWN_KEY;
		*key = &keys->keys[i];
	}
	return *key != NULL ? AUTH_OK : AUTH_UNKNOWN_KEY;
}
