"""The attack suite: every way from one tenant to another, and what must happen to it.

A row of the threat model is a number, and its attacks are the tests that begin `test_row_NN_` or
`test_rows_..`. Those with `scene` run with guard strict in both context modes, those with
`unguarded` with the guard off and the context signed; "past" go to PostgreSQL itself as the role.
test_replicas.py has the attacks that are reads once more, where reads go to a replica. Rows that
have tests of their own elsewhere, too:

row  here                  past PgUsher                    elsewhere in tests/
 1   01_to_05, wrapped     a_setting_without_its_proof     unit/sql/test_guard.c, replay/
 2   01_to_05, wrapped     the_database_refuses_code_too   system/test_signed.py
 3   rows_01_to_05         -                               system/test_attacks.py
 4   rows_01_to_05         -                               system/test_guard.py
 5   rows_01_to_05         the_database_refuses_roles_too  sql/
 6   rows_06_to_13         no_temporary_tables             system/test_settings.py
 7   rows_06_to_13         -                               system/test_prepared.py
 8   rows_06_to_13         rows_08_09_and_13               sql/test_values.sql
 9   rows_06_to_13         rows_08_09_and_13               system/test_cancel.py
10   rows_06_to_13         -                               system/test_guard.py
11   rows_06_to_13         -                               system/test_guard.py
12   rows_06_to_13         -                               system/test_guard.py
13   rows_06_to_13         rows_08_09_and_13               sql/test_values.sql
14   rows_14_to_19         rows_14_and_15                  sql/, system/test_stage_flush.py
15   rows_14_to_19         rows_14_and_15                  sql/test_values.sql
16   rows_14_to_19 (is pa  no_context_is_no_row            sql/test_schema.sql
17   rows_14_to_19         -                               system/test_schema.py (checker)
18   rows_14_to_19         -                               replay/, system/test_isolation.py
19   rows_14_to_19         -                               system/test_faults.py
20   rows_20_to_25         -                               unit/sql/test_lexer*.c, fuzz/
21   rows_20_to_25         -                               system/test_login.py, test_keys.py
22   rows_20_to_25         -                               system/test_tls.py
23   rows_20_to_25         -                               system/test_audit.py
24   rows_20_to_25         -                               system/test_limits.py, test_fairness.py
25   rows_20_to_25         -                               system/test_attacks.py
"""
