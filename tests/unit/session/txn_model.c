/* See txn_model.h. The names in comments are PostgreSQL's functions. */
#include "unit/session/txn_model.h"

#include <string.h>

static void end(struct model *m, enum model_block next)
{
	bool is_skipping = m->is_skipping;

	/* set_config(..., true) is gone with its transaction (AtEOXact_GUC), and so are the
	 * savepoints. */
	memset(m, 0, sizeof(*m));
	m->block = (uint8_t)next;
	m->is_skipping = is_skipping;
}

static void start(struct model *m)
{
	if (m->block == MODEL_DEFAULT)
		end(m, MODEL_STARTED);
}

/* AbortCurrentTransaction */
static enum model_result fail(struct model *m, enum model_way way)
{
	if (m->block == MODEL_INPROGRESS || m->block == MODEL_ABORT)
		m->block = MODEL_ABORT;
	else
		end(m, MODEL_DEFAULT);
	m->is_skipping = way == WAY_EXTENDED;
	return MODEL_FAILED;
}

/* IsTransactionExitStmt; an empty Query passes too (exec_simple_query), an empty Bind does not
 * (exec_bind_message). */
static bool runs_when_aborted(enum model_effect effect, enum model_way way)
{
	switch (effect) {
	case EFFECT_COMMIT:
	case EFFECT_ROLLBACK:
	case EFFECT_COMMIT_CHAIN:
	case EFFECT_ROLLBACK_CHAIN:
	case EFFECT_ROLLBACK_TO:
	case EFFECT_ROLLBACK_TO_OUTER:
	case EFFECT_PREPARE_TRANSACTION:
		return true;
	case EFFECT_NONE:
		return way != WAY_EXTENDED;
	default:
		return false;
	}
}

static bool is_chain(enum model_effect effect)
{
	return effect == EFFECT_COMMIT_CHAIN || effect == EFFECT_ROLLBACK_CHAIN;
}

/* EndTransactionBlock, PrepareTransactionBlock, UserAbortTransactionBlock; without a block they
 * warn, and end the implicit transaction, but AND CHAIN is refused. */
static bool run_end(struct model *m, enum model_effect effect)
{
	bool in_block = m->block == MODEL_INPROGRESS || m->block == MODEL_ABORT;

	if (is_chain(effect) && !in_block)
		return false;
	end(m, is_chain(effect) ? MODEL_INPROGRESS : MODEL_DEFAULT);
	return true;
}

/* DefineSavepoint, ReleaseSavepoint, RollbackToSavepoint: only in a block. */
static bool run_savepoint(struct model *m, enum model_effect effect)
{
	if (effect == EFFECT_SAVEPOINT) {
		if (m->block != MODEL_INPROGRESS || m->n_savepoints == MODEL_SAVEPOINTS_MAX)
			return false;
		m->saved[m->n_savepoints++] = m->has_context;
		return true;
	}
	if (m->n_savepoints == 0)
		return false;
	switch (effect) {
	case EFFECT_RELEASE:
		m->n_savepoints--;
		break;
	case EFFECT_RELEASE_OUTER:
		m->n_savepoints = 0;
		break;
	default:
		/* The savepoint itself stays, and settings are what they were then. */
		m->block = MODEL_INPROGRESS;
		if (effect == EFFECT_ROLLBACK_TO_OUTER)
			m->n_savepoints = 1;
		m->has_context = m->saved[m->n_savepoints - 1];
		break;
	}
	for (int i = m->n_savepoints; i < MODEL_SAVEPOINTS_MAX; i++)
		m->saved[i] = false;
	return true;
}

/* PreventInTransactionBlock; then finish_xact_command at once (XACT_FLAGS_NEEDIMMEDIATECOMMIT), a
 * flag that VACUUM loses with its transaction. */
