package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

var testMarker = marker{1, 2, 3, 4, 5, 6, 7, 8}

// encodeFrame is what the writer does, in one piece.
func encodeFrame(b *schemas.Batch, m marker, durable uint64, c *chain) []byte {
	head := appendHead(nil, b, m, durable)
	b.Self = c.digest(head, b.Records, b.Body)
	length := len(head) + len(b.Body) + trailerSize
	crc := crc32.Checksum(b.Body, castagnoli)
	return appendTrailer(append(bytes.Clone(head), b.Body...), head, length, crc)
}

// goldenBatch has something in every field.
func goldenBatch() *schemas.Batch {
	first, second := `{"a":1}`, `{"b":"two"}`
	return &schemas.Batch{
		Header: schemas.Header{
			Shard: 3, Offset: 0x1122334455667788, ID: schemas.ProducerID("golden", 1, 2), Tenant: "acme", Source: "audit", Log: "log/ü",
			Class: schemas.ClassActivity, Decoder: "json", DecoderVersion: 7, Mapping: sha256.Sum256([]byte("mapping")), ContentType: "application/x-ndjson",
			Received: 1_790_000_000_123_456_789, Flags: schemas.BatchBackfill, Prev: sha256.Sum256([]byte("prev")),
		},
		Body: []byte("[" + first + ",\n" + second + "]"),
		Records: []schemas.Record{
			{Start: 1, Length: uint32(len(first)), Flags: schemas.FlagDuplicate, ID: schemas.ID{1}, Digest: schemas.DigestOf([]byte(first))},
			{Start: uint32(3 + len(first)), Length: uint32(len(second)), Flags: schemas.FlagScrubbed, ID: schemas.ID{2}, Digest: schemas.DigestOf([]byte(second))},
		},
	}
}

func TestFrameGolden(t *testing.T) {
	b := goldenBatch()
	got := hex.Dump(encodeFrame(b, testMarker, 0x1122334455667700, &chain{})) + "digest " + b.Self.String() + "\n"
	path := filepath.Join("testdata", "frame-v1.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Fatalf("frame v1 may never change (-golden +got):\n%s", diff)
	}
}

// TestFrameDigest computes the digest as the design page states it, apart from
// the code.
func TestFrameDigest(t *testing.T) {
	b := goldenBatch()
	p := encodeFrame(b, testMarker, 9, &chain{})
	n := int(binary.LittleEndian.Uint16(p[6:])) + 2*recordSize
	var covered []byte
	covered = append(covered, p[:8]...)
	covered = append(covered, p[20:n]...)
	covered = append(covered, "[,\n]"...)
	if want := schemas.Digest(sha256.Sum256(covered)); b.Self != want {
		t.Fatalf("digest %s, want %s", b.Self, want)
	}
}

func TestFrameFlips(t *testing.T) {
	p := encodeFrame(goldenBatch(), testMarker, 1, &chain{})
	length := int(binary.LittleEndian.Uint32(p[20:]))
	for i := range length * 8 {
		q := bytes.Clone(p)
		q[i/8] ^= 1 << (i % 8)
		if _, err := decodeFrame(q, testMarker, &chain{}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d of byte %d flipped: %v", i%8, i/8, err)
		}
	}
}

