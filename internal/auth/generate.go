package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/internal/durable"
)

// TokenPrefix starts every token, so that scanners for secrets find them.
const TokenPrefix = "ar_"

// Generate makes a token of 256 random bits for the principal, adds its hash to
// the token file and returns it: it can be read nowhere else. The file is made
// if there is none. A principal of that name in the file keeps its other live
// token, so that a token is replaced without a gap, and takes over tenant,
// roles and sources from p. The lifetime of the token is unlimited if it is 0.
// It is refused while the principal has two live tokens, and while another
// process is changing the file. When Generate returns the file is on disk.
func Generate(path string, p Principal, lifetime time.Duration) (string, error) {
	token, fresh := newToken(lifetime)
	err := change(path, func(entries []entry) ([]entry, error) { return add(entries, p, fresh) })
	if err != nil {
		return "", err
	}
	return token, nil
}

// change replaces what stands in the token file, which is made if there is none,
// while no other process changes it. When it returns the file is on disk.
func change(path string, by func([]entry) ([]entry, error)) error {
	if err := durable.Mkdir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("make folder of token file: %w", err)
	}
	lock, err := durable.Lock(path + ".lock")
	if err != nil {
		return fmt.Errorf("change token file: %w", err)
	}
	defer lock.Close()
	found, err := exists(path)
	if err != nil {
		return fmt.Errorf("read token file: %w", err)
	}
	var entries []entry
	if found {
		if entries, err = readEntries(path); err != nil {
			return err
		}
	}
	if entries, err = by(entries); err != nil {
		return fmt.Errorf("token file %s: %w", path, err)
	}
	if err := checkEntries(path, entries); err != nil {
		return err
	}
	return writeEntries(path, entries)
}

func newToken(lifetime time.Duration) (string, hashed) {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails: the program ends instead
	token := TokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(token))
	h := hashed{SHA256: hex.EncodeToString(sum[:]), Created: time.Now().UTC().Truncate(time.Second)}
	if lifetime > 0 {
		h.Expires = h.Created.Add(lifetime)
	}
	return token, h
}

// add puts the token to the principal's entry and drops those that expired.
func add(entries []entry, p Principal, fresh hashed) ([]entry, error) {
	for i, e := range entries {
		if e.Name != p.Name {
			continue
		}
		live := []hashed{}
		for _, h := range e.Tokens {
			if h.live(fresh.Created) {
				live = append(live, h)
			}
		}
		if len(live) >= maxLive {
			return nil, fmt.Errorf("principal %q has %d live tokens already; remove the oldest from the file first", p.Name, len(live))
		}
		entries[i] = entry{Name: p.Name, Tenant: p.Tenant, Roles: p.Roles, Sources: p.Sources, Password: e.Password, Tokens: append(live, fresh)}
		return entries, nil
	}
	return append(entries, entry{Name: p.Name, Tenant: p.Tenant, Roles: p.Roles, Sources: p.Sources, Tokens: []hashed{fresh}}), nil
}

// writeEntries replaces the token file as a whole: a reader or a crash meets
// the old list or the new one.
func writeEntries(path string, entries []entry) error {
	text, err := yaml.Dump(entries)
	if err != nil {
		return fmt.Errorf("encode token file: %w", err)
	}
	err = durable.WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	return nil
}
