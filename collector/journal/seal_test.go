package journal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
)

func aead(t *testing.T) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestSealed: a sealed record goes through the journal as its digest, at the
// tail, behind it and through Check, and only the key opens it.
func TestSealed(t *testing.T) {
	stored, err := journal.Seal("key-1", aead(t), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := journal.SealedKey(stored); err != nil || id != "key-1" {
		t.Fatalf("key %q, %v", id, err)
	}
	b := journaltest.Batch("x", 1)
	journaltest.Add(b, [32]byte{7}, string(stored))
	b.Records[1].Flags |= schemas.FlagSealed
	dir := t.TempDir()
	d := open(t, small(dir))
	if _, err := d.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, small(dir))
	c, err := d.Open(t.Context(), "", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ev := got.Events[1]
	if ev.Flags != schemas.FlagSealed || ev.Digest != schemas.DigestOf(stored) || !bytes.Equal(ev.Raw, stored) || !ev.Accepted() {
		t.Fatalf("%+v", ev)
	}
	if plain, err := journal.Unseal(aead(t), ev.Raw); err != nil || string(plain) != "secret" {
		t.Fatalf("%q, %v", plain, err)
	}
	if r, err := journal.Check(dir); err != nil || !r.OK() || r.Sealed != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	stored[len(stored)-1] ^= 1
	if _, err := journal.Unseal(aead(t), stored); err == nil {
		t.Fatal("a changed record was opened")
	}
}

// FuzzUnseal: no bytes make it panic.
func FuzzUnseal(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 'a', 'b', 'c'})
	f.Add(bytes.Repeat([]byte{5}, 60))
	f.Fuzz(func(t *testing.T, p []byte) {
		if _, err := journal.Unseal(aead(t), p); err == nil {
			t.Fatal("opened what was never sealed")
		}
	})
}
