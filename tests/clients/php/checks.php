<?php
// What the PHP programs share: saying what was checked, and asking the runner for something.

define('TENANT_A', (int) getenv('TENANT_A'));
define('TENANT_B', (int) getenv('TENANT_B'));
// How long the token of the renewal's check is good; it is waited for.
const BRIEF_S = 2;

function ok(string $check, string $seen): void
{
    echo "ok $check: ", strtr($seen, "\n", ' '), "\n";
}

function none(string $check, string $why): void
{
    echo "none $check: $why\n";
}

function ask(string ...$words): string
{
    echo 'ask ', implode(' ', $words), "\n";
    return rtrim(fgets(STDIN), "\n");
}

// Stands for the program's own way to a token: its identity provider.
function fetch_token(int $tenant): string
{
    return ask('token', (string) $tenant);
}

function brief_token(int $tenant): string
{
    return ask('token', (string) $tenant, (string) BRIEF_S);
}

function equal(mixed $got, mixed $wanted): void
{
    if ($got !== $wanted) {
        throw new Exception('got ' . json_encode($got) . ', wanted ' . json_encode($wanted));
    }
}

// The message of the refusal, whose SQLSTATE must be that one.
function refused(callable $work, string $state): string
{
    try {
        $work();
    } catch (PDOException $error) {
        if ($error->errorInfo[0] !== $state) {
            throw $error;
        }
        return $error->getMessage();
    }
    throw new Exception('was not refused');
}
