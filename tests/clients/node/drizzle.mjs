// Drizzle over node-postgres: the pool asks for the password of each new connection, and each
// transaction names its tenant.
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { bigint, pgTable, text } from "drizzle-orm/pg-core";
import pg from "pg";
import { BRIEF_S, TENANT_A, TENANT_B, ask, equal, fetchToken, none, ok, refused, sleep }
	from "./checks.mjs";

// docs: begin
const pool = new pg.Pool({ max: 2, password: () => fetchToken(TENANT_A) });
// A connection that breaks while it is idle; the pool has dropped it already.
pool.on("error", () => {});
const db = drizzle(pool);

const withTenant = (tenant, work) =>
	db.transaction(async (tx) => {
		// A token has no quotes in it, so none are escaped.
		await tx.execute(sql.raw(`SET LOCAL usher.token = '${await fetchToken(tenant)}'`));
		return work(tx);
	});
// docs: end

const note = pgTable("note", {
	id: bigint("id", { mode: "number" }).primaryKey().generatedByDefaultAsIdentity(),
	tenantId: bigint("tenant_id", { mode: "number" }).notNull().default(sql`DEFAULT`),
	body: text("body"),
});

const bodies = async (tx) =>
	(await tx.select({ body: note.body }).from(note).orderBy(note.id)).map((row) => row.body);

// Drizzle wraps the driver's error.
const refusedBy = async (promise, code) => {
	const { cause } = await refused(promise);
	equal(cause?.code, code);
	return cause;
};

async function checkLogin() {
	const stranger = drizzle(new pg.Pool({ password: "no.token.this" }));
	const error = await refusedBy(stranger.execute("SELECT 1"), "28000");
	const { rows } = await db.execute("SELECT current_user");
	equal(rows[0].current_user, process.env.PGUSER);
	ok("login", error.message);
}

async function checkTenants() {
	for (const tenant of [TENANT_A, TENANT_B])
		await withTenant(tenant, async (tx) => {
			const rows = [{ body: `${tenant}: 0` }, { body: "gone" }];
			const [kept] = await tx.insert(note).values(rows).returning();
			equal(kept.tenantId, tenant);
			await tx.update(note).set({ body: `${tenant}: 0!` }).where(eq(note.id, kept.id));
			equal((await tx.delete(note).where(eq(note.body, "gone"))).rowCount, 1);
		});
	for (const tenant of [TENANT_A, TENANT_B])
		equal(await withTenant(tenant, bodies), [`${tenant}: 0!`]);
	const spoof = withTenant(TENANT_B, (tx) =>
		tx.insert(note).values({ tenantId: TENANT_A, body: "spoof" }));
	ok("tenants", (await refusedBy(spoof, "42501")).message);
}

async function checkRenewal() {
	const client = await pool.connect();
	await client.query(`SET usher.token = '${await fetchToken(TENANT_A, BRIEF_S)}'`);
	await sleep((BRIEF_S + 1) * 1000);
	await client.query("BEGIN");
	await client.query(`SET LOCAL usher.token = '${await fetchToken(TENANT_A)}'`);
	equal((await bodies(drizzle(client))).length, 1);
	await client.query("COMMIT");
	client.on("error", () => {});
	ok("renewal", (await refusedBy(bodies(drizzle(client)), "28000")).message);
	client.release(true);
}

async function checkPrepared() {
	await withTenant(TENANT_A, async (tx) => {
		const one = tx.select().from(note).where(eq(note.id, sql.placeholder("id"))).prepare("one");
		for (let id = 1; id < 20; id++) equal((await one.execute({ id })).length, id === 1 ? 1 : 0);
	});
	ok("prepared", "prepare()");
}

async function checkSavepoint() {
	await withTenant(TENANT_A, async (tx) => {
		await tx.insert(note).values({ body: "kept" });
		await refusedBy(tx.transaction((inner) => inner.insert(note).values({ body: null })), "23502");
		equal((await bodies(tx)).at(-1), "kept");
	});
	ok("savepoint", "nested transaction()");
}

async function checkBatch() {
	const rows = Array.from({ length: 500 }, (_, n) => ({ body: `many ${n}` }));
	await withTenant(TENANT_B, async (tx) => {
		equal((await tx.insert(note).values(rows).returning({ id: note.id })).length, 500);
	});
	ok("batch", "values() of 500 rows");
}

async function checkCancel() {
	const slow = withTenant(TENANT_A, async (tx) => {
		await tx.execute("SET LOCAL statement_timeout = '50ms'");
		await tx.execute("SELECT pg_sleep(60)");
	});
	ok("cancel", (await refusedBy(slow, "57014")).message);
}

async function checkRestart() {
	const before = await withTenant(TENANT_A, bodies);
	await ask("restart");
	equal(await withTenant(TENANT_A, bodies), before);
	ok("restart", "the pool drops what the proxy has closed");
}

async function checkSource() {
	await withTenant(TENANT_A, async (tx) => {
		const { rows: [{ port }] } = await tx.execute("SELECT inet_server_port() AS port");
		const node = await ask("node", port);
		equal((await tx.execute("SHOW usher.data_source")).rows, [{ "usher.data_source": node }]);
		ok("source", node);
	});
}

await checkLogin();
await checkTenants();
await checkRenewal();
await checkPrepared();
await checkSavepoint();
await checkBatch();
none("copy", "that is the driver's");
await checkCancel();
await checkRestart();
await checkSource();
await pool.end();
