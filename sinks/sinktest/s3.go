package sinktest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// S3 is one bucket, addressed by path. It takes an object whose signature
// names the key and whose checksums hold; the signature itself it does not
// compute. The fields are set before the first request.
type S3 struct {
	Bucket    string
	AccessKey func(n int) string // that request n must be signed with
	MaxBytes  int                // of an object; 0: no limit

	mu         sync.Mutex
	requests   int
	objects    map[string][]byte
	puts       map[string]int
	headers    http.Header // of the newest object
	violations []string
}

// ServeHTTP answers like S3.
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.requests
	s.requests++
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="+s.AccessKey(n)+"/") {
		s.refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
		return
	}
	key, ok := strings.CutPrefix(r.URL.Path, "/"+s.Bucket)
	if !ok {
		s.refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	if r.Method == http.MethodHead && strings.Trim(key, "/") == "" {
		return
	}
	if _, there := s.objects[strings.TrimPrefix(key, "/")]; r.Method == http.MethodHead && there {
		return
	} else if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPut {
		s.refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	sum := sha256.Sum256(body)
	switch {
	case r.Header.Get("X-Amz-Checksum-Sha256") != base64.StdEncoding.EncodeToString(sum[:]),
		r.TLS == nil && r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]):
		s.violations = append(s.violations, fmt.Sprintf("checksums of %s: %v", key, r.Header))
		s.refuse(w, http.StatusBadRequest, "BadDigest")
		return
	case s.MaxBytes > 0 && len(body) > s.MaxBytes:
		s.refuse(w, http.StatusBadRequest, "EntityTooLarge")
		return
	}
	if s.objects == nil {
		s.objects, s.puts = map[string][]byte{}, map[string]int{}
	}
	key = strings.TrimPrefix(key, "/")
	if old, there := s.objects[key]; there && !bytes.Equal(old, body) {
		s.violations = append(s.violations, "another object under the key "+key)
	}
	s.objects[key] = body
	s.puts[key]++
	s.headers = r.Header.Clone()
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
}

func (s *S3) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>no</Message></Error>", code)
}

// Lines returns the lines of all objects, by key.
func (s *S3) Lines() (map[string][]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		z, err := gzip.NewReader(bytes.NewReader(s.objects[key]))
		if err != nil {
			return nil, fmt.Errorf("object %s: %w", key, err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			out[key] = append(out[key], lines.Text())
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("object %s: %w", key, err)
		}
	}
	return out, nil
}

// Repeats returns how many objects were written again.
func (s *S3) Repeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, puts := range s.puts {
		n += puts - 1
	}
	return n
}

// Header returns the headers of the newest object.
func (s *S3) Header() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.headers
}

// Violations returns what senders did that is not as documented.
func (s *S3) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}
