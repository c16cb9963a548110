//! What the Rust programs share: saying what was checked, and asking the runner for something.

use std::fmt::Display;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

/// How long the token of the renewal's check is good; it is waited for.
pub const BRIEF: Duration = Duration::from_secs(2);

static ASKING: Mutex<()> = Mutex::new(());

pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

pub fn tenant_a() -> i64 {
    env("TENANT_A").parse().unwrap()
}

pub fn tenant_b() -> i64 {
    env("TENANT_B").parse().unwrap()
}

pub fn ok(check: &str, seen: impl Display) {
    println!("ok {check}: {}", seen.to_string().replace('\n', " "));
}

pub fn ask(question: &str) -> String {
    let _turn = ASKING.lock().unwrap();
    println!("ask {question}");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).unwrap();
    answer.trim_end().to_string()
}

/// Stands for the program's own way to a token: its identity provider.
pub fn fetch_token(tenant: i64) -> String {
    ask(&format!("token {tenant}"))
}

pub fn brief_token(tenant: i64) -> String {
    ask(&format!("token {tenant} {}", BRIEF.as_secs()))
}
