/* A load generator for PostgreSQL's protocol: holds thousands of logged-in clients, logs in again
 * and again, or lets all clients send one statement in a loop, and prints what it saw as one line of
 * JSON. pgbench cannot: it needs a descriptor a client in one process, and logs in only once.
 *
 *   load.c         options, processes, the sum
 *   load_worker.c  one process: whose turn it is, counting
 *   load_conn.c    one connection: socket, TLS, messages      load_scram.c  SCRAM-SHA-256
 *
 * Needs nothing of PgUsher's, and speaks to PgBouncer and PostgreSQL as well. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define PROCESSES_MAX 64
#define DESCRIPTORS_SPARE 64

static int usage(int status)
{
	fputs("usage: load --mode idle|logins|send [options]\n"
	      "  --host ADDRESS|DIR  127.0.0.1; --port 6432; --user app; --database eav\n"
	      "  --secrets FILE      a password or token a line, client i takes line i (modulo);\n"
	      "                      behind a blank: what column 1 of each of its rows must be\n"
	      "  --clients N         1; --processes N: as many as descriptors demand\n"
	      "  --in-flight N       100: logins under way at once, a process (idle, send)\n"
	      "  --sources N         1: local addresses, 127.0.0.1 and up\n"
	      "  --tls               without checking the certificate\n"
	      "  --sql TEXT          SELECT 1; --rate R: statements a second and client, else a "
	      "loop\n"
	      "  --seconds S         5; --count N: statements a client, instead of seconds (send)\n"
	      "idle prints its line when all have logged in, and ends when standard input does.\n",
	      status == 0 ? stdout : stderr);
	return status;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * US_PER_S + t.tv_nsec / 1000;
}

/* ---- latencies ---------------------------------------------------------------------------------- */

/* Below STEPS each microsecond has its bucket; above, each octave has STEPS of them. */
static unsigned bucket_of(uint64_t us)
{
	unsigned octave = 0;

	while (us >= 2 * STEPS) {
		us /= 2;
		octave++;
	}
	if (us < STEPS)
		return (unsigned)us;
	octave++;
	return octave < OCTAVES ? octave * STEPS + (unsigned)(us - STEPS) : BUCKETS - 1;
}

static uint64_t bucket_us(unsigned bucket)
{
	unsigned octave = bucket / STEPS, step = bucket % STEPS;

	return octave == 0 ? step : (uint64_t)(STEPS + step) << (octave - 1);
}

void result_add_latency(struct result *r, int64_t us)
{
	uint64_t value = us > 0 ? (uint64_t)us : 0;

	r->buckets[bucket_of(value)]++;
	if (value > r->max_us)
		r->max_us = value;
}

static uint64_t percentile(const struct result *r, double share)
{
	uint64_t total = 0, seen = 0;

	for (unsigned i = 0; i < BUCKETS; i++)
		total += r->buckets[i];
	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += r->buckets[i];
		if (seen > 0 && (double)seen >= share * (double)total)
			return bucket_us(i);
	}
	return 0;
}

void result_error(struct result *r, const char *text)
{
	if (r->first_error[0] != '\0')
		return;
	snprintf(r->first_error, sizeof(r->first_error), "%s", text);
	/* It goes into a JSON string as it is. */
	for (char *p = r->first_error; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
			*p = '\'';
	}
}

static void result_sum(struct result *sum, const struct result *r)
{
	sum->logged_in += r->logged_in;
	sum->login_errors += r->login_errors;
	sum->answers += r->answers;
	sum->answers_in_time += r->answers_in_time;
	sum->errors += r->errors;
	sum->wrong += r->wrong;
	sum->unanswered += r->unanswered;
	sum->silent += r->silent;
	if (r->answers_min < sum->answers_min)
		sum->answers_min = r->answers_min;
	if (r->answers_max > sum->answers_max)
		sum->answers_max = r->answers_max;
	if (r->max_us > sum->max_us)
		sum->max_us = r->max_us;
	if (r->began_us < sum->began_us)
		sum->began_us = r->began_us;
	if (r->ended_us > sum->ended_us)
		sum->ended_us = r->ended_us;
	if (r->first_error[0] != '\0')
		result_error(sum, r->first_error);
	for (unsigned i = 0; i < BUCKETS; i++)
		sum->buckets[i] += r->buckets[i];
}

