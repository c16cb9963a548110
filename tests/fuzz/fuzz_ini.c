/* libFuzzer: any bytes as an ini file. A snapshot that is accepted must survive what the
 * program does with it: SHOW CONFIG, look-ups, a reload against itself. A refusal must say
 * why. The files that a value can name are only opened, and read as passwords. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_option(void *arg, const struct conf_option *option)
{
	size_t *total = arg;

	*total += strlen(option->section) + strlen(option->key) + strlen(option->value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_error err;
	struct conf *conf = conf_parse((const char *)data, size, "fuzz.ini", &err), *again;
	size_t total = 0;

	if (!conf) {
		MUST(err.text[0] != '\0' && err.what[0] != '\0');
		return 0;
	}
	MUST(conf->n_nodes > 0 && conf->n_databases > 0 && conf->n_roles > 0);
	for (size_t i = 0; i < conf->n_databases; i++)
		MUST(conf_find_database(conf, conf->databases[i].name) == &conf->databases[i]);
	conf_each_option(conf, on_option, &total);
	MUST(total > 0);
	again = conf_parse((const char *)data, size, "fuzz.ini", &err);
	MUST(again && conf_reload_check(conf, again, NULL, NULL) == 0);
	conf_put(&again);
	conf_put(&conf);
	return 0;
}
