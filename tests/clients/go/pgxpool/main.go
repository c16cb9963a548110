// pgx with its pool: a hook logs each new connection in with a token that is not old, another
// names the tenant whenever a connection is taken.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	. "pgusher/clients/checks"
)

var background = context.Background()

// docs: begin
type tenantKey struct{}

func newPool(ctx context.Context) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig("pool_max_conns=2")
	if err != nil {
		return nil, err
	}
	config.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		conn.Password = FetchToken(TenantA)
		return nil
	}
	config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		tenant, ok := ctx.Value(tenantKey{}).(int) // set by the HTTP server for each request
		if !ok {
			return true, errors.New("no tenant in the context")
		}
		// A token has no quotes in it, so none are escaped.
		_, err := conn.Exec(ctx, fmt.Sprintf("SET usher.token = '%s'", FetchToken(tenant)))
		return err == nil, nil // a connection that is broken is replaced
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// docs: end

func of(tenant int) context.Context {
	return context.WithValue(background, tenantKey{}, tenant)
}

type querier interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}

func bodies(ctx context.Context, db querier) (string, error) {
	rows, err := db.Query(ctx, "SELECT body FROM note ORDER BY id")
	if err != nil {
		return "", err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(all, ","), err
}

// refused returns the server's message, whose SQLSTATE must be that one.
func refused(err error, code string) string {
	var fault *pgconn.PgError
	if !errors.As(err, &fault) || fault.Code != code {
		Must(fmt.Errorf("not refused with %s: %w", code, err))
	}
	return fault.Message
}

func checkLogin(pool *pgxpool.Pool) {
	_, err := pgx.Connect(background, "password=no.token.this")
	var user string
	Must(pool.QueryRow(of(TenantA), "SELECT current_user").Scan(&user))
	Equal(user, os.Getenv("PGUSER"))
	OK("login", refused(err, "28000"))
}

func checkTenants(pool *pgxpool.Pool) {
	for _, tenant := range []int{TenantA, TenantB} {
		ctx := of(tenant)
		body := fmt.Sprintf("%d: 0", tenant)
		Get(pool.Exec(ctx, "INSERT INTO note (body) VALUES ($1), ($2)", body, "gone"))
		Get(pool.Exec(ctx, "UPDATE note SET body = body || '!' WHERE body <> $1", "gone"))
		gone := Get(pool.Exec(ctx, "DELETE FROM note WHERE body = 'gone'"))
		Equal(gone.RowsAffected(), 1)
		Equal(Get(bodies(ctx, pool)), body+"!")
	}
	_, err := pool.Exec(of(TenantB), "INSERT INTO note (tenant_id, body) VALUES ($1, 'x')", TenantA)
	OK("tenants", refused(err, "42501"))
}

func checkRenewal() {
	var brief [2]*pgx.Conn
	for i := range brief {
		brief[i] = Get(pgx.Connect(background, "password="+BriefToken(TenantA)))
	}
	time.Sleep(Brief + time.Second)
	Get(brief[0].Exec(background, fmt.Sprintf("SET usher.token = '%s'", FetchToken(TenantA))))
	Equal(Get(bodies(background, brief[0])), fmt.Sprintf("%d: 0!", TenantA))
	Must(brief[0].Close(background))
	_, err := bodies(background, brief[1])
	OK("renewal", refused(err, "28000"))
}

func checkPrepared(pool *pgxpool.Pool) {
	conn := Get(pool.Acquire(of(TenantA)))
	defer conn.Release()
	Get(conn.Conn().Prepare(background, "count", "SELECT count(*) FROM note WHERE id > $1"))
	for range 20 {
		var n int
		Must(conn.QueryRow(background, "count", 0).Scan(&n))
		Equal(n, 1)
	}
	Must(conn.Conn().Deallocate(background, "count"))
	modes := []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	}
	for _, mode := range modes {
		// More texts than the cache holds (512): it closes the oldest.
		for n := range 600 {
			var got int
			text := fmt.Sprintf("SELECT %d + $1::int", n)
			Must(conn.QueryRow(background, text, mode, n).Scan(&got))
			Equal(got, 2*n)
		}
	}
	Must(conn.Conn().DeallocateAll(background))
	OK("prepared", "Prepare, the statement cache run over, every QueryExecMode")
}

