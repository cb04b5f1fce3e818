package notary

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentrail/agentrail/schemas"
)

// controlHeader begins what the proof of a control signs, so that no signature of
// anything else is one.
const controlHeader = "agentrail control v1"

// ErrNotProven is returned for a control that no known server has signed as it
// is.
var ErrNotProven = errors.New("no known server has signed this control as it is")

// ProveControl signs the control: this server took author and roles from a
// credential. What it returns belongs into c.Proof.
func (k *Key) ProveControl(c schemas.Control) (string, error) {
	text, err := controlText(c)
	if err != nil {
		return "", err
	}
	msg, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		return "", fmt.Errorf("sign control %s: %w", c.ID, err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(msg), text+"\n"), "\n"), nil
}

// ControlCheck returns what checks the proofs of controls by the server's public
// key, as OpenKey wrote it. Its errors are ErrNotProven.
func ControlCheck(public string) (func(schemas.Control) error, error) {
	v, err := note.NewVerifier(strings.TrimSpace(public))
	if err != nil {
		return nil, fmt.Errorf("read public key of the server: %w", err)
	}
	return func(c schemas.Control) error {
		text, err := controlText(c)
		if err != nil {
			return err
		}
		if _, err := note.Open([]byte(text+"\n"+c.Proof+"\n"), note.VerifierList(v)); err != nil {
			return fmt.Errorf("%w: %w", ErrNotProven, err)
		}
		return nil
	}, nil
}

// controlText is what is signed: the hash of the control as it comes out of the
// journal, all but its proof.
func controlText(c schemas.Control) (string, error) {
	c.Proof = ""
	var b []byte
	for range 2 { // encoding replaces what is no UTF-8; only then it is as whoever decodes it sees it
		var err error
		if b, err = json.Marshal(c); err != nil {
			return "", fmt.Errorf("encode control %s: %w", c.ID, err)
		}
		c = schemas.Control{}
		if err := json.Unmarshal(b, &c); err != nil {
			return "", fmt.Errorf("encode control %s: %w", c.ID, err)
		}
	}
	sum := sha256.Sum256(b)
	return controlHeader + "\n" + hex.EncodeToString(sum[:]) + "\n", nil
}
