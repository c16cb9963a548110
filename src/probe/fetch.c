/* Fetching a document over https, by libcurl's multi interface on the probe's event loop: nothing
 * here blocks, name look-ups included (Debian's libcurl has threads for them). What is fetched
 * decides who may log in, so certificates are always verified, redirects stay within https, and
 * size and time are bounded. All of it is the probe thread's alone.
 *
 *   libcurl ─ on_curl_socket, on_curl_timer ─► libevent ─ on_ready, on_time ─► libcurl … reap */
#include <curl/curl.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "probe/probe_int.h"

#define FETCHER_MAGIC 0x66657463u /* fetc */
#define CONNECT_TIMEOUT_MS 5000L
#define TIMEOUT_MS 10000L
#define REDIRECTS_MAX 3L

struct fetcher {
	uint32_t magic;
	CURLM *multi;
	struct event_base *base;
	struct event *timer;
};

struct fetch {
	struct fetcher *fetcher;
	CURL *easy;
	size_t max_bytes;
	struct buf body;
	bool is_too_long;
	char error[CURL_ERROR_SIZE];
	fetch_done_fn *done;
	void *arg;
};

/* ---- a fetch ------------------------------------------------------------------------------- */

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct fetch *f = arg;

	(void)one; /* always 1 */
	if (len > f->max_bytes - f->body.len) {
		f->is_too_long = true;
		return 0; /* ends it */
	}
	buf_put(&f->body, data, len);
	return len;
}

static void fetch_free(struct fetch *f)
{
	MUST(curl_multi_remove_handle(f->fetcher->multi, f->easy) == CURLM_OK);
	curl_easy_cleanup(f->easy);
	buf_fini(&f->body);
	mem_free(f);
}

static void fetch_end(struct fetch *f, CURLcode code)
{
	struct fetch_result result = {.code = (int)code, .error = f->error};
	long status = 0;

	(void)curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	if (f->is_too_long) {
		snprintf(f->error, sizeof(f->error), "longer than %zu bytes", f->max_bytes);
	} else if (code != CURLE_OK && f->error[0] == '\0') {
		snprintf(f->error, sizeof(f->error), "%s", curl_easy_strerror(code));
	} else if (code == CURLE_OK && status != 200) {
		result.code = -(int)status; /* no CURLcode is negative */
		snprintf(f->error, sizeof(f->error), "HTTP status %ld", status);
	} else if (code == CURLE_OK) {
		result.error = NULL;
		result.body = f->body.len > 0 ? (const char *)f->body.data : "";
		result.len = f->body.len;
	}
	f->done(f->arg, &result);
	fetch_free(f);
}

static void reap(struct fetcher *fetcher)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(fetcher->multi, &left)) != NULL) {
		CURLcode code = msg->data.result;
		char *f = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		MUST(curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &f) == CURLE_OK);
		fetch_end((struct fetch *)(void *)f, code);
	}
}

#define SET(easy, option, value) MUST(curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

static void set_limits(CURL *easy)
{
	SET(easy, CURLOPT_NOSIGNAL, 1L);
	SET(easy, CURLOPT_QUICK_EXIT, 1L); /* a look-up that hangs must not hold up the thread */
	SET(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	SET(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
	SET(easy, CURLOPT_FORBID_REUSE, 1L); /* minutes pass until the next one */
	SET(easy, CURLOPT_FOLLOWLOCATION, 1L);
	SET(easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	SET(easy, CURLOPT_REDIR_PROTOCOLS_STR, "https");
}

static void set_trust(CURL *easy, const char *url, const char *ca_file)
{
	bool is_plain = strncasecmp(url, "http:", 5) == 0; /* this machine's, conf says */

	SET(easy, CURLOPT_PROTOCOLS_STR, is_plain ? "http,https" : "https");
	if (is_plain)
		SET(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
	SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (ca_file[0] == '\0')
		return;
	SET(easy, CURLOPT_CAINFO, ca_file);
	SET(easy, CURLOPT_CAPATH, NULL); /* instead of the system's, not beside them */
}

struct fetch *fetch_start(struct fetcher *fetcher, const struct fetch_order *order)
{
	struct fetch *f = mem_zalloc(sizeof(*f));

	OBJ_CHECK(fetcher, FETCHER_MAGIC);
	f->fetcher = fetcher;
	f->max_bytes = order->max_bytes;
	f->done = order->done;
	f->arg = order->arg;
	f->easy = curl_easy_init();
	MUST(f->easy != NULL);
	SET(f->easy, CURLOPT_URL, order->url);
	SET(f->easy, CURLOPT_PRIVATE, f);
	SET(f->easy, CURLOPT_WRITEFUNCTION, on_body);
	SET(f->easy, CURLOPT_WRITEDATA, f);
	SET(f->easy, CURLOPT_ERRORBUFFER, f->error);
	SET(f->easy, CURLOPT_USERAGENT, "PgUsher/" PGUSHER_VERSION);
	set_limits(f->easy);
	set_trust(f->easy, order->url, order->ca_file);
	MUST(curl_multi_add_handle(fetcher->multi, f->easy) == CURLM_OK);
	return f;
}

void fetch_forget(struct fetch **fp)
{
	if (*fp != NULL)
		fetch_free(*fp);
	*fp = NULL;
}

/* ---- libcurl on libevent ------------------------------------------------------------------- */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fetcher *fetcher = arg;
	int flags =
		(what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	int running;

	OBJ_CHECK(fetcher, FETCHER_MAGIC);
	(void)curl_multi_socket_action(fetcher->multi, fd, flags, &running);
	reap(fetcher);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	struct fetcher *fetcher = arg;
	int running;

	(void)fd, (void)what;
	OBJ_CHECK(fetcher, FETCHER_MAGIC);
	(void)curl_multi_socket_action(fetcher->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(fetcher);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
	struct fetcher *fetcher = arg;
	struct event *event = assigned;
	short wanted = EV_PERSIST;

	(void)easy;
	if (event != NULL)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		wanted |= what & CURL_POLL_IN ? EV_READ : 0;
		wanted |= what & CURL_POLL_OUT ? EV_WRITE : 0;
		event = event_new(fetcher->base, fd, wanted, on_ready, fetcher);
		MUST(event != NULL && event_add(event, NULL) == 0);
	}
	(void)curl_multi_assign(fetcher->multi, fd, event);
	return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct fetcher *fetcher = arg;
	struct timeval in = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

	(void)multi;
	if (timeout_ms < 0)
		MUST(event_del(fetcher->timer) == 0);
	else
		MUST(event_add(fetcher->timer, &in) == 0);
	return 0;
}

struct fetcher *fetcher_new(struct event_base *base)
{
	struct fetcher *fetcher = mem_zalloc(sizeof(*fetcher));

	OBJ_INIT(fetcher, FETCHER_MAGIC);
	MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
	fetcher->base = base;
	fetcher->timer = event_new(base, -1, 0, on_time, fetcher);
	fetcher->multi = curl_multi_init();
	MUST(fetcher->timer != NULL && fetcher->multi != NULL);
	curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETDATA, fetcher);
	curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERDATA, fetcher);
	return fetcher;
}

void fetcher_free(struct fetcher **fp)
{
	struct fetcher *fetcher = *fp;

	*fp = NULL;
	OBJ_CHECK(fetcher, FETCHER_MAGIC);
	MUST(curl_multi_cleanup(fetcher->multi) == CURLM_OK);
	event_free(fetcher->timer);
	curl_global_cleanup();
	OBJ_FINI(fetcher, FETCHER_MAGIC);
	mem_free(fetcher);
}
