/* The transaction tracker.
 *
 * The context is set with set_config(..., true), so it ends with the transaction, and must be set
 * again after everything that ends one in the middle of a batch, and after RESET ALL, which takes
 * it away. It is lazy: statements that only open, close or configure a transaction go without,
 * because a snapshot taken before SET TRANSACTION ISOLATION LEVEL makes that fail. SAVEPOINT does
 * need it, for a context set inside a savepoint would be undone by ROLLBACK TO.
 *
 * Wherever the prediction is wrong (a skipped or failed statement), it errs to one side only:
 * a context that is missing where rows are read shows no row; it is never another tenant's. */
#include "txn.h"

bool txn_needs_context(const struct txn *t, const struct sql_stmt *stmt)
{
	if (t->state == TXN_FAILED || t->has_context)
		return false;
	switch (stmt->kind) {
	case SQL_EMPTY:
	case SQL_BEGIN:
	case SQL_COMMIT:
	case SQL_ROLLBACK:
	case SQL_COMMIT_CHAIN:
	case SQL_ROLLBACK_CHAIN:
	case SQL_ROLLBACK_TO:
	case SQL_PREPARE_TRANSACTION:
	case SQL_SET_TRANSACTION:
	case SQL_SHOW:
	case SQL_NO_TRANSACTION:
	case SQL_OWN:
		return false;
	case SQL_DATA:
	case SQL_COPY_IN:
	case SQL_SAVEPOINT:
	case SQL_RELEASE:
	case SQL_UNPARSED:
		break;
	}
	return true;
}

void txn_context_sent(struct txn *t)
{
	t->has_context = true;
}

static void txn_end(struct txn *t, enum txn_state next)
{
	t->state = next;
	t->has_context = false;
}

void txn_sent(struct txn *t, const struct sql_stmt *stmt)
{
	t->is_deferred = false;
	switch (stmt->kind) {
	case SQL_BEGIN:
		/* In an implicit transaction that has its context, that stays. */
		if (t->state == TXN_NONE)
			t->state = TXN_BLOCK;
		break;
	case SQL_COMMIT:
	case SQL_ROLLBACK:
	case SQL_PREPARE_TRANSACTION:
		txn_end(t, TXN_NONE);
		break;
	case SQL_COMMIT_CHAIN:
	case SQL_ROLLBACK_CHAIN:
		txn_end(t, t->state == TXN_NONE ? TXN_NONE : TXN_BLOCK);
		break;
	case SQL_ROLLBACK_TO:
		if (t->state == TXN_FAILED)
			t->state = TXN_BLOCK;
		break;
	case SQL_UNPARSED:
		t->has_context = false;
		break;
	default:
		if ((stmt->bits & SQL_RESETS_ALL) ||
		    ((stmt->bits & SQL_ENDS_INSIDE) && t->state == TXN_NONE))
			t->has_context = false;
		break;
	}
}

void txn_ready(struct txn *t, char status)
{
	switch (status) {
	case 'I':
		t->is_deferred = false;
		txn_end(t, TXN_NONE);
		break;
	case 'T':
		t->state = TXN_BLOCK;
		break;
	default:
		t->state = TXN_FAILED;
		break;
	}
}

void txn_failed_here(struct txn *t)
{
	if (t->is_deferred)
		t->state = TXN_FAILED;
}

char txn_status(const struct txn *t)
{
	static const char status[] = {[TXN_NONE] = 'I', [TXN_BLOCK] = 'T', [TXN_FAILED] = 'E'};

	return status[t->state];
}
