package notary

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Files of an exported case that its manifest does not list: itself, and the
// head, which is signed of its own.
const (
	ManifestName = "manifest.note"
	HeadName     = "head.note"
)

// ManifestHeader is the first line of a manifest.
const ManifestHeader = "agentrail case v1"

// Sum is one line of a manifest: what a file is.
type Sum struct {
	Path   string
	Size   int64
	SHA256 [sha256.Size]byte
}

// SumOf returns the line for a file with these bytes.
func SumOf(path string, body []byte) Sum {
	return Sum{path, int64(len(body)), sha256.Sum256(body)}
}

// SignManifest returns the signed note that says what each file of a case is.
// About is what it is of: lines of "key value", without line ends.
func (k *Key) SignManifest(about []string, files []Sum) ([]byte, error) {
	var text strings.Builder
	text.WriteString(ManifestHeader + "\n")
	for _, line := range about {
		if strings.ContainsAny(line, "\r\n") || strings.HasPrefix(line, "file ") {
			return nil, fmt.Errorf("sign manifest: %q is no line about a case", line)
		}
		text.WriteString(line + "\n")
	}
	for _, f := range files {
		if strings.ContainsAny(f.Path, "\r\n") {
			return nil, fmt.Errorf("sign manifest: %q is no name of a file", f.Path)
		}
		fmt.Fprintf(&text, "file %s %d %s\n", hex.EncodeToString(f.SHA256[:]), f.Size, f.Path)
	}
	msg, err := note.Sign(&note.Note{Text: text.String()}, k.signer)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return msg, nil
}

// CaseResult is what VerifyCase found.
type CaseResult struct {
	About    []string      `json:"about"` // what it is of, as signed
	Files    int           `json:"files"` // listed and unchanged
	KeyID    string        `json:"key_id"`
	Head     uint64        `json:"head"` // offset of the signed head in it
	Findings []CaseFinding `json:"findings"`
}

// CaseFinding is one thing that is wrong with a case.
type CaseFinding struct {
	Kind   string `json:"kind"` // changed, missing, added, forged
	Path   string `json:"path"`
	Detail string `json:"detail"`
}

func (f CaseFinding) String() string { return f.Kind + " " + f.Path + ": " + f.Detail }

// OK reports whether nothing was found.
func (r *CaseResult) OK() bool { return len(r.Findings) == 0 }

// maxManifest caps a manifest and a head, bytes.
const maxManifest = 16 << 20

// VerifyCase holds the files of an exported case against its signed manifest,
// and the head in it against the keys. An error means that there is no manifest
// that could be read.
func VerifyCase(files fs.FS, keys []string) (*CaseResult, error) {
	if len(keys) == 0 {
		return nil, errors.New("verify case: a public key is needed")
	}
	var known []note.Verifier
	for _, k := range keys {
		v, err := note.NewVerifier(strings.TrimSpace(k))
		if err != nil {
			return nil, fmt.Errorf("read public key: %w", err)
		}
		known = append(known, v)
	}
	body, err := readCapped(files, ManifestName)
	if err != nil {
		return nil, fmt.Errorf("verify case: %w", err)
	}
	r := &CaseResult{About: []string{}, Findings: []CaseFinding{}}
	signed, err := note.Open(body, note.VerifierList(known...))
	if err != nil {
		r.find("forged", ManifestName, "it is not signed by any of the keys, or was changed: %v", err)
		return r, nil
	}
	r.KeyID = keyID(signed.Sigs[0].Name, signed.Sigs[0].Hash)
	sums, err := r.parse(signed.Text)
	if err != nil {
		return nil, err
	}
	if err := r.compare(files, sums); err != nil {
		return nil, err
	}
	r.head(files, known)
	return r, nil
}

func (r *CaseResult) find(kind, path, format string, args ...any) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, CaseFinding{kind, path, fmt.Sprintf(format, args...)})
	}
}

// parse reads the text of a manifest, which a key of ours has signed.
func (r *CaseResult) parse(text string) (map[string]Sum, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != ManifestHeader {
		return nil, fmt.Errorf("verify case: the note is no manifest of a case; its first line is %q", lines[0])
	}
	sums := map[string]Sum{}
	for _, line := range lines[1:] {
		rest, ok := strings.CutPrefix(line, "file ")
		if !ok {
			r.About = append(r.About, line)
			continue
		}
		parts := strings.SplitN(rest, " ", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("verify case: manifest line %q cannot be read", line)
		}
		digest, err1 := hex.DecodeString(parts[0])
		size, err2 := strconv.ParseInt(parts[1], 10, 64)
		if err1 != nil || err2 != nil || len(digest) != sha256.Size {
			return nil, fmt.Errorf("verify case: manifest line %q cannot be read", line)
		}
		sums[parts[2]] = Sum{parts[2], size, [sha256.Size]byte(digest)}
	}
	return sums, nil
}

// compare reads every file once.
func (r *CaseResult) compare(files fs.FS, sums map[string]Sum) error {
	seen := map[string]bool{}
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if path == ManifestName || path == HeadName {
			return nil
		}
		sum, listed := sums[path]
		if !listed {
			r.find("added", path, "the manifest does not list it")
			return nil
		}
		seen[path] = true
		got, err := digestFile(files, path)
		if err != nil {
			return err
		}
		if got.Size != sum.Size || got.SHA256 != sum.SHA256 {
			r.find("changed", path, "%d bytes with SHA-256 %x, signed were %d bytes with %x", got.Size, got.SHA256, sum.Size, sum.SHA256)
			return nil
		}
		r.Files++
		return nil
	})
	if err != nil {
		return fmt.Errorf("verify case: %w", err)
	}
	var gone []string
	for path := range sums {
		if !seen[path] {
			gone = append(gone, path)
		}
	}
	slices.Sort(gone)
	for _, path := range gone {
		r.find("missing", path, "the manifest lists it")
	}
	return nil
}

func digestFile(files fs.FS, path string) (Sum, error) {
	f, err := files.Open(path)
	if err != nil {
		return Sum{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Sum{}, fmt.Errorf("read %s: %w", path, err)
	}
	return Sum{path, n, [sha256.Size]byte(h.Sum(nil))}, nil
}

// head checks the signed head, by which the case can be held against the journal.
func (r *CaseResult) head(files fs.FS, keys []note.Verifier) {
	body, err := readCapped(files, HeadName)
	if errors.Is(err, fs.ErrNotExist) {
		if slices.Contains(r.About, "head none") {
			return
		}
		r.find("missing", HeadName, "the manifest says that there is a head")
		return
	}
	h, perr := ParseHead(body)
	if err != nil || perr != nil {
		r.find("changed", HeadName, "it is no signed head: %v", errors.Join(err, perr))
		return
	}
	if !slices.ContainsFunc(keys, func(k note.Verifier) bool { return check(h, k) == nil }) {
		r.find("forged", HeadName, "it is not signed by any of the keys, or was changed")
		return
	}
	if want := fmt.Sprintf("head %d %s", h.Offset, h.Digest); !slices.Contains(r.About, want) {
		r.find("changed", HeadName, "it is another head than the manifest names")
		return
	}
	r.Head = h.Offset
}

func readCapped(files fs.FS, path string) ([]byte, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}