static bool run_outside(struct model *m, enum model_effect effect)
{
	if (m->block != MODEL_STARTED || m->is_piped)
		return false;
	end(m, effect == EFFECT_VACUUM ? MODEL_STARTED : MODEL_DEFAULT);
	return true;
}

static enum model_result run_data(struct model *m, enum model_effect effect)
{
	bool had_context = m->has_context;

	if (effect == EFFECT_COMMIT_INSIDE) {
		/* invalid transaction termination (SPI_commit) */
		if (m->block != MODEL_STARTED)
			return MODEL_FAILED;
		end(m, MODEL_STARTED);
	}
	if (effect == EFFECT_RESET_ALL)
		m->has_context = false;
	return had_context ? MODEL_OK : MODEL_NO_CONTEXT;
}

static enum model_result run_by_rules(struct model *m, enum model_effect effect)
{
	bool ok = true;

	switch (effect) {
	case EFFECT_NONE:
	case EFFECT_SET_TRANSACTION:
		break;
	case EFFECT_DATA:
	case EFFECT_RESET_ALL:
	case EFFECT_COMMIT_INSIDE:
		return run_data(m, effect);
	case EFFECT_BEGIN:
		/* BeginTransactionBlock: in a block only a warning, and an implicit transaction
		 * becomes one, with all that it has. */
		m->block = MODEL_INPROGRESS;
		break;
	case EFFECT_COMMIT:
	case EFFECT_ROLLBACK:
	case EFFECT_COMMIT_CHAIN:
	case EFFECT_ROLLBACK_CHAIN:
	case EFFECT_PREPARE_TRANSACTION:
		ok = run_end(m, effect);
		break;
	case EFFECT_SAVEPOINT:
	case EFFECT_RELEASE:
	case EFFECT_RELEASE_OUTER:
	case EFFECT_ROLLBACK_TO:
	case EFFECT_ROLLBACK_TO_OUTER:
		ok = run_savepoint(m, effect);
		break;
	case EFFECT_VACUUM:
	case EFFECT_ALTER_SYSTEM:
	case EFFECT_DISCARD_ALL:
		ok = run_outside(m, effect);
		break;
	}
	return ok ? MODEL_OK : MODEL_FAILED;
}

bool model_may_fail_ending(const struct model *m, enum model_effect effect)
{
	if (m->block == MODEL_ABORT)
		return false;
	return effect == EFFECT_COMMIT || effect == EFFECT_COMMIT_CHAIN ||
	       effect == EFFECT_PREPARE_TRANSACTION;
}

enum model_result model_run(struct model *m, enum model_effect effect, enum model_luck luck,
                            enum model_way way)
{
	enum model_result result;

	start(m);
	if (m->block == MODEL_STARTED && way == WAY_QUERY_OF_SEVERAL)
		m->block = MODEL_IMPLICIT;
	if (luck == LUCK_FAILS || (m->block == MODEL_ABORT && !runs_when_aborted(effect, way)))
		return fail(m, way);
	if (luck == LUCK_FAILS_ENDING) {
		end(m, MODEL_DEFAULT);
		return fail(m, way);
	}
	result = run_by_rules(m, effect);
	if (result == MODEL_FAILED)
		return fail(m, way);
	/* exec_execute_message returns early for an empty statement. */
	if (way == WAY_EXTENDED && m->block != MODEL_DEFAULT && effect != EFFECT_NONE)
		m->is_piped = true;
	return result;
}

bool model_set_context(struct model *m)
{
	if (m->is_skipping)
		return true;
	start(m);
	if (m->block == MODEL_ABORT)
		return false;
	m->has_context = true;
	m->is_piped = true;
	return true;
}

char model_ready(struct model *m)
{
	m->is_skipping = false;
	if (m->block == MODEL_STARTED || m->block == MODEL_IMPLICIT)
		end(m, MODEL_DEFAULT);
	return m->block == MODEL_DEFAULT ? 'I' : m->block == MODEL_ABORT ? 'E' : 'T';
}
