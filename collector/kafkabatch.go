package collector

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress/lz4"
)

// kafkaHead is the length of a record batch before its records.
const kafkaHead = 61

// kafkaBatch is one record batch of a fetched answer, format version 2. We read
// it ourselves because kafka-go does not say where a batch ends when it cannot
// decode it, which records of it were compacted away, or how large it gets.
type kafkaBatch struct {
	base, last int64 // offsets of its first and last record, those compacted away included
	magic      int8
	attributes int16
	firstTime  int64 // milliseconds
	maxTime    int64
	producer   int64
	count      int    // of the records that it has
	sum        uint32 // as it says
	raw        []byte // the whole batch
}

// errKafkaPart says that the data end inside a batch.
var errKafkaPart = errors.New("the batch is cut off")

// nextKafkaBatch takes the first batch off the data. With errKafkaPart the
// batch is filled as far as its head goes if last is not below base.
func nextKafkaBatch(data []byte) (b kafkaBatch, rest []byte, err error) {
	b.last = -1
	if len(data) < 17 {
		return b, nil, errKafkaPart
	}
	b.base, b.magic = int64(binary.BigEndian.Uint64(data)), int8(data[16])
	size := int64(int32(binary.BigEndian.Uint32(data[8:]))) + 12
	if size < 17 || b.base < 0 {
		return b, nil, fmt.Errorf("batch at offset %d: impossible length %d", b.base, size-12)
	}
	if b.magic != 2 { // a single message, or several packed in one that bears the offset of the last
		b.base, b.last = 0, b.base
	} else {
		if size < kafkaHead {
			return b, nil, fmt.Errorf("batch at offset %d: impossible length %d", b.base, size-12)
		}
		if len(data) < kafkaHead {
			return b, nil, errKafkaPart
		}
		b.head(data)
		if b.last < b.base || b.count < 0 {
			return b, nil, fmt.Errorf("batch at offset %d: impossible head", b.base)
		}
	}
	if int64(len(data)) < size {
		b.raw = data
		return b, nil, errKafkaPart
	}
	b.raw = data[:size]
	return b, data[size:], nil
}

func (b *kafkaBatch) head(data []byte) {
	b.sum = binary.BigEndian.Uint32(data[17:])
	b.attributes = int16(binary.BigEndian.Uint16(data[21:]))
	b.last = b.base + int64(int32(binary.BigEndian.Uint32(data[23:])))
	b.firstTime = int64(binary.BigEndian.Uint64(data[27:]))
	b.maxTime = int64(binary.BigEndian.Uint64(data[35:]))
	b.producer = int64(binary.BigEndian.Uint64(data[43:]))
	b.count = int(int32(binary.BigEndian.Uint32(data[57:])))
}

func (b *kafkaBatch) transactional() bool { return b.attributes&16 != 0 }
func (b *kafkaBatch) control() bool       { return b.attributes&32 != 0 }

// Codes of what cannot be read in a topic, beside those of package decode.
const (
	codeKafkaCodec  = "unknown_codec"
	codeKafkaFormat = "unknown_format"
	codeKafkaSum    = "bad_checksum"
	codeKafkaBatch  = "bad_batch"
	codeKafkaLarge  = "batch_too_large"
)

// check says why the batch as a whole cannot be read: code is "" if it can.
func (b *kafkaBatch) check() (code, reason string) {
	switch codec := b.attributes & 7; {
	case b.magic != 2:
		return codeKafkaFormat, fmt.Sprintf("message format %d, from before Kafka 0.11; 2 is read", b.magic)
	case crc32.Checksum(b.raw[21:], castagnoli) != b.sum:
		return codeKafkaSum, "the checksum of the batch is wrong"
	case codec > 4:
		return codeKafkaCodec, fmt.Sprintf("compression codec %d is none of none, gzip, snappy, lz4, zstd", codec)
	}
	return "", ""
}

// kafkaRecord is a record of a batch. Value is valid until the next one is
// read, and only the first part of a value that is larger than allowed.
type kafkaRecord struct {
	offset int64
	time   int64 // milliseconds
	value  []byte
	size   int  // of the whole value
	null   bool // a tombstone
}

// How much a batch may unpack to: what is more is no log but an attack.
const (
	minUnpacked    = 64 << 20
	maxUnpackRatio = 300
)

// records calls yield for each record of a batch that was checked. The memory
// that it takes does not depend on what the batch unpacks to. An error that
// yield did not return means that the rest of the batch cannot be read.
func (b *kafkaBatch) records(maxValue int, yield func(kafkaRecord) error) error {
	unpacked, free, err := unpackKafka(int(b.attributes&7), b.raw[kafkaHead:])
	if err != nil {
		return err
	}
	defer free()
	limit := &io.LimitedReader{R: unpacked, N: max(minUnpacked, maxUnpackRatio*int64(len(b.raw)))}
	r := &kafkaReader{Reader: bufio.NewReaderSize(limit, 32<<10)}
	for range b.count {
		rec, err := r.record(maxValue)
		if err != nil && limit.N == 0 {
			return fmt.Errorf("it unpacks to more than %d times its size", maxUnpackRatio)
		}
		if err != nil {
			return err
		}
		rec.offset += b.base
		rec.time += b.firstTime
		if b.attributes&8 != 0 { // the time is that of the broker's append
			rec.time = b.maxTime
		}
		if rec.offset > b.last {
			return fmt.Errorf("record at offset %d lies behind the last one of the batch", rec.offset)
		}
		if err := yield(rec); err != nil {
			return err
		}
	}
	return nil
}

