/* libFuzzer: any bytes as an audit log for `pgusher audit verify`. A verdict names a line that is
 * there, or the one behind the last; what is whole stays whole behind its own first digest; and no
 * byte of a whole log but the last line's can be turned without its being seen. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "base/assert.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct audit_verdict verify(uint8_t *data, size_t size, const char *after)
{
	struct audit_verdict v;
	FILE *in = fmemopen(data, size, "r");

	MUST(in != NULL);
	audit_verify(in, after, &v);
	(void)fclose(in);
	return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct audit_verdict v;
	uint8_t *copy;

	if (size == 0)
		return 0;
	copy = mem_dup(data, size);
	v = verify(copy, size, NULL);
	MUST(v.is_whole == (v.what[0] == '\0'));
	MUST(v.bad_line <= v.n_lines + 1);
	if (v.is_whole && v.n_lines > 0) {
		MUST(audit_is_digest(v.last) && audit_is_digest(v.first));
		MUST(v.n_lines < 2 || memchr(copy, '\n', size) != NULL);
		copy[12] ^= 1; /* in the first line's own prev */
		MUST(v.n_lines < 2 || !verify(copy, size, NULL).is_whole);
	}
	mem_free(copy);
	return 0;
}
