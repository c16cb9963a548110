/* What kinds and bits of statements mean, for people: `pgusher explain`, EXPLAIN ROUTE. */
#include "base/assert.h"
#include "base/mem.h"
#include "sql.h"

static const char *const kind_words[] = {
	[SQL_EMPTY] = "nothing: only white space or comments",
	[SQL_DATA] = "data: may read or write rows; a tenant's runs with its context",
	[SQL_BEGIN] = "begins a transaction",
	[SQL_COMMIT] = "commits",
	[SQL_ROLLBACK] = "rolls back",
	[SQL_COMMIT_CHAIN] = "commits and begins the next transaction",
	[SQL_ROLLBACK_CHAIN] = "rolls back and begins the next transaction",
	[SQL_SAVEPOINT] = "sets a savepoint",
	[SQL_RELEASE] = "releases a savepoint",
	[SQL_ROLLBACK_TO] = "rolls back to a savepoint",
	[SQL_PREPARE_TRANSACTION] = "prepares the transaction for two-phase commit",
	[SQL_SET_TRANSACTION] = "sets the transaction's mode: goes before the tenant context",
	[SQL_SHOW] = "shows a setting of the server's: needs no tenant context",
	[SQL_COPY_IN] = "copies in: takes data from the client, with the tenant context",
	[SQL_NO_TRANSACTION] = "runs outside of transactions, so without the tenant context",
	[SQL_OWN] = "answered by PgUsher, never sent to a server",
	[SQL_UNPARSED] = "not parsed: taken for data and searched for names",
};

static const struct {
	enum sql_bits bit;
	const char *words;
} bit_words[] = {
	{SQL_BARE, "BEGIN without options: may be deferred"},
	{SQL_SETS_SESSION, "sets something for the session"},
	{SQL_RESETS_ALL, "resets all settings, the tenant context too"},
	{SQL_MAKES_STATE, "leaves state in the server's session: keeps the server"},
	{SQL_OPAQUE,
         "runs code that PgUsher does not see into: the server is cleaned up behind it"},
	{SQL_ENDS_INSIDE, "may commit inside"},
	{SQL_NAMES_PREPARED, "names a prepared statement"},
	{SQL_DISCARDS, "forgets prepared statements"},
	{SQL_START_WORD, "spelled START TRANSACTION"},
	{SQL_ALTERS, "may change what later statements mean"},
	{SQL_READ_ONLY, "only reads: a replica may answer it"},
	{SQL_DEFINES, "makes or changes what others name: the catalogue is read again"},
	{SQL_BEGINS_READ_ONLY, "reads only: one replica may have the whole transaction"},
};

const char *sql_kind_words(enum sql_kind kind)
{
	MUST((size_t)kind < COUNT_OF(kind_words));
	return kind_words[kind];
}

const char *sql_bit_words(uint32_t bits)
{
	uint32_t lowest = bits & -bits;

	for (size_t i = 0; i < COUNT_OF(bit_words); i++) {
		if ((uint32_t)bit_words[i].bit == lowest)
			return bit_words[i].words;
	}
	return NULL;
}
