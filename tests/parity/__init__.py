"""The same messages direct and through PgUsher: what comes back must be equal byte for byte.

script.py is the language that cases are written in, cases/ are the tables of them, compare.py says
what may differ, conftest.py makes the two databases and runs a case on both.
"""
