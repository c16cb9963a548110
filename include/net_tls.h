/* TLS as the configuration wants it: the context that clients' handshakes run under, and whether
 * libpq could use what is said for servers. What belongs to one connection is in net.h. */
#ifndef PGUSHER_NET_TLS_H
#define PGUSHER_NET_TLS_H

#include <stdbool.h>

#include "conf.h"

struct ssl_ctx_st; /* OpenSSL's SSL_CTX: counted (SSL_CTX_up_ref, SSL_CTX_free), from any thread */

struct tls_error {
	const char *key; /* the option at fault */
	char text[512];  /* which file, and what is wrong */
};

/* A context for clients after client_tls_*, whose files are read now; read-ahead on, no
 * renegotiation; clients that offer ALPN must offer `postgresql`. All contexts of a process
 * have the same ticket key, so a session is resumed on any worker, and after a reload. NULL with
 * the reason in err. */
struct ssl_ctx_st *tls_context_for_clients(const struct conf_pgusher *conf, struct tls_error *err);

/* Whether libpq will be able to use the files of server_tls_*. */
bool tls_check_for_servers(const struct conf_pgusher *conf, struct tls_error *err);

#endif
