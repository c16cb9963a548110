/* The guard's rules, written down once: the enum, the refusals that clients see, SHOW GUARD, the
 * table in docs/tenancy.md (`make docs`) and `pgusher explain`.
 *
 * GUARD_RULE(ID, "name", rows, MODE, "sqlstate", "message", "hint", "what it looks for")
 *
 * rows: the rows of isolation.md, the list of ways from one tenant to another. MODE: the weakest
 * mode in which the rule holds. OFF: always, also for service roles, because PgUsher itself would
 * go wrong without it; STANDARD: in standard and strict; STRICT.
 *
 * No include guard: whoever includes this defines the macro first. */
GUARD_RULE(TENANT_SETTING, "tenant_setting", "1, 3", STANDARD, "42501",
           "permission denied to set parameter of the tenant context",
           "The tenant comes from the token; SET usher.token changes it.",
           "SET, RESET or set_config of the tenant setting or its proof")
GUARD_RULE(SET_CONFIG_UNREADABLE, "set_config_unreadable", "1, 2", STANDARD, "42501",
           "set_config needs a constant setting name",
           "Write the name as a plain string, as the first of three unnamed arguments.",
           "set_config with a name that is only known when it runs")
GUARD_RULE(SETTINGS_VIEW, "settings_view", "1", STANDARD, "42501",
           "permission denied to change settings through the view pg_settings", "Use SET.",
           "UPDATE of pg_settings, views and rules on it")
GUARD_RULE(FUNCTION_SETTINGS, "function_settings", "1", STANDARD, "42501",
           "the function sets a parameter of the tenant context",
           "Its SET clause would change the tenant: ALTER FUNCTION ... RESET takes it away.",
           "calls of functions that were made with SET of the tenant setting, as far as the "
           "function catalogue knows them")
GUARD_RULE(DYNAMIC_SQL, "dynamic_sql", "2", STANDARD, "42501",
           "SQL text made at run time is not allowed here",
           "Give the text as a constant, or run the statement itself.",
           "functions that run SQL text (query_to_xml, ts_stat, dblink ...) with a text that is "
           "not a constant; EXECUTE in code")
GUARD_RULE(CODE_TEXT, "code_text", "1, 2, 20", STANDARD, "42501",
           "the code names, or may name, a setting that clients may not change",
           "Code must not mention set_config, pg_settings or the tenant context, nor use E'..\\..', "
           "U&'..' or strings that go on in another line.",
           "DO blocks and bodies of functions that mention a guarded setting, or may hide one")
GUARD_RULE(NESTED_CODE, "nested_code", "2", STANDARD, "42501",
           "code that makes functions, views, rules, operators, casts or other code is not "
           "allowed",
           "Create each by a statement of its own.", "code that makes code")
GUARD_RULE(CODE_LANGUAGE, "code_language", "2", STANDARD, "42501",
           "functions and DO blocks can be written in SQL and PL/pgSQL only",
           "Create functions in other languages on a connection to PostgreSQL itself.",
           "code in other languages")
GUARD_RULE(ROLE_CHANGE, "role_change", "3, 5", STANDARD, "42501",
           "permission denied to change the role behind this proxy",
           "All clients share one database role; RESET ROLE is allowed.",
           "SET ROLE, SET SESSION AUTHORIZATION")
GUARD_RULE(ALTER_ROLE, "alter_role", "1, 5", STANDARD, "42501",
           "roles and databases are not altered through this proxy",
           "All tenants share them: connect to PostgreSQL itself.",
           "CREATE, ALTER, DROP, GRANT and REVOKE of roles; ALTER DATABASE ... SET; DROP OWNED, "
           "REASSIGN OWNED")
GUARD_RULE(ROW_SECURITY, "row_security", "5", STANDARD, "42501",
           "permission denied to set parameter \"row_security\"",
           "Row-level security keeps tenants apart and stays on.", "SET row_security")
GUARD_RULE(REPLICATION_ROLE, "session_replication_role", "5", STANDARD, "42501",
           "permission denied to set parameter \"session_replication_role\"",
           "It would switch triggers off.", "SET session_replication_role")
GUARD_RULE(DENIED_FUNCTION, "deny_functions", "14", STANDARD, "42501",
           "permission denied for this function behind this proxy",
           "It is named in deny_functions of [guard].", "functions that deny_functions names")
GUARD_RULE(SESSION_VIEWS, "session_views", "8", STRICT, "42501",
           "permission denied to look at the sessions of others",
           "These views and functions show what other tenants run; ask an administrator.",
           "pg_stat_activity, pg_stat_statements, pg_prepared_statements, pg_cursors, pg_locks, "
           "the functions behind them, and table_to_xml and the like, which read any table")
GUARD_RULE(STATISTICS, "statistics", "8", STRICT, "42501",
           "permission denied to look at what is counted over the rows of all tenants",
           "Use a role with tenant = none, or connect to PostgreSQL itself, to look at plans and "
           "statistics.",
           "EXPLAIN, SET debug_print_plan, pg_stat_* and pg_statio_* of tables and indexes, the "
           "functions behind them, currtid2")
GUARD_RULE(BACKEND_SIGNAL, "backend_signal", "9", STRICT, "42501",
           "permission denied to signal another backend",
           "Use a cancel request for your own query, or statement_timeout.",
           "pg_cancel_backend, pg_terminate_backend, pg_reload_conf and their like")