// kafkaReader reads the records of an unpacked batch.
type kafkaReader struct {
	*bufio.Reader
	left  int64 // bytes of the record that is being read
	value []byte
}

func (r *kafkaReader) record(maxValue int) (rec kafkaRecord, err error) {
	r.left = binary.MaxVarintLen64
	if r.left, err = r.varint(); err != nil {
		return rec, err
	}
	if _, err = r.ReadByte(); err != nil { // attributes, unused
		return rec, eofInside(err)
	}
	r.left--
	if rec.time, err = r.varint(); err != nil {
		return rec, err
	}
	if rec.offset, err = r.varint(); err != nil {
		return rec, err
	}
	if rec.offset < 0 {
		return rec, fmt.Errorf("record with offset %d in its batch", rec.offset)
	}
	key, err := r.varint()
	if err != nil {
		return rec, err
	}
	if err = r.skip(max(key, 0)); err != nil {
		return rec, err
	}
	size, err := r.varint()
	if err != nil {
		return rec, err
	}
	if rec.null = size < 0; !rec.null {
		rec.size = int(size)
		if err = r.take(size, maxValue); err != nil {
			return rec, err
		}
		rec.value = r.value
	}
	return rec, r.skip(r.left) // headers
}

// take reads a value of that size, or the first part of one that is too large.
func (r *kafkaReader) take(size int64, maxValue int) error {
	if size > r.left {
		return fmt.Errorf("a value of %d bytes in a record of %d", size, r.left)
	}
	want := min(size, int64(maxValue))
	buf := bytes.NewBuffer(r.value[:0])
	n, err := io.CopyN(buf, r.Reader, want)
	r.value, r.left = buf.Bytes(), r.left-n
	if err != nil {
		return eofInside(err)
	}
	return r.skip(size - want)
}

func (r *kafkaReader) skip(n int64) error {
	if n < 0 || n > r.left {
		return fmt.Errorf("a field of %d bytes in a record of %d", n, r.left)
	}
	r.left -= n
	_, err := io.CopyN(io.Discard, r.Reader, n)
	return eofInside(err)
}

// varint reads a number and takes its bytes off those of the record.
func (r *kafkaReader) varint() (int64, error) {
	v := uint64(0)
	for shift := 0; shift < 70; shift += 7 {
		c, err := r.ReadByte()
		if err != nil {
			return 0, eofInside(err)
		}
		r.left--
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if r.left < 0 {
				break
			}
			return int64(v>>1) ^ -int64(v&1), nil
		}
	}
	return 0, errors.New("a number that does not end")
}

func eofInside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unpackKafka returns a reader of what the codec packed.
func unpackKafka(codec int, packed []byte) (r io.Reader, free func(), err error) {
	free = func() {}
	switch in := bytes.NewReader(packed); codec {
	case 0:
		r = in
	case 1:
		r, err = gzip.NewReader(in)
	case 2:
		r = &snappyBlocks{rest: packed}
	case 3:
		z := (&lz4.Codec{}).NewReader(in)
		r, free = z, func() { _ = z.Close() }
	case 4:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow)); err == nil {
			r, free = z, z.Close
		}
	default:
		err = fmt.Errorf("compression codec %d", codec)
	}
	return r, free, err
}

// maxSnappyBlock caps what one block of snappy may unpack to.
const maxSnappyBlock = 16 << 20

// snappyBlocks reads snappy as Kafka's clients write it: one block, or blocks
// behind their lengths in the framing of the Java client.
type snappyBlocks struct {
	rest   []byte
	framed bool
	begun  bool
	block  []byte // unpacked
	buf    []byte
}

var snappyMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

// Read implements io.Reader.
func (s *snappyBlocks) Read(p []byte) (int, error) {
	for len(s.block) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.block)
	s.block = s.block[n:]
	return n, nil
}

func (s *snappyBlocks) next() error {
	if !s.begun {
		s.begun = true
		if s.framed = bytes.HasPrefix(s.rest, snappyMagic) && len(s.rest) >= 16; s.framed {
			s.rest = s.rest[16:] // the magic and two versions
		}
	}
	if len(s.rest) == 0 {
		return io.EOF
	}
	packed := s.rest
	if s.framed {
		if len(s.rest) < 4 {
			return io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(s.rest)
		if uint64(n) > uint64(len(s.rest)-4) {
			return io.ErrUnexpectedEOF
		}
		packed = s.rest[4 : 4+n]
		s.rest = s.rest[4+n:]
	} else {
		s.rest = nil
	}
	size, err := snappy.DecodedLen(packed)
	if err != nil {
		return err
	}
	if size > maxSnappyBlock {
		return fmt.Errorf("a snappy block of %d bytes, at most %d are read", size, maxSnappyBlock)
	}
	s.block, err = snappy.Decode(s.buf[:cap(s.buf)], packed)
	s.buf = s.block[:0]
	return err
}
