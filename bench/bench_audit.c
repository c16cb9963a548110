/* What the audit log costs a worker: an event that nobody wants, a record put into its queue (the
 * writer left out: nobody empties the queue but this loop), and a line made of it, with its digest,
 * on the writer's thread. */
#include <stdio.h>

#include "audit/audit_int.h"
#include "base/clock.h"

#define ROUNDS 1000000

static double ns_each(int64_t since_us)
{
	return (double)(clock_mono_us() - since_us) * 1000 / ROUNDS;
}

static void put(struct audit_queue *q)
{
	struct audit_record *r = audit_begin(q, AUDIT_STATEMENTS);

	if (r == NULL)
		return;
	AUDIT_COPY(r->client, "127.0.0.1:40312");
	AUDIT_COPY(r->role, "app");
	AUDIT_COPY(r->database, "eav");
	AUDIT_COPY(r->tenant, "123");
	AUDIT_COPY(r->node, "primary-a");
	AUDIT_COPY(r->action, "SELECT");
	r->session = r->fingerprint = 1;
	r->outcome = "done";
	audit_commit(q);
}

int main(void)
{
	struct audit_queue *off = audit_queue_new(NULL, 0, 4096);
	struct audit_queue *on = audit_queue_new(NULL, 1u << AUDIT_STATEMENTS, 4096);
	uint8_t digest[SHA256_BYTES] = {0};
	struct buf line = {0};
	int64_t since_us = clock_mono_us();

	for (int i = 0; i < ROUNDS; i++)
		put(off);
	printf("an event that is not wanted   %7.1f ns\n", ns_each(since_us));
	since_us = clock_mono_us();
	for (int i = 0; i < ROUNDS; i++) {
		put(on);
		audit_queue_drop(on);
	}
	printf("a record into its queue       %7.1f ns\n", ns_each(since_us));
	put(on);
	since_us = clock_mono_us();
	for (int i = 0; i < ROUNDS; i++) {
		line.len = 0;
		audit_line_put(&line, audit_queue_look(on), digest);
		hash_sha256(line.data, line.len, digest);
	}
	printf("a line and its digest (writer)%7.1f ns\n", ns_each(since_us));
	buf_fini(&line);
	audit_queue_free(&off);
	audit_queue_free(&on);
	return 0;
}
