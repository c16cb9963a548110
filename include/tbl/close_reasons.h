/* Every way a client or server connection can end, written down once: enum, metric label,
 * SQLSTATE and the text the peer is told ("" : nothing is sent).
 *
 * CLOSE_REASON(NAME, "label", "SQLSTATE", "text") */
CLOSE_REASON(CLIENT_TERMINATE, "client_terminate", "", "")
CLOSE_REASON(CLIENT_EOF, "client_eof", "", "")
CLOSE_REASON(CLIENT_IO, "client_io", "", "")
CLOSE_REASON(CLIENT_PROTOCOL, "client_protocol", "08P01", "protocol violation")
CLOSE_REASON(CLIENT_TLS, "client_tls", "", "")
CLOSE_REASON(CLIENT_TLS_REQUIRED, "client_tls_required", "28000",
             "TLS is required here: connect with sslmode=require")
CLOSE_REASON(CLIENT_AUTH, "client_auth", "28000", "token refused")
CLOSE_REASON(CLIENT_EXPIRED, "client_expired", "28000", "the token has expired")
CLOSE_REASON(CLIENT_TOKEN_DOUBT, "client_token_doubt", "28000",
             "a batch failed behind a COMMIT or RESET ALL: which usher.token holds is not known")
CLOSE_REASON(CLIENT_UNSUPPORTED, "client_unsupported", "0A000", "not supported")
CLOSE_REASON(CLIENT_LIMIT, "client_limit", "53300", "no more connections allowed (max_client_conn)")
CLOSE_REASON(CLIENT_PINS, "client_pins", "53300",
             "terminating connection: a setting would keep one more server connection than the "
             "tenant may (max_pinned)")
CLOSE_REASON(CLIENT_ROOM, "client_room", "53300",
             "no more connections allowed (the limit of open files)")
CLOSE_REASON(CLIENT_DISABLED, "client_disabled", "57P03", "the database is disabled")
CLOSE_REASON(CLIENT_LOGIN_TIMEOUT, "client_login_timeout", "57014",
             "login took too long (client_login_timeout)")
CLOSE_REASON(CLIENT_LOGIN_PLACE, "client_login_place", "57014",
             "login took too long while all places were taken (max_client_conn)")
CLOSE_REASON(CLIENT_QUERY_TIMEOUT, "client_query_timeout", "57014",
             "terminating connection: the query took too long (query_timeout)")
CLOSE_REASON(CLIENT_TRANSACTION_TIMEOUT, "client_transaction_timeout", "57014",
             "terminating connection: the transaction took too long (transaction_timeout)")
CLOSE_REASON(CLIENT_IDLE_TRANSACTION, "client_idle_transaction", "25P03",
             "terminating connection: idle in a transaction for too long "
             "(idle_transaction_timeout)")
CLOSE_REASON(CLIENT_IDLE, "client_idle", "57P05",
             "terminating connection: idle for too long (client_idle_timeout)")
CLOSE_REASON(CLIENT_CANCEL_DONE, "client_cancel_done", "", "")
CLOSE_REASON(CLIENT_LOGIN_FAILED, "client_login_failed", "57P03", "cannot log in")
CLOSE_REASON(CLIENT_KILLED, "client_killed", "57P01",
             "terminating connection due to administrator command")
CLOSE_REASON(CLIENT_REVOKED, "client_revoked", "28000", "the token has been revoked")
CLOSE_REASON(CLIENT_DATABASE_REMOVED, "client_database_removed", "57P01",
             "terminating connection: its database was removed from PgUsher's configuration")
CLOSE_REASON(CLIENT_ROLE_REMOVED, "client_role_removed", "57P01",
             "terminating connection: its role was removed from PgUsher's configuration")
CLOSE_REASON(CLIENT_ROLE_CHANGED, "client_role_changed", "57P01",
             "terminating connection: its role's tenant mode was changed, connect again")
CLOSE_REASON(CLIENT_INACTIVE, "client_inactive", "28000", "the tenant is not active")
CLOSE_REASON(SHUTDOWN, "shutdown", "57P01", "terminating connection: PgUsher is shutting down")
CLOSE_REASON(SERVER_LOST, "server_lost", "08006", "the server closed the connection unexpectedly")
CLOSE_REASON(SERVER_PROTOCOL, "server_protocol", "08P01",
             "the server sent a reply that was not expected")
CLOSE_REASON(SERVER_CONTEXT, "server_context", "XX000", "the tenant context could not be set")
CLOSE_REASON(SERVER_SETTINGS, "server_settings", "XX000",
             "the session's settings could not be made on the server")
CLOSE_REASON(SERVER_IDLE, "server_idle", "", "")
CLOSE_REASON(SERVER_LIFETIME, "server_lifetime", "", "")
CLOSE_REASON(SERVER_EVICTED, "server_evicted", "", "")
CLOSE_REASON(SERVER_PAUSED, "server_paused", "", "")
CLOSE_REASON(SERVER_RECONNECT, "server_reconnect", "", "")
CLOSE_REASON(SERVER_MOVED, "server_moved", "57P01",
             "terminating connection: its server is not the primary any more")
CLOSE_REASON(SERVER_DIRTY, "server_dirty", "", "")
CLOSE_REASON(SERVER_LOGIN, "server_login", "57P03", "no server to send this to")
