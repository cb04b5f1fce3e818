package decode_test

import (
	"fmt"
	"testing"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// Ids are part of what is stored: a change of how they are made would let
// every record that is sent again count twice.
func TestIdentityIsFixed(t *testing.T) {
	f := func(name, body, want string, position func(uint32) string) {
		t.Helper()
		b := batch(body)
		b.Log = "log"
		if _, err := mapped(t, "bench").Read(b, decode.Limits{Position: position}); err != nil {
			t.Fatal(err)
		}
		if got := b.Records[0].ID.String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	place := func(start uint32) string { return fmt.Sprintf("file7:%d", start) }
	f("id and time", good1, "476c0b1a8e8781fb263d76984f8ecdea", nil)
	f("id and time, position or not", good1, "476c0b1a8e8781fb263d76984f8ecdea", place)
	f("id without time", `{"event_id":"one"}`, "7988ac4d63e3e811ee473004d4c1f99e", nil)
	f("position", `{"ts":0}`, "e3dd8a2c4a9f08378f382c2dcfcc0966", place)
	f("content", `{"ts":0}`, "fd5d40292caf9ce01dec98ca576c734f", nil)
}

func TestIdentity(t *testing.T) {
	id := func(change func(*schemas.Batch), body string) string {
		b := batch(body)
		if change != nil {
			change(b)
		}
		if _, err := mapped(t, "audit").Read(b, limits); err != nil {
			t.Fatal(err)
		}
		return b.Records[0].ID.String()
	}
	const body = `{"timestamp":"2026-08-21T09:15:04Z","insertId":"x","logName":"l"}`
	one := id(nil, body)
	f := func(name string, same bool, change func(*schemas.Batch), body string) {
		t.Helper()
		if got := id(change, body); (got == one) != same {
			t.Errorf("%s: the id is the same: %v, want %v", name, got == one, same)
		}
	}
	f("again", true, nil, body)
	f("received later", true, func(b *schemas.Batch) { b.Received += 1e12 }, body)
	f("other spelling", true, nil, `{"logName":"l","insertid":"x","timestamp":"2026-08-21T11:15:04.000+02:00","more":1}`)
	f("log of the batch, where the record names its own", true, func(b *schemas.Batch) { b.Log = "m" }, body)
	f("other tenant", false, func(b *schemas.Batch) { b.Tenant = "b" }, body)
	f("other source", false, func(b *schemas.Batch) { b.Source = "b" }, body)
	f("parts shifted", false, func(b *schemas.Batch) { b.Tenant, b.Source = "acmei", "n" }, body)
	f("other id", false, nil, `{"timestamp":"2026-08-21T09:15:04Z","insertId":"y","logName":"l"}`)
	f("other time", false, nil, `{"timestamp":"2026-08-21T09:15:05Z","insertId":"x","logName":"l"}`)
	f("other log", false, nil, `{"timestamp":"2026-08-21T09:15:04Z","insertId":"x","logName":"m"}`)
}

// 300 identical calls without an id stay 300, and sent again they are the
// same 300.
func TestIdenticalRecordsWithoutID(t *testing.T) {
	body := ""
	for range 300 {
		body += `{"ts":"2026-08-21T09:15:04Z"}` + "\n"
	}
	seen := map[schemas.ID]bool{}
	for range 2 {
		b := read(t, "bench", body)
		for _, r := range b.Records {
			seen[r.ID] = true
		}
	}
	if len(seen) != 300 {
		t.Errorf("300 identical records sent twice have %d ids", len(seen))
	}
}
