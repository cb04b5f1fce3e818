package collector

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress/lz4"
	javasnappy "github.com/segmentio/kafka-go/compress/snappy"
)

// packedBatch makes a batch of records that are packed already.
func packedBatch(codec int16, count int32, packed []byte) []byte {
	b := make([]byte, kafkaHead, kafkaHead+len(packed))
	b[16] = 2
	binary.BigEndian.PutUint16(b[21:], uint16(codec))
	binary.BigEndian.PutUint32(b[23:], uint32(count-1))
	binary.BigEndian.PutUint64(b[27:], 1000)
	binary.BigEndian.PutUint64(b[35:], 2000)
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	b = append(b, packed...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// oneRecord is a record with a value; a nil one is a tombstone.
func oneRecord(offset int64, value []byte) []byte {
	r := []byte{0}
	r = binary.AppendVarint(r, offset) // milliseconds behind the first
	r = binary.AppendVarint(r, offset)
	r = append(binary.AppendVarint(r, 1), 'k')
	if value == nil {
		r = binary.AppendVarint(r, -1)
	} else {
		r = append(binary.AppendVarint(r, int64(len(value))), value...)
	}
	r = append(r, 2, 2, 'h', 1) // one header without a value
	return append(binary.AppendVarint(nil, int64(len(r))), r...)
}

func packed(t testing.TB, codec int16, records []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch codec {
	case 1:
		w = gzip.NewWriter(&out)
	case 2:
		w = (&javasnappy.Codec{Framing: javasnappy.Framed}).NewWriter(&out)
	case 3:
		w = (&lz4.Codec{}).NewWriter(&out)
	case 4:
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return records
	}
	if _, err := w.Write(records); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(t testing.TB, raw []byte, maxValue int) (out []kafkaRecord, err error) {
	t.Helper()
	b, rest, err := nextKafkaBatch(raw)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		t.Fatalf("%d bytes are left", len(rest))
	}
	if code, reason := b.check(); code != "" {
		return nil, errors.New(code + ": " + reason)
	}
	err = b.records(maxValue, func(r kafkaRecord) error {
		r.value = bytes.Clone(r.value)
		out = append(out, r)
		return nil
	})
	return out, err
}

func TestKafkaCodecs(t *testing.T) {
	long := []byte(strings.Repeat("abc", 100_000))
	records := append(append(oneRecord(0, []byte("one")), oneRecord(1, nil)...), oneRecord(2, long)...)
	f := func(name string, codec int16, body []byte) {
		t.Helper()
		got, err := read(t, packedBatch(codec, 3, body), 1<<20)
		if err != nil || len(got) != 3 || string(got[0].value) != "one" || !got[1].null || !bytes.Equal(got[2].value, long) || got[2].offset != 2 || got[2].time != 1002 {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
	for codec := range int16(5) {
		f("codec", codec, packed(t, codec, records))
	}
	f("snappy without frames", 2, snappy.Encode(nil, records))
	got, err := read(t, packedBatch(8, 3, records), 5)
	if err != nil || got[0].time != 2000 || got[2].size != len(long) || string(got[2].value) != "abcab" {
		t.Errorf("the broker's time and a small cap: %+v, %v", got, err)
	}
}

// TestKafkaBomb: a value that unpacks to much takes no such memory, and to more
// than a limit is not read.
func TestKafkaBomb(t *testing.T) {
	bomb := func(size int64) []byte {
		var body bytes.Buffer
		w := gzip.NewWriter(&body)
		head := []byte{0, 0, 0, 1} // attributes, time, offset, no key
		head = binary.AppendVarint(head, size)
		lead := binary.AppendVarint(nil, int64(len(head))+size+1)
		for _, r := range []io.Reader{bytes.NewReader(lead), bytes.NewReader(head), io.LimitReader(zeroes{}, size+1), bytes.NewReader(oneRecord(1, []byte("after")))} {
			if _, err := io.Copy(w, r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return packedBatch(1, 2, body.Bytes())
	}
	const size = 50 << 20
	raw := bomb(size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := read(t, raw, 1<<20)
	runtime.ReadMemStats(&after)
	if err != nil || len(got) != 2 || got[0].size != size || len(got[0].value) != 1<<20 || string(got[1].value) != "after" {
		t.Fatalf("%d records, %v", len(got), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
	if got, err := read(t, bomb(100<<20), 1<<20); err == nil || !strings.Contains(err.Error(), "unpacks to more") {
		t.Errorf("%d records, %v", len(got), err)
	}
	block := snappy.Encode(nil, make([]byte, maxSnappyBlock+1))
	if _, err := read(t, packedBatch(2, 1, block), 10); err == nil || !strings.Contains(err.Error(), "snappy block") {
		t.Errorf("a large snappy block: %v", err)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestKafkaFetchedRecords(t *testing.T) {
	f := func(size int32, has int64, want int) {
		t.Helper()
		head := binary.BigEndian.AppendUint32(nil, uint32(size))
		in := io.MultiReader(bytes.NewReader(head), io.LimitReader(zeroes{}, has))
		var got fetchedRecords
		n, err := got.ReadFrom(in)
		left, _ := io.Copy(io.Discard, in)
		if len(got) != want || (err == nil && (left != 0 || n != 4+max(0, int64(size)))) {
			t.Errorf("%d: %d bytes, read %d, left %d, %v", size, len(got), n, left, err)
		}
		if short := int64(size) > has; short != (err != nil) {
			t.Errorf("%d of %d bytes: %v", has, size, err)
		}
	}
	f(-1, 0, 0)
	f(0, 0, 0)
	f(5, 5, 5)
	f(5, 3, 5)
	f(maxFetched+9, maxFetched+9, maxFetched)
}

func TestKafkaHeads(t *testing.T) {
	whole := packedBatch(0, 1, oneRecord(0, []byte("x")))
	for n := range len(whole) {
		b, _, err := nextKafkaBatch(whole[:n])
		if !errors.Is(err, errKafkaPart) || (n < kafkaHead) != (b.last < 0) {
			t.Errorf("%d bytes: %+v, %v", n, b, err)
		}
	}
	for what, change := range map[string]func(b []byte){
		"length":      func(b []byte) { binary.BigEndian.PutUint32(b[8:], 3) },
		"no length":   func(b []byte) { binary.BigEndian.PutUint32(b[8:], 1<<31) },
		"base offset": func(b []byte) { b[0] = 0xff },
		"last offset": func(b []byte) { b[23] = 0xff },
		"count":       func(b []byte) { b[57] = 0xff },
	} {
		b := bytes.Clone(whole)
		change(b)
		if _, _, err := nextKafkaBatch(b); err == nil || errors.Is(err, errKafkaPart) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzKafkaBatches reads an answer of any content: it comes to an end, says no
// offset outside of its batch, and keeps no more of a value than was allowed.
func FuzzKafkaBatches(f *testing.F) {
	records := append(oneRecord(0, []byte("{}")), oneRecord(1, nil)...)
	for codec := range int16(6) {
		f.Add(packedBatch(codec, 2, packed(f, codec, records)), true)
	}
	f.Add(packedBatch(2, 2, snappy.Encode(nil, records)), true)
	f.Add(append(packedBatch(0, 2, records), packedBatch(32, 1, records)...), false)
	f.Add(packedBatch(0, 1<<30, records), true)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if len(data) > kafkaHead && seal { // else the checksum would stop all
			binary.BigEndian.PutUint32(data[17:], crc32.Checksum(data[21:], castagnoli))
		}
		for len(data) > 0 {
			b, rest, err := nextKafkaBatch(data)
			if err != nil {
				return
			}
			if len(b.raw)+len(rest) != len(data) || len(b.raw) == 0 || b.last < b.base {
				t.Fatalf("batch %+v, %d of %d bytes are left", b, len(rest), len(data))
			}
			if code, _ := b.check(); code == "" {
				_ = b.records(100, func(r kafkaRecord) error {
					if r.offset < b.base || r.offset > b.last || len(r.value) > 100 || len(r.value) > r.size || r.null && r.size > 0 {
						t.Fatalf("record %+v", r)
					}
					return nil
				})
			}
			data = rest
		}
	})
}
