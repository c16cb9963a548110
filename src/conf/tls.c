/* Value types of TLS. What OpenSSL would refuse later, or leave out without a word, is refused
 * here, where the line is known: OpenSSL itself is asked, on the thread that loads. */
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conf_int.h"

/* ---- protocols -------------------------------------------------------------------------- */

#define N_VERSIONS 4 /* the first words; the others are several at once */

static const struct conf_word protocol_words[] = {
	{"tlsv1.0", CONF_TLS_1_0, NULL},
	{"tlsv1.1", CONF_TLS_1_1, NULL},
	{"tlsv1.2", CONF_TLS_1_2, NULL},
	{"tlsv1.3", CONF_TLS_1_3, NULL},
	{"secure", CONF_TLS_SECURE, NULL},
	{"all", CONF_TLS_ALL, NULL},
	{"default", CONF_TLS_SECURE, NULL},
	{"legacy", CONF_TLS_ALL, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word *protocol_find(const char *word, size_t len)
{
	const struct conf_word *w;

	for (w = protocol_words; w->word; w++) {
		if (strlen(w->word) == len && strncasecmp(w->word, word, len) == 0)
			return w;
	}
	return NULL;
}

/* As PgBouncer: words joined by commas or colons, and one with a ! takes its versions away. */
bool conf_protocols_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                          const char *text)
{
	uint32_t *protocols = field, bits = 0;
	const char *p = text;

	(void)type;
	for (;;) {
		bool is_negated;
		size_t len;
		const struct conf_word *w;

		p += strspn(p, ",: \t");
		if (*p == '\0')
			break;
		is_negated = *p == '!';
		p += is_negated;
		len = strcspn(p, ",: \t");
		w = protocol_find(p, len);
		if (!w) {
			snprintf(s->why, sizeof(s->why),
			         "\"%.*s\" is none of secure, all, legacy, tlsv1.0, tlsv1.1, "
			         "tlsv1.2, tlsv1.3",
			         (int)(len < 64 ? len : 64), p);
			return false;
		}
		bits = is_negated ? bits & ~(uint32_t)w->value : bits | (uint32_t)w->value;
		p += len;
	}
	if (bits == 0) {
		snprintf(s->why, sizeof(s->why), "no TLS version is left");
		return false;
	}
	*protocols = bits;
	return true;
}

void conf_protocols_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const uint32_t *protocols = field;
	const char *comma = "";

	(void)type;
	if (*protocols == CONF_TLS_SECURE || *protocols == CONF_TLS_ALL) {
		conf_put_text(out, *protocols == CONF_TLS_ALL ? "all" : "secure");
		return;
	}
	for (size_t i = 0; i < N_VERSIONS; i++) {
		if (!(*protocols & (uint32_t)protocol_words[i].value))
			continue;
		conf_put_text(out, comma);
		conf_put_text(out, protocol_words[i].word);
		comma = ",";
	}
}

/* ---- what OpenSSL must know -------------------------------------------------------------- */

typedef int try_fn(SSL_CTX *ctx, const char *text);

static int try_ciphers(SSL_CTX *ctx, const char *text)
{
	return SSL_CTX_set_cipher_list(ctx, text);
}

/* Newer versions of OpenSSL pass over a suite that they do not know, hence the look. */
static int try_suites(SSL_CTX *ctx, const char *text)
{
	const SSL_CIPHER *first;

	if (SSL_CTX_set_ciphersuites(ctx, text) != 1)
		return 0;
	first = sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(ctx), 0);
	return first != NULL && strcmp(SSL_CIPHER_get_name(first), text) == 0;
}

static int try_groups(SSL_CTX *ctx, const char *text)
{
	return (int)SSL_CTX_set1_groups_list(ctx, text);
}

static bool openssl_takes(try_fn *try, const char *text)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	bool ok;

	MUST(ctx != NULL);
	ok = try(ctx, text) == 1;
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

static bool text_set(struct conf_setter *s, void *field, const char *text)
{
	const char **string = field;

	*string = conf_memory_strndup(s->conf, text, strlen(text));
	return true;
}

/* Each name by itself: of a list OpenSSL passes over what it does not know. */
static bool names_are_known(struct conf_setter *s, try_fn *try, const char *what, const char *text)
{
	char name[128];

	while (*text) {
		size_t len = strcspn(text, ":");

		snprintf(name, sizeof(name), "%.*s", (int)(len < 127 ? len : 127), text);
		if (!openssl_takes(try, name)) {
			snprintf(s->why, sizeof(s->why), "OpenSSL has no %s \"%.64s\"", what, name);
			return false;
		}
		text += len;
		text += *text == ':';
	}
	return true;
}

/* ---- ciphers ------------------------------------------------------------------------------ */

const char *conf_tls_cipher_list(const char *value)
{
	static const char *const own[] = {"", "default", "secure", "normal", "fast"};
	static const char *const every[] = {"all", "insecure", "legacy", "compat"};

	for (size_t i = 0; i < COUNT_OF(own); i++) {
		if (strcasecmp(value, own[i]) == 0)
			return NULL;
	}
	for (size_t i = 0; i < COUNT_OF(every); i++) {
		if (strcasecmp(value, every[i]) == 0)
			return "ALL:!aNULL:!eNULL";
	}
	return value;
}

bool conf_ciphers_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                        const char *text)
{
	const char *list = conf_tls_cipher_list(text);

	(void)type;
	if (!list || openssl_takes(try_ciphers, list))
		return text_set(s, field, text);
	snprintf(s->why, sizeof(s->why),
	         "OpenSSL finds no cipher of TLS 1.2 or below in \"%.128s\"", text);
	return false;
}

bool conf_suites_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                       const char *text)
{
	(void)type;
	return names_are_known(s, try_suites, "TLS 1.3 suite", text) && text_set(s, field, text);
}

bool conf_curve_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                      const char *text)
{
	(void)type;
	if (strcasecmp(text, "auto") == 0 || *text == '\0')
		return text_set(s, field, "auto");
	if (strcasecmp(text, "none") == 0)
		return text_set(s, field, "none");
	return names_are_known(s, try_groups, "group", text) && text_set(s, field, text);
}
