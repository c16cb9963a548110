"""The clients: how each is installed and run, and what every program has to check.

A language is installed once, into a copy of its folder under build/clients: `fetch` brings the
packages (when that fails the registry is out of reach, and its clients are skipped), `build` makes
the programs (when that fails, so do its clients).
"""

# What each program says `ok` to, or `none` with the reason why the client has no such thing.
CHECKS = ("login", "tenants", "renewal", "prepared", "savepoint", "batch", "copy", "cancel",
          "restart", "source")


class Language:
    def __init__(self, tools, fetch=(), build=()):
        """tools: commands that must be on the PATH, fetch and build: lists of argv."""
        self.tools = tools
        self.fetch = fetch
        self.build = build


LANGUAGES = {
    "python": Language(
        ["python3"],
        fetch=[["@python", "-m", "venv", "venv"],
               ["venv/bin/pip", "install", "-q", "-r", "requirements.txt"]],
    ),
    "node": Language(
        ["node", "npm"],
        # Scripts of packages stay out: what they fetch (engines, browsers) is not asked for.
        fetch=[["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit",
                "--no-fund"]],
        # What Prisma generates needs no engine; it only looks for one, which it would fetch.
        build=[["env", "PRISMA_SCHEMA_ENGINE_BINARY=/bin/true",
                "node_modules/.bin/prisma", "generate"]],
    ),
    "rust": Language(["cargo"], fetch=[["cargo", "fetch"]], build=[["cargo", "build", "-q"]]),
    "go": Language(
        ["go"],
        fetch=[["go", "mod", "download"]],
        build=[["go", "vet", "./..."], ["go", "build", "-o", "bin/", "./..."]],
    ),
    "java": Language(
        ["java", "javac", "mvn"],
        fetch=[["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]],
        build=[["javac", "-cp", "lib/*", "-d", "classes", "Checks.java", "Jdbc.java",
                "Hibernate.java"]],
    ),
    # These two are Debian's packages, which scripts/deps.sh has brought.
    "ruby": Language(["ruby"], fetch=[["ruby", "-e", "require 'pg'; require 'active_record'"]]),
    "php": Language(["php"], fetch=[["php", "-r", "exit(extension_loaded('pdo_pgsql') ? 0 : 1);"]]),
}

# name of the client as it is known: (language, argv in the language's folder)
CLIENTS = {
    "psycopg3": ("python", ["venv/bin/python", "psycopg3.py"]),
    "libpq18": ("python", ["venv/bin/python", "libpq18.py"]),
    "psycopg2": ("python", ["venv/bin/python", "psycopg2_pool.py"]),
    "asyncpg": ("python", ["venv/bin/python", "asyncpg_pool.py"]),
    "sqlalchemy-psycopg": ("python", ["venv/bin/python", "sqlalchemy_orm.py", "psycopg"]),
    "sqlalchemy-asyncpg": ("python", ["venv/bin/python", "sqlalchemy_orm.py", "asyncpg"]),
    "django": ("python", ["venv/bin/python", "django_orm.py"]),
    "node-postgres": ("node", ["node", "pg.mjs"]),
    "postgres.js": ("node", ["node", "postgres.mjs"]),
    "knex": ("node", ["node", "knex.mjs"]),
    "drizzle": ("node", ["node", "drizzle.mjs"]),
    "prisma": ("node", ["node", "prisma.mjs"]),
    "pgx": ("go", ["bin/pgxpool"]),
    "gorm": ("go", ["bin/gorm"]),
    "tokio-postgres": ("rust", ["target/debug/tokio_postgres"]),
    "sqlx": ("rust", ["target/debug/sqlx"]),
    "pgjdbc": ("java", ["java", "-cp", "classes:lib/*", "Jdbc"]),
    "hibernate": ("java", ["java", "-cp", "classes:lib/*", "Hibernate"]),
    "ruby-pg": ("ruby", ["ruby", "pg.rb"]),
    "activerecord": ("ruby", ["ruby", "active_record.rb"]),
    "pdo": ("php", ["php", "pdo.php"]),
}
