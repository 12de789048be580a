// Connect by pgx or lib/pq, once for each line on standard input: {"driver", "settings", "environment", "renewed"};
// answer in JSON. With "renewed", a directory, connect by a pool, copy that certificate and key over those that are
// in use, connect again, and print the serial numbers that the server saw.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"
)

const serial = "select client_serial::text from pg_stat_ssl where pid = pg_backend_pid()"

type Case struct {
	Driver, Settings, Renewed, Directory string
	Environment                          map[string]string
}

func byPgx(ctx context.Context, settings string) (user string, err error) {
	connection, err := pgx.Connect(ctx, settings)
	if err != nil {
		return "", err
	}
	defer connection.Close(ctx)
	err = connection.QueryRow(ctx, "select current_user").Scan(&user)
	return user, err
}

func byLibPq(ctx context.Context, settings string) (user string, err error) {
	pool, err := sql.Open("postgres", settings)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	err = pool.QueryRowContext(ctx, "select current_user").Scan(&user)
	return user, err
}

func renewedByPgx(ctx context.Context, c Case) (before, after string, err error) {
	pool, err := pgxpool.New(ctx, c.Settings)
	if err != nil {
		return
	}
	defer pool.Close()
	first, err := pool.Acquire(ctx)
	if err != nil {
		return
	}
	defer first.Release()
	if err = first.QueryRow(ctx, serial).Scan(&before); err != nil {
		return
	}
	if err = renew(c); err != nil {
		return
	}
	second, err := pool.Acquire(ctx)
	if err != nil {
		return
	}
	defer second.Release()
	err = second.QueryRow(ctx, serial).Scan(&after)
	return
}

func renewedByLibPq(ctx context.Context, c Case) (before, after string, err error) {
	pool, err := sql.Open("postgres", c.Settings)
	if err != nil {
		return
	}
	defer pool.Close()
	first, err := pool.Conn(ctx)
	if err != nil {
		return
	}
	defer first.Close()
	if err = first.QueryRowContext(ctx, serial).Scan(&before); err != nil {
		return
	}
	if err = renew(c); err != nil {
		return
	}
	second, err := pool.Conn(ctx)
	if err != nil {
		return
	}
	defer second.Close()
	err = second.QueryRowContext(ctx, serial).Scan(&after)
	return
}

func renew(c Case) error {
	for _, name := range []string{"postgresql.crt", "postgresql.key"} {
		content, err := os.ReadFile(filepath.Join(c.Renewed, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(c.Directory, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func answer(c Case) (string, error) {
	os.Unsetenv("PGPASSWORD")
	for name, value := range c.Environment {
		os.Setenv(name, value)
	}
	ctx := context.Background()
	connect, renewed := byPgx, renewedByPgx
	if c.Driver == "lib-pq" {
		connect, renewed = byLibPq, renewedByLibPq
	}
	if c.Renewed == "" {
		return connect(ctx, c.Settings)
	}
	before, after, err := renewed(ctx, c)
	return fmt.Sprintf("%s\n%s", before, after), err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c Case
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		said := map[string]string{}
		if printed, err := answer(c); err != nil {
			said["failed"] = err.Error()
		} else {
			said["printed"] = printed
		}
		line, _ := json.Marshal(said)
		fmt.Println(string(line))
	}
}
