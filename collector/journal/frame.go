package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"

	"github.com/agentrail/agentrail/schemas"
)

// MaxFrame caps a frame, bytes. A batch that does not fit is refused.
const MaxFrame = 64 << 20

// Errors of reading a frame.
var (
	// ErrCorrupt: the bytes are not the frame that was written.
	ErrCorrupt = errors.New("frame is corrupt")
	// ErrVersion: the frame is whole, but of a format that this build does not
	// read. It is never treated as damage.
	ErrVersion = errors.New("frame is of an unknown format version; run a newer agentrail")
)

// Frame v1, integers little-endian. The design page has the same table.
//
//	 0  4 magic "ARFR"          32  8 offset             128  2 shard
//	 4  2 format version        40  8 received, ns       130  2 batch flags
//	 6  2 header length         48 16 batch id           132  2 decoder version
//	 8  4 head CRC              64 32 mapping digest     134  1 class
//	12  8 segment marker        96 32 prev digest        135  1 body encoding, 0
//	20  4 frame length                                   136  8 durable
//	24  4 body length                                    144 10 five string lengths
//	28  4 number of records                              154  6 zero
//
// The strings (tenant, source, log, decoder, content type) follow at 160,
// padded with zeros to a multiple of 8. Then come the record table, the body,
// the body CRC (4 bytes) and zeros up to a multiple of 8.
//
// The segment marker is random, so bytes that a sender chose cannot pass for a
// frame when a damaged segment is searched for the next good one. Durable is
// the first offset that was not known to be on disk when the frame was
// written: it tells a torn tail from damage to something acknowledged.
const (
	frameMagic   = "ARFR"
	frameVersion = 1
	headFixed    = 160
	recordSize   = 64
	trailerSize  = 4
	maxString    = 4096
	digestFrom   = 20 // header bytes before it, but for the first 8, are not chained
)

type marker [8]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameHead is what the fixed part of a header says about the frame's shape.
type frameHead struct {
	version            uint16
	header, body, recs int // bytes, bytes, count
	length             int // bytes, without padding
	offset, durable    uint64
	received           int64
	flags              schemas.BatchFlags
	id                 schemas.ID
}

func (h *frameHead) headLen() int { return h.header + h.recs*recordSize }
func (h *frameHead) padded() int  { return pad8(h.length) }

func pad8(n int) int { return (n + 7) &^ 7 }

// frameSize returns the bytes that the batch takes on disk.
func frameSize(b *schemas.Batch) int {
	return pad8(headerLen(b) + len(b.Records)*recordSize + len(b.Body) + trailerSize)
}

func headerLen(b *schemas.Batch) int {
	return pad8(headFixed + len(b.Tenant) + len(b.Source) + len(b.Log) + len(b.Decoder) + len(b.ContentType))
}

// checkBatch reports what keeps the batch from being a frame.
func checkBatch(b *schemas.Batch) error {
	for _, s := range [...]struct{ what, v string }{
		{"tenant", b.Tenant},
		{"source", b.Source},
		{"log", b.Log},
		{"decoder", b.Decoder},
		{"content type", b.ContentType},
	} {
		if len(s.v) > maxString {
			return fmt.Errorf("append batch: %s has %d bytes; at most %d", s.what, len(s.v), maxString)
		}
	}
	if b.Gap != nil {
		return errors.New("append batch: a gap cannot be appended")
	}
	if len(b.Events) != len(b.Records) {
		return fmt.Errorf("append batch: %d events for %d records", len(b.Events), len(b.Records))
	}
	if uint64(len(b.Body))+uint64(len(b.Records))*recordSize+headFixed > MaxFrame || frameSize(b) > MaxFrame {
		return fmt.Errorf("append batch: %d records and %d bytes do not fit a frame of %d bytes; send smaller batches", len(b.Records), len(b.Body), MaxFrame)
	}
	return checkRecords(b.Records, len(b.Body))
}

// checkRecords holds the table to its promise: in order, without overlap and
// inside the body.
func checkRecords(recs []schemas.Record, body int) error {
	var pos uint64
	for i := range recs {
		if uint64(recs[i].Start) < pos {
			return fmt.Errorf("record %d starts at byte %d, before the end of the one before it", i, recs[i].Start)
		}
		if pos = uint64(recs[i].Start) + uint64(recs[i].Length); pos > uint64(body) {
			return fmt.Errorf("record %d ends at byte %d of a body of %d", i, pos, body)
		}
	}
	return nil
}

