<?php
// PDO: a request logs in with its tenant's token. With persistent connections it names its tenant.

require __DIR__ . '/checks.php';

// docs: begin
function login(string $token): PDO
{
    return new PDO('pgsql:', getenv('PGUSER'), $token,
        [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
}

function with_tenant(PDO $db, int $tenant, callable $work): mixed
{
    $db->beginTransaction();
    try {
        $db->exec('SET LOCAL usher.token = ' . $db->quote(fetch_token($tenant)));
        $result = $work($db);
        $db->commit();
        return $result;
    } catch (Throwable $error) {
        $db->rollBack();
        throw $error;
    }
}
// docs: end

function bodies(PDO $db): array
{
    return $db->query('SELECT body FROM note ORDER BY id')->fetchAll(PDO::FETCH_COLUMN);
}

function execute(PDO $db, string $sql, array $values): PDOStatement
{
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement;
}

function check_login(PDO $db): void
{
    equal($db->query('SELECT current_user')->fetchColumn(), getenv('PGUSER'));
    $error = null;
    try {
        login('no.token.this');
    } catch (PDOException $error) {
        ok('login', $error->getMessage());
    }
    equal($error !== null, true);
}

function check_tenants(PDO $db): void
{
    foreach ([TENANT_A, TENANT_B] as $tenant) {
        with_tenant($db, $tenant, function (PDO $db) use ($tenant) {
            execute($db, 'INSERT INTO note (body) VALUES (?), (?)', ["$tenant: 0", 'gone']);
            execute($db, "UPDATE note SET body = body || '!' WHERE body <> :b", ['b' => 'gone']);
            equal($db->exec("DELETE FROM note WHERE body = 'gone'"), 1);
            equal(bodies($db), ["$tenant: 0!"]);
        });
    }
    $spoof = fn (PDO $db) => execute($db,
        "INSERT INTO note (tenant_id, body) VALUES (?, 'spoof')", [TENANT_A]);
    // It asks for lastval(), which is not the tenant's alone; INSERT ... RETURNING is.
    refused(fn () => $db->lastInsertId(), '42501');
    equal($db->inTransaction(), false);
    ok('tenants', refused(fn () => with_tenant($db, TENANT_B, $spoof), '42501'));
}

function check_renewal(): void
{
    $renewed = login(brief_token(TENANT_A));
    $left = login(brief_token(TENANT_A));
    sleep(BRIEF_S + 1);
    $renewed->exec('SET usher.token = ' . $renewed->quote(fetch_token(TENANT_A)));
    equal(count(bodies($renewed)), 1);
    // libpq has lost the connection with the error; PDO's own state for that is HY000.
    ok('renewal', refused(fn () => bodies($left), 'HY000'));
}

function check_prepared(PDO $db): void
{
    $count = $db->prepare('SELECT count(*) FROM note WHERE id > ?');
    for ($i = 0; $i < 20; $i++) {
        with_tenant($db, TENANT_A, function () use ($count) {
            $count->execute([0]);
            equal($count->fetchColumn(), 1);
        });
    }
    unset($count);
    $db->setAttribute(PDO::ATTR_EMULATE_PREPARES, true);
    equal(execute($db, 'SELECT ?::int', [7])->fetchColumn(), 7);
    $db->setAttribute(PDO::ATTR_EMULATE_PREPARES, false);
    ok('prepared', 'prepare, whose end is a DEALLOCATE; emulated too');
}

function check_savepoint(PDO $db): void
{
    with_tenant($db, TENANT_A, function (PDO $db) {
        execute($db, 'INSERT INTO note (body) VALUES (?)', ['kept']);
        $db->exec('SAVEPOINT here');
        refused(fn () => execute($db, 'INSERT INTO note (body) VALUES (?)', [null]), '23502');
        $db->exec('ROLLBACK TO here');
        equal(array_slice(bodies($db), -1), ['kept']);
        $cursor = $db->prepare('SELECT generate_series(1, 5)',
            [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
        $cursor->execute();
        equal($cursor->fetchColumn(), 1);
    });
    ok('savepoint', 'SAVEPOINT, ROLLBACK TO, a scrollable cursor');
}

function check_copy(PDO $db): void
{
    with_tenant($db, TENANT_B, function (PDO $db) {
        $rows = array_map(fn ($n) => "$n\trow $n", range(0, 999));
        equal($db->pgsqlCopyFromArray('import', $rows), true);
        equal(count($db->pgsqlCopyToArray('import')), 1000);
    });
    ok('copy', 'pgsqlCopyFromArray, pgsqlCopyToArray');
}

function check_cancel(PDO $db): void
{
    $slow = function (PDO $db) {
        $db->exec("SET LOCAL statement_timeout = '50ms'");
        $db->exec('SELECT pg_sleep(60)');
    };
    ok('cancel', refused(fn () => with_tenant($db, TENANT_A, $slow), '57014'));
}

function check_source(PDO $db): void
{
    $port = $db->query('SELECT inet_server_port()')->fetchColumn();
    $node = ask('node', (string) $port);
    equal($db->query('SHOW usher.data_source')->fetchColumn(), $node);
    ok('source', $node);
}

function check_restart(PDO $db): PDO
{
    $before = with_tenant($db, TENANT_A, bodies(...));
    ask('restart');
    refused(fn () => bodies($db), 'HY000');
    $db = login(fetch_token(TENANT_A));
    equal(with_tenant($db, TENANT_A, bodies(...)), $before);
    ok('restart', 'a new connection after the error');
    return $db;
}

$db = login(fetch_token(TENANT_A));
check_login($db);
check_tenants($db);
check_renewal();
check_prepared($db);
check_savepoint($db);
none('batch', 'PDO sends one statement at a time');
check_copy($db);
check_cancel($db);
check_source(check_restart($db));