static void print_line(const struct options *o, const struct result *results, double seconds)
{
	static const char *const modes[] = {"idle", "logins", "send"};
	struct result sum = {.answers_min = UINT64_MAX, .began_us = INT64_MAX};

	for (unsigned i = 0; i < o->processes; i++)
		result_sum(&sum, &results[i]);
	printf("{\"mode\": \"%s\", \"clients\": %u, \"processes\": %u, \"logged_in\": %llu, "
	       "\"login_errors\": %llu, \"seconds\": %.3f",
	       modes[o->mode], o->clients, o->processes, (unsigned long long)sum.logged_in,
	       (unsigned long long)sum.login_errors, seconds);
	if (o->mode != MODE_IDLE)
		printf(", \"answers\": %llu, \"per_second\": %.1f, \"errors\": %llu, \"wrong\": "
		       "%llu, "
		       "\"unanswered\": %llu, \"silent\": %llu, \"client_min\": %llu, "
		       "\"client_max\": %llu, \"p50_us\": %llu, \"p95_us\": %llu, \"p99_us\": "
		       "%llu, "
		       "\"max_us\": %llu",
		       (unsigned long long)sum.answers, (double)sum.answers_in_time / seconds,
		       (unsigned long long)sum.errors, (unsigned long long)sum.wrong,
		       (unsigned long long)sum.unanswered, (unsigned long long)sum.silent,
		       (unsigned long long)sum.answers_min, (unsigned long long)sum.answers_max,
		       (unsigned long long)percentile(&sum, 0.5),
		       (unsigned long long)percentile(&sum, 0.95),
		       (unsigned long long)percentile(&sum, 0.99), (unsigned long long)sum.max_us);
	printf(", \"first_error\": \"%s\"}\n", sum.first_error);
	fflush(stdout);
}

/* ---- processes ------------------------------------------------------------------------------------ */

static void start(const struct options *o, struct result *results, int go[2])
{
	for (unsigned i = 0; i < o->processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid > 0)
			continue;
		/* Our end is theirs, however we end. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		worker_main(o, &results[i], i, o->processes, go[0]);
		_exit(0);
	}
	close(go[0]);
}

static bool all_ready(const struct options *o, struct result *results)
{
	for (unsigned i = 0; i < o->processes; i++) {
		if (!atomic_load(&results[i].is_ready))
			return false;
	}
	return true;
}

/* Logged in or refused, all of them. */
static void wait_ready(const struct options *o, struct result *results)
{
	static const struct timespec pause = {.tv_nsec = 2000000};

	while (!all_ready(o, results)) {
		int status;

		if (waitpid(-1, &status, WNOHANG) > 0) {
			fputs("load: a process ended too early\n", stderr);
			exit(1);
		}
		nanosleep(&pause, NULL);
	}
}

static double ramp_seconds(const struct options *o, const struct result *results)
{
	int64_t from = INT64_MAX, to = 0;

	for (unsigned i = 0; i < o->processes; i++) {
		from = results[i].began_us < from ? results[i].began_us : from;
		to = results[i].ended_us > to ? results[i].ended_us : to;
	}
	return (double)(to - from) / US_PER_S;
}

static int run(const struct options *o)
{
	struct result *results = mmap(NULL, sizeof(*results) * o->processes, PROT_READ | PROT_WRITE,
	                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int go[2], status, failed = 0;
	int64_t began_us;
	char byte;

	if (results == MAP_FAILED || pipe(go) != 0)
		die("load");
	start(o, results, go);
	wait_ready(o, results);
	if (o->mode == MODE_IDLE) {
		print_line(o, results, ramp_seconds(o, results));
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
	}
	began_us = now_us();
	close(go[1]);
	while (wait(&status) > 0)
		failed |= status;
	if (o->mode == MODE_SEND && o->count > 0)
		print_line(o, results, (double)(now_us() - began_us) / US_PER_S);
	else if (o->mode != MODE_IDLE)
		print_line(o, results, o->seconds);
	return failed != 0;
}

/* ---- options --------------------------------------------------------------------------------------- */

static void read_secrets(struct options *o, const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	ssize_t len;

	if (file == NULL)
		die(path);
	while ((len = getline(&line, &size, file)) > 0) {
		struct secret *s;
		char *rest = line;

		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] == '\0')
			continue;
		o->secrets = realloc(o->secrets, (o->n_secrets + 1) * sizeof(o->secrets[0]));
		if (o->secrets == NULL)
			die("load");
		s = &o->secrets[o->n_secrets++];
		s->password = strdup(strsep(&rest, " "));
		s->expected = rest != NULL ? strdup(rest) : NULL;
	}
	free(line);
	fclose(file);
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end != '\0' || end == text || n == 0 || n > 10000000) {
		fprintf(stderr, "load: not a number above 0: %s\n", text);
		exit(2);
	}
	return (unsigned)n;
}

