package collector

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agentrail/agentrail/internal/problem"
)

// Bounds that are not for configuration.
const (
	maxRatio      = 100     // decoded bytes per encoded byte ...
	ratioFrom     = 1 << 20 // ... once this many were decoded
	maxZstdWindow = 8 << 20
	firstBytes    = 32 << 10         // held for a caller before it has sent them
	stretchBytes  = 64 << 10         // a body must bring this many bytes ...
	stretchTime   = 20 * time.Second // ... in this time
	busyRetry     = time.Second
)

const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
	acceptedCT = "application/json, application/x-ndjson, application/jsonlines, text/csv"
	acceptedCE = "identity, gzip, zstd"
)

// mediaType returns the content type that the batch is kept under: JSON or
// NDJSON. text/plain and the form type that curl sends by itself are refused,
// so that nobody sends another format unnoticed.
func mediaType(header string) (string, bool) {
	switch header {
	case typeJSON, typeNDJSON:
		return header, true
	}
	media, params, err := mime.ParseMediaType(header)
	if err != nil {
		return "", false
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") {
		return "", false
	}
	switch media {
	case typeJSON:
		return typeJSON, true
	case typeNDJSON, "application/ndjson", "application/jsonlines", "application/x-jsonlines", "application/jsonl":
		return typeNDJSON, true
	}
	return "", false
}

// coding returns the single content coding of the request: "", gzip or zstd.
func coding(r *http.Request) (string, bool) {
	values := r.Header["Content-Encoding"]
	if len(values) == 0 {
		return "", true
	}
	if len(values) > 1 {
		return "", false
	}
	switch c := strings.ToLower(strings.TrimSpace(values[0])); c {
	case "", "identity":
		return "", true
	case "gzip", "x-gzip":
		return "gzip", true
	case "zstd":
		return "zstd", true
	}
	return "", false
}

// Reasons for which a body is not taken.
var (
	errTooLarge = errors.New("body is larger than the source takes")
	errBomb     = errors.New("body unpacks to more than 100 times its size")
	errBusy     = errors.New("too many bytes in flight")
)

// readBody reads the request's body, undoes its content coding and returns it
// in a buffer of its own. What it holds of the budget is added to h.
func (s *intake) readBody(w http.ResponseWriter, r *http.Request, coding string, h *hold) ([]byte, *problem.Details) {
	limit := int64(s.cfg.MaxBody)
	if r.ContentLength > limit {
		return nil, s.bodyFault(w, coding, &patient{}, errTooLarge)
	}
	rc := http.NewResponseController(w)
	p := &patient{from: r.Body, rc: rc}
	defer rc.SetReadDeadline(time.Time{}) //nolint:errcheck // a connection without deadlines has none to clear
	var out []byte
	var err error
	switch {
	case coding == "gzip":
		out, err = gunzip(p, limit, h)
	case coding == "zstd":
		out, err = unzstd(p, limit, h)
	case r.ContentLength >= 0:
		out, err = readExactly(p, r.ContentLength, h)
	default:
		out, err = gather(p, p, limit, 0, h)
	}
	if err != nil {
		return nil, s.bodyFault(w, coding, p, err)
	}
	return out, nil
}

