package sinktest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"
)

// Sumo is an HTTP source of Sumo Logic, as strict as the documentation.
type Sumo struct {
	Shelf
	Secret   func(n int, path string) bool // whether the path of request n is that of the source
	MaxBytes int64                         // of a body, after decompression; 0: 1 MiB, as is advised
	Header   http.Header                   // X-Sumo- headers that must come
}

// ServeHTTP answers like a source.
func (s *Sumo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.take()
	if !s.Secret(n, r.URL.Path) || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	limit := s.MaxBytes
	if limit == 0 {
		limit = 1 << 20
	}
	body, err := readBody(r, limit)
	if errors.Is(err, errTooLarge) {
		if s.MaxBytes == 0 {
			s.violate("a body is larger than is advised")
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return // the connection is gone
	}
	if err != nil {
		s.violate("read body: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for name := range s.Header {
		if got, want := r.Header.Get(name), s.Header.Get(name); got != want {
			s.violate("%s is %q, not %q", name, got, want)
		}
	}
	if !utf8.Valid(body) || !bytes.HasSuffix(body, []byte("\n")) {
		s.violate("the body is not UTF-8 or its last line has no end")
	}
	s.store(bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n")))
	w.WriteHeader(http.StatusOK)
}
