// node-postgres: its pool asks for the password of each new connection; who takes one names the
// tenant.
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import pg from "pg";
import copy from "pg-copy-streams";
import Cursor from "pg-cursor";
import { BRIEF_S, TENANT_A, TENANT_B, ask, equal, fetchToken, none, ok, refused, sleep }
	from "./checks.mjs";

// docs: begin
const pool = new pg.Pool({ max: 2, password: () => fetchToken(TENANT_A) });
// A connection that breaks while it is idle; the pool has dropped it already.
pool.on("error", () => {});

async function withTenant(tenant, work) {
	const client = await pool.connect();
	try {
		const token = client.escapeLiteral(await fetchToken(tenant));
		await client.query(`SET usher.token = ${token}`);
		return await work(client);
	} finally {
		client.release();
	}
}
// docs: end

const bodies = async (client) =>
	(await client.query("SELECT body FROM note ORDER BY id")).rows.map((row) => row.body);

async function checkLogin() {
	const error = await refused(new pg.Client({ password: "no.token.this" }).connect(), "28000");
	const user = await pool.query("SELECT current_user");
	equal(user.rows[0].current_user, process.env.PGUSER);
	ok("login", error.message);
}

async function checkTenants() {
	for (const tenant of [TENANT_A, TENANT_B])
		await withTenant(tenant, async (client) => {
			await client.query("INSERT INTO note (body) VALUES ($1), ($2)", [`${tenant}: 0`, "gone"]);
			await client.query("UPDATE note SET body = body || '!' WHERE body <> 'gone'");
			equal((await client.query("DELETE FROM note WHERE body = 'gone'")).rowCount, 1);
			equal(await bodies(client), [`${tenant}: 0!`]);
		});
	await withTenant(TENANT_B, async (client) => {
		const spoof = "INSERT INTO note (tenant_id, body) VALUES ($1, 'spoof')";
		ok("tenants", (await refused(client.query(spoof, [TENANT_A]), "42501")).message);
	});
}

async function checkRenewal() {
	const brief = [];
	for (let i = 0; i < 2; i++) {
		brief[i] = new pg.Client({ password: await fetchToken(TENANT_A, BRIEF_S) });
		brief[i].on("error", () => {});
		await brief[i].connect();
	}
	await sleep((BRIEF_S + 1) * 1000);
	await brief[0].query(`SET usher.token = '${await fetchToken(TENANT_A)}'`);
	equal((await bodies(brief[0])).length, 1);
	await brief[0].end();
	ok("renewal", (await refused(bodies(brief[1]), "28000")).message);
}

async function checkPrepared() {
	await withTenant(TENANT_A, async (client) => {
		for (let i = 0; i < 20; i++) {
			const query = { name: "count", text: "SELECT count(*) FROM note WHERE id > $1", values: [0] };
			equal((await client.query(query)).rows, [{ count: "1" }]);
		}
		const cursor = client.query(new Cursor("SELECT generate_series(1, $1::int) AS n", [5]));
		equal((await cursor.read(3)).length, 3);
		equal((await cursor.read(3)).length, 2);
		await cursor.close();
	});
	ok("prepared", "named statements, pg-cursor");
}

async function checkSavepoint() {
	await withTenant(TENANT_A, async (client) => {
		await client.query("BEGIN");
		await client.query("INSERT INTO note (body) VALUES ($1)", ["kept"]);
		await client.query("SAVEPOINT here");
		await refused(client.query("INSERT INTO note (body) VALUES ($1)", [null]), "23502");
		await client.query("ROLLBACK TO SAVEPOINT here");
		await client.query("COMMIT");
		equal((await bodies(client)).at(-1), "kept");
	});
	ok("savepoint", "SAVEPOINT, ROLLBACK TO");
}

async function checkBatch() {
	await withTenant(TENANT_B, async (client) => {
		const many = Array.from({ length: 100 }, (_, n) =>
			client.query("INSERT INTO note (body) VALUES ($1) RETURNING body", [`many ${n}`]));
		const rows = (await Promise.all(many)).map((result) => result.rows[0].body);
		equal(rows.at(-1), "many 99");
		const several = await client.query("BEGIN; SELECT 1 AS a; SELECT 2 AS b; COMMIT");
		equal(several.map((result) => result.command), ["BEGIN", "SELECT", "SELECT", "COMMIT"]);
	});
	ok("batch", "100 queries queued, several statements in one string");
}

async function checkCopy() {
	await withTenant(TENANT_B, async (client) => {
		const lines = Array.from({ length: 1000 }, (_, n) => `${n}\trow ${n}\n`);
		await pipeline(Readable.from(lines), client.query(copy.from("COPY import FROM STDIN")));
		let text = "";
		for await (const chunk of client.query(copy.to("COPY (SELECT id FROM import) TO STDOUT")))
			text += chunk;
		equal(text.split("\n").length, 1001);
	});
	ok("copy", "pg-copy-streams in and out");
}

async function checkCancel() {
	await withTenant(TENANT_A, async (client) => {
		const running = refused(client.query("SELECT pg_sleep(60)"), "57014");
		await sleep(300);
		await cancel(client);
		ok("cancel", (await running).message);
		await client.query("BEGIN; SET LOCAL statement_timeout = '50ms'");
		await refused(client.query("SELECT pg_sleep(60)"), "57014");
		await client.query("ROLLBACK");
	});
}

// node-postgres has no call for it, but the message: a connection of its own says what to cancel.
async function cancel({ processID, secretKey }) {
	const connection = new pg.Connection({});
	connection.connect(Number(process.env.PGPORT), process.env.PGHOST);
	await new Promise((resolve) => connection.once("connect", resolve));
	connection.cancel(processID, secretKey);
	await new Promise((resolve) => connection.once("end", resolve));
}

async function checkRestart() {
	const before = await withTenant(TENANT_A, bodies);
	await ask("restart");
	equal(await withTenant(TENANT_A, bodies), before);
	ok("restart", "the pool drops what the proxy has closed");
}

// What the server reports, by connection.
const told = new WeakMap();
pool.on("connect", (client) =>
	client.connection.on("parameterStatus", ({ parameterName, parameterValue }) => {
		if (parameterName === "usher.data_source") told.set(client, parameterValue);
	}));

async function checkSource() {
	await withTenant(TENANT_A, async (client) => {
		const { rows } = await client.query("SELECT inet_server_port() AS port");
		const node = await ask("node", rows[0].port);
		const shown = await client.query("SHOW usher.data_source");
		equal(shown.rows, [{ "usher.data_source": node }]);
		equal(told.get(client), node);
		ok("source", `${node}, by SHOW and parameterStatus`);
	});
}

await checkLogin();
await checkTenants();
await checkRenewal();
await checkPrepared();
await checkSavepoint();
await checkBatch();
await checkCopy();
await checkCancel();
await checkRestart();
await checkSource();
await pool.end();