func checkSavepoint(pool *pgxpool.Pool) {
	ctx := of(TenantA)
	Must(pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		Get(tx.Exec(ctx, "INSERT INTO note (body) VALUES ('kept')"))
		err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
			_, err := inner.Exec(ctx, "INSERT INTO note (body) VALUES ($1)", nil)
			return err
		})
		refused(err, "23502")
		return nil
	}))
	Equal(strings.HasSuffix(Get(bodies(ctx, pool)), ",kept"), true)
	OK("savepoint", "nested BeginFunc")
}

func checkBatch(pool *pgxpool.Pool) {
	ctx := of(TenantB)
	batch := &pgx.Batch{}
	for n := range 100 {
		batch.Queue("INSERT INTO note (body) VALUES ($1)", fmt.Sprint("many ", n))
		batch.Queue("SELECT count(*) FROM note WHERE body LIKE 'many %'").QueryRow(
			func(row pgx.Row) error {
				var count int
				err := row.Scan(&count)
				Equal(count, n+1)
				return err
			})
	}
	Must(pool.SendBatch(ctx, batch).Close())
	// One batch, as it is outside of a transaction, is one transaction.
	batch = &pgx.Batch{}
	batch.Queue("INSERT INTO note (body) VALUES ('lost')")
	batch.Queue("INSERT INTO note (body) VALUES (NULL)")
	refused(pool.SendBatch(ctx, batch).Close(), "23502")
	Equal(strings.Contains(Get(bodies(ctx, pool)), "lost"), false)
	OK("batch", "SendBatch, one that fails")
}

func checkCopy(pool *pgxpool.Pool) {
	conn := Get(pool.Acquire(of(TenantB)))
	defer conn.Release()
	n := -1
	rows := pgx.CopyFromFunc(func() ([]any, error) {
		if n++; n == 1000 {
			return nil, nil
		}
		return []any{n, fmt.Sprint("row ", n)}, nil
	})
	into := pgx.Identifier{"import"}
	Equal(Get(conn.CopyFrom(background, into, []string{"id", "body"}, rows)), 1000)
	out := "COPY (SELECT id FROM import) TO STDOUT"
	tag := Get(conn.Conn().PgConn().CopyTo(background, io.Discard, out))
	Equal(tag.RowsAffected(), 1000)
	OK("copy", "CopyFrom, CopyTo")
}

func checkCancel(pool *pgxpool.Pool) {
	ctx, cancel := context.WithTimeout(of(TenantA), 300*time.Millisecond)
	defer cancel()
	_, err := pool.Exec(ctx, "SELECT pg_sleep(60)")
	Equal(errors.Is(err, context.DeadlineExceeded), true)
	conn := Get(pool.Acquire(of(TenantA)))
	defer conn.Release()
	time.AfterFunc(300*time.Millisecond, func() {
		Must(conn.Conn().PgConn().CancelRequest(background))
	})
	_, err = conn.Exec(background, "SELECT pg_sleep(60)")
	OK("cancel", refused(err, "57014"))
}

func checkRestart(pool *pgxpool.Pool) {
	before := Get(bodies(of(TenantA), pool))
	Ask("restart")
	Equal(Get(bodies(of(TenantA), pool)), before)
	OK("restart", "PrepareConn finds what is gone, the pool replaces it")
}

func checkSource(pool *pgxpool.Pool) {
	conn := Get(pool.Acquire(of(TenantA)))
	defer conn.Release()
	var port int
	var source string
	Must(conn.QueryRow(background, "SELECT inet_server_port()").Scan(&port))
	Must(conn.QueryRow(background, "SHOW usher.data_source").Scan(&source))
	Equal(source, Ask("node", port))
	Equal(conn.Conn().PgConn().ParameterStatus("usher.data_source"), source)
	OK("source", source+", by SHOW and ParameterStatus")
}

func main() {
	pool := Get(newPool(background))
	checkLogin(pool)
	checkTenants(pool)
	checkRenewal()
	checkPrepared(pool)
	checkSavepoint(pool)
	checkBatch(pool)
	checkCopy(pool)
	checkCancel(pool)
	checkRestart(pool)
	checkSource(pool)
	pool.Close()
}
