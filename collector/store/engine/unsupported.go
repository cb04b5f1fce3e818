//go:build !linux

package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os/exec"
)

// errSystem says that the embedded engine is not for this system.
var errSystem = errors.New("the embedded ClickHouse engine runs on Linux only; set store.dsn to a ClickHouse server")

// ServeChild reports that the engine is not for this system.
func ServeChild(context.Context, io.Reader, *slog.Logger) error { return errSystem }

// Serve reports that the engine is not for this system.
func Serve(context.Context, Options, *slog.Logger) error { return errSystem }

func dieWithParent(*exec.Cmd) {}
