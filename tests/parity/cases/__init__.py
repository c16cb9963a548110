"""The catalogue: tables of cases, by what they are about."""

from . import copying, cursors, errors, extended, settings, simple, transactions, types, wire

CASES = [case for module in (simple, extended, cursors, transactions, errors, copying, settings,
                             types, wire) for case in module.CASES]
