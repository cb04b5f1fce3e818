package notary

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentrail/agentrail/schemas"
)

// Sign returns the signed head that says: this shard held the frame with that
// digest at that offset, and with it all before.
func (k *Key) Sign(shard uint16, offset uint64, digest schemas.Digest, at time.Time) (schemas.Head, error) {
	h := schemas.Head{
		Origin: k.Origin(), Shard: shard, Offset: offset, Digest: digest.String(),
		At: at.UTC(), KeyID: k.ID(),
	}
	text, err := noteText(h)
	if err != nil {
		return schemas.Head{}, err
	}
	msg, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		return schemas.Head{}, fmt.Errorf("sign head at offset %d: %w", offset, err)
	}
	// The signature line is "— name signature\n".
	fields := strings.Fields(strings.TrimPrefix(string(msg), text))
	h.Signature = fields[len(fields)-1]
	return h, nil
}

// noteText is what is signed: five lines that also the standard tools for
// signed notes can check.
func noteText(h schemas.Head) (string, error) {
	digest, err := hex.DecodeString(h.Digest)
	if err != nil || len(digest) != len(schemas.Digest{}) {
		return "", fmt.Errorf("head at offset %d: digest %q is not 64 hexadecimal digits", h.Offset, h.Digest)
	}
	return fmt.Sprintf("%s\nshard %d\noffset %d\nsha256 %s\ntime %s\n", h.Origin, h.Shard, h.Offset,
		base64.StdEncoding.EncodeToString(digest), h.At.UTC().Format(time.RFC3339Nano)), nil
}

// Note returns the head as a signed note, the form in which it can be printed,
// mailed or pinned elsewhere.
func Note(h schemas.Head) (string, error) {
	text, err := noteText(h)
	if err != nil {
		return "", err
	}
	return text + "\n— " + h.Origin + " " + h.Signature + "\n", nil
}

// errForged is wrapped by every error about a head whose signature is wrong.
var errForged = errors.New("signature does not verify")

// check verifies the head's signature under the key.
func check(h schemas.Head, key note.Verifier) error {
	if want := keyID(key.Name(), key.KeyHash()); h.KeyID != want {
		return fmt.Errorf("%w: signed by key %s, expected %s", errForged, h.KeyID, want)
	}
	msg, err := Note(h)
	if err != nil {
		return fmt.Errorf("%w: %w", errForged, err)
	}
	if _, err := note.Open([]byte(msg), note.VerifierList(key)); err != nil {
		return fmt.Errorf("%w: %w", errForged, err)
	}
	return nil
}

// ParseHead reads a head from a file's text: the JSON of a head, a native
// event as a sink writes it (the head under "raw"), or a signed note.
func ParseHead(text []byte) (schemas.Head, error) {
	trimmed := strings.TrimSpace(string(text))
	if !strings.HasPrefix(trimmed, "{") {
		return parseNote(trimmed)
	}
	var doc struct {
		schemas.Head
		Raw   json.RawMessage `json:"raw"`
		Event json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal([]byte(trimmed), &doc); err != nil {
		return schemas.Head{}, fmt.Errorf("read head: %w", err)
	}
	for _, inner := range []json.RawMessage{doc.Event, doc.Raw} {
		if doc.Signature != "" || len(inner) == 0 {
			continue
		}
		var s string
		if json.Unmarshal(inner, &s) == nil {
			inner = json.RawMessage(s)
		}
		return ParseHead(inner)
	}
	if doc.Signature == "" {
		return schemas.Head{}, errors.New("read head: no signature in it; give the JSON of a head event, or a signed note")
	}
	return doc.Head, nil
}

func parseNote(text string) (schemas.Head, error) {
	bad := func(what string) (schemas.Head, error) {
		return schemas.Head{}, fmt.Errorf("read head: not a signed note: %s", what)
	}
	body, sig, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(body, "\n")
	if !ok || len(lines) != 5 {
		return bad("want five lines, an empty line and a signature")
	}
	h := schemas.Head{Origin: lines[0]}
	var digest64, at string
	if _, err := fmt.Sscanf(strings.Join(lines[1:], " "), "shard %d offset %d sha256 %s time %s", &h.Shard, &h.Offset, &digest64, &at); err != nil {
		return bad(err.Error())
	}
	digest, err := base64.StdEncoding.DecodeString(digest64)
	if err != nil {
		return bad(err.Error())
	}
	h.Digest = hex.EncodeToString(digest)
	if h.At, err = time.Parse(time.RFC3339Nano, at); err != nil {
		return bad(err.Error())
	}
	fields := strings.Fields(sig)
	if len(fields) != 3 {
		return bad("want one signature line")
	}
	h.Signature = fields[2]
	raw, err := base64.StdEncoding.DecodeString(h.Signature)
	if err != nil || len(raw) < 4 {
		return bad("signature is not base64")
	}
	h.KeyID = fmt.Sprintf("%s+%x", h.Origin, raw[:4])
	return h, nil
}
