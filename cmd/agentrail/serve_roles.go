package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/durable"
	"github.com/agentrail/agentrail/schemas"
)

// standing is what a principal of the token file may do.
type standing struct {
	Tenant string `json:"tenant"`
	Roles  string `json:"roles"` // sorted, by spaces
}

// roles records how the principals differ from those of the file at path, which
// holds them as they were last, also before a restart, and is written anew. At
// the first start there is nothing to compare with.
func (l *accessLog) roles(ctx context.Context, path string, now map[string]*auth.Principal) error {
	was, known := map[string]standing{}, true
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		known = false
	case err != nil:
		return fmt.Errorf("read roles as they were: %w", err)
	default:
		if err := json.Unmarshal(text, &was); err != nil {
			l.log.Error("roles as they were cannot be read; what changed is not on record", "file", path, "err", err)
			known = false
		}
	}
	is := map[string]standing{}
	for name, p := range now {
		is[name] = standing{p.Tenant, joinRoles(p.Roles)}
	}
	names := maps.Clone(was)
	maps.Copy(names, is)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !known || was[name] == is[name] {
			continue
		}
		c := schemas.Control{Tenant: names[name].Tenant, Author: "token file", Verb: auth.VerbRoles, Target: name, Reason: "the token file says so now", Args: map[string]string{
			"before": was[name].text(), "after": is[name].text(),
		}}
		if err := l.append(ctx, c); err != nil { // the file stays, so that it is told later
			return fmt.Errorf("record that roles of %s changed: %w", name, err)
		}
	}
	if known && maps.Equal(was, is) {
		return nil
	}
	return durable.WriteFile(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(is) })
}

func (s standing) text() string {
	if s.Roles == "" {
		return ""
	}
	return s.Tenant + ": " + s.Roles
}
