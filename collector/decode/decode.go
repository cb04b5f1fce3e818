// Package decode turns the bytes that a source received into events, and does
// it again when the journal is read behind its tail. What a field of a foreign
// record means is data: a mapping (see package schemas/mapping), compiled once.
// The first reading (Mapping.Read) cuts a body into records and decides ids and
// flags; a later reading (Set.Decode) takes these from the frame and only
// extracts fields, with the very mapping of the first reading.
package decode

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/agentrail/agentrail/internal/durable"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/schemas/mapping"
)

// Names and version of the decoders, as they stand in Header.
const (
	JSON    = "json"
	Self    = "agentrail"
	OTLP    = "otlp"
	version = 1
)

// Mapping says how the records of one shape become events. It is compiled,
// read only, and safe for concurrent use.
type Mapping struct {
	name   string
	digest schemas.Digest
	bundle []byte // the file and those that it uses, as kept in the data folder
	prog   *program
	pool   sync.Pool // of *reader
}

// Name returns the name by which sources choose the mapping.
func (m *Mapping) Name() string { return m.name }

// Digest returns the SHA-256 of the mapping together with the files that it
// uses. It stands in the header of each batch that the mapping read.
func (m *Mapping) Digest() schemas.Digest { return m.digest }

// Set holds all mappings, those of the configuration by name and every one
// that was ever used by digest. It is safe for concurrent use.
type Set struct {
	dir    string
	byName map[string]*Mapping // fixed after Open

	vocabulary *schemas.Vocabulary // read only
	tools      []toolRule

	mu       sync.RWMutex
	byDigest map[schemas.Digest]*Mapping
}

// Open compiles the shipped mappings and the given files; a file with the name
// of a shipped one takes its place. Every mapping is kept in dir under its
// digest (mode 0600), so that frames written with it can be read for ever. With
// dir "" nothing is kept. All faults of all files are reported together.
func Open(dir string, files ...string) (*Set, error) {
	s, err := View(dir, files...)
	if err != nil {
		return nil, err
	}
	return s, s.keep()
}