GUARD_RULE(ADVISORY_LOCK, "advisory_lock", "10", STRICT, "42501",
           "advisory locks are shared by all tenants and not allowed here",
           "Lock a row instead (SELECT ... FOR UPDATE), or have the function named in "
           "allow_functions of [guard].",
           "pg_advisory_lock and its like; the functions that unlock are allowed")
GUARD_RULE(NOTIFY, "notify", "11", STRICT, "42501",
           "notifications are shared by all tenants and not allowed here",
           "Channels have no tenant: connect to PostgreSQL itself for LISTEN and NOTIFY.",
           "LISTEN, NOTIFY, pg_notify; UNLISTEN is allowed")
GUARD_RULE(TWO_PHASE, "two_phase", "12", STRICT, "42501",
           "two-phase transactions are shared by all tenants and not allowed here",
           "End the transaction with COMMIT or ROLLBACK.",
           "PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED")
GUARD_RULE(LARGE_OBJECT, "large_object", "13", STRICT, "42501",
           "large objects are shared by all tenants and not allowed here",
           "Row-level security does not reach them: keep the bytes in a bytea column.",
           "lo_* functions, loread, lowrite, pg_largeobject, COMMENT and ALTER of large objects")
GUARD_RULE(SERVER_FILE, "server_file", "13", STRICT, "42501",
           "files, programs and other servers are out of reach through this proxy",
           "Use COPY ... FROM STDIN or TO STDOUT.",
           "COPY of a file or PROGRAM, pg_read_file, pg_ls_dir and their like, foreign servers "
           "and tables")
GUARD_RULE(SEQUENCE_STATE, "sequence_state", "6", STRICT, "42501",
           "sequences, and what a session drew from one last, are shared by all tenants",
           "Use nextval or INSERT ... RETURNING, or have the function named in allow_functions of "
           "[guard].",
           "lastval, currval, setval")
GUARD_RULE(RANDOM_SEED, "random_seed", "6", STRICT, "42501",
           "the seed of random() would stay for other tenants",
           "Make repeatable numbers in the application.", "setseed, SET seed")
GUARD_RULE(LOCK_TABLE, "lock_table", "24", STRICT, "42501",
           "locking a table would stop all tenants",
           "Lock rows (SELECT ... FOR UPDATE), or use ACCESS SHARE, ROW SHARE or ROW EXCLUSIVE "
           "mode; name temporary tables as pg_temp.name.",
           "LOCK TABLE in a mode that keeps others from writing; VACUUM FULL, ALTER ... DEPENDS ON "
           "EXTENSION, REFERENCES, PARTITION OF, ATTACH and DETACH PARTITION, which wait for such a "
           "lock before they ask whose the table is")
GUARD_RULE(PRIVILEGES, "privileges", "5, 15", STRICT, "42501",
           "privileges and policies are not changed through this proxy",
           "Connect to PostgreSQL itself as the owner, or use a role with tenant = none.",
           "GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, OWNER TO, policies, ENABLE or DISABLE of row "
           "security and triggers")
GUARD_RULE(SHARED_CODE, "shared_code", "5, 14", STRICT, "42501",
           "functions, views and other code that all tenants would run are not made through this "
           "proxy",
           "Make it in pg_temp (functions) or TEMP (views), connect to PostgreSQL itself, or use a "
           "role with tenant = none.",
           "CREATE and ALTER of functions, views, rules, triggers, operators, casts, extensions and "
           "the like; LOAD")
GUARD_RULE(FUNCTION_CALL, "function_call", "4", OFF, "42501",
           "FunctionCall messages are refused",
           "Call the function with SELECT.",
           "the message FunctionCall, which calls functions by number, without SQL")
GUARD_RULE(USHER_TOKEN, "usher_token", "1", OFF, "42501",
           "usher.token must be set by a plain SET statement of its own",
           "SET [LOCAL] usher.token = '...' or RESET usher.token, with nothing else in the string.",
           "usher.token in any other spelling")
GUARD_RULE(USHER_SETTING, "usher_setting", "1", OFF, "0A000",
           "usher settings must be set by a plain SET statement of their own",
           "SET [LOCAL] usher.name = 'value' or RESET usher.name, with nothing else in the string.",
           "other settings that begin with usher., set in any other spelling or place")
GUARD_RULE(RESERVED_NAME, "reserved_name", "7", OFF, "42501",
           "prepared statement names that begin with \"pgu_\" are reserved",
           "Choose another name.", "PREPARE, EXECUTE, DEALLOCATE of PgUsher's own statements")
GUARD_RULE(STRING_SYNTAX, "string_syntax", "20", OFF, "42501",
           "standard_conforming_strings must stay on behind this proxy",
           "Write E'...' where backslash escapes are needed.",
           "SET standard_conforming_strings to anything but on")
GUARD_RULE(CLIENT_ENCODING, "client_encoding", "20", OFF, "42501",
           "this client_encoding is not allowed behind this proxy",
           "Use UTF8, or another encoding whose multibyte characters hold no ASCII bytes.",
           "SET client_encoding to SJIS, BIG5, GBK and their like")
GUARD_RULE(UNPARSED, "unparsed", "2, 20", OFF, "42501", "the statement cannot be checked",
           "Only queries and changes of rows may be so long or nested so deeply.",
           "statements that are too long, too deep or too odd to be parsed")
GUARD_RULE(TOO_COMPLEX, "too_complex", "24", OFF, "54001",
           "statement is too complex to be checked",
           "Nest fewer calls of functions that change settings or run SQL.",
           "special calls nested in each other around long texts")