// appendHead appends header and record table of the batch to dst.
func appendHead(dst []byte, b *schemas.Batch, m marker, durable uint64) []byte {
	le := binary.LittleEndian
	from, hl := len(dst), headerLen(b)
	dst = append(dst, frameMagic...)
	dst = le.AppendUint16(dst, frameVersion)
	dst = le.AppendUint16(dst, uint16(hl))
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, m[:]...)
	dst = le.AppendUint32(dst, uint32(hl+len(b.Records)*recordSize+len(b.Body)+trailerSize))
	dst = le.AppendUint32(dst, uint32(len(b.Body)))
	dst = le.AppendUint32(dst, uint32(len(b.Records)))
	dst = le.AppendUint64(dst, b.Offset)
	dst = le.AppendUint64(dst, uint64(b.Received))
	dst = append(dst, b.ID[:]...)
	dst = append(dst, b.Mapping[:]...)
	dst = append(dst, b.Prev[:]...)
	dst = le.AppendUint16(dst, b.Shard)
	dst = le.AppendUint16(dst, uint16(b.Flags))
	dst = le.AppendUint16(dst, b.DecoderVersion)
	dst = append(dst, byte(b.Class), 0)
	dst = le.AppendUint64(dst, durable)
	for _, s := range [...]string{b.Tenant, b.Source, b.Log, b.Decoder, b.ContentType} {
		dst = le.AppendUint16(dst, uint16(len(s)))
	}
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	for _, s := range [...]string{b.Tenant, b.Source, b.Log, b.Decoder, b.ContentType} {
		dst = append(dst, s...)
	}
	dst = append(dst, make([]byte, from+hl-len(dst))...)
	for i := range b.Records {
		r := &b.Records[i]
		dst = le.AppendUint32(dst, r.Start)
		dst = le.AppendUint32(dst, r.Length)
		dst = le.AppendUint64(dst, uint64(r.Flags)) // the upper half is reserved
		dst = append(dst, r.ID[:]...)
		dst = append(dst, r.Digest[:]...)
	}
	le.PutUint32(dst[from+8:], headCRC(dst[from:]))
	return dst
}

// headCRC is the CRC32C of header and record table without the CRC itself.
func headCRC(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:8], castagnoli), castagnoli, head[12:])
}

// appendTrailer appends the body CRC and the padding. bodyCRC is the CRC32C of
// the body; the head CRC is mixed in, so that a body cannot change its head.
func appendTrailer(dst []byte, head []byte, length int, bodyCRC uint32) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Update(bodyCRC, castagnoli, head[8:12]))
	return append(dst, make([]byte, pad8(length)-length)...)
}

// chain computes frame digests; it keeps its buffers between calls.
type chain struct {
	h       hash.Hash
	outside []byte
}

// digest returns the digest of a frame: SHA-256 of the header without CRC and
// marker, the record table, and those bytes of the body that no record covers.
// What records cover is in their own digests.
func (c *chain) digest(head []byte, recs []schemas.Record, body []byte) (d schemas.Digest) {
	if c.h == nil {
		c.h = sha256.New()
	}
	c.h.Reset()
	c.h.Write(head[:8])
	c.h.Write(head[digestFrom:])
	c.outside = c.outside[:0]
	pos := 0
	for i := range recs {
		c.outside = append(c.outside, body[pos:recs[i].Start]...)
		pos = int(recs[i].Start + recs[i].Length)
	}
	c.outside = append(c.outside, body[pos:]...)
	c.h.Write(c.outside)
	if cap(c.outside) > 1<<20 {
		c.outside = nil
	}
	c.h.Sum(d[:0])
	return d
}

