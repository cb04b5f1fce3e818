package notary

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentrail/agentrail/schemas"
)

// VerifyOptions say against what a journal is verified.
type VerifyOptions struct {
	// Keys are the verifier keys (Key.PublicKey) that heads may be signed
	// with: the present one and those before it. Mandatory.
	Keys []string
	// Heads were exported earlier or shipped elsewhere. Only they can show
	// that the whole journal was replaced by an older copy, or cut short.
	Heads []schemas.Head
	// Every is the journal time between heads, as in Options; 0 means one
	// minute. Frames that should have been signed long since are a finding.
	Every time.Duration
}

// Finding is one thing that is wrong with a journal.
type Finding struct {
	Kind   string `json:"kind"`   // changed, missing, reordered, truncated, forged_head, unsigned, unverifiable
	Offset uint64 `json:"offset"` // of the first frame concerned
	Detail string `json:"detail"` // for people

	to uint64 // of a missing range: the offset after it
}

func (f Finding) String() string {
	return fmt.Sprintf("%s at frame %d: %s", f.Kind, f.Offset, f.Detail)
}

// Result is what Verify found.
type Result struct {
	Frames     uint64    `json:"frames"`
	Records    uint64    `json:"records"`
	First      uint64    `json:"first"`      // offset of the first frame; what was before is gone by retention
	Last       uint64    `json:"last"`       // offset of the last frame
	Heads      int       `json:"heads"`      // in the journal, good ones
	External   int       `json:"external"`   // given ones that agree
	SignedTo   uint64    `json:"signed_to"`  // offset of the last frame that a good head covers
	SignedAt   time.Time `json:"signed_at"`  // journal time of that head; zero if there is none
	Unsigned   uint64    `json:"unsigned"`   // frames after it
	Unchecked  int       `json:"unchecked"`  // heads in the journal about frames that retention has removed
	Findings   []Finding `json:"findings"`   // at most maxFindings, in the order in which they were met
	Suppressed int       `json:"suppressed"` // findings beyond them
}

// OK reports whether nothing was found.
func (r *Result) OK() bool { return len(r.Findings) == 0 }

// maxFindings caps the list: after the first few the rest are consequences.
const maxFindings = 100

// link is one frame of the chain.
type link struct {
	offset uint64
	digest schemas.Digest
}

// verifier walks the frames of one shard in the order in which they lie on
// disk.
type verifier struct {
	o    VerifyOptions
	keys map[string]note.Verifier // by key id
	res  Result

	started bool
	next    uint64         // offset that must come
	prev    schemas.Digest // digest of the frame before
	broken  bool           // the frame before is not known: its digest says nothing
	links   []link         // of all frames in their place, for heads to be held against

	signed   bool
	signedTo uint64
	signedAt time.Time
	received int64         // of the frame before
	owed     time.Duration // journal time since the first frame that no head covers
	fresh    bool
}

func newVerifier(o VerifyOptions) (*verifier, error) {
	if len(o.Keys) == 0 {
		return nil, errors.New("verify journal: no public key given")
	}
	if o.Every <= 0 {
		o.Every = time.Minute
	}
	v := &verifier{o: o, keys: map[string]note.Verifier{}}
	for _, text := range o.Keys {
		k, err := note.NewVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("verify journal: public key %q cannot be read: %w", text, err)
		}
		v.keys[keyID(k.Name(), k.KeyHash())] = k
	}
	return v, nil
}

func (v *verifier) find(kind string, offset uint64, format string, args ...any) {
	if len(v.res.Findings) == maxFindings {
		v.res.Suppressed++
		return
	}
	v.res.Findings = append(v.res.Findings, Finding{Kind: kind, Offset: offset, Detail: fmt.Sprintf(format, args...)})
}

// frame takes the next whole frame.
func (v *verifier) frame(b *schemas.Batch) {
	v.order(b)
	v.res.Frames++
	v.records(b)
	if isHead(&b.Header) {
		v.heads(b)
	}
	v.age(b)
	v.prev, v.received = b.Self, b.Received
}

// order checks the frame's place: its offset, and that it was appended after
// the frame that now lies before it.
func (v *verifier) order(b *schemas.Batch) {
	switch {
	case !v.started:
		v.started, v.res.First = true, b.Offset
		if b.Offset == 0 && b.Prev != (schemas.Digest{}) {
			v.find("missing", 0, "the first frame says that it was appended after another one")
		}
	case b.Offset < v.next:
		v.misplaced(b.Offset)
		v.broken = true
		return
	case b.Offset > v.next:
		v.missing(v.next, b.Offset)
	case !v.broken && b.Prev != v.prev:
		v.find("changed", b.Offset-1, "frame %d is not the one that frame %d was appended after: it was changed, or another was put in its place", b.Offset-1, b.Offset)
	}
	v.broken = false
	v.links = append(v.links, link{b.Offset, b.Self})
	v.next, v.res.Last = b.Offset+1, b.Offset
}

func (v *verifier) missing(from, to uint64) {
	what := fmt.Sprintf("frames %d to %d are not there", from, to-1)
	if to-from == 1 {
		what = fmt.Sprintf("frame %d is not there", from)
	}
	v.find("missing", from, "%s", what)
	if n := len(v.res.Findings); n > 0 && v.res.Findings[n-1].Offset == from {
		v.res.Findings[n-1].to = to
	}
}

