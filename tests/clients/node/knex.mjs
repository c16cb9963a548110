// Knex: its connection settings may be a function, asked again when they have expired; each
// transaction names its tenant.
import knexLibrary from "knex";
import { BRIEF_S, TENANT_A, TENANT_B, ask, equal, fetchToken, none, ok, refused, sleep }
	from "./checks.mjs";

const server = {
	host: process.env.PGHOST,
	port: process.env.PGPORT,
	user: process.env.PGUSER,
	database: process.env.PGDATABASE,
};

// docs: begin
const expiryOf = (token) =>
	JSON.parse(Buffer.from(token.split(".")[1], "base64url")).exp * 1000;

const knex = knexLibrary({
	client: "pg",
	connection: async () => {
		const password = await fetchToken(TENANT_A);
		const renewAt = expiryOf(password) - 60_000;
		return { ...server, password, expirationChecker: () => Date.now() > renewAt };
	},
	pool: { min: 0, max: 2 },
});

const withTenant = (tenant, work) =>
	knex.transaction(async (trx) => {
		// A token has no quotes in it, so none are escaped.
		await trx.raw(`SET LOCAL usher.token = '${await fetchToken(tenant)}'`);
		return work(trx);
	});
// docs: end

const bodies = (trx) => trx("note").orderBy("id").pluck("body");

async function checkLogin() {
	const stranger = knexLibrary({
		client: "pg",
		connection: { ...server, password: "no.token.this" },
	});
	const error = await refused(stranger.raw("SELECT 1"), "28000");
	const { rows } = await knex.raw("SELECT current_user");
	equal(rows[0].current_user, process.env.PGUSER);
	ok("login", error.message);
	await stranger.destroy();
}

async function checkTenants() {
	for (const tenant of [TENANT_A, TENANT_B])
		await withTenant(tenant, async (trx) => {
			const [kept] = await trx("note")
				.insert([{ body: `${tenant}: 0` }, { body: "gone" }])
				.returning(["id", "tenant_id"]);
			equal(Number(kept.tenant_id), tenant);
			await trx("note").where({ id: kept.id }).update({ body: `${tenant}: 0!` });
			equal(await trx("note").where("body", "gone").delete(), 1);
		});
	for (const tenant of [TENANT_A, TENANT_B])
		equal(await withTenant(tenant, bodies), [`${tenant}: 0!`]);
	const spoof = withTenant(TENANT_B, (trx) =>
		trx("note").insert({ tenant_id: TENANT_A, body: "spoof" }));
	ok("tenants", (await refused(spoof, "42501")).message);
}

async function checkRenewal() {
	const connection = await knex.client.acquireConnection();
	await connection.query(`SET usher.token = '${await fetchToken(TENANT_A, BRIEF_S)}'`);
	await sleep((BRIEF_S + 1) * 1000);
	await connection.query(`SET usher.token = '${await fetchToken(TENANT_A)}'`);
	equal((await connection.query("SELECT body FROM note")).rowCount, 1);
	await connection.query(`SET usher.token = '${await fetchToken(TENANT_A, BRIEF_S)}'`);
	await sleep((BRIEF_S + 1) * 1000);
	const gone = new Promise((resolve) => connection.once("end", resolve));
	ok("renewal", (await refused(connection.query("SELECT body FROM note"), "28000")).message);
	await gone;
	await knex.client.releaseConnection(connection);
}

async function checkSavepoint() {
	await withTenant(TENANT_A, async (trx) => {
		await trx("note").insert({ body: "kept" });
		await refused(trx.transaction((inner) => inner("note").insert({ body: null })), "23502");
		equal((await bodies(trx)).at(-1), "kept");
	});
	ok("savepoint", "nested transaction()");
}

async function checkBatch() {
	const rows = Array.from({ length: 500 }, (_, n) => ({ body: `many ${n}` }));
	await withTenant(TENANT_B, async (trx) => {
		equal((await knex.batchInsert("note", rows, 100).transacting(trx).returning("id")).length, 500);
		const stream = trx("note").stream();
		let seen = 0;
		for await (const row of stream) seen += row.body.startsWith("many");
		equal(seen, 500);
	});
	ok("batch", "batchInsert, stream()");
}

async function checkCancel() {
	// .timeout(ms, { cancel: true }) calls pg_cancel_backend, which guard `strict` refuses.
	const slow = withTenant(TENANT_A, async (trx) => {
		await trx.raw("SET LOCAL statement_timeout = '50ms'");
		await trx.raw("SELECT pg_sleep(60)");
	});
	ok("cancel", (await refused(slow, "57014")).message);
}

async function checkRestart() {
	const before = await withTenant(TENANT_A, bodies);
	await ask("restart");
	equal(await withTenant(TENANT_A, bodies), before);
	ok("restart", "the pool drops what the proxy has closed");
}

async function checkSource() {
	await withTenant(TENANT_A, async (trx) => {
		const { rows: [{ port }] } = await trx.raw("SELECT inet_server_port() AS port");
		const node = await ask("node", port);
		equal((await trx.raw("SHOW usher.data_source")).rows, [{ "usher.data_source": node }]);
		ok("source", node);
	});
}

await checkLogin();
await checkTenants();
await checkRenewal();
none("prepared", "Knex sends unnamed statements only");
await checkSavepoint();
await checkBatch();
none("copy", "that is the driver's");
await checkCancel();
await checkRestart();
await checkSource();
await knex.destroy();
