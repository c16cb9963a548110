"""The catalogue: tables of cases, by what they are about."""

from . import copying, cursors, ddl, errors, extended, settings, simple, transactions, types, wire

CASES = [case for module in (simple, extended, cursors, transactions, errors, copying, settings,
                             types, wire, ddl) for case in module.CASES]