func TestFrameVersion(t *testing.T) {
	f := func(name string, change func(p []byte)) {
		t.Helper()
		p := encodeFrame(goldenBatch(), testMarker, 1, &chain{})
		change(p)
		n := int(binary.LittleEndian.Uint16(p[6:])) + 2*recordSize
		binary.LittleEndian.PutUint32(p[8:], headCRC(p[:n]))
		if _, err := decodeFrame(p, testMarker, &chain{}); !errors.Is(err, ErrVersion) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	f("newer version", func(p []byte) { p[4] = 2 })
	f("unknown body encoding", func(p []byte) { p[135] = 1 })
}

func TestFrameRefusals(t *testing.T) {
	f := func(want string, change func(b *schemas.Batch)) {
		t.Helper()
		b := goldenBatch()
		b.Events = make([]schemas.Event, len(b.Records))
		change(b)
		if err := checkBatch(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("want an error with %q, got %v", want, err)
		}
	}
	f("source has 4097 bytes", func(b *schemas.Batch) { b.Source = strings.Repeat("x", 4097) })
	f("1 events for 2 records", func(b *schemas.Batch) { b.Events = b.Events[:1] })
	f("record 1 starts at byte 0", func(b *schemas.Batch) { b.Records[1].Start = 0 })
	f("record 1 ends at byte", func(b *schemas.Batch) { b.Records[1].Length = 1 << 31 })
	f("do not fit a frame", func(b *schemas.Batch) { b.Body = make([]byte, MaxFrame) })
	f("a gap cannot be appended", func(b *schemas.Batch) { b.Gap = &schemas.Gap{} })
}

// anyBatch draws a batch that checkBatch takes.
func anyBatch(t *rapid.T) *schemas.Batch {
	text := func(name string) string { return rapid.StringN(0, 40, 200).Draw(t, name) }
	digest := func(name string) (d schemas.Digest) {
		copy(d[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
		return d
	}
	b := &schemas.Batch{Header: schemas.Header{
		Shard: rapid.Uint16().Draw(t, "shard"), Offset: rapid.Uint64().Draw(t, "offset"), ID: schemas.ID(digestHead(digest("id"))),
		Tenant: text("tenant"), Source: text("source"), Log: text("log"), Decoder: text("decoder"), ContentType: text("type"),
		Class: schemas.Class(rapid.Byte().Draw(t, "class")), DecoderVersion: rapid.Uint16().Draw(t, "version"), Mapping: digest("mapping"),
		Received: rapid.Int64().Draw(t, "received"), Flags: schemas.BatchFlags(rapid.Uint16().Draw(t, "flags")), Prev: digest("prev"),
	}}
	b.Body = rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "body")
	for pos := 0; pos < len(b.Body) && rapid.Bool().Draw(t, "another"); {
		start := rapid.IntRange(pos, len(b.Body)).Draw(t, "start")
		end := rapid.IntRange(start, len(b.Body)).Draw(t, "end")
		b.Records = append(b.Records, schemas.Record{
			Start: uint32(start), Length: uint32(end - start), Flags: schemas.Flags(rapid.Uint32().Draw(t, "record flags")),
			ID: schemas.ID(digestHead(digest("event id"))), Digest: digest("digest"),
		})
		pos = end
	}
	return b
}

func digestHead(d schemas.Digest) []byte { return d[:16] }

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBatch(t)
		p := encodeFrame(b, testMarker, rapid.Uint64().Draw(t, "durable"), &chain{})
		if want := frameSize(b); len(p) != want || len(p)%8 != 0 {
			t.Fatalf("%d bytes, want %d", len(p), want)
		}
		got, err := decodeFrame(p, testMarker, &chain{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, got); diff != "" {
			t.Fatalf("(-in +out):\n%s", diff)
		}
	})
}

// FuzzDecodeFrame: no bytes may make the decoder panic, and what it takes it
// must write back byte for byte.
func FuzzDecodeFrame(f *testing.F) {
	p := encodeFrame(goldenBatch(), testMarker, 1, &chain{})
	f.Add(p, true)
	f.Add(p[:100], false)
	f.Add(encodeFrame(&schemas.Batch{}, testMarker, 0, &chain{}), true)
	f.Add(append(bytes.Clone(p), p...), false)
	f.Fuzz(func(t *testing.T, p []byte, mend bool) {
		if mend { // make the checksums right, so that the fuzzer gets past them
			mendFrame(p)
		}
		b, err := decodeFrame(p, testMarker, &chain{})
		if err != nil {
			return
		}
		again := encodeFrame(b, testMarker, binary.LittleEndian.Uint64(p[136:]), &chain{})
		n := int(binary.LittleEndian.Uint32(p[20:]))
		if !bytes.Equal(again[:n], p[:n]) {
			t.Fatalf("frame is not written as it was read\n%x\n%x", p[:n], again[:n])
		}
	})
}

func mendFrame(p []byte) {
	if len(p) < headFixed {
		return
	}
	h, err := parseHead(p, marker(p[12:20]))
	if err != nil || len(p) < h.length {
		return
	}
	le := binary.LittleEndian
	le.PutUint32(p[8:], headCRC(p[:h.headLen()]))
	crc := crc32.Checksum(p[h.headLen():h.length-trailerSize], castagnoli)
	le.PutUint32(p[h.length-trailerSize:], crc32.Update(crc, castagnoli, p[8:12]))
}
