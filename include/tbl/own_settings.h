/* The settings that PgUsher answers itself. OWN_SETTING(NAME, "name behind usher.", what clients may
 * do with it, "the values that it takes, for the hint of an error"). */
OWN_SETTING(TOKEN, "token", SET, "")
OWN_SETTING(CONSISTENCY, "consistency", BOTH,
            "Available values: strong, bounded, eventual, analytics.")
OWN_SETTING(MAX_LAG, "max_lag", BOTH,
            "A time such as 500ms, 5s or 1min (us, ms, s, min, h); without a unit it is seconds.")
OWN_SETTING(READ_YOUR_WRITES, "read_your_writes", BOTH, "Available values: off, session, tenant.")
OWN_SETTING(REPORT, "report", BOTH, "Available values: on, off.")
OWN_SETTING(DATA_SOURCE, "data_source", SHOW, "")
OWN_SETTING(DATA_LAG_SECONDS, "data_lag_seconds", SHOW, "")
OWN_SETTING(CONSISTENCY_LEVEL, "consistency_level", SHOW, "")
OWN_SETTING(FRESHNESS, "freshness", SHOW, "")
