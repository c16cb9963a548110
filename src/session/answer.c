/* What SHOW usher.* and the functions answer: the columns and the one row. */
#include <stdio.h>
#include <string.h>

#include "session_int.h"

/* pg_type.h: oid and typlen. */
#define TEXT_OID 25
#define TEXT_LEN UINT16_MAX
#define FLOAT8_OID 701
#define FLOAT8_LEN 8
#define FRESHNESS_LAG 1 /* the column of usher.freshness that is a number */

static const char *const names[] = {
#define OWN_SETTING(name, word, access, values) [OWN_##name] = "usher." word,
#include "tbl/own_settings.h"
#undef OWN_SETTING
	[OWN_SETTINGS] = "",
};

static const char *const freshness[] = {"source", "lag_seconds", "consistency", "indicator"};

static bool is_number(const struct answer *a, unsigned column)
{
	return a->setting == OWN_FRESHNESS && column == FRESHNESS_LAG;
}

static size_t begin(struct buf *b, uint8_t type)
{
	buf_put_u8(b, type);
	buf_put_be32(b, 0);
	return b->len - 4;
}

static void end(struct buf *b, size_t at)
{
	be32_set(b->data + at, (uint32_t)(b->len - at));
}

/* RowDescription (55.7). */
void answer_put_columns(struct buf *b, const struct answer *a, uint8_t is_binary)
{
	size_t at = begin(b, 'T');

	buf_put_be16(b, a->n_columns);
	for (unsigned i = 0; i < a->n_columns; i++) {
		const char *name = a->setting == OWN_FRESHNESS ? freshness[i]
		                   : a->column != NULL         ? a->column
		                                               : names[a->setting];

		buf_put_cstr(b, name);
		buf_put_be32(b, 0); /* of no table */
		buf_put_be16(b, 0);
		buf_put_be32(b, is_number(a, i) ? FLOAT8_OID : TEXT_OID);
		buf_put_be16(b, is_number(a, i) ? FLOAT8_LEN : TEXT_LEN);
		buf_put_be32(b, UINT32_MAX); /* no type modifier */
		buf_put_be16(b, is_binary >> i & 1);
	}
	end(b, at);
}

/* As PostgreSQL shows a time: in the largest unit that leaves no fraction. */
static void put_time(int64_t us, char *text, size_t size)
{
	static const struct {
		const char *word;
		int64_t us;
	} units[] = {{"h", 3600 * US_PER_S},
	             {"min", 60 * US_PER_S},
	             {"s", US_PER_S},
	             {"ms", US_PER_MS},
	             {"us", 1}};
	size_t i = 0;

	while (us % units[i].us != 0)
		i++;
	snprintf(text, size, "%lld%s", (long long)(us / units[i].us), us != 0 ? units[i].word : "");
}

/* Of the settings with one value; "" where no statement was sent yet. */
static const char *value_of(struct client *c, enum own_setting setting, char text[SOURCE_LAG_MAX])
{
	const struct fresh_wish *wish = wish_of(c);
	const struct source *source = &c->source;

	switch (setting) {
	case OWN_CONSISTENCY:
		return conf_consistency_name(wish->consistency);
	case OWN_MAX_LAG:
		put_time(wish->max_lag_us, text, SOURCE_LAG_MAX);
		return text;
	case OWN_READ_YOUR_WRITES:
		return conf_read_your_writes_name(wish->read_your_writes);
	case OWN_REPORT:
		return wish_reports(c) ? "on" : "off";
	default:
		break;
	}
	if (source->node == NULL)
		return "";
	if (setting == OWN_DATA_SOURCE)
		return source->node;
	if (setting == OWN_CONSISTENCY_LEVEL)
		return conf_consistency_name(source->consistency);
	source_lag_text(source->lag_us, text);
	return text;
}

static void put_value(struct buf *b, const char *text)
{
	size_t len = text != NULL ? strlen(text) : 0;

	buf_put_be32(b, text != NULL ? (uint32_t)len : UINT32_MAX);
	buf_put(b, text, len);
}

static void put_float8(struct buf *b, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	buf_put_be32(b, sizeof(bits));
	buf_put_be32(b, (uint32_t)(bits >> 32));
	buf_put_be32(b, (uint32_t)bits);
}

static void put_freshness(struct client *c, struct buf *b, uint8_t is_binary)
{
	const struct source *s = &c->source;
	char lag[SOURCE_LAG_MAX];

	if (s->node == NULL) {
		for (size_t i = 0; i < COUNT_OF(freshness); i++)
			put_value(b, NULL);
		return;
	}
	put_value(b, s->node);
	source_lag_text(s->lag_us, lag);
	if (is_binary >> FRESHNESS_LAG & 1)
		put_float8(b, source_lag_seconds(s->lag_us));
	else
		put_value(b, lag);
	put_value(b, conf_consistency_name(s->consistency));
	put_value(b, source_indicator(s->lag_us));
}

void answer_put_row(struct client *c, struct buf *b, const struct answer *a, uint8_t is_binary)
{
	char text[SOURCE_LAG_MAX];
	size_t at = begin(b, 'D');

	buf_put_be16(b, a->n_columns);
	if (a->is_null)
		put_value(b, NULL);
	else if (a->setting == OWN_FRESHNESS)
		put_freshness(c, b, is_binary);
	else
		put_value(b, value_of(c, a->setting, text));
	end(b, at);
}
