package collector_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// FuzzIntake sends bodies in every coding: whatever they hold, the answer is
// one of those documented, and what a 202 counts is what was stored.
func FuzzIntake(f *testing.F) {
	f.Add([]byte(record("a")+"\n{\n"), "")
	f.Add([]byte("["+record("a")+"]"), "identity")
	f.Add(zipped(f, lines("a", 3)), "gzip")
	f.Add(zipped(f, lines("a", 3))[:50], "gzip")
	f.Add(zstandard(f, lines("a", 3)), "zstd")
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58}, "zstd")
	f.Add([]byte(" "), "br")
	p := &auth.Principal{Name: "fuzz", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}
	var j *memory
	s := open(f, "audit", "max_body: 1MiB", func(ctx context.Context, b *schemas.Batch) (uint64, error) { return j.Append(ctx, b) })
	h := s.(collector.HTTPSource).Routes()["POST /v1/audit"]
	f.Fuzz(func(t *testing.T, body []byte, coding string) {
		j = &memory{}
		r := httptest.NewRequest("POST", "/v1/audit", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header["Content-Encoding"] = []string{coding}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(auth.WithPrincipal(r.Context(), p)))
		records, rejected := 0, 0
		for _, b := range j.activity() {
			records += len(b.Records)
			for _, rec := range b.Records {
				if rec.Flags&schemas.FlagRejected != 0 {
					rejected++
				}
			}
		}
		switch w.Code {
		case http.StatusAccepted:
			if records == rejected {
				t.Errorf("202 for %d records, all rejected", records)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			if records != rejected {
				t.Errorf("%d, but %d records were taken", w.Code, records-rejected)
			}
		default:
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if n := len(j.letters(t)); n != rejected {
			t.Errorf("%d dead letters for %d rejected records", n, rejected)
		}
	})
}
