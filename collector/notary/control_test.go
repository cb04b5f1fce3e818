package notary_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/schemas"
)

// TestControlProof: a control that went through a journal is proven by the key of
// the server that signed it; one that was changed anywhere, or has the proof of
// another, or none, is not.
func TestControlProof(t *testing.T) {
	open := func(name string) *notary.Key {
		k, err := notary.OpenKey(filepath.Join(t.TempDir(), name), t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	key := open("server")
	check, err := notary.ControlCheck(key.PublicKey() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	sent := schemas.Control{
		ID: "c1", Tenant: "acme", Verb: "subscription.resume", Target: "s1", Reason: "fine \xff again", Author: "ann", Roles: []string{"moderator", "viewer"},
		At: time.Now().In(time.FixedZone("x", 3600)), TTL: time.Hour, Args: map[string]string{"b": "2", "a": "1"},
	}
	if sent.Proof, err = key.ProveControl(sent); err != nil {
		t.Fatal(err)
	}
	got := func(change func(*schemas.Control)) schemas.Control {
		t.Helper()
		b, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		var c schemas.Control
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		return c
	}
	if err := check(got(func(*schemas.Control) {})); err != nil {
		t.Error(err)
	}
	other, err := open("other").ProveControl(sent)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*schemas.Control){
		"no proof":         func(c *schemas.Control) { c.Proof = "" },
		"half a proof":     func(c *schemas.Control) { c.Proof = c.Proof[:len(c.Proof)/2] },
		"another server's": func(c *schemas.Control) { c.Proof = other },
		"another author":   func(c *schemas.Control) { c.Author = "bob" },
		"another role":     func(c *schemas.Control) { c.Roles[0] = "admin" },
		"another verb":     func(c *schemas.Control) { c.Verb = "tenant.resume" },
		"another target":   func(c *schemas.Control) { c.Target = "s2" },
		"another tenant":   func(c *schemas.Control) { c.Tenant = "rival" },
		"another id":       func(c *schemas.Control) { c.ID = "c2" },
		"another time":     func(c *schemas.Control) { c.At = c.At.Add(time.Second) },
		"another end":      func(c *schemas.Control) { c.TTL++ },
		"another argument": func(c *schemas.Control) { c.Args["a"] = "2" },
	} {
		if err := check(got(change)); !errors.Is(err, notary.ErrNotProven) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := notary.ControlCheck("no key"); err == nil || !strings.Contains(err.Error(), "public key") {
		t.Errorf("no key: %v", err)
	}
}

// FuzzControlProof: no text is the proof of a control that nobody signed, and
// none crashes.
func FuzzControlProof(f *testing.F) {
	key, err := notary.OpenKey(filepath.Join(f.TempDir(), "server"), f.TempDir(), "server")
	if err != nil {
		f.Fatal(err)
	}
	check, err := notary.ControlCheck(key.PublicKey())
	if err != nil {
		f.Fatal(err)
	}
	proof, err := key.ProveControl(schemas.Control{ID: "other"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("c1", proof)
	f.Add("", "\n\n— server AAAA")
	f.Fuzz(func(t *testing.T, id, proof string) {
		if id != "other" && check(schemas.Control{ID: id, Proof: proof}) == nil {
			t.Errorf("%q proves %q", proof, id)
		}
	})
}
