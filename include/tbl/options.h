/* Every key of the ini file, written down once. From this table come the parser, defaults,
 * struct conf's fields, SHOW CONFIG, what RELOAD may change, etc/pgusher.ini and
 * docs/configuration.md (`make docs` after a change here; `make lint` checks).
 *
 * SECTION(section, ONCE or NAMED, "name in examples", "what it is for")
 * OPTION(section, key, TYPE, DEFAULT("..."), RELOAD, "what it is for")
 * SECTION_END(section)
 *
 * TYPE names a value type of src/conf/type.c (C type in brackets): BOOL (bool), INT (int, not
 * negative), COUNT (int, at least 1), PORT (uint16_t), WORKERS (int; auto = processors),
 * DURATION (int64_t, microseconds), STRING, FILE, DIR and GUC (const char *, "" when empty; a
 * FILE must be readable when it is set), the enums POOL_MODE, TLS_CLIENT_MODE,
 * TLS_SERVER_MODE, NODE_ROLE, CONSISTENCY, TENANT_MODE and CONTEXT_MODE (enum conf_...), ALGS
 * (uint32_t, bits of enum conf_alg), NODE_LIST (key: const struct conf_node **, and n_key).
 *
 * The default is one of DEFAULT("text"), EXAMPLE("text") (empty, but the documentation shows
 * this value) and REQUIRED("text") (no default; the documentation shows this value).
 *
 * RELOAD: LIVE (taken by RELOAD) or RESTART (kept as it was until a restart, and RELOAD says
 * so). Options of NAMED sections are LIVE: such sections come and go with a RELOAD.
 *
 * No include guard: whoever includes this defines the three macros first. */

SECTION(pgusher, ONCE, "", "Where clients connect, limits, timeouts, TLS and the log.")
OPTION(pgusher, listen_addr, STRING, DEFAULT("127.0.0.1"), RESTART,
       "Addresses to listen on, separated by commas; * for all, empty for none.")
OPTION(pgusher, listen_port, PORT, DEFAULT("6432"), RESTART,
       "TCP port; also in the unix socket's name, .s.PGSQL.PORT.")
OPTION(pgusher, unix_socket_dir, DIR, EXAMPLE("/var/run/postgresql"), RESTART,
       "Directory of the unix socket; none when empty.")
OPTION(pgusher, workers, WORKERS, DEFAULT("auto"), RESTART,
       "Worker threads; auto: one for each processor.")
OPTION(pgusher, max_client_conn, COUNT, DEFAULT("20000"), LIVE,
       "Client connections, all databases together; more are refused with 53300.")
OPTION(pgusher, max_server_conn, COUNT, DEFAULT("200"), LIVE,
       "Server connections per node, all pools and workers together.")
OPTION(pgusher, pool_mode, POOL_MODE, DEFAULT("transaction"), RESTART,
       "When a server connection goes back to its pool: at the end of each transaction. "
       "PgBouncer's session mode is not supported yet.")
OPTION(pgusher, query_wait_timeout, DURATION, DEFAULT("120"), LIVE,
       "How long a client waits for a server connection before it gets 57014; 0: no limit.")
OPTION(pgusher, client_login_timeout, DURATION, DEFAULT("60"), LIVE,
       "How long a client may take to log in; 0: no limit.")
OPTION(pgusher, server_connect_timeout, DURATION, DEFAULT("15"), LIVE,
       "How long opening a server connection, login included, may take; 0: no limit.")
OPTION(pgusher, server_idle_timeout, DURATION, DEFAULT("600"), LIVE,
       "A server connection idle for so long is closed; 0: never.")
OPTION(pgusher, server_lifetime, DURATION, DEFAULT("3600"), LIVE,
       "A server connection this old is closed when it is next idle; 0: after each use.")
OPTION(pgusher, server_login_retry, DURATION, DEFAULT("15"), LIVE,
       "After a failed server login, how long until the next try at most; at least 100 ms.")
OPTION(pgusher, cancel_wait_timeout, DURATION, DEFAULT("10"), LIVE,
       "How long a cancel request may wait to be delivered; 0: no limit.")
OPTION(pgusher, shutdown_timeout, DURATION, DEFAULT("30"), LIVE,
       "After SIGTERM, how long transactions under way may take to finish.")
OPTION(pgusher, max_prepared_statements, INT, DEFAULT("200"), LIVE,
       "Prepared statements kept on one server connection; the least recently used goes first.")
OPTION(pgusher, deferred_begin, BOOL, DEFAULT("yes"), LIVE,
       "Answer a bare BEGIN and send it with the transaction's first statement: one round trip "
       "fewer, and no server connection is held in between.")
OPTION(pgusher, client_tls_sslmode, TLS_CLIENT_MODE, DEFAULT("disable"), RESTART,
       "TLS from clients: never, as the client asks, or always. prefer is another name for allow.")
OPTION(pgusher, client_tls_key_file, FILE, EXAMPLE("/etc/pgusher/server.key"), RESTART,
       "Private key (PEM) shown to clients.")
OPTION(pgusher, client_tls_cert_file, FILE, EXAMPLE("/etc/pgusher/server.crt"), RESTART,
       "Certificate and its chain (PEM) shown to clients.")
