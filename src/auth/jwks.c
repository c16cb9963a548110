/* JWK sets (RFC 7517 section 5): immutable once built, counted, shared between threads; the
 * counter and the time of reading are their only changing parts. A key that we cannot use is left
 * out with a line in the log, as the RFC wants; a set without any usable key is an error, and so
 * are two usable keys with one kid, because the token would then choose between them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define JWKS_MAGIC 0xa07c3a5eu

/* A regular one: without O_NONBLOCK the open of a named pipe that nobody writes to waits for good,
 * and the probe's thread, which polls this, with it. */
static FILE *key_file_open(const char *path, char *err, size_t err_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	FILE *file = NULL;

	if (fd < 0) {
		snprintf(err, err_size, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		snprintf(err, err_size, "%s: not a regular file", path);
	else if ((file = fdopen(fd, "r")) == NULL)
		snprintf(err, err_size, "%s: %s", path, strerror(errno));
	if (file == NULL)
		close(fd);
	return file;
}

char *auth_jwks_read_file(const char *path, size_t *len, char *err, size_t err_size)
{
	FILE *file = key_file_open(path, err, err_size);
	char *text;

	if (file == NULL)
		return NULL;
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

json_t *auth_jwks_parse_json(const char *text, size_t len, char *err, size_t err_size)
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

static void jwks_free(struct auth_jwks *jwks)
{
	for (size_t i = 0; i < jwks->n_keys; i++)
		auth_jwk_fini(&jwks->keys[i]);
	mem_free(jwks->keys);
	OBJ_FINI(jwks, JWKS_MAGIC);
	mem_free(jwks);
}

const struct auth_jwk *auth_jwks_find(const struct auth_jwks *jwks, const char *kid)
{
	for (size_t i = 0; i < jwks->n_keys; i++)
		if (jwks->keys[i].kid != NULL && strcmp(jwks->keys[i].kid, kid) == 0)
			return &jwks->keys[i];
	return NULL;
}

/* False, with err, only where the whole set must be refused. */
static bool jwks_add(struct auth_jwks *jwks, const json_t *json, size_t index, char *err,
                     size_t err_size)
{
	struct auth_jwk *jwk = &jwks->keys[jwks->n_keys];
	char why[128];

	if (!auth_jwk_parse(json, AUTH_JWK_VERIFY, jwk, why, sizeof(why))) {
		/* Kept: it is the reason when none is left. */
		snprintf(err, err_size, "no usable key; key %zu: %s", index + 1, why);
		log_warning("key set: key %zu left out: %s", index + 1, why);
		return true;
	}
	if (jwk->kid != NULL && auth_jwks_find(jwks, jwk->kid) != NULL) {
		snprintf(err, err_size, "two keys with kid \"%.64s\"", jwk->kid);
		auth_jwk_fini(jwk);
		return false;
	}
	if (json_object_get(json, "d") != NULL)
		log_warning("key set: key %zu holds its private half; PgUsher needs the public one "
		            "only (pgusher token --public)",
		            index + 1);
	jwks->n_keys++;
	return true;
}

struct auth_jwks *auth_jwks_parse(const char *json, size_t len, char *err, size_t err_size)
{
	json_t *array = auth_jwks_parse_json(json, len, err, err_size);
	struct auth_jwks *jwks;
	const json_t *one;
	bool ok = true;
	size_t i;

	if (array == NULL)
		return NULL;
	jwks = mem_zalloc(sizeof(*jwks));
	OBJ_INIT(jwks, JWKS_MAGIC);
	atomic_init(&jwks->refs, 1);
	atomic_init(&jwks->read_us, clock_mono_us());
	jwks->keys = mem_zalloc(json_array_size(array) * sizeof(jwks->keys[0]));
	snprintf(err, err_size, "no usable key; the set is empty");
	json_array_foreach(array, i, one)
	{
		ok = jwks_add(jwks, one, i, err, err_size);
		if (!ok)
			break;
	}
	json_decref(array);
	if (!ok || jwks->n_keys == 0) {
		jwks_free(jwks);
		return NULL;
	}
	if (err_size > 0)
		err[0] = '\0';
	return jwks;
}

struct auth_jwks *auth_jwks_load(const char *path, char *err, size_t err_size)
{
	size_t len;
	char *text = auth_jwks_read_file(path, &len, err, err_size), why[200];
	struct auth_jwks *jwks;

	if (text == NULL)
		return NULL;
	jwks = auth_jwks_parse(text, len, why, sizeof(why));
	if (jwks == NULL)
		snprintf(err, err_size, "%s: %s", path, why);
	auth_secret_free(text, len);
	return jwks;
}

struct auth_jwks *auth_jwks_get(struct auth_jwks *jwks)
{
	OBJ_CHECK(jwks, JWKS_MAGIC);
	atomic_fetch_add_explicit(&jwks->refs, 1, memory_order_relaxed);
	return jwks;
}

void auth_jwks_put(struct auth_jwks **jwksp)
{
	struct auth_jwks *jwks = *jwksp;

	*jwksp = NULL;
	if (jwks == NULL)
		return;
	OBJ_CHECK(jwks, JWKS_MAGIC);
	if (atomic_fetch_sub_explicit(&jwks->refs, 1, memory_order_acq_rel) == 1)
		jwks_free(jwks);
}

size_t auth_jwks_count(const struct auth_jwks *jwks)
{
	OBJ_CHECK(jwks, JWKS_MAGIC);
	return jwks->n_keys;
}

void auth_jwks_touch(struct auth_jwks *jwks)
{
	OBJ_CHECK(jwks, JWKS_MAGIC);
	atomic_store_explicit(&jwks->read_us, clock_mono_us(), memory_order_relaxed);
}