// misplaced names a frame whose place is earlier. If it was missing there, it
// was not removed but moved.
func (v *verifier) misplaced(offset uint64) {
	for i := range v.res.Findings {
		f := &v.res.Findings[i]
		if f.Kind == "missing" && f.Offset <= offset && offset < f.to {
			*f = Finding{Kind: "reordered", Offset: f.Offset, Detail: fmt.Sprintf("frame %d lies after frame %d", offset, v.next-1)}
			return
		}
	}
	v.find("reordered", offset, "frame %d lies where frame %d must be: it is there twice, or was put there", offset, v.next)
}

// damage takes frames [from, to) that cannot be read.
func (v *verifier) damage(from, to uint64, reason string) {
	v.find("changed", from, "frames from %d on cannot be read: %s", from, reason)
	if !v.started {
		v.started, v.res.First = true, from
	}
	v.next, v.broken = max(v.next, to), true
}

// records holds the bytes of each record against its digest in the record
// table, which is part of the chain.
func (v *verifier) records(b *schemas.Batch) {
	for i, r := range b.Records {
		v.res.Records++
		if sum := sha256.Sum256(b.Body[r.Start : r.Start+r.Length]); sum != r.Digest {
			v.find("changed", b.Offset, "record %d of frame %d (event %s) is not the one that was received", i, b.Offset, r.ID)
		}
	}
}

// heads holds the heads in the frame against the frames that they are about.
func (v *verifier) heads(b *schemas.Batch) {
	for i, r := range b.Records {
		var h schemas.Head
		if err := json.Unmarshal(b.Body[r.Start:r.Start+r.Length], &h); err != nil || h.Signature == "" {
			continue // evidence of another kind
		}
		switch {
		case h.Shard != b.Shard || h.Offset >= b.Offset:
			v.find("forged_head", b.Offset, "head in record %d is about frame %d of shard %d, which was not there yet", i, h.Offset, h.Shard)
		case h.Offset < v.res.First:
			if v.trusted(h, b.Offset) {
				v.res.Unchecked++
			}
		case v.trusted(h, b.Offset) && v.agrees(h, "the head in the journal"):
			v.res.Heads++
			if !v.signed || h.Offset >= v.signedTo {
				v.signed, v.signedTo, v.signedAt = true, h.Offset, h.At
				v.owed, v.fresh = 0, false
			}
		}
	}
}

// trusted reports whether one of the keys signed the head.
func (v *verifier) trusted(h schemas.Head, offset uint64) bool {
	key, known := v.keys[h.KeyID]
	if !known {
		v.find("forged_head", offset, "head of frame %d was signed by key %q, which is none of those given", h.Offset, h.KeyID)
		return false
	}
	if err := check(h, key); err != nil {
		v.find("forged_head", offset, "head of frame %d: %v", h.Offset, err)
		return false
	}
	return true
}

// agrees reports whether the frame that the head is about is the one that was
// signed.
func (v *verifier) agrees(h schemas.Head, which string) bool {
	digest, ok := v.digest(h.Offset)
	if ok && digest.String() == h.Digest {
		return true
	}
	if !ok {
		v.find("missing", h.Offset, "%s signed frame %d, which is not there", which, h.Offset)
		return false
	}
	from := v.res.First
	if v.signed {
		from = v.signedTo + 1
	}
	v.find("changed", from, "%s signed another chain of frames: the first changed one lies from frame %d to %d, and all after it were chained again", which, from, h.Offset)
	return false
}

// digest returns the digest of the frame at the offset.
func (v *verifier) digest(offset uint64) (schemas.Digest, bool) {
	i, ok := slices.BinarySearchFunc(v.links, offset, func(l link, o uint64) int { return cmp.Compare(l.offset, o) })
	if !ok {
		return schemas.Digest{}, false
	}
	return v.links[i].digest, true
}

// maxStep caps the journal time between two frames: while the journal is open
// ticks come each second, so a longer step means that it was closed.
const maxStep = 2 * time.Second

// age sums up for how long frames that matter have waited for a head.
func (v *verifier) age(b *schemas.Batch) {
	if v.fresh {
		v.owed += min(max(time.Duration(b.Received-v.received), 0), maxStep)
	}
	v.fresh = v.fresh || !b.Tick() && !isHead(&b.Header)
}

// finish says what only the end shows.
func (v *verifier) finish() *Result {
	for _, h := range v.o.Heads {
		v.external(h)
	}
	if v.signed {
		v.res.SignedTo, v.res.SignedAt = v.signedTo, v.signedAt
		v.res.Unsigned = v.res.Last - v.signedTo
	} else {
		v.res.Unsigned = v.res.Frames
	}
	if v.fresh && v.owed > 3*v.o.Every {
		from := v.res.First
		if v.signed {
			from = v.signedTo + 1
		}
		v.find("unsigned", from, "no head covers what was appended since; one was due %s of journal time ago: heads were removed, or the notary did not run", (v.owed - v.o.Every).Round(time.Second))
	}
	return &v.res
}

// external holds the journal against a head that was kept elsewhere.
func (v *verifier) external(h schemas.Head) {
	switch {
	case !v.trusted(h, h.Offset):
	case !v.started || h.Offset > v.res.Last:
		v.find("truncated", v.next, "the given head signed frame %d, but the journal ends before it: its end was cut off, or the whole is an older copy", h.Offset)
	case h.Offset < v.res.First:
		v.find("unverifiable", h.Offset, "the given head signed frame %d, which retention has removed; give a newer head", h.Offset)
	case v.agrees(h, "the given head"):
		v.res.External++
		if !v.signed || h.Offset >= v.signedTo {
			v.signed, v.signedTo, v.signedAt = true, h.Offset, h.At
		}
	}
}
