// GORM over database/sql over pgx: hooks log each new connection in with a token that is not old,
// and name the tenant whenever one is taken.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	. "pgusher/clients/checks"
)

// docs: begin
type tenantKey struct{}

func nameTenant(ctx context.Context, conn *pgx.Conn) error {
	tenant, ok := ctx.Value(tenantKey{}).(int) // set by the HTTP server for each request
	if !ok {
		return errors.New("no tenant in the context")
	}
	// A token has no quotes in it, so none are escaped.
	_, err := conn.Exec(ctx, fmt.Sprintf("SET usher.token = '%s'", FetchToken(tenant)))
	return err
}

func open() (*gorm.DB, error) {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	login := func(_ context.Context, conn *pgx.ConnConfig) error {
		conn.Password = FetchToken(TenantA)
		return nil
	}
	pool := stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(login),
		stdlib.OptionAfterConnect(nameTenant), stdlib.OptionResetSession(nameTenant))
	pool.SetMaxOpenConns(2)
	return gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{
		PrepareStmt:          true,
		DisableAutomaticPing: true, // a ping has no tenant
		Logger:               logger.Discard,
	})
}

// docs: end

type Note struct {
	ID       int64
	TenantID int64 `gorm:"default:(-)"`
	Body     *string
}

func (Note) TableName() string {
	return "note"
}

func of(tenant int) context.Context {
	return context.WithValue(context.Background(), tenantKey{}, tenant)
}

func bodies(db *gorm.DB) string {
	var all []string
	Must(db.Model(&Note{}).Order("id").Pluck("body", &all).Error)
	return strings.Join(all, ",")
}

// refused returns the server's message, whose SQLSTATE must be that one.
func refused(err error, code string) string {
	var fault *pgconn.PgError
	if !errors.As(err, &fault) || fault.Code != code {
		Must(fmt.Errorf("not refused with %s: %w", code, err))
	}
	return fault.Message
}

func note(format string, values ...any) *Note {
	body := fmt.Sprintf(format, values...)
	return &Note{Body: &body}
}

func checkLogin(db *gorm.DB) {
	var user string
	Must(db.WithContext(of(TenantA)).Raw("SELECT current_user").Scan(&user).Error)
	Equal(user, os.Getenv("PGUSER"))
	stranger := Get(sql.Open("pgx", "password=no.token.this"))
	OK("login", refused(stranger.Ping(), "28000"))
}

func checkTenants(db *gorm.DB) {
	for _, tenant := range []int{TenantA, TenantB} {
		mine := db.WithContext(of(tenant))
		kept := note("%d: 0", tenant)
		Must(mine.Create(kept).Error)
		Must(mine.Create(note("gone")).Error)
		Must(mine.Model(kept).Update("body", *kept.Body+"!").Error)
		Equal(mine.Where("body = ?", "gone").Delete(&Note{}).RowsAffected, 1)
	}
	for _, tenant := range []int{TenantA, TenantB} {
		Equal(bodies(db.WithContext(of(tenant))), fmt.Sprintf("%d: 0!", tenant))
	}
	spoof := note("spoof")
	spoof.TenantID = int64(TenantA)
	OK("tenants", refused(db.WithContext(of(TenantB)).Create(spoof).Error, "42501"))
}

func checkRenewal(db *gorm.DB) {
	ctx := of(TenantA)
	conn := Get(Get(db.DB()).Conn(ctx))
	set := fmt.Sprintf("SET usher.token = '%s'", BriefToken(TenantA))
	Get(conn.ExecContext(ctx, set))
	time.Sleep(Brief + time.Second)
	_, err := conn.QueryContext(ctx, "SELECT body FROM note")
	conn.Close()
	Equal(bodies(db.WithContext(ctx)), fmt.Sprintf("%d: 0!", TenantA))
	OK("renewal", refused(err, "28000"))
}

func checkPrepared(db *gorm.DB) {
	mine := db.WithContext(of(TenantA))
	for range 20 {
		var count int64
		Must(mine.Model(&Note{}).Where("id > ?", 0).Count(&count).Error)
		Equal(count, 1)
	}
	OK("prepared", "PrepareStmt")
}

func checkSavepoint(db *gorm.DB) {
	mine := db.WithContext(of(TenantA))
	Must(mine.Transaction(func(tx *gorm.DB) error {
		Must(tx.Create(note("kept")).Error)
		refused(tx.Transaction(func(inner *gorm.DB) error {
			return inner.Exec("INSERT INTO note (body) VALUES (NULL)").Error
		}), "23502")
		return nil
	}))
	Equal(strings.HasSuffix(bodies(mine), ",kept"), true)
	OK("savepoint", "nested Transaction")
}

func checkBatch(db *gorm.DB) {
	mine := db.WithContext(of(TenantB))
	var notes []*Note
	for n := range 500 {
		notes = append(notes, note("many %d", n))
	}
	Must(mine.CreateInBatches(notes, 100).Error)
	seen := 0
	var batch []Note
	Must(mine.FindInBatches(&batch, 100, func(*gorm.DB, int) error {
		seen += len(batch)
		return nil
	}).Error)
	Equal(seen, 501)
	OK("batch", "CreateInBatches, FindInBatches")
}

func checkCancel(db *gorm.DB) {
	ctx, cancel := context.WithTimeout(of(TenantA), 300*time.Millisecond)
	defer cancel()
	err := db.WithContext(ctx).Exec("SELECT pg_sleep(60)").Error
	Equal(errors.Is(err, context.DeadlineExceeded), true)
	err = db.WithContext(of(TenantA)).Transaction(func(tx *gorm.DB) error {
		Must(tx.Exec("SET LOCAL statement_timeout = '50ms'").Error)
		return tx.Exec("SELECT pg_sleep(60)").Error
	})
	OK("cancel", refused(err, "57014"))
}

func checkRestart(db *gorm.DB) {
	before := bodies(db.WithContext(of(TenantA)))
	Ask("restart")
	Equal(bodies(db.WithContext(of(TenantA))), before)
	OK("restart", "database/sql replaces what is gone")
}

func checkSource(db *gorm.DB) {
	Must(db.WithContext(of(TenantA)).Transaction(func(tx *gorm.DB) error {
		var port int
		var source string
		Must(tx.Raw("SELECT inet_server_port()").Scan(&port).Error)
		Must(tx.Raw("SHOW usher.data_source").Scan(&source).Error)
		Equal(source, Ask("node", port))
		OK("source", source)
		return nil
	}))
}

func main() {
	db := Get(open())
	checkLogin(db)
	checkTenants(db)
	checkRenewal(db)
	checkPrepared(db)
	checkSavepoint(db)
	checkBatch(db)
	None("copy", "that is the driver's")
	checkCancel(db)
	checkRestart(db)
	checkSource(db)
}
