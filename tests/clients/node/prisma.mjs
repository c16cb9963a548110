// Prisma 7 with its adapter for node-postgres: the adapter's pool asks for the password of each new
// connection, and each transaction names its tenant.
import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "@prisma/client";
import { BRIEF_S, TENANT_A, TENANT_B, ask, equal, fetchToken, none, ok, refused, sleep }
	from "./checks.mjs";

// docs: begin
const adapter = new PrismaPg({ max: 2, password: () => fetchToken(TENANT_A) });
const prisma = new PrismaClient({ adapter });

const withTenant = (tenant, work) =>
	prisma.$transaction(async (tx) => {
		// A token has no quotes in it, so none are escaped.
		await tx.$executeRawUnsafe(`SET LOCAL usher.token = '${await fetchToken(tenant)}'`);
		return work(tx);
	});
// docs: end

const bodies = async (tx) =>
	(await tx.note.findMany({ orderBy: { id: "asc" } })).map((note) => note.body);

// The server's words are in the message.
const refusedWith = async (promise, words) => {
	const { message } = await refused(promise);
	if (!message.includes(words)) throw new Error(`not "${words}": ${message}`);
	return words;
};

async function checkLogin() {
	const stranger = new PrismaClient({ adapter: new PrismaPg({ password: "no.token.this" }) });
	await refusedWith(stranger.$queryRaw`SELECT 1`, "well-formed JWT");
	const rows = await prisma.$queryRaw`SELECT current_user::text`;
	equal(rows[0].current_user, process.env.PGUSER);
	ok("login", "refused: not a well-formed JWT");
}

async function checkTenants() {
	for (const tenant of [TENANT_A, TENANT_B])
		await withTenant(tenant, async (tx) => {
			const kept = await tx.note.create({ data: { body: `${tenant}: 0` } });
			equal(Number(kept.tenantId), tenant);
			await tx.note.create({ data: { body: "gone" } });
			await tx.note.update({ where: { id: kept.id }, data: { body: `${tenant}: 0!` } });
			equal((await tx.note.deleteMany({ where: { body: "gone" } })).count, 1);
		});
	for (const tenant of [TENANT_A, TENANT_B])
		equal(await withTenant(tenant, bodies), [`${tenant}: 0!`]);
	const spoof = withTenant(TENANT_B, (tx) =>
		tx.note.create({ data: { tenantId: TENANT_A, body: "spoof" } }));
	ok("tenants", await refusedWith(spoof, "row-level security"));
}

async function checkRenewal() {
	const brief = `SET LOCAL usher.token = '${await fetchToken(TENANT_A, BRIEF_S)}'`;
	const late = prisma.$transaction(async (tx) => {
		await tx.$executeRawUnsafe(brief);
		await sleep((BRIEF_S + 1) * 1000);
		await tx.$executeRawUnsafe(`SET LOCAL usher.token = '${await fetchToken(TENANT_A)}'`);
		return bodies(tx);
	});
	equal((await late).length, 1);
	ok("renewal", "while a transaction is under way");
}

async function checkPrepared() {
	await withTenant(TENANT_A, async (tx) => {
		for (let n = 0; n < 20; n++)
			equal(await tx.$queryRaw`SELECT ${n}::int AS n`, [{ n }]);
	});
	ok("prepared", "parameters of $queryRaw");
}

async function checkBatch() {
	const data = Array.from({ length: 500 }, (_, n) => ({ body: `many ${n}` }));
	await withTenant(TENANT_B, async (tx) => {
		equal((await tx.note.createMany({ data })).count, 500);
		equal(await tx.note.count({ where: { body: { startsWith: "many" } } }), 500);
	});
	// An array is one transaction too.
	const token = await fetchToken(TENANT_B);
	const [, count] = await prisma.$transaction([
		prisma.$executeRawUnsafe(`SET LOCAL usher.token = '${token}'`),
		prisma.note.count(),
	]);
	equal(count, 501);
	ok("batch", "createMany, $transaction of an array");
}

async function checkCancel() {
	const slow = withTenant(TENANT_A, async (tx) => {
		await tx.$executeRaw`SET LOCAL statement_timeout = '50ms'`;
		await tx.$queryRaw`SELECT pg_sleep(60)::text`;
	});
	ok("cancel", await refusedWith(slow, "statement timeout"));
}

async function checkRestart() {
	const before = await withTenant(TENANT_A, bodies);
	await ask("restart");
	equal(await withTenant(TENANT_A, bodies), before);
	ok("restart", "the pool drops what the proxy has closed");
}

async function checkSource() {
	await withTenant(TENANT_A, async (tx) => {
		const [{ port }] = await tx.$queryRaw`SELECT inet_server_port() AS port`;
		const node = await ask("node", port);
		equal(await tx.$queryRaw`SHOW usher.data_source`, [{ "usher.data_source": node }]);
		ok("source", node);
	});
}

await checkLogin();
await checkTenants();
await checkRenewal();
await checkPrepared();
none("savepoint", "Prisma nests no transactions");
await checkBatch();
none("copy", "that is the driver's");
await checkCancel();
await checkRestart();
await checkSource();
await prisma.$disconnect();