// parseHead reads the fixed part of a header. It checks only what later reads
// rest on: nothing in it can be trusted before verifyHead.
func parseHead(p []byte, m marker) (h frameHead, err error) {
	if len(p) < headFixed || string(p[:4]) != frameMagic || marker(p[12:20]) != m {
		return h, fmt.Errorf("%w: no frame here", ErrCorrupt)
	}
	le := binary.LittleEndian
	h = frameHead{
		version: le.Uint16(p[4:]), header: int(le.Uint16(p[6:])),
		length: int(le.Uint32(p[20:])), body: int(le.Uint32(p[24:])), recs: int(le.Uint32(p[28:])),
		offset: le.Uint64(p[32:]), received: int64(le.Uint64(p[40:])), id: schemas.ID(p[48:64]),
		flags: schemas.BatchFlags(le.Uint16(p[130:])), durable: le.Uint64(p[136:]),
	}
	if h.length > MaxFrame || h.header < headFixed || h.recs > MaxFrame/recordSize || h.headLen()+h.body+trailerSize != h.length {
		return h, fmt.Errorf("%w: its lengths contradict one another", ErrCorrupt)
	}
	return h, nil
}

// verifyHead checks header and record table against the head CRC, and the
// format version after it: a flipped bit is damage, not a newer version.
func verifyHead(h *frameHead, head []byte) error {
	if headCRC(head) != binary.LittleEndian.Uint32(head[8:]) {
		return fmt.Errorf("%w: checksum of the header", ErrCorrupt)
	}
	if h.version != frameVersion || head[135] != 0 {
		return fmt.Errorf("%w (format %d, body encoding %d; this build reads format %d)", ErrVersion, h.version, head[135], frameVersion)
	}
	return nil
}

// decodeFrame reads a whole frame. The batch keeps p: its body points into it.
// Events are left empty.
func decodeFrame(p []byte, m marker, c *chain) (*schemas.Batch, error) {
	h, err := parseHead(p, m)
	if err != nil {
		return nil, err
	}
	if len(p) < h.length {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, len(p), h.length)
	}
	head := p[:h.headLen()]
	if err := verifyHead(&h, head); err != nil {
		return nil, err
	}
	body := p[h.headLen() : h.headLen()+h.body : h.headLen()+h.body]
	crc := crc32.Update(crc32.Checksum(body, castagnoli), castagnoli, head[8:12])
	if crc != binary.LittleEndian.Uint32(p[h.length-trailerSize:]) {
		return nil, fmt.Errorf("%w: checksum of the body", ErrCorrupt)
	}
	b := &schemas.Batch{Body: body}
	if err := decodeHeader(&b.Header, &h, head); err != nil {
		return nil, err
	}
	if b.Records, err = decodeRecords(head[h.header:]); err != nil {
		return nil, err
	}
	if err := checkRecords(b.Records, len(body)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	b.Self = c.digest(head, b.Records, body)
	return b, nil
}

func decodeHeader(b *schemas.Header, h *frameHead, head []byte) error {
	le := binary.LittleEndian
	b.Offset, b.Received, b.ID, b.Flags = h.offset, h.received, h.id, h.flags
	b.Mapping, b.Prev = schemas.Digest(head[64:96]), schemas.Digest(head[96:128])
	b.Shard, b.DecoderVersion, b.Class = le.Uint16(head[128:]), le.Uint16(head[132:]), schemas.Class(head[134])
	pos := headFixed
	for i, s := range [...]*string{&b.Tenant, &b.Source, &b.Log, &b.Decoder, &b.ContentType} {
		n := int(le.Uint16(head[144+2*i:]))
		if n > maxString || pos+n > h.header {
			return fmt.Errorf("%w: its strings do not fit the header", ErrCorrupt)
		}
		*s = string(head[pos : pos+n])
		pos += n
	}
	if pad8(pos) != h.header || !zero(head[pos:h.header]) || !zero(head[154:headFixed]) {
		return fmt.Errorf("%w: reserved bytes of the header are not zero", ErrCorrupt)
	}
	return nil
}

func decodeRecords(table []byte) ([]schemas.Record, error) {
	if len(table) == 0 {
		return nil, nil
	}
	le := binary.LittleEndian
	recs := make([]schemas.Record, len(table)/recordSize)
	for i := range recs {
		p := table[i*recordSize : (i+1)*recordSize]
		recs[i] = schemas.Record{
			Start: le.Uint32(p), Length: le.Uint32(p[4:]), Flags: schemas.Flags(le.Uint32(p[8:])),
			ID: schemas.ID(p[16:32]), Digest: schemas.Digest(p[32:64]),
		}
		if le.Uint32(p[12:]) != 0 {
			return nil, fmt.Errorf("%w: reserved bytes of record %d are not zero", ErrCorrupt, i)
		}
	}
	return recs, nil
}

func zero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}
