/* PostgreSQL's protocol 3.0 and 3.2 as bytes: framing, the startup packet, building messages,
 * SQLSTATEs and close reasons. Pure. Source: PostgreSQL documentation, "Message Formats" (55.7) and
 * "Message Flow" (55.2). */
#ifndef PGUSHER_WIRE_H
#define PGUSHER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define WIRE_HEADER_BYTES 5
/* The server's own limit (MaxAllocSize); a longer message is a protocol violation. */
#define WIRE_MESSAGE_MAX 0x3fffffff
/* MAX_STARTUP_PACKET_LENGTH in PostgreSQL's pqcomm.h. */
#define WIRE_STARTUP_MAX 10000

#define WIRE_PROTOCOL_3_0 196608
#define WIRE_PROTOCOL_3_2 196610
#define WIRE_SSL_REQUEST 80877103
#define WIRE_GSSENC_REQUEST 80877104
#define WIRE_CANCEL_REQUEST 80877102

#define SQLSTATE_PROTOCOL_VIOLATION "08P01"
#define SQLSTATE_CONNECTION_FAILURE "08006"
#define SQLSTATE_FEATURE_NOT_SUPPORTED "0A000"
#define SQLSTATE_INVALID_AUTHORIZATION "28000"
#define SQLSTATE_ACTIVE_TRANSACTION "25001"
#define SQLSTATE_NO_ACTIVE_TRANSACTION "25P01"
#define SQLSTATE_IN_FAILED_TRANSACTION "25P02"
#define SQLSTATE_OBJECT_IN_USE "55006"
#define SQLSTATE_UNDEFINED_STATEMENT "26000"
#define SQLSTATE_UNDEFINED_CURSOR "34000"
#define SQLSTATE_UNKNOWN_DATABASE "3D000"
#define SQLSTATE_INSUFFICIENT_PRIVILEGE "42501"
#define SQLSTATE_INVALID_PARAMETER "22023"
#define SQLSTATE_CANNOT_CHANGE "55P02"
#define SQLSTATE_UNDEFINED_OBJECT "42704"
#define SQLSTATE_DUPLICATE_STATEMENT "42P05"
#define SQLSTATE_TOO_MANY_CONNECTIONS "53300"
#define SQLSTATE_PROGRAM_LIMIT "54000"
#define SQLSTATE_QUERY_CANCELED "57014"
#define SQLSTATE_ADMIN_SHUTDOWN "57P01"
#define SQLSTATE_CANNOT_CONNECT_NOW "57P03"
#define SQLSTATE_INTERNAL "XX000"

enum close_reason {
	CLOSE_NONE,
#define CLOSE_REASON(name, label, sqlstate, text) CLOSE_##name,
#include "tbl/close_reasons.h"
#undef CLOSE_REASON
	CLOSE_REASON_COUNT
};

struct close_reason_info {
	const char *label;    /* for logs and metrics */
	const char *sqlstate; /* "": the peer is told nothing */
	const char *text;
};
const struct close_reason_info *close_reason_info(enum close_reason reason);

/* ---- reading ------------------------------------------------------------------------- */

enum wire_read { WIRE_READ_OK, WIRE_READ_SHORT, WIRE_READ_BAD };

struct wire_frame {
	uint8_t type;
	uint32_t body_len; /* bytes after the length word */
};

/* The header of the message at p: SHORT when it is not there yet, BAD when its length is
 * impossible. */
static inline enum wire_read wire_frame_read(const uint8_t *p, size_t n, struct wire_frame *f)
{
	uint32_t len;

	if (n < WIRE_HEADER_BYTES)
		return WIRE_READ_SHORT;
	len = be32_get(p + 1);
	if (len < 4 || len > WIRE_MESSAGE_MAX)
		return WIRE_READ_BAD;
	f->type = p[0];
	f->body_len = len - 4;
	return WIRE_READ_OK;
}

