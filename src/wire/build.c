/* Building messages. Each begins with its type and a length word that is filled in at the end. */
#include "wire.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

static const struct close_reason_info close_reasons[CLOSE_REASON_COUNT] = {
	[CLOSE_NONE] = {"none", "", ""},
#define CLOSE_REASON(name, label, sqlstate, text) [CLOSE_##name] = {label, sqlstate, text},
#include "tbl/close_reasons.h"
#undef CLOSE_REASON
};

const struct close_reason_info *close_reason_info(enum close_reason reason)
{
	MUST(reason < CLOSE_REASON_COUNT);
	return &close_reasons[reason];
}

static size_t message_begin(struct buf *b, uint8_t type)
{
	size_t at;

	buf_put_u8(b, type);
	at = b->len;
	buf_put_be32(b, 0);
	return at;
}

static void message_end(struct buf *b, size_t at)
{
	be32_set(b->data + at, (uint32_t)(b->len - at));
}

static void put_field(struct buf *b, uint8_t field, const char *text)
{
	if (text == NULL)
		return;
	buf_put_u8(b, field);
	buf_put_cstr(b, text);
}

static void put_report(struct buf *b, uint8_t type, const struct wire_error *e)
{
	size_t at = message_begin(b, type);

	put_field(b, 'S', e->severity);
	put_field(b, 'V', e->severity);
	put_field(b, 'C', e->sqlstate);
	put_field(b, 'M', e->message);
	put_field(b, 'D', e->detail);
	put_field(b, 'H', e->hint);
	if (e->position > 0) {
		char digits[16];

		snprintf(digits, sizeof(digits), "%u", e->position);
		put_field(b, 'P', digits);
	}
	buf_put_u8(b, 0);
	message_end(b, at);
}

void wire_put_error(struct buf *b, const struct wire_error *e)
{
	put_report(b, 'E', e);
}

void wire_put_notice(struct buf *b, const struct wire_error *e)
{
	put_report(b, 'N', e);
}

void wire_put_no_parameters(struct buf *b)
{
	size_t at = message_begin(b, 't');

	buf_put_u8(b, 0);
	buf_put_u8(b, 0);
	message_end(b, at);
}

void wire_put_close_reason(struct buf *b, enum close_reason reason)
{
	const struct close_reason_info *info = close_reason_info(reason);
	struct wire_error e = {
		.severity = "FATAL", .sqlstate = info->sqlstate, .message = info->text};

	if (info->sqlstate[0] != '\0')
		wire_put_error(b, &e);
}

void wire_put_auth(struct buf *b, uint32_t code)
{
	size_t at = message_begin(b, 'R');

	buf_put_be32(b, code);
	message_end(b, at);
}

void wire_put_parameter(struct buf *b, const char *name, const char *value)
{
	size_t at = message_begin(b, 'S');

	buf_put_cstr(b, name);
	buf_put_cstr(b, value);
	message_end(b, at);
}

void wire_put_key_data(struct buf *b, const struct wire_cancel *key)
{
	size_t at = message_begin(b, 'K');

	buf_put_be32(b, key->pid);
	buf_put(b, key->key, key->key_len);
	message_end(b, at);
}

void wire_put_cancel(struct buf *b, const struct wire_cancel *cancel)
{
	buf_put_be32(b, 12 + (uint32_t)cancel->key_len);
	buf_put_be32(b, WIRE_CANCEL_REQUEST);
	buf_put_be32(b, cancel->pid);
	buf_put(b, cancel->key, cancel->key_len);
}

void wire_put_negotiate(struct buf *b, uint32_t version, const struct buf *options, size_t n)
{
	size_t at = message_begin(b, 'v');

	buf_put_be32(b, version);
	buf_put_be32(b, (uint32_t)n);
	buf_put(b, options->data, options->len);
	message_end(b, at);
}

void wire_put_ready(struct buf *b, char status)
{
	size_t at = message_begin(b, 'Z');

	buf_put_u8(b, (uint8_t)status);
	message_end(b, at);
}

void wire_put_command_complete(struct buf *b, const char *tag)
{
	size_t at = message_begin(b, 'C');

	buf_put_cstr(b, tag);
	message_end(b, at);
}

void wire_put_bare(struct buf *b, uint8_t type)
{
	message_end(b, message_begin(b, type));
}

void wire_put_query(struct buf *b, const char *text, size_t len)
{
	size_t at = message_begin(b, 'Q');

	buf_put(b, text, len);
	buf_put_u8(b, 0);
	message_end(b, at);
}

void wire_put_parse(struct buf *b, const char *name, const char *text)
{
	size_t at = message_begin(b, 'P');

	buf_put_cstr(b, name);
	buf_put_cstr(b, text);
	buf_put_be16(b, 0);
	message_end(b, at);
}

void wire_put_bind_portal(struct buf *b, const char *portal, const char *statement,
                          const char *const *values, uint16_t n)
{
	size_t at = message_begin(b, 'B');

	buf_put_cstr(b, portal);
	buf_put_cstr(b, statement);
	buf_put_be16(b, 0);
	buf_put_be16(b, n);
	for (uint16_t i = 0; i < n; i++) {
		size_t len = values[i] != NULL ? strlen(values[i]) : 0;

		buf_put_be32(b, values[i] != NULL ? (uint32_t)len : UINT32_MAX);
		buf_put(b, values[i], len);
	}
	buf_put_be16(b, 0);
	message_end(b, at);
}

void wire_put_bind(struct buf *b, const char *statement, const char *const *values, uint16_t n)
{
	wire_put_bind_portal(b, "", statement, values, n);
}

void wire_put_execute_portal(struct buf *b, const char *portal)
{
	size_t at = message_begin(b, 'E');

	buf_put_cstr(b, portal);
	buf_put_be32(b, 0);
	message_end(b, at);
}

void wire_put_execute(struct buf *b)
{
	wire_put_execute_portal(b, "");
}

void wire_put_close_portal(struct buf *b, const char *portal)
{
	size_t at = message_begin(b, 'C');

	buf_put_u8(b, 'P');
	buf_put_cstr(b, portal);
	message_end(b, at);
}

static void put_statement(struct buf *b, uint8_t type, const char *name)
{
	size_t at = message_begin(b, type);

	buf_put_u8(b, 'S');
	buf_put_cstr(b, name);
	message_end(b, at);
}

void wire_put_close_statement(struct buf *b, const char *name)
{
	put_statement(b, 'C', name);
}

void wire_put_describe_statement(struct buf *b, const char *name)
{
	put_statement(b, 'D', name);
}
