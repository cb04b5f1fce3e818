package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.yaml.in/yaml/v4"
)

// TokenPrefix starts every token, so that scanners for secrets find them.
const TokenPrefix = "ar_"

// Generate makes a token of 256 random bits for the principal, adds its hash to
// the token file and returns it: it can be read nowhere else. The file is made
// if there is none. A principal of that name in the file keeps its other live
// token, so that a token is replaced without a gap, and takes over tenant,
// roles and sources from p. The lifetime of the token is unlimited if it is 0.
// It is refused while the principal has two live tokens. When Generate returns
// the file is on disk. Safe for use by several processes at once.
func Generate(path string, p Principal, lifetime time.Duration) (string, error) {
	unlock, err := lock(path)
	if err != nil {
		return "", err
	}
	defer unlock()
	found, err := exists(path)
	if err != nil {
		return "", fmt.Errorf("read token file: %w", err)
	}
	var entries []entry
	if found {
		if entries, err = readEntries(path); err != nil {
			return "", err
		}
	}
	token, fresh := newToken(lifetime)
	entries, err = add(entries, p, fresh)
	if err != nil {
		return "", fmt.Errorf("token file %s: %w", path, err)
	}
	if err := checkEntries(path, entries); err != nil {
		return "", err
	}
	return token, writeEntries(path, entries)
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
		entries[i] = entry{Name: p.Name, Tenant: p.Tenant, Roles: p.Roles, Sources: p.Sources, Tokens: append(live, fresh)}
		return entries, nil
	}
	return append(entries, entry{Name: p.Name, Tenant: p.Tenant, Roles: p.Roles, Sources: p.Sources, Tokens: []hashed{fresh}}), nil
}

// writeEntries replaces the token file: a new file is written, synced and
// renamed over the old one, so that a reader or a crash meets the old list or
// the new one.
func writeEntries(path string, entries []entry) error {
	text, err := yaml.Dump(entries)
	if err != nil {
		return fmt.Errorf("encode token file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync token file: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write token file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder of token file: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder of token file: %w", err)
	}
	return nil
}

// lock makes the folder if need be and holds off other writers of the file.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of token file: %w", err)
	}
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock token file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock token file: %w", err)
	}
	return func() { f.Close() }, nil
}