/* Steps through the fields of a message's body; every read checks the bounds. */
struct wire_cursor {
	const uint8_t *at, *end;
};

/* The NUL-terminated string at the cursor, NULL when it is not terminated. */
const char *wire_cursor_cstr(struct wire_cursor *c);

/* A packet before login: length word, code, rest. */
struct wire_startup {
	uint32_t code;
	struct wire_cursor rest; /* parameters as name, value, ... and a final NUL */
	size_t total_len;
};
enum wire_read wire_startup_read(const uint8_t *p, size_t n, struct wire_startup *out);
/* The next startup parameter. OK with both set, SHORT at the end of a well-formed list, BAD. */
enum wire_read wire_startup_param(struct wire_cursor *c, const char **name, const char **value);
/* A cancel key, as BackendKeyData tells it and CancelRequest repeats it: with protocol 3.0 of 4
 * bytes, with 3.2 of up to 256. */
#define WIRE_CANCEL_KEY_MAX 256
struct wire_cancel {
	uint32_t pid;
	uint16_t key_len;
	uint8_t key[WIRE_CANCEL_KEY_MAX];
};
/* What is behind the code of a CancelRequest. */
enum wire_read wire_cancel_read(struct wire_cursor c, struct wire_cancel *out);
/* The next setting of the `options` parameter (`-c name=value`, `--name=value`, backslash
 * escapes; PostgreSQL's pg_split_opts). Advances *at; name and value go to buffers of
 * WIRE_OPTION_MAX bytes. OK, SHORT at the end, BAD for anything else. */
#define WIRE_OPTION_MAX 1024
enum wire_read wire_startup_option(const char **at, char *name, char *value);

/* ---- building: each appends one message ------------------------------------------------ */

struct wire_error {
	const char *severity; /* ERROR, FATAL */
	const char *sqlstate;
	const char *message;
	const char *detail, *hint; /* NULL: none */
	unsigned position;         /* in the client's query, from 1; 0: none */
};

void wire_put_error(struct buf *b, const struct wire_error *e);
void wire_put_notice(struct buf *b, const struct wire_error *e);
void wire_put_close_reason(struct buf *b, enum close_reason reason);
void wire_put_auth(struct buf *b, uint32_t code);
void wire_put_parameter(struct buf *b, const char *name, const char *value);
void wire_put_key_data(struct buf *b, const struct wire_cancel *key);
/* options: the names of n, each with its NUL. */
void wire_put_negotiate(struct buf *b, uint32_t version, const struct buf *options, size_t n);
void wire_put_ready(struct buf *b, char status);
void wire_put_command_complete(struct buf *b, const char *tag);
/* ParameterDescription of a statement that takes none. */
void wire_put_no_parameters(struct buf *b);
/* A message without a body: ParseComplete '1', BindComplete '2', CloseComplete '3',
 * EmptyQueryResponse 'I', Sync 'S', Flush 'H'. */
void wire_put_bare(struct buf *b, uint8_t type);

/* CancelRequest, a packet without a type. */
void wire_put_cancel(struct buf *b, const struct wire_cancel *cancel);
void wire_put_query(struct buf *b, const char *text, size_t len);
void wire_put_parse(struct buf *b, const char *name, const char *text);
/* Bind to the unnamed portal with parameters in text format; NULL is SQL's NULL. */
void wire_put_bind(struct buf *b, const char *statement, const char *const *values, uint16_t n);
void wire_put_execute(struct buf *b);
/* The same two for a named portal, and its Close. */
void wire_put_bind_portal(struct buf *b, const char *portal, const char *statement,
                          const char *const *values, uint16_t n);
void wire_put_execute_portal(struct buf *b, const char *portal);
void wire_put_close_portal(struct buf *b, const char *portal);
void wire_put_close_statement(struct buf *b, const char *name);
void wire_put_describe_statement(struct buf *b, const char *name);

#endif
