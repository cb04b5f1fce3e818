package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v4"
)

// maxLive is how many unexpired tokens a principal may have: the one in use
// and, while it is being replaced, the next.
const maxLive = 2

// maxTokenFile caps the token file, bytes.
const maxTokenFile = 4 << 20

// Tokens recognises callers by the tokens of a token file. Safe for concurrent
// use.
type Tokens struct {
	path    string
	table   atomic.Pointer[table]
	issuers []trusted // set before the first request
	people  *provider // set before the first request; nil: none by signed tokens
}

// table is what a token file says.
type table struct {
	tokens    map[digest]credential
	names     map[string]*Principal
	passwords map[string]hash // by name
}

type digest = [sha256.Size]byte

type credential struct {
	principal *Principal
	expires   time.Time // zero: never
}

// entry is one principal of the token file.
type entry struct {
	Name    string   `yaml:"name"`
	Tenant  string   `yaml:"tenant"`
	Roles   []Role   `yaml:"roles"`
	Sources []string `yaml:"sources,omitempty"`
	// Password is for logins at the page: argon2id, in PHC string format.
	Password string   `yaml:"password,omitempty"`
	Tokens   []hashed `yaml:"tokens"`
}

// hashed is one token of a principal: never the token itself.
type hashed struct {
	SHA256  string    `yaml:"sha256"`
	Created time.Time `yaml:"created"`
	Expires time.Time `yaml:"expires,omitempty"`
}

func (h hashed) live(now time.Time) bool { return h.Expires.IsZero() || now.Before(h.Expires) }

// Load reads the token file: a YAML list of {name, tenant, roles, sources,
// password, tokens: [{sha256, created, expires}]}. The file must be readable by its
// owner only, and a principal may have at most two tokens that are live.
func Load(path string) (*Tokens, error) {
	t := &Tokens{path: path}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the token file again and replaces all tokens at once. On error
// the tokens that were loaded before stay in force.
func (t *Tokens) Reload() error {
	entries, err := readEntries(t.path)
	if err != nil {
		return err
	}
	all := table{tokens: map[digest]credential{}, names: map[string]*Principal{}, passwords: map[string]hash{}}
	for _, e := range entries {
		p := &Principal{Name: e.Name, Tenant: e.Tenant, Roles: e.Roles, Sources: e.Sources}
		all.names[p.Name] = p
		if e.Password != "" {
			if all.passwords[p.Name], err = parseHash(e.Password); err != nil {
				return fmt.Errorf("token file %s: principal %q: %w", t.path, e.Name, err)
			}
		}
		for _, h := range e.Tokens {
			d, err := parseDigest(h.SHA256)
			if err != nil {
				return fmt.Errorf("token file %s: principal %q: %w", t.path, e.Name, err)
			}
			if _, twice := all.tokens[d]; twice {
				return fmt.Errorf("token file %s: principal %q: token %s… stands twice", t.path, e.Name, h.SHA256[:8])
			}
			all.tokens[d] = credential{principal: p, expires: h.Expires}
		}
	}
	t.table.Store(&all)
	return nil
}

// Named returns the principal of that name, whether or not a token of it is
// live. The result is shared: do not change it.
func (t *Tokens) Named(name string) (*Principal, bool) {
	p, ok := t.table.Load().names[name]
	return p, ok
}

// Principals returns all of the token file, by name.
func (t *Tokens) Principals() map[string]*Principal { return maps.Clone(t.table.Load().names) }

// Principal returns the caller that the token belongs to, or false if there is
// none or the token has expired. The result is shared: do not change it.
//
// The table is keyed by SHA-256, so how long a lookup takes tells about the
// hash of what was sent, from which no stored token can be worked out.
func (t *Tokens) Principal(token string) (*Principal, bool) {
	return t.holder(sha256.Sum256([]byte(token)))
}

// holder returns whose token has that hash.
func (t *Tokens) holder(d digest) (*Principal, bool) {
	c, ok := t.table.Load().tokens[d]
	if !ok || !c.expires.IsZero() && !time.Now().Before(c.expires) {
		return nil, false
	}
	return c.principal, true
}

// readEntries reads and checks the token file.
func readEntries(path string) ([]entry, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read token file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("token file %s has mode %#o: others could read it; run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	if info.Size() > maxTokenFile {
		return nil, fmt.Errorf("token file %s is larger than %d bytes", path, maxTokenFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read token file: %w", err)
	}
	var entries []entry
	if len(text) == 0 {
		return nil, nil
	}
	if err := yaml.Load(text, &entries, yaml.WithKnownFields()); err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return entries, checkEntries(path, entries)
}

func checkEntries(path string, entries []entry) error {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("token file %s: principal %q: %w", path, name, fmt.Errorf(format, args...)))
	}
	seen := map[string]bool{}
	for _, e := range entries {
		if e.Name == "" {
			fault(e.Name, "has no name")
		}
		if seen[e.Name] {
			fault(e.Name, "stands twice; put its tokens into one entry")
		}
		seen[e.Name] = true
		if e.Tenant == "" {
			fault(e.Name, "has no tenant")
		}
		if len(e.Roles) == 0 {
			fault(e.Name, "has no roles")
		}
		for _, r := range e.Roles {
			if !slices.Contains(allRoles, r) {
				fault(e.Name, "unknown role %q; known roles: %v", r, allRoles)
			}
		}
		if n := countLive(e.Tokens, time.Now()); n > maxLive {
			fault(e.Name, "has %d live tokens, at most %d may be; let the oldest expire or remove it", n, maxLive)
		}
	}
	return errors.Join(faults...)
}

func countLive(tokens []hashed, now time.Time) int {
	n := 0
	for _, h := range tokens {
		if h.live(now) {
			n++
		}
	}
	return n
}

func parseDigest(s string) (digest, error) {
	var d digest
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("sha256 %q is not 64 hexadecimal digits", s)
	}
	copy(d[:], b)
	return d, nil
}

// exists reports whether there is a token file at path.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