OPTION(pgusher, server_tls_sslmode, TLS_SERVER_MODE, DEFAULT("prefer"), LIVE,
       "TLS to PostgreSQL, as libpq's sslmode; for new connections.")
OPTION(pgusher, server_tls_ca_file, FILE, EXAMPLE("/etc/pgusher/root.crt"), LIVE,
       "Certificate authorities (PEM) that PostgreSQL's certificate must come from.")
OPTION(pgusher, server_tls_key_file, FILE, EXAMPLE("/etc/pgusher/client.key"), LIVE,
       "Private key (PEM) for logging in to PostgreSQL by certificate.")
OPTION(pgusher, server_tls_cert_file, FILE, EXAMPLE("/etc/pgusher/client.crt"), LIVE,
       "Certificate (PEM) for logging in to PostgreSQL.")
OPTION(pgusher, logfile, STRING, EXAMPLE("/var/log/pgusher/pgusher.log"), LIVE,
       "File that the log is appended to; empty: standard error. SIGHUP opens it again.")
OPTION(pgusher, log_connections, BOOL, DEFAULT("yes"), LIVE, "Log each successful login.")
OPTION(pgusher, log_disconnections, BOOL, DEFAULT("yes"), LIVE,
       "Log each disconnection with its reason.")
SECTION_END(pgusher)

SECTION(jwt, ONCE, "", "How the token that a client gives as its password is checked.")
OPTION(jwt, jwks_file, FILE, DEFAULT("/etc/pgusher/jwks.json"), LIVE,
       "The keys: a JSON Web Key Set. Read again when it changes.")
OPTION(jwt, issuer, STRING, EXAMPLE("https://id.example.com"), LIVE,
       "Required value of the claim iss; empty: not checked.")
OPTION(jwt, audience, STRING, EXAMPLE("eav"), LIVE,
       "Value that the claim aud must have, or hold if it is a list; empty: not checked.")
OPTION(jwt, algorithms, ALGS, DEFAULT("RS256, ES256"), LIVE,
       "The only signature algorithms accepted.")
OPTION(jwt, tenant_claim, STRING, DEFAULT("tenant_id"), LIVE,
       "Claim that holds the tenant: an integer or a string of digits; a.b reaches into objects.")
OPTION(jwt, role_claim, STRING, DEFAULT("role"), LIVE,
       "Claim that holds the database role. The user name of the connection must be it, or be in "
       "it if it is a list.")
OPTION(jwt, leeway, DURATION, DEFAULT("30s"), LIVE,
       "How far the clocks of issuer and PgUsher may differ when exp and nbf are checked.")
OPTION(jwt, require_tls, BOOL, DEFAULT("yes"), LIVE,
       "Refuse a token over plain TCP, unless from loopback; a unix socket needs no TLS.")
SECTION_END(jwt)

SECTION(context, ONCE, "", "The setting that tells PostgreSQL the tenant of a transaction.")
OPTION(context, setting, GUC, DEFAULT("app.current_tenant_id"), RESTART,
       "Name of the setting that row-level security reads: two names joined by a dot.")
OPTION(context, mode, CONTEXT_MODE, DEFAULT("plain"), RESTART,
       "plain: the setting holds the tenant. A signed context is not supported yet.")
SECTION_END(context)

SECTION(node, NAMED, "primary-a", "One section for each PostgreSQL server.")
OPTION(node, host, STRING, REQUIRED("10.0.0.10"), LIVE,
       "Host name, address, or the directory of a unix socket.")
OPTION(node, port, PORT, DEFAULT("5432"), LIVE, "Port.")
OPTION(node, role, NODE_ROLE, DEFAULT("auto"), LIVE,
       "auto: primary or replica, whichever the server says that it is; analytics: an analytics "
       "copy, never a primary.")
OPTION(node, weight, COUNT, DEFAULT("1"), LIVE,
       "Share of the reads that this node gets among its equals. In this version every statement "
       "goes to the primary.")
SECTION_END(node)

SECTION(database, NAMED, "eav",
        "One section for each database that clients may name; [database *] takes all others.")
OPTION(database, dbname, STRING, DEFAULT(""), LIVE,
       "The database's name on the nodes; empty: the section's name, for [database *] the name "
       "that the client gave.")
OPTION(database, nodes, NODE_LIST, REQUIRED("primary-a"), LIVE,
       "The nodes that have it: names of [node NAME] sections, separated by commas.")
OPTION(database, consistency, CONSISTENCY, DEFAULT("bounded"), LIVE,
       "Default of its sessions for usher.consistency. In this version every statement goes to "
       "the primary, whatever this says.")
SECTION_END(database)

SECTION(role, NAMED, "app",
        "One section for each database role that tokens may name: how PgUsher logs in as it.")
OPTION(role, password_file, FILE, EXAMPLE("/etc/pgusher/app.password"), LIVE,
       "File that holds the role's password, not open to other users; empty: no password "
       "is sent.")
OPTION(role, tenant, TENANT_MODE, DEFAULT("required"), LIVE,
       "required: a token must name a tenant; none: a service role that works without one.")
SECTION_END(role)
