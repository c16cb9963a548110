/* The tenant directory: who is active. Immutable, counted, shared between threads. */
#ifndef PGUSHER_AUTH_DIRECTORY_H
#define PGUSHER_AUTH_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct auth_directory;
/* Of the active tenants, in any order; copied. */
struct auth_directory *auth_directory_new(const int64_t *active, size_t n);
struct auth_directory *auth_directory_get(struct auth_directory *directory);
/* NULL is fine. */
void auth_directory_put(struct auth_directory **dp);
size_t auth_directory_count(const struct auth_directory *directory);
bool auth_directory_equals(const struct auth_directory *a, const struct auth_directory *b);
/* tenant: as auth_ticket.tenant. */
bool auth_directory_has(const struct auth_directory *directory, const char *tenant);

#endif
