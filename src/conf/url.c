/* The value type URL: where keys may be fetched from. libcurl's own parser takes it apart, so that
 * what is checked here is what will be fetched. Pure, on the thread that loads. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "conf_int.h"

/* curl itself takes "localhost" for the loopback addresses, whatever the resolver says. */
static bool host_is_loopback(const char *host)
{
	char literal[INET6_ADDRSTRLEN + 2];
	struct in6_addr v6;
	struct in_addr v4;

	if (strcmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	/* [::1], as curl gives it. */
	snprintf(literal, sizeof(literal), "%s", host[0] == '[' ? host + 1 : host);
	literal[strcspn(literal, "]")] = '\0';
	return inet_pton(AF_INET6, literal, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* NULL, or what is wrong. */
static const char *url_check(CURLU *url, const char *text)
{
	char *scheme = NULL, *host = NULL, *user = NULL;
	const char *why = NULL;

	if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		why = "is not a URL";
	else if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK)
		why = "holds a user name: the log and SHOW CONFIG would tell the password";
	else if (strcmp(scheme, "http") == 0 && !host_is_loopback(host))
		why = "is plain http, which is for this machine only: whoever is on the way could "
		      "change what it says";
	else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		why = "is not an https URL";
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	return why;
}

bool conf_url_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                    const char *text)
{
	const char **string = field, *why = NULL;
	CURLU *url = curl_url();

	(void)type;
	MUST(url != NULL);
	if (*text)
		why = url_check(url, text);
	curl_url_cleanup(url);
	if (why) {
		/* With a user name it may hold a password. */
		snprintf(s->why, sizeof(s->why), "the value %s", why);
		return false;
	}
	*string = conf_memory_strndup(s->conf, text, strlen(text));
	return true;
}