// bodyFault turns an error of reading into the answer to it.
func (s *intake) bodyFault(w http.ResponseWriter, coding string, p *patient, err error) *problem.Details {
	switch {
	case errors.Is(err, errTooLarge):
		return &problem.Details{
			Status: http.StatusRequestEntityTooLarge, Code: "body_too_large",
			Detail: fmt.Sprintf("the body is larger than the %d bytes (after decompression) that source %q takes; send smaller batches", s.cfg.MaxBody, s.name),
		}
	case errors.Is(err, errBomb):
		return &problem.Details{
			Status: http.StatusRequestEntityTooLarge, Code: "decompression_bomb",
			Detail: fmt.Sprintf("the body unpacks to more than %d times its size, by byte %d of it; send it in smaller batches or uncompressed", maxRatio, p.n),
		}
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return &problem.Details{
			Status: http.StatusRequestEntityTooLarge, Code: "zstd_window",
			Detail: fmt.Sprintf("the zstd window is larger than %d bytes; compress without --long", maxZstdWindow),
		}
	case errors.Is(err, errBusy):
		return &problem.Details{
			Status: http.StatusServiceUnavailable, Code: "busy", RetryAfter: busyRetry,
			Detail: "too many bytes of other requests are in flight; send it again later",
		}
	case errors.Is(p.err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return &problem.Details{
			Status: http.StatusRequestTimeout, Code: "body_too_slow",
			Detail: fmt.Sprintf("the body came to a halt after %d bytes", p.n),
		}
	case p.err != nil:
		w.Header().Set("Connection", "close")
		return &problem.Details{
			Status: http.StatusBadRequest, Code: "body_truncated",
			Detail: fmt.Sprintf("the body ended early, after %d bytes: %v", p.n, p.err),
		}
	case errors.Is(err, io.EOF):
		return &problem.Details{Status: http.StatusBadRequest, Code: "empty_body", Detail: "the body is empty"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &problem.Details{
			Status: http.StatusBadRequest, Code: "truncated_" + coding,
			Detail: fmt.Sprintf("the %s data breaks off at byte %d of the body; nothing was taken, send it again", coding, p.n),
		}
	default:
		return &problem.Details{
			Status: http.StatusBadRequest, Code: "bad_" + coding,
			Detail: fmt.Sprintf("the %s data is broken at or before byte %d of the body: %v; nothing was taken", coding, p.n-p.unused, err),
		}
	}
}

// patient reads a body as long as it comes with a minimum speed. It counts the
// bytes and keeps the error of the connection, if there was one.
type patient struct {
	from   io.Reader
	rc     *http.ResponseController
	left   int // of the stretch
	n      int64
	unused int64 // bytes that a decompressor had read ahead when it failed
	err    error
}

func (p *patient) Read(b []byte) (int, error) {
	if p.left <= 0 {
		_ = p.rc.SetReadDeadline(time.Now().Add(stretchTime)) // not every ResponseWriter has deadlines
		p.left = stretchBytes
	}
	n, err := p.from.Read(b)
	p.left -= n
	p.n += int64(n)
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

// readExactly reads n bytes into one buffer of that size. The buffer is made
// only when the caller has sent its first bytes, so that a caller who only
// announces a large body costs little.
func readExactly(p *patient, n int64, h *hold) ([]byte, error) {
	first := min(n, firstBytes)
	if !h.add(first) {
		return nil, errBusy
	}
	buf := make([]byte, first)
	if _, err := io.ReadFull(p, buf); err != nil {
		return nil, err
	}
	if n == first {
		return buf, nil
	}
	if !h.add(n - first) {
		return nil, errBusy
	}
	whole := make([]byte, n)
	copy(whole, buf)
	_, err := io.ReadFull(p, whole[first:])
	return whole, err
}

var chunks = sync.Pool{New: func() any { return new([stretchBytes]byte) }}

// gather reads src, which unpacks p, to its end: at most limit bytes and, if
// ratio is set, at most ratio times what was read from p.
func gather(src io.Reader, p *patient, limit, ratio int64, h *hold) ([]byte, error) {
	var parts []*[stretchBytes]byte
	defer func() {
		for _, c := range parts {
			chunks.Put(c)
		}
	}()
	total := 0
	for {
		if total == len(parts)*stretchBytes {
			if !h.add(stretchBytes) {
				return nil, errBusy
			}
			parts = append(parts, chunks.Get().(*[stretchBytes]byte))
		}
		n, err := src.Read(parts[len(parts)-1][total%stretchBytes:])
		total += n
		if int64(total) > limit {
			return nil, errTooLarge
		}
		if ratio > 0 && total > ratioFrom && int64(total) > ratio*p.n {
			return nil, errBomb
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	out := make([]byte, total)
	for i, c := range parts {
		copy(out[i*stretchBytes:], c[:])
	}
	return out, nil
}

// gzipReader is a decompressor with its read buffer, to be used again.
type gzipReader struct {
	zip gzip.Reader
	buf *bufio.Reader
}

var gzips = sync.Pool{New: func() any { return &gzipReader{buf: bufio.NewReaderSize(nil, 32<<10)} }}

// gunzip undoes gzip, also of several members in a row.
func gunzip(p *patient, limit int64, h *hold) ([]byte, error) {
	z := gzips.Get().(*gzipReader)
	defer gzips.Put(z)
	z.buf.Reset(p)
	err := z.zip.Reset(z.buf)
	var out []byte
	if err == nil {
		out, err = gather(&z.zip, p, limit, maxRatio, h)
	}
	p.unused = int64(z.buf.Buffered())
	z.buf.Reset(nil)
	return out, err
}

// zstds holds decoders that work in the caller's goroutine.
var zstds = sync.Pool{New: func() any {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		panic("BUG: zstd options: " + err.Error())
	}
	return z
}}

// unzstd undoes zstd, also of several frames in a row.
func unzstd(p *patient, limit int64, h *hold) ([]byte, error) {
	z := zstds.Get().(*zstd.Decoder)
	defer zstds.Put(z)
	if err := z.Reset(p); err != nil {
		return nil, err
	}
	defer z.Reset(nil) //nolint:errcheck // it lets go of the body and cannot fail
	return gather(z, p, limit, maxRatio, h)
}
