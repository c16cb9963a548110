/* A stream as the console shows it: addresses and TLS. */
#include "net_look.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void address(const struct sockaddr_storage *from, struct net_address *out)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
	const void *host = &v4->sin_addr;
	int family = from->ss_family;

	if (family == AF_UNIX)
		snprintf(out->host, sizeof(out->host), "unix");
	if (family != AF_INET && family != AF_INET6)
		return;
	out->port = ntohs(family == AF_INET ? v4->sin_port : v6->sin6_port);
	if (family == AF_INET6) {
		host = &v6->sin6_addr;
		/* An IPv4 client of a socket that takes both. */
		if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
			family = AF_INET;
			host = v6->sin6_addr.s6_addr + 12;
		}
	}
	if (inet_ntop(family, host, out->host, sizeof(out->host)) == NULL)
		out->host[0] = '\0';
}

void stream_local(const struct stream *s, struct net_address *out)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);

	memset(out, 0, sizeof(*out));
	if (s->fd >= 0 && getsockname(s->fd, (struct sockaddr *)&from, &len) == 0)
		address(&from, out);
}

void stream_remote(const struct stream *s, struct net_address *out)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);

	memset(out, 0, sizeof(*out));
	if (s->fd >= 0 && getpeername(s->fd, (struct sockaddr *)&from, &len) == 0)
		address(&from, out);
}

void stream_tls(const struct stream *s, char *out, size_t size)
{
	out[0] = '\0';
	if (s->tls != NULL && SSL_is_init_finished(s->tls))
		snprintf(out, size, "%s/%s", SSL_get_version(s->tls), SSL_get_cipher_name(s->tls));
}
