package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// TestMain makes the test binary its own engine child.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "engine" {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := engine.ServeChild(context.Background(), os.Stdin, log); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// run starts an engine that is closed with the test.
func run(t testing.TB, o engine.Options) *engine.Supervisor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var err error
	if o.Library, err = engine.Fetch(ctx, "", nil); err != nil {
		t.Fatal(err)
	}
	if o.Data == "" {
		o.Data = t.TempDir()
	}
	s, err := engine.Start(ctx, engine.SupervisorOptions{Engine: o, Args: []string{"engine"}, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// connect opens the driver as a user.
func connect(t testing.TB, s *engine.Supervisor, user string, method clickhouse.CompressionMethod) driver.Conn {
	t.Helper()
	o := &clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{"engine:80"},
		Auth:     clickhouse.Auth{Database: "default", Username: user, Password: s.Secret(user)},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
			return s.Dial(ctx)
		},
		Compression: &clickhouse.Compression{Method: method},
	}
	if method == clickhouse.CompressionGZIP {
		o.Settings = clickhouse.Settings{"enable_http_compression": 1}
		o.Compression.Level = 3
	}
	c, err := clickhouse.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
