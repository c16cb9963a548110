/* Every key of the ini file, written down once. From this table come the parser, defaults,
 * struct conf's fields, SHOW CONFIG, what RELOAD may change, etc/pgusher.ini and
 * docs/configuration.md (`make docs` after a change here; `make lint` checks).
 *
 * SECTION(section, ONCE, NAMED or BOTH, "name in examples", "what it is for")
 * OPTION(section, key, TYPE, DEFAULT("..."), RELOAD, "what it is for")
 * SECTION_END(section)
 *
 * TYPE names a value type of src/conf/type.c (C type in brackets): BOOL (bool), INT (int, not
 * negative), COUNT (int, at least 1), PORT (uint16_t), WORKERS (int; auto = processors),
 * DURATION (int64_t, microseconds), INHERIT_INT, INHERIT_COUNT and INHERIT_DURATION (the same;
 * CONF_INHERIT when empty: what the section above says counts), STRING, FILE, DIR, GUC and TABLE
 * (const char *, "" when empty; a FILE must be readable when it is set; so are TLS_CIPHERS, TLS_SUITES
 * and TLS_CURVE, which OpenSSL must know), URL (const char *; https, or http to this machine), the
 * enums POOL_MODE, DATABASE_POOL_MODE, TLS_CLIENT_MODE, TLS_SERVER_MODE, TLS_DHE, NODE_ROLE,
 * AUTH_TYPE, CONSISTENCY, TENANT_MODE, GUARD_MODE, CONTEXT_MODE, READ_YOUR_WRITES and ANALYTICS_FALLBACK (enum conf_...), ALGS,
 * TLS_PROTOCOLS and AUDIT_EVENTS (uint32_t, bits of enum conf_alg, conf_tls_protocol,
 * conf_audit_event), NODE_LIST (key: const struct conf_node **, and n_key).
 *
 * The default is one of DEFAULT("text"), EXAMPLE("text") (empty, but the documentation shows
 * this value) and REQUIRED("text") (no default; the documentation shows this value).
 *
 * RELOAD: LIVE (taken by RELOAD) or RESTART (kept as it was until a restart, and RELOAD says
 * so). Options of NAMED sections are LIVE: such sections come and go with a RELOAD.
 *
 * BOTH: [section] and any number of [section NAME], with the same keys.
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
OPTION(pgusher, default_pool_size, INT, DEFAULT("0"), LIVE,
       "Server connections of one pool (a database and a role), all workers together; "
       "pool_size of a [database] overrides it. 0: no limit but max_server_conn, for one pool "
       "serves all tenants: the tenants' own limits and their fair turns keep it from any one, and "
       "a size would only leave connections unused.")
OPTION(pgusher, pool_mode, POOL_MODE, DEFAULT("transaction"), RESTART,
       "When a server connection goes back to its pool: at the end of each transaction, or when "
       "the client disconnects (session), after a DISCARD ALL.")
OPTION(pgusher, auth_type, AUTH_TYPE, DEFAULT("password"), LIVE,
       "How a client is asked for its token. password: as its password, which every driver can "
       "give. oauth: by SASL OAUTHBEARER, which PostgreSQL 18's libpq can. A client chooses for itself "
       "with options='-c usher.auth=oauth' (or password).")
OPTION(pgusher, query_wait_timeout, DURATION, DEFAULT("120"), LIVE,
       "How long a client waits for a server connection before it gets 57014; 0: no limit.")
OPTION(pgusher, query_timeout, DURATION, DEFAULT("0"), LIVE,
       "A query that runs longer is cancelled and its client's connection ended with 57014; 0: no "
       "limit.")
OPTION(pgusher, transaction_timeout, DURATION, DEFAULT("0"), LIVE,
       "The same for a whole transaction.")
OPTION(pgusher, idle_transaction_timeout, DURATION, DEFAULT("0"), LIVE,
       "A client that is idle in a transaction for longer is ended with 25P03 and the transaction "
       "rolled back, also where it owes the rest of COPY FROM STDIN or of a message, or the Sync of "
       "a batch; 0: no limit. Set it: such a client holds a server connection.")
OPTION(pgusher, client_idle_timeout, DURATION, DEFAULT("0"), LIVE,
       "A client that is idle outside of a transaction for longer is ended with 57P05; 0: no "
       "limit.")
OPTION(pgusher, client_login_timeout, DURATION, DEFAULT("60"), LIVE,
       "How long a client may take to log in; 0: no limit. While all places (max_client_conn) are "
       "taken, who has not logged in after 3 seconds makes room for the next.")
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
       "TLS from clients over TCP. disable: never. allow, or prefer: as the client asks. require: "
       "always. verify-ca: always, and the client must show a certificate that comes from "
       "client_tls_ca_file. verify-full: the certificate must also carry the user name, as its "
       "common name or as a DNS or e-mail name. A unix socket has no TLS and needs none.")
OPTION(pgusher, client_tls_key_file, FILE, EXAMPLE("/etc/pgusher/server.key"), RESTART,
       "Private key (PEM) shown to clients. Like all client_tls files it is read again by RELOAD.")
OPTION(pgusher, client_tls_cert_file, FILE, EXAMPLE("/etc/pgusher/server.crt"), RESTART,
       "Certificate and its chain (PEM) shown to clients.")
OPTION(pgusher, client_tls_ca_file, FILE, EXAMPLE("/etc/pgusher/clients-ca.crt"), RESTART,
       "Certificate authorities (PEM) that clients' certificates must come from; for verify-ca "
       "and verify-full.")
OPTION(pgusher, client_tls_protocols, TLS_PROTOCOLS, DEFAULT("secure"), RESTART,
       "TLS versions that clients may use. secure: tlsv1.2 and tlsv1.3; all, or legacy: every one. "
       "OpenSSL takes tlsv1.0 and tlsv1.1 only with @SECLEVEL=0 in client_tls_ciphers.")
OPTION(pgusher, client_tls_ciphers, TLS_CIPHERS, DEFAULT("default"), RESTART,
       "Cipher suites of TLS 1.2 and below, in OpenSSL's syntax. default, secure, normal or fast: "
       "OpenSSL's own choice; all, insecure, legacy or compat: every one that authenticates and "
       "encrypts.")
OPTION(pgusher, client_tls13_ciphers, TLS_SUITES, EXAMPLE("TLS_AES_128_GCM_SHA256"), RESTART,
       "Cipher suites of TLS 1.3, joined by colons; empty: OpenSSL's own choice.")
OPTION(pgusher, client_tls_ecdhcurve, TLS_CURVE, DEFAULT("auto"), RESTART,
       "Groups for the key exchange, joined by colons. auto: OpenSSL's own choice. none: TLS 1.2 "
       "without elliptic curves; TLS 1.3 cannot do without.")
OPTION(pgusher, client_tls_dheparams, TLS_DHE, DEFAULT("auto"), RESTART,
       "Diffie-Hellman without curves in TLS 1.2. auto: 2048 bits, or as strong as the certificate; "
       "none: not offered; legacy: 1024 bits where OpenSSL's security level allows (@SECLEVEL=1 in "
       "client_tls_ciphers), else 2048.")
OPTION(pgusher, server_tls_sslmode, TLS_SERVER_MODE, DEFAULT("prefer"), LIVE,
       "TLS to PostgreSQL, as libpq's sslmode; for new connections.")
OPTION(pgusher, server_tls_ca_file, FILE, EXAMPLE("/etc/pgusher/root.crt"), LIVE,
       "Certificate authorities (PEM) that PostgreSQL's certificate must come from; for "
       "verify-ca, verify-full and, as in libpq, require. The server_tls files are read for each "
       "new connection.")
OPTION(pgusher, server_tls_key_file, FILE, EXAMPLE("/etc/pgusher/client.key"), LIVE,
       "Private key (PEM) for logging in to PostgreSQL by certificate; not open to other users.")
OPTION(pgusher, server_tls_cert_file, FILE, EXAMPLE("/etc/pgusher/client.crt"), LIVE,
       "Certificate (PEM) for logging in to PostgreSQL.")
OPTION(pgusher, server_tls_protocols, TLS_PROTOCOLS, DEFAULT("secure"), LIVE,
       "TLS versions to PostgreSQL, as client_tls_protocols; without a gap between them.")
OPTION(pgusher, server_tls_ciphers, TLS_CIPHERS, DEFAULT("default"), LIVE,
       "Cipher suites of TLS 1.2 and below to PostgreSQL, as client_tls_ciphers.")
OPTION(pgusher, server_tls13_ciphers, TLS_SUITES, EXAMPLE("TLS_AES_128_GCM_SHA256"), LIVE,
       "Cipher suites of TLS 1.3 to PostgreSQL, as client_tls13_ciphers.")
OPTION(pgusher, peer_id, PEER_ID, DEFAULT("0"), RESTART,
       "This process among those that share one port or address, each with a number of its own: "
       "a cancel request that reaches the wrong one is passed on to the right [peer]; 0: no "
       "peers.")
OPTION(pgusher, logfile, STRING, EXAMPLE("/var/log/pgusher/pgusher.log"), LIVE,
       "File that the log is appended to; empty: standard error. SIGHUP opens it again.")
OPTION(pgusher, admin_users, STRING, EXAMPLE("dba, ops"), LIVE,
       "Who may use the whole console (database pgusher): role names, separated by commas. The "
       "startup user name must be one of them and be in the token's role claim.")
OPTION(pgusher, stats_users, STRING, EXAMPLE("monitoring"), LIVE,
       "Who may use the console's SHOW commands, in the same way.")
OPTION(pgusher, stats_period, DURATION, DEFAULT("60"), LIVE,
       "The averages of SHOW STATS are taken over one to two periods; log_stats logs once a period.")
OPTION(pgusher, log_stats, BOOL, DEFAULT("yes"), LIVE,
       "Log the averages of all databases together once every stats_period.")
OPTION(pgusher, log_connections, BOOL, DEFAULT("yes"), LIVE, "Log each successful login.")
OPTION(pgusher, log_disconnections, BOOL, DEFAULT("yes"), LIVE,
       "Log each disconnection with its reason.")
SECTION_END(pgusher)

SECTION(jwt, BOTH, "id",
        "How the token that a client gives as its password is checked. Sections [jwt NAME] with the "
        "same keys may stand beside [jwt], one for each issuer; the token's iss chooses between "
        "them, and the keys of one section never verify a token of another.")
OPTION(jwt, jwks_file, FILE, DEFAULT("/etc/pgusher/jwks.json"), LIVE,
       "The keys: a JSON Web Key Set. Read again when it changes. The default is that of [jwt] "
       "without jwks_url; else it is empty.")
OPTION(jwt, jwks_url, URL, EXAMPLE("https://id.example.com/jwks.json"), LIVE,
       "Where keys are fetched from (https; http from this machine only): at the start, every "
       "jwks_refresh, and when a token names a key that is not there. They join those of "
       "jwks_file, which come first where both have a kid.")
OPTION(jwt, jwks_refresh, DURATION, DEFAULT("5min"), LIVE,
       "How often jwks_url is fetched; 0: only at the start and for unknown keys. Keys are kept "
       "when it fails, and it is tried again after jwks_min_refresh.")
OPTION(jwt, jwks_min_refresh, DURATION, DEFAULT("10s"), LIVE,
       "Least time between two fetches of jwks_url, however many tokens name unknown keys. A login "
       "with such a token waits for the next fetch, at most for client_login_timeout.")
OPTION(jwt, jwks_ca_file, FILE, EXAMPLE("/etc/pgusher/id-ca.crt"), LIVE,
       "Certificate authorities (PEM) that jwks_url's certificate must come from; empty: the "
       "system's.")
OPTION(jwt, issuer, STRING, EXAMPLE("https://id.example.com"), LIVE,
       "Required value of the claim iss; empty: any value that no other section claims, or none.")
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
       "Refuse a token over plain TCP, unless from loopback; a unix socket needs no TLS. no: never "
       "refused.")
SECTION_END(jwt)

SECTION(oauth, ONCE, "",
        "What a client that logs in by OAUTHBEARER and has no token is told: where it can get one. "
        "What it then comes with is checked as [jwt] says.")
OPTION(oauth, issuer, URL, EXAMPLE("https://id.example.com"), LIVE,
       "The issuer, or the URL of its discovery document (with /.well-known/ in it), else "
       "/.well-known/openid-configuration is added. libpq wants the same in oauth_issuer. Empty: the "
       "first issuer of a [jwt] section that is an https URL; where there is none, clients must know.")
OPTION(oauth, scope, STRING, EXAMPLE("openid"), LIVE,
       "The scopes that a token must be asked for with, separated by blanks.")
SECTION_END(oauth)

SECTION(context, ONCE, "", "The setting that tells PostgreSQL the tenant of a transaction.")
OPTION(context, setting, GUC, DEFAULT("app.current_tenant_id"), RESTART,
       "Name of the setting that row-level security reads: two names joined by a dot.")
OPTION(context, mode, CONTEXT_MODE, DEFAULT("plain"), RESTART,
       "plain: the setting holds the tenant. signed: it counts only with a proof beside it, that "
       "PgUsher has set it; the database checks that (sql/signed.sql).")
OPTION(context, proof_setting, GUC, DEFAULT("app.tenant_proof"), RESTART,
       "Name of the setting that holds the proof; sql/signed.sql reads the default.")
OPTION(context, proof_key_file, FILE, EXAMPLE("/etc/pgusher/proof.key"), LIVE,
       "File that holds the key of the proofs, not open to other users: hex or base64 of at least "
       "32 bytes (openssl rand -hex 32). Read again by RELOAD and SIGHUP.")
SECTION_END(context)

SECTION(audit, ONCE, "",
        "The audit log: one JSON line an event, each with the SHA-256 of the line before it "
        "(`pgusher audit verify`). Never literals, parameters, tokens or passwords.")
OPTION(audit, file, STRING, EXAMPLE("/var/log/pgusher/audit.jsonl"), LIVE,
       "Where it is written: a file (mode 0640; SIGHUP opens it anew), stdout, or syslog: for "
       "/dev/log (syslog:PATH for another socket); empty: nowhere.")
OPTION(audit, events, AUDIT_EVENTS, DEFAULT("auth, guard, admin, route"), LIVE,
       "What is written. auth: logins, changes of the token, ends of connections. guard: refused "
       "statements. admin: the console's commands and logins, signals. route: reads sent elsewhere "
       "than they asked for. statements: each statement's fingerprint, node, rows and duration.")
SECTION_END(audit)

SECTION(guard, ONCE, "",
        "What tenants may not send, beside what PostgreSQL forbids them: docs/tenancy.md has the "
        "table of the rules. Roles with tenant = none are free of it.")
OPTION(guard, mode, GUARD_MODE, DEFAULT("strict"), LIVE,
       "strict: every rule. standard: what keeps the tenant setting out of clients' hands. off: only "
       "what PgUsher itself needs; the database must be the defence then.")
OPTION(guard, allow_functions, STRING, EXAMPLE("pg_advisory_xact_lock, lastval"), LIVE,
       "Functions that strict would refuse, separated by commas, perhaps with a schema; never those "
       "that could change the tenant (set_config, query_to_xml, dblink).")
OPTION(guard, deny_functions, STRING, EXAMPLE("public.dangerous"), LIVE,
       "Functions that are refused in standard and strict. With a schema, calls that name another "
       "schema pass.")
OPTION(guard, trusted_functions, STRING, EXAMPLE("upsert_hot_attrs, public.report"), LIVE,
       "Functions of your own that leave nothing in the session: no SET that outlives the "
       "transaction, temporary table or session's advisory lock. The server connection needs no "
       "DISCARD ALL between one that called them and the next client.")
SECTION_END(guard)

SECTION(node, NAMED, "primary-a", "One section for each PostgreSQL server.")
OPTION(node, host, STRING, REQUIRED("10.0.0.10"), LIVE,
       "Host name, address, or the directory of a unix socket.")
OPTION(node, port, PORT, DEFAULT("5432"), LIVE, "Port.")
OPTION(node, role, NODE_ROLE, DEFAULT("auto"), LIVE,
       "auto: primary or replica, whichever the server says that it is; analytics: an analytics "
       "copy, never a primary.")
OPTION(node, weight, INT, DEFAULT("1"), LIVE,
       "Share of the reads that this node gets among those that are fresh enough; 0: none.")
SECTION_END(node)

SECTION(database, NAMED, "eav",
        "One section for each database that clients may name; [database *] takes all others.")
OPTION(database, dbname, STRING, DEFAULT(""), LIVE,
       "The database's name on the nodes; empty: the section's name, for [database *] the name "
       "that the client gave.")
OPTION(database, nodes, NODE_LIST, REQUIRED("primary-a"), LIVE,
       "The nodes that have it: names of [node NAME] sections, separated by commas.")
OPTION(database, consistency, CONSISTENCY, DEFAULT("bounded"), LIVE,
       "Default of its sessions for usher.consistency: where statements that only read may go "
       "(docs/freshness.md). Needs probe_role in [freshness]; without it all go to the primary.")
OPTION(database, pool_mode, DATABASE_POOL_MODE, DEFAULT("default"), LIVE,
       "transaction or session for this database; default: pool_mode of [pgusher].")
OPTION(database, max_client_conn, INT, DEFAULT("0"), LIVE,
       "Client connections to it, for [database *] to all of its databases together; more are "
       "refused with 53300; 0: no limit.")
OPTION(database, pool_size, INHERIT_INT, EXAMPLE("20"), LIVE,
       "Server connections of each of its pools (one for each role), all workers together; 0: no "
       "limit but max_server_conn; empty: default_pool_size of [pgusher].")
SECTION_END(database)

SECTION(role, NAMED, "app",
        "One section for each database role that tokens may name: how PgUsher logs in as it.")
OPTION(role, password_file, FILE, EXAMPLE("/etc/pgusher/app.password"), LIVE,
       "File that holds the role's password, not open to other users; empty: no password "
       "is sent.")
OPTION(role, tenant, TENANT_MODE, DEFAULT("required"), LIVE,
       "required: a token must name a tenant; none: a service role that works without one.")
OPTION(role, max_client_conn, INT, DEFAULT("0"), LIVE,
       "Client connections that logged in as it; more are refused with 53300; 0: no limit.")
SECTION_END(role)

SECTION(tenants, ONCE, "", "Defaults for every tenant; a [tenant 123] overrides them.")
OPTION(tenants, max_client_conn, INT, DEFAULT("0"), LIVE,
       "Client connections that logged in as one tenant; more are refused with 53300; 0: no limit.")
OPTION(tenants, max_server_conn, INT, DEFAULT("0"), LIVE,
       "Server connections that one tenant's clients hold at once, all databases and workers "
       "together; its further clients wait until it gives one back; 0: no limit.")
OPTION(tenants, max_pinned, INT, DEFAULT("20"), LIVE,
       "Server connections that one tenant's clients keep beyond a transaction, by temporary "
       "tables, LISTEN, session advisory locks, cursors WITH HOLD, PREPARE: a statement that would "
       "keep one more is refused with 53300; 0: no limit. Keep it well below max_server_conn of "
       "[pgusher], or one tenant can hold all.")
OPTION(tenants, weight, COUNT, DEFAULT("1"), LIVE,
       "While clients wait, a free server connection goes to the tenant that has used the least "
       "server time for its weight: one of weight 3 gets three times the time of one of weight 1.")
OPTION(tenants, query_wait_timeout, INHERIT_DURATION, EXAMPLE("10s"), LIVE,
       "As in [pgusher], for clients of tenants; empty: that of [pgusher]; 0: no limit.")
OPTION(tenants, directory_query, STRING, DEFAULT(""), RESTART,
       "For example SELECT tenant_id, is_active FROM tenants: rows of (bigint, boolean), asked on the primary of the first [database] as "
       "probe_role. A tenant that is not active, or not there, is refused with 28000 and its sessions "
       "end; so is everybody until the first answer. An answer is kept when the next one fails. Empty: "
       "every tenant of a good token is let in.")
OPTION(tenants, directory_refresh, DURATION, DEFAULT("5s"), RESTART,
       "How often directory_query is asked.")
SECTION_END(tenants)

SECTION(tenant, OPTIONAL, "123",
        "One section for each tenant that is unlike the others. What is empty here is as in "
        "[tenants].")
OPTION(tenant, max_client_conn, INHERIT_INT, EXAMPLE("1000"), LIVE,
       "As in [tenants], for this one; 0: no limit.")
OPTION(tenant, max_server_conn, INHERIT_INT, EXAMPLE("20"), LIVE,
       "As in [tenants], for this one; 0: no limit.")
OPTION(tenant, max_pinned, INHERIT_INT, EXAMPLE("5"), LIVE,
       "As in [tenants], for this one; 0: no limit.")
OPTION(tenant, weight, INHERIT_COUNT, EXAMPLE("3"), LIVE, "As in [tenants], for this one.")
OPTION(tenant, query_wait_timeout, INHERIT_DURATION, EXAMPLE("10s"), LIVE,
       "As in [tenants], for this one; 0: no limit.")
SECTION_END(tenant)

SECTION(freshness, ONCE, "", "How late replicas may be, and how PgUsher knows (docs/freshness.md).")
OPTION(freshness, probe_role, STRING, DEFAULT(""), RESTART,
       "The [role] (with tenant = none; say, probe) that heartbeats, the function catalogue and directory_query log in "
       "as; empty: no lag is known, which counts as infinite.")
OPTION(freshness, heartbeat_interval, DURATION, DEFAULT("250ms"), RESTART,
       "How often a heartbeat is written on the primary and read on every node; at least 20 ms.")
OPTION(freshness, heartbeat_table, TABLE, DEFAULT("public.replication_heartbeat"), RESTART,
       "The table of the heartbeats, in each database, with its schema: PgUsher never creates it.")
OPTION(freshness, catalog_refresh, DURATION, DEFAULT("60s"), RESTART,
       "How often the functions of each database are read from its primary, as probe_role; at "
       "least 1s. A call of an unknown one, and a CREATE or ALTER that goes through PgUsher, has "
       "them read within 5 seconds.")
OPTION(freshness, max_lag, DURATION, DEFAULT("5s"), LIVE,
       "Budget of consistency = bounded: a replica that is further behind is not read from.")
OPTION(freshness, target_lag, DURATION, DEFAULT("3s"), LIVE,
       "What the replicas should keep; SHOW PATHS shows it beside what they do.")
OPTION(freshness, analytics_target_lag, DURATION, DEFAULT("5min"), LIVE,
       "As target_lag, for nodes with role = analytics.")
OPTION(freshness, analytics_max_lag, DURATION, DEFAULT("15min"), LIVE,
       "As max_lag, for nodes with role = analytics.")
OPTION(freshness, analytics_fallback, ANALYTICS_FALLBACK, DEFAULT("refuse"), LIVE,
       "What consistency = analytics gets when the analytics node is further behind than "
       "analytics_max_lag. refuse: an error. serve: its data all the same, with a NOTICE of how old "
       "they are.")
OPTION(freshness, read_your_writes, READ_YOUR_WRITES, DEFAULT("session"), LIVE,
       "Whose writes a replica must have before it is read from: the session's own, those of the whole "
       "tenant, or off. Of the tenant's writes those through this PgUsher count, not those through others.")
SECTION_END(freshness)

SECTION(peer, OPTIONAL, "2",
        "One section for each PgUsher that this one shares its clients with; the name is that "
        "one's peer_id. Our own may be among them, so that all can have the same list.")
OPTION(peer, host, STRING, REQUIRED("/run/pgusher2"), LIVE,
       "Directory of that process's unix socket (its unix_socket_dir), or its own IP address; names "
       "are not looked up.")
OPTION(peer, port, PORT, DEFAULT("6432"), LIVE, "Its listen_port.")
SECTION_END(peer)
