// postgres.js: its pool asks for the password of each new connection; a reserved connection or a
// transaction names the tenant first.
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import postgres from "postgres";
import { BRIEF_S, TENANT_A, TENANT_B, ask, equal, fetchToken, none, ok, refused, sleep }
	from "./checks.mjs";

// docs: begin
const options = { max: 2, fetch_types: false };
const sql = postgres({ ...options, password: () => fetchToken(TENANT_A) });

async function withTenant(tenant, work) {
	const token = await fetchToken(tenant);
	return sql.begin(async (tx) => {
		await tx.unsafe(`SET LOCAL usher.token = '${token}'`); // no quotes are in a token
		return work(tx);
	});
}
// docs: end

const bodies = async (tx) => (await tx`SELECT body FROM note ORDER BY id`).map((row) => row.body);

async function checkLogin() {
	const stranger = postgres({ password: "no.token.this", max: 1 });
	const error = await refused(stranger`SELECT 1`, "28000");
	equal((await sql`SELECT current_user`)[0].current_user, process.env.PGUSER);
	ok("login", error.message);
	await stranger.end();
}

async function checkTenants() {
	for (const tenant of [TENANT_A, TENANT_B])
		await withTenant(tenant, async (tx) => {
			const rows = [{ body: `${tenant}: 0` }, { body: "gone" }];
			await tx`INSERT INTO note ${tx(rows)}`;
			await tx`UPDATE note SET body = body || '!' WHERE body <> ${"gone"}`;
			equal((await tx`DELETE FROM note WHERE body = 'gone'`).count, 1);
			equal(await bodies(tx), [`${tenant}: 0!`]);
		});
	const spoof = withTenant(TENANT_B, (tx) =>
		tx`INSERT INTO note (tenant_id, body) VALUES (${TENANT_A}, 'spoof')`);
	ok("tenants", (await refused(spoof, "42501")).message);
}

async function checkRenewal() {
	const brief = [];
	for (let i = 0; i < 2; i++) {
		brief[i] = postgres({ ...options, max: 1, password: await fetchToken(TENANT_A, BRIEF_S) });
		await brief[i]`SELECT 1`;
	}
	await sleep((BRIEF_S + 1) * 1000);
	await brief[0].unsafe(`SET usher.token = '${await fetchToken(TENANT_A)}'`);
	equal((await bodies(brief[0])).length, 1);
	// It keeps the error until ReadyForQuery, which never follows a fatal one.
	ok("renewal", (await refused(bodies(brief[1]), "CONNECTION_CLOSED")).message);
	for (const one of brief) await one.end({ timeout: 1 });
}

async function checkPrepared() {
	await withTenant(TENANT_A, async (tx) => {
		for (let i = 0; i < 20; i++)
			equal([...await tx`SELECT count(*)::int FROM note WHERE id > ${0}`], [{ count: 1 }]);
		const seen = [];
		await tx`SELECT generate_series(1, 5) AS n`.cursor(2, (rows) => {
			seen.push(rows.length);
		});
		equal(seen, [2, 2, 1]);
		equal((await tx`SELECT ${1}::int AS a`.describe()).columns[0].name, "a");
	});
	// Outside of a transaction each may meet another server.
	const texts = Array.from({ length: 50 }, () => sql`SELECT count(*)::int FROM note WHERE id > ${0}`);
	for (const rows of await Promise.all(texts)) equal([...rows], [{ count: 1 }]);
	ok("prepared", "each query is; cursor(), describe()");
}

async function checkSavepoint() {
	await withTenant(TENANT_A, async (tx) => {
		await tx`INSERT INTO note (body) VALUES ('kept')`;
		await refused(tx.savepoint((sp) => sp`INSERT INTO note (body) VALUES (${null})`), "23502");
		equal((await bodies(tx)).at(-1), "kept");
	});
	ok("savepoint", "savepoint()");
}

async function checkBatch() {
	await withTenant(TENANT_B, async (tx) => {
		const many = Array.from({ length: 100 }, (_, n) =>
			tx`INSERT INTO note (body) VALUES (${`many ${n}`}) RETURNING body`);
		equal((await Promise.all(many)).at(-1)[0].body, "many 99");
		equal((await tx.unsafe("SELECT 1 AS a; SELECT 2 AS b")).length, 2);
	});
	ok("batch", "100 queries in a pipeline, several statements in one string");
}

async function checkCopy() {
	await withTenant(TENANT_B, async (tx) => {
		const lines = Array.from({ length: 1000 }, (_, n) => `${n}\trow ${n}\n`);
		await pipeline(Readable.from(lines), await tx`COPY import FROM STDIN`.writable());
		let text = "";
		for await (const chunk of await tx`COPY (SELECT id FROM import) TO STDOUT`.readable())
			text += chunk;
		equal(text.split("\n").length, 1001);
	});
	ok("copy", "writable(), readable()");
}

async function checkCancel() {
	const running = sql`SELECT pg_sleep(60)`;
	const refusal = refused(running, "57014");
	await sleep(300);
	running.cancel();
	ok("cancel", (await refusal).message);
}

async function checkRestart() {
	const before = await withTenant(TENANT_A, bodies);
	await ask("restart");
	equal(await withTenant(TENANT_A, bodies), before);
	ok("restart", "the pool drops what the proxy has closed");
}

async function checkSource() {
	await withTenant(TENANT_A, async (tx) => {
		const [{ port }] = await tx`SELECT inet_server_port() AS port`;
		const node = await ask("node", port);
		equal([...await tx`SHOW usher.data_source`], [{ "usher.data_source": node }]);
		equal(sql.parameters["usher.data_source"], node);
		ok("source", `${node}, by SHOW and sql.parameters`);
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
await sql.end();
