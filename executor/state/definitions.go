package state

import (
	"context"
	"fmt"
)

// KnownDefinition returns the digest by which a tool is known: that of the call
// if it was never seen, which is then kept.
func (s *Store) KnownDefinition(ctx context.Context, server, tool, digest string) (string, error) {
	return s.definitions.get(definition(server, tool), func() (known string, err error) {
		err = s.write(ctx, func(t *tx) error {
			if _, err := t.exec("INSERT OR IGNORE INTO definitions (server, tool, digest, at) VALUES (?, ?, ?, ?)", server, tool, digest, nano(s.now())); err != nil {
				return err
			}
			return t.row("SELECT digest FROM definitions WHERE server = ? AND tool = ?", server, tool).Scan(&known)
		})
		if err != nil {
			return "", fmt.Errorf("keep definition of %s: %w", tool, err)
		}
		return known, nil
	})
}

// definition is the key of a tool in the cache.
func definition(server, tool string) string { return server + "\x00" + tool }

// ApproveDefinition makes the digest the one by which a tool is known.
func (s *Store) ApproveDefinition(ctx context.Context, server, tool, digest, by string, records ...Record) error {
	return s.change(ctx, records, func(t *tx) error {
		t.after = append(t.after, func() { s.definitions.forget(definition(server, tool)) })
		if _, err := t.exec("INSERT OR REPLACE INTO definitions (server, tool, digest, approved_by, at) VALUES (?, ?, ?, ?, ?)", server, tool, digest, by, nano(s.now())); err != nil {
			return fmt.Errorf("approve definition of %s: %w", tool, err)
		}
		return nil
	})
}

// Seen reports whether the key was marked in the scope.
func (s *Store) Seen(ctx context.Context, scope, key string) (bool, error) {
	var n int
	if err := s.read.QueryRowContext(ctx, "SELECT count(*) FROM seen WHERE scope = ? AND key = ?", scope, key).Scan(&n); err != nil {
		return false, fmt.Errorf("look up %s: %w", scope, explain(err))
	}
	return n > 0, nil
}

// MarkSeen marks a key, so that what it stands for is not taken twice. It
// reports whether the key is new.
func (s *Store) MarkSeen(ctx context.Context, scope, key string) (first bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		n, err := t.exec("INSERT OR IGNORE INTO seen (scope, key, at) VALUES (?, ?, ?)", scope, key, nano(s.now()))
		first = n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("mark %s: %w", scope, err)
	}
	return first, nil
}

// Unmark forgets a key.
func (s *Store) Unmark(ctx context.Context, scope, key string) error {
	return s.write(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM seen WHERE scope = ? AND key = ?", scope, key); err != nil {
			return fmt.Errorf("unmark %s: %w", scope, err)
		}
		return nil
	})
}
