/* Values that are numbers: counts, ports, worker threads and times. Pure, but that "auto" asks
 * the kernel how many processors there are. */
#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "conf_int.h"

/* A year: longer ones are typing errors, and sums of deadlines stay far from overflow. */
#define DURATION_MAX_US (INT64_C(365) * 24 * 3600 * US_PER_S)
#define FRACTION_DIGITS 6

void conf_put_text(struct buf *out, const char *text)
{
	buf_put(out, text, strlen(text));
}

/* Digits only, no sign or blank. max must leave room for ten times itself. */
static const char *digits_parse(const char *text, int64_t max, int64_t *value)
{
	int64_t v = 0;

	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++) {
		v = v * 10 + (*text - '0');
		if (v > max)
			return NULL;
	}
	*value = v;
	return text;
}

static bool int_parse(struct conf_setter *s, int min, int max, const char *text, int *value)
{
	int64_t v;
	const char *end = digits_parse(text, max, &v);

	if (end && *end == '\0' && v >= min) {
		*value = (int)v;
		return true;
	}
	snprintf(s->why, sizeof(s->why), "\"%.64s\" is not a whole number from %d to %d", text, min,
	         max);
	return false;
}

bool conf_int_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                    const char *text)
{
	return int_parse(s, type->min, type->max, text, field);
}

void conf_int_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const int *value = field;
	char text[16];

	(void)type;
	snprintf(text, sizeof(text), "%d", *value);
	conf_put_text(out, text);
}

bool conf_port_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                     const char *text)
{
	uint16_t *port = field;
	int value;

	if (!int_parse(s, type->min, type->max, text, &value))
		return false;
	*port = (uint16_t)value;
	return true;
}

void conf_port_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const uint16_t *port = field;
	int value = *port;

	conf_int_format(type, &value, out);
}

bool conf_workers_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                        const char *text)
{
	int *workers = field;
	cpu_set_t set;

	if (strcasecmp(text, "auto") != 0)
		return int_parse(s, type->min, type->max, text, workers);
	/* The processors that this process may use, not those that the machine has. */
	*workers = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	if (*workers > type->max)
		*workers = type->max;
	return true;
}

static const struct {
	const char *word;
	int64_t us;
} units[] = {
	/* PgBouncer's numbers are seconds. */
	{"", US_PER_S},         {"us", 1},
	{"ms", US_PER_MS},      {"s", US_PER_S},
	{"min", 60 * US_PER_S}, {"h", 3600 * US_PER_S},
};

static int64_t unit_find(const char *word)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(units[i].word, word) == 0)
			return units[i].us;
	}
	return 0;
}

/* A decimal fraction, because PgBouncer's files have "15.0", in millionths. */
static const char *fraction_parse(const char *text, int64_t *millionths)
{
	int64_t v = 0;
	int n = 0;

	*millionths = 0;
	if (*text != '.')
		return text;
	for (text++; isdigit((unsigned char)*text); text++, n++) {
		if (n < FRACTION_DIGITS)
			v = v * 10 + (*text - '0');
		else if (*text != '0')
			return NULL;
	}
	if (n == 0)
		return NULL;
	for (; n < FRACTION_DIGITS; n++)
		v *= 10;
	*millionths = v;
	return text;
}

/* Microseconds, or -1: not a duration, out of range, or finer than a microsecond. */
static int64_t duration_value(const char *text)
{
	int64_t whole, millionths, unit;

	text = digits_parse(text, DURATION_MAX_US, &whole);
	if (text)
		text = fraction_parse(text, &millionths);
	if (!text)
		return -1;
	while (isblank((unsigned char)*text))
		text++;
	unit = unit_find(text);
	if (unit == 0 || whole > DURATION_MAX_US / unit || millionths * unit % 1000000 != 0)
		return -1;
	whole = whole * unit + millionths * unit / 1000000;
	return whole <= DURATION_MAX_US ? whole : -1;
}

bool conf_duration_read(const char *text, int64_t *us)
{
	int64_t value = duration_value(text);

	if (value < 0)
		return false;
	*us = value;
	return true;
}

bool conf_duration_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                         const char *text)
{
	int64_t *us = field, value = duration_value(text);

	(void)type;
	if (value < 0) {
		snprintf(s->why, sizeof(s->why),
		         "\"%.64s\" is not a time from 0 to 365 days: a number of seconds, or one "
		         "with us, ms, s, min or h",
		         text);
		return false;
	}
	*us = value;
	return true;
}

void conf_duration_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const int64_t *us = field;
	char text[32];

	(void)type;
	if (*us % US_PER_S == 0)
		snprintf(text, sizeof(text), "%lld", (long long)(*us / US_PER_S));
	else if (*us % US_PER_MS == 0)
		snprintf(text, sizeof(text), "%lldms", (long long)(*us / US_PER_MS));
	else
		snprintf(text, sizeof(text), "%lldus", (long long)*us);
	conf_put_text(out, text);
}

/* ---- what may be left to the section above ---------------------------------------------- */

bool conf_inherit_int_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                            const char *text)
{
	int *value = field;

	if (*text != '\0')
		return conf_int_parse(s, type, field, text);
	*value = CONF_INHERIT;
	return true;
}

void conf_inherit_int_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const int *value = field;

	if (*value != CONF_INHERIT)
		conf_int_format(type, field, out);
}

bool conf_inherit_duration_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                                 const char *text)
{
	int64_t *us = field;

	if (*text != '\0')
		return conf_duration_parse(s, type, field, text);
	*us = CONF_INHERIT;
	return true;
}

void conf_inherit_duration_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const int64_t *us = field;

	if (*us != CONF_INHERIT)
		conf_duration_format(type, field, out);
}