static double fraction(const char *text)
{
	char *end;
	double n = strtod(text, &end);

	if (*end != '\0' || end == text || !(n > 0)) {
		fprintf(stderr, "load: not a number above 0: %s\n", text);
		exit(2);
	}
	return n;
}

static bool read_mode(struct options *o, const char *text)
{
	o->mode = strcmp(text, "idle") == 0     ? MODE_IDLE
	          : strcmp(text, "logins") == 0 ? MODE_LOGINS
	                                        : MODE_SEND;
	return o->mode != MODE_SEND || strcmp(text, "send") == 0;
}

static const struct option long_options[] = {
	{"mode", required_argument, NULL, 'm'},
	{"host", required_argument, NULL, 'h'},
	{"port", required_argument, NULL, 'p'},
	{"user", required_argument, NULL, 'U'},
	{"database", required_argument, NULL, 'd'},
	{"secrets", required_argument, NULL, 's'},
	{"clients", required_argument, NULL, 'c'},
	{"processes", required_argument, NULL, 'P'},
	{"in-flight", required_argument, NULL, 'f'},
	{"sources", required_argument, NULL, 'S'},
	{"tls", no_argument, NULL, 't'},
	{"sql", required_argument, NULL, 'q'},
	{"rate", required_argument, NULL, 'r'},
	{"seconds", required_argument, NULL, 'T'},
	{"count", required_argument, NULL, 'n'},
	{"help", no_argument, NULL, '?'},
	{NULL, 0, NULL, 0},
};

static bool take_option(struct options *o, int opt)
{
	switch (opt) {
	case 'm':
		return read_mode(o, optarg);
	case 'h':
		o->host = optarg;
		return true;
	case 'p':
		o->port = number(optarg);
		return true;
	case 'U':
		o->user = optarg;
		return true;
	case 'd':
		o->database = optarg;
		return true;
	case 's':
		read_secrets(o, optarg);
		return true;
	case 'c':
		o->clients = number(optarg);
		return true;
	case 'P':
		o->processes = number(optarg);
		return true;
	case 'f':
		o->in_flight = number(optarg);
		return true;
	case 'S':
		o->sources = number(optarg);
		return true;
	case 't':
		o->tls = true;
		return true;
	case 'q':
		o->sql = optarg;
		return true;
	case 'r':
		o->rate = fraction(optarg);
		return true;
	case 'T':
		o->seconds = fraction(optarg);
		return true;
	case 'n':
		o->count = number(optarg);
		return true;
	default:
		return false;
	}
}

/* As many processes as the descriptors of one demand. */
static bool settle(struct options *o)
{
	static struct secret none = {.password = ""};
	struct rlimit limit;
	unsigned room;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	room = limit.rlim_max > 1000000 ? 1000000 : (unsigned)limit.rlim_max;
	room = room > 2 * DESCRIPTORS_SPARE ? room - DESCRIPTORS_SPARE : DESCRIPTORS_SPARE;
	if (o->processes == 0)
		o->processes = (o->clients + room - 1) / room;
	if (o->n_secrets == 0) {
		o->secrets = &none;
		o->n_secrets = 1;
	}
	return o->processes <= PROCESSES_MAX && o->mode <= MODE_SEND;
}

int main(int argc, char **argv)
{
	static struct options o = {.mode = MODE_SEND,
	                           .host = "127.0.0.1",
	                           .port = 6432,
	                           .user = "app",
	                           .database = "eav",
	                           .sql = "SELECT 1",
	                           .clients = 1,
	                           .sources = 1,
	                           .in_flight = 100,
	                           .seconds = 5};
	int opt;

	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (!take_option(&o, opt))
			return usage(opt == '?' && optopt == 0 ? 0 : 2);
	}
	if (optind != argc || argc == 1 || !settle(&o))
		return usage(2);
	signal(SIGPIPE, SIG_IGN);
	return run(&o);
}
