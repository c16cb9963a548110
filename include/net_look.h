/* A stream as the console shows it. */
#ifndef PGUSHER_NET_LOOK_H
#define PGUSHER_NET_LOOK_H

#include "net.h"

#define NET_ADDRESS_MAX 64

struct net_address {
	char host[NET_ADDRESS_MAX]; /* "unix" for a unix socket, "" when it is not known */
	uint16_t port;
};
/* Our end, and the peer's, asked of the kernel. */
void stream_local(const struct stream *s, struct net_address *out);
void stream_remote(const struct stream *s, struct net_address *out);
/* "TLSv1.3/TLS_AES_256_GCM_SHA384", as PgBouncer writes it; "" for a plain one. */
void stream_tls(const struct stream *s, char *out, size_t size);

#endif
