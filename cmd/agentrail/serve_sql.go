package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/collector/store/sqlread"
	"github.com/agentrail/agentrail/dashboards/grafana"
	"github.com/agentrail/agentrail/internal/auth"
)

// sqlPath speaks ClickHouse's HTTP interface.
const sqlPath = grafana.SQLPath

// sqlContents are the roles that read prompts, arguments and answers, too.
var sqlContents = []auth.Role{auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor}

// sqlRoutes returns the routes of the SQL endpoint, none where it is off. What is
// read of content there goes on record.
func sqlRoutes(c *config, st *storage, tokens *auth.Tokens, access *accessLog, log *slog.Logger) (map[string]http.Handler, error) {
	if !c.SQL.Enabled || st == nil {
		return nil, nil
	}
	ask, database, err := sqlBackend(st, c.SQL.URL.Reveal())
	if err != nil {
		return nil, err
	}
	reader, err := sqlread.New(sqlread.Options{
		Backend: ask, Database: database, Time: time.Duration(c.SQL.Time),
		Rows: c.SQL.Rows, Bytes: int64(c.SQL.Bytes), Memory: int64(c.SQL.Memory), AtOnce: c.SQL.AtOnce,
	})
	if err != nil {
		return nil, err
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		began := time.Now()
		reader.Serve(w, r, sqlread.Caller{Tenant: p.Tenant, Content: p.Has(sqlContents...), Note: func(ctx context.Context, read sqlread.Read) error {
			return access.statement(ctx, p, auth.Address(r), read)
		}})
		log.Debug("statement answered", "principal", p.Name, "tenant", p.Tenant, "took", time.Since(began))
	})
	guarded := keyAsToken(tokens.Require(answer, auth.RoleSQL))
	return map[string]http.Handler{
		"GET " + sqlPath: guarded, "POST " + sqlPath: guarded,
		"GET " + sqlPath + "/{$}": guarded, "POST " + sqlPath + "/{$}": guarded, // some drivers add the slash
	}, nil
}

// sqlBackend returns how a request reaches ClickHouse, and the database in which
// the tables are: the embedded engine's as its user query, or the server at the
// address, as the user in it.
func sqlBackend(st *storage, address string) (func(*http.Request) (*http.Response, error), string, error) {
	if address == "" {
		client := &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			e, err := st.running()
			if err != nil {
				return nil, err
			}
			return e.Dial(ctx)
		}}}
		return func(r *http.Request) (*http.Response, error) {
			e, err := st.running()
			if err != nil {
				return nil, err
			}
			r.URL.Scheme, r.URL.Host = "http", "engine"
			r.SetBasicAuth(engine.UserQuery, e.Secret(engine.UserQuery))
			return client.Do(r)
		}, "default", nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User == nil {
		return nil, "", errors.New("read sql.url: not an address such as http://reader:key@host:8123/database") // the cause may hold the key
	}
	key, _ := u.User.Password()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, TLSHandshakeTimeout: 10 * time.Second}}
	return func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = u.Scheme, u.Host
		r.Header.Set("X-ClickHouse-User", u.User.Username())
		r.Header.Set("X-ClickHouse-Key", key)
		return client.Do(r)
	}, cmp.Or(strings.Trim(u.Path, "/"), "default"), nil
}

// keyAsToken takes the token where ClickHouse's clients put their key: as
// password of Basic, whatever the user is called, or in X-ClickHouse-Key. The
// address is no place for it.
func keyAsToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, key, basic := r.BasicAuth()
		if !basic && len(r.Header["Authorization"]) == 0 {
			key = r.Header.Get("X-ClickHouse-Key")
		}
		if key != "" {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(key))
		}
		next.ServeHTTP(w, r)
	})
}
