package notary_test

import (
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/schemas"
)

// signedCase is a case with two files and a head.
func signedCase(t testing.TB) (fstest.MapFS, *notary.Key) {
	t.Helper()
	dir := t.TempDir()
	key, err := notary.OpenKey(filepath.Join(dir, "head.key"), filepath.Join(dir, "data"), "agentrail")
	if err != nil {
		t.Fatal(err)
	}
	head, err := key.Sign(0, 7, schemas.Digest{1, 2}, time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	text, err := notary.Note(head)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"alert.json": {Data: []byte("{}\n")}, "records/1.json": {Data: []byte(`{"a":1}`)}, notary.HeadName: {Data: []byte(text)}}
	manifest, err := key.SignManifest([]string{"alert a1", "head 7 " + head.Digest},
		[]notary.Sum{notary.SumOf("alert.json", files["alert.json"].Data), notary.SumOf("records/1.json", files["records/1.json"].Data)})
	if err != nil {
		t.Fatal(err)
	}
	files[notary.ManifestName] = &fstest.MapFile{Data: manifest}
	return files, key
}

func TestVerifyCase(t *testing.T) {
	f := func(name string, change func(fstest.MapFS), want ...string) {
		t.Helper()
		files, key := signedCase(t)
		change(files)
		r, err := notary.VerifyCase(files, []string{key.PublicKey()})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, x := range r.Findings {
			got = append(got, x.Kind+" "+x.Path)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", name, got, want)
		}
	}
	flip := func(path string) func(fstest.MapFS) {
		return func(m fstest.MapFS) {
			b := slices.Clone(m[path].Data)
			b[len(b)/2] ^= 1
			m[path] = &fstest.MapFile{Data: b}
		}
	}
	f("unchanged", func(fstest.MapFS) {})
	f("a record", flip("records/1.json"), "changed records/1.json")
	f("the manifest", flip(notary.ManifestName), "forged "+notary.ManifestName)
	f("no record", func(m fstest.MapFS) { delete(m, "records/1.json") }, "missing records/1.json")
	f("one more", func(m fstest.MapFS) { m["records/2.json"] = &fstest.MapFile{Data: []byte("x")} }, "added records/2.json")
	f("no head", func(m fstest.MapFS) { delete(m, notary.HeadName) }, "missing "+notary.HeadName)
	f("another key's", func(m fstest.MapFS) {
		other, _ := signedCase(t)
		m[notary.ManifestName] = other[notary.ManifestName]
	}, "forged "+notary.ManifestName)
	f("another key's head", func(m fstest.MapFS) {
		other, _ := signedCase(t)
		m[notary.HeadName] = other[notary.HeadName]
	}, "forged "+notary.HeadName)
}

func FuzzVerifyCase(f *testing.F) {
	files, key := signedCase(f)
	f.Add(files[notary.ManifestName].Data, files[notary.HeadName].Data)
	f.Fuzz(func(t *testing.T, manifest, head []byte) {
		m := fstest.MapFS{
			"alert.json": files["alert.json"], "records/1.json": files["records/1.json"],
			notary.ManifestName: {Data: manifest}, notary.HeadName: {Data: head},
		}
		r, err := notary.VerifyCase(m, []string{key.PublicKey()})
		if err == nil && r.OK() && (r.Files != 2 || r.Head != 7) {
			t.Errorf("passes with %d files and head %d", r.Files, r.Head)
		}
	})
}
