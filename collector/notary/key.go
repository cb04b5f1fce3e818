package notary

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentrail/agentrail/internal/durable"
)

// Key signs heads. Its public half, PublicKey, is what verifiers need.
type Key struct {
	signer note.Signer
	public string
}

// PublicKey returns the verifier key in the form of golang.org/x/mod/sumdb/note:
// "name+hash+key". Keep a copy of it away from the machine.
func (k *Key) PublicKey() string { return k.public }

// Origin returns the name in the key, which every head carries.
func (k *Key) Origin() string { return k.signer.Name() }

// ID returns the name and the hash of the key, as in Head.KeyID.
func (k *Key) ID() string { return keyID(k.signer.Name(), k.signer.KeyHash()) }

func keyID(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// OpenKey reads the signing key at path, or makes one named origin and writes
// it there (mode 0600) with its public half beside it as path + ".pub". A path
// inside dataDir is refused: whoever can rewrite the journal must not find the
// key beside it.
func OpenKey(path, dataDir, origin string) (*Key, error) {
	if err := outside(path, dataDir); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(path, origin)
	}
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("signing key %s can be read by others (mode %04o); run: chmod 600 %s", path, st.Mode().Perm(), path)
	}
	return parseKey(path, strings.TrimSpace(string(b)))
}

// parseKey reads "private key\npublic key" as createKey writes it.
func parseKey(path, text string) (*Key, error) {
	secret, public, ok := strings.Cut(text, "\n")
	signer, err := note.NewSigner(secret)
	if err != nil || !ok {
		return nil, fmt.Errorf("signing key %s is damaged; restore it from a copy, or move it away and start again to make a new one", path)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(public))
	if err != nil || verifier.KeyHash() != signer.KeyHash() || verifier.Name() != signer.Name() {
		return nil, fmt.Errorf("signing key %s is damaged: its public half does not belong to it; restore it from a copy", path)
	}
	return &Key{signer: signer, public: strings.TrimSpace(public)}, nil
}

func createKey(path, origin string) (*Key, error) {
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("make signing key: origin %q must be a name without spaces and plus signs: %w", origin, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	err = durable.WriteFile(path, func(w io.Writer) error {
		_, err := io.WriteString(w, secret+"\n"+public+"\n")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	if err := os.WriteFile(path+".pub", []byte(public+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("write public key: %w", err)
	}
	return &Key{signer: signer, public: public}, nil
}

// outside reports an error if path lies in dir, symbolic links resolved.
func outside(path, dir string) error {
	p, err := resolve(path)
	if err != nil {
		return fmt.Errorf("resolve signing key path: %w", err)
	}
	d, err := resolve(dir)
	if err != nil {
		return fmt.Errorf("resolve data folder: %w", err)
	}
	rel, err := filepath.Rel(d, p)
	if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("signing key %s lies inside the data folder %s; set evidence.key to a path outside of it, best on another disk", path, dir)
	}
	return nil
}

// resolve makes path absolute and resolves links in the part that exists.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for head, tail := abs, ""; ; {
		real, err := filepath.EvalSymlinks(head)
		if err == nil {
			return filepath.Join(real, tail), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || head == filepath.Dir(head) {
			return "", err
		}
		head, tail = filepath.Dir(head), filepath.Join(filepath.Base(head), tail)
	}
}