// View is Open for a folder that is only read.
func View(dir string, files ...string) (*Set, error) {
	sources, err := load(files)
	if err != nil {
		return nil, err
	}
	s := &Set{dir: dir, byName: map[string]*Mapping{}, byDigest: map[schemas.Digest]*Mapping{}}
	errs := []error{s.shared(sources)}
	for _, src := range sources {
		if src.table() {
			continue
		}
		m, err := build(src, sources)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.byName[m.name], s.byDigest[m.digest] = m, m
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// Mapping returns the mapping of that name.
func (s *Set) Mapping(name string) (*Mapping, error) {
	if m := s.byName[name]; m != nil {
		return m, nil
	}
	known := make([]string, 0, len(s.byName))
	for n := range s.byName {
		known = append(known, n)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("there is no mapping %q; known mappings: %s (add a file under `mappings:`)", name, strings.Join(known, ", "))
}

// Decode fills b.Events from b.Records, with the mapping that the header names.
// Ids, digests and flags are taken from the records, never decided again. Ticks
// and gaps have no records and are left alone.
func (s *Set) Decode(b *schemas.Batch) error {
	if len(b.Records) == 0 {
		return nil
	}
	if b.Decoder != JSON && b.Decoder != Self && b.Decoder != CSV && b.Decoder != OTLP {
		return fmt.Errorf("decode batch %d: unknown decoder %q", b.Offset, b.Decoder)
	}
	if b.DecoderVersion != version {
		return fmt.Errorf("decode batch %d: decoder %s has version %d; this program knows version %d", b.Offset, b.Decoder, b.DecoderVersion, version)
	}
	m, err := s.lookup(b.Mapping)
	if err != nil {
		return fmt.Errorf("decode batch %d: %w", b.Offset, err)
	}
	if b.Decoder == OTLP {
		return m.spansAgain(b)
	}
	return m.again(b)
}

// lookup returns the mapping with that digest, from the data folder if the
// configuration does not have it any more.
func (s *Set) lookup(d schemas.Digest) (*Mapping, error) {
	s.mu.RLock()
	m := s.byDigest[d]
	s.mu.RUnlock()
	if m != nil {
		return m, nil
	}
	if s.dir == "" {
		return nil, fmt.Errorf("unknown mapping %s", d)
	}
	path := s.path(d)
	bundle, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("unknown mapping %s: %w", d, err)
	}
	if sha256.Sum256(bundle) != d {
		return nil, fmt.Errorf("mapping %s: the file was changed; restore it from a copy", path)
	}
	if m, err = unbundle(path, bundle); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.byDigest[d]; have != nil {
		return have, nil
	}
	s.byDigest[d] = m
	return m, nil
}

func (s *Set) path(d schemas.Digest) string { return filepath.Join(s.dir, d.String()+".yaml") }

// keep writes the mappings that the data folder lacks.
func (s *Set) keep() error {
	if s.dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("keep mappings: %w", err)
	}
	for _, m := range s.byName {
		path := s.path(m.digest)
		if have, err := os.ReadFile(path); err == nil && sha256.Sum256(have) == m.digest {
			continue
		}
		if err := durable.WriteFile(path, func(w io.Writer) error { _, err := w.Write(m.bundle); return err }); err != nil {
			return fmt.Errorf("keep mapping %s: %w", m.name, err)
		}
	}
	return nil
}

// source is a mapping file before it is compiled.
type source struct {
	path string
	data []byte
	file *file
}

// table reports whether the file only holds tables for others.
func (s *source) table() bool {
	k := s.file.Kind
	return s.file.Fields.empty() && k.Const == "" && len(k.From) == 0 && !k.Log && s.file.Spans == nil
}

func (f fields) empty() bool {
	for _, v := range reflect.ValueOf(f).Fields() {
		if fd := v.Interface().(field); len(fd.From) > 0 || fd.Const != "" {
			return false
		}
	}
	return true
}

// shipped are the embedded files, read once.
var shipped = sync.OnceValues(func() (map[string]*source, error) {
	names, err := fs.Glob(mapping.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	out := map[string]*source{}
	for _, name := range names {
		if name == mapping.SigmaFile {
			continue
		}
		data, err := mapping.Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f, err := parse("shipped "+name, data)
		if err != nil {
			return nil, err
		}
		out[f.Name] = &source{"shipped " + name, data, f}
	}
	return out, nil
})

// load reads the operator's files over the shipped ones.
func load(files []string) (map[string]*source, error) {
	embedded, err := shipped()
	if err != nil {
		return nil, err
	}
	out := maps.Clone(embedded)
	var errs []error
	from := map[string]string{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("read mapping: %w", err))
			continue
		}
		f, err := parse(path, data)
		switch {
		case err != nil:
			errs = append(errs, err)
		case from[f.Name] != "":
			errs = append(errs, fmt.Errorf("%s: name %q is also that of %s", path, f.Name, from[f.Name]))
		default:
			out[f.Name], from[f.Name] = &source{path, data, f}, path
		}
	}
	return out, errors.Join(errs...)
}

const separator = "\n---\n"

// build compiles a mapping with the files that it uses.
func build(src *source, all map[string]*source) (*Mapping, error) {
	bundle, used := slices.Clone(src.data), []*file(nil)
	for _, name := range src.file.Uses {
		u := all[name]
		if u == nil {
			return nil, fmt.Errorf("%s: uses: there is no file named %q", src.path, name)
		}
		bundle = append(append(bundle, separator...), u.data...)
		used = append(used, u.file)
	}
	return assemble(src.path, bundle, src.file, used)
}

// unbundle compiles what keep wrote.
func unbundle(path string, bundle []byte) (*Mapping, error) {
	docs, err := parseAll(path, bundle)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("mapping %s is empty", path)
	}
	return assemble(path, bundle, docs[0], docs[1:])
}

func assemble(path string, bundle []byte, f *file, used []*file) (*Mapping, error) {
	prog, err := compile(f, used)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m := &Mapping{name: f.Name, digest: sha256.Sum256(bundle), bundle: bundle, prog: prog}
	m.pool.New = func() any { return &reader{p: prog} }
	return m, nil
}
