package notary

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentrail/agentrail/collector/journal"
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
	TornTail   bool      `json:"torn_tail"`  // the end is no whole frame and nothing shows that it ever was: an unfinished write, or the last frame was changed
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

// missing is a range of frames that a finding calls missing.
type missing struct {
	finding  int // index
	from, to uint64
}

// verifier holds the heads against the chain, frame by frame.
type verifier struct {
	o    VerifyOptions
	keys map[string]note.Verifier // by key id
	res  Result

	links  []link // of all frames, in order of their offsets
	ranges []missing

	signed   bool
	signedTo uint64
	signedAt time.Time
	received int64         // of the frame before
	owed     time.Duration // journal time since the first frame that no head covers
	fresh    bool
}

// Verify reads the whole journal in dir, offline or beside a server, and
// changes nothing. It compares every checksum, record digest and link of the
// chain, and holds every signed head against the frame that it is about. An
// error means that the journal or a key could not be read at all; what is wrong
// with the journal is in the Result.
func Verify(dir string, o VerifyOptions) (*Result, error) {
	v, err := newVerifier(o)
	if err != nil {
		return nil, err
	}
	report, err := journal.Check(dir)
	if err != nil {
		return nil, fmt.Errorf("verify journal: %w", err)
	}
	v.res.Frames, v.res.Records, v.res.TornTail = report.Frames, report.Records, report.TornTail
	v.faults(report.Faults)
	err = journal.Walk(dir, 0, math.MaxUint64, func(b *schemas.Batch) error {
		if b.Gap == nil { // what is missing is among the faults
			v.frame(b)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verify journal: %w", err)
	}
	return v.finish(), nil
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

// faults turns what Check found into findings.
func (v *verifier) faults(faults []journal.Fault) {
	for _, f := range faults {
		where := fmt.Sprintf("%s, byte %d", filepath.Base(f.Segment), f.Byte)
		switch {
		case f.Code == "missing" && f.To < f.Offset:
			v.misplaced(f.To, f.Offset-1, where)
		case f.Code == "missing":
			v.find("missing", f.Offset, "frames %d to %d are not there (%s)", f.Offset, f.To-1, where)
			v.ranges = append(v.ranges, missing{len(v.res.Findings) - 1, f.Offset, f.To})
		case f.Code == "chain":
			v.find("changed", max(f.Offset, 1)-1, "frame %d is not the one that frame %d was appended after: it was changed, or another was put in its place (%s)", max(f.Offset, 1)-1, f.Offset, where)
		case f.Record != nil:
			v.find("changed", f.Offset, "record %d of frame %d is not the one that was received (%s)", *f.Record, f.Offset, where)
		default:
			v.find("changed", f.Offset, "%s (%s)", f.Detail, where)
		}
	}
}

// misplaced names a frame whose place is earlier. If it was missing there, it
// was not removed but moved.
func (v *verifier) misplaced(offset, after uint64, where string) {
	for _, m := range v.ranges {
		if m.from <= offset && offset < m.to && m.finding < len(v.res.Findings) {
			f := &v.res.Findings[m.finding]
			*f = Finding{Kind: "reordered", Offset: f.Offset, Detail: fmt.Sprintf("frame %d lies after frame %d (%s)", offset, after, where)}
			return
		}
	}
	v.find("reordered", offset, "frame %d lies after frame %d: it is there twice, or was put there (%s)", offset, after, where)
}

// frame takes the next whole frame.
func (v *verifier) frame(b *schemas.Batch) {
	if len(v.links) == 0 {
		v.res.First = b.Offset
		if b.Offset == 0 && b.Prev != (schemas.Digest{}) {
			v.find("missing", 0, "the first frame says that it was appended after another one")
		}
	}
	v.links = append(v.links, link{b.Offset, b.Self})
	v.res.Last = b.Offset
	if isHead(&b.Header) {
		v.heads(b)
	}
	v.age(b)
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
	v.received = b.Received
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
	case len(v.links) > 0 && h.Offset > v.res.Last && v.res.TornTail:
		v.find("changed", v.res.Last+1, "the given head signed frame %d, but from frame %d on only broken bytes are left", h.Offset, v.res.Last+1)
	case len(v.links) == 0 || h.Offset > v.res.Last:
		v.find("truncated", v.res.Last, "the given head signed frame %d, but the journal ends before it: its end was cut off, or the whole is an older copy", h.Offset)
	case h.Offset < v.res.First:
		v.find("unverifiable", h.Offset, "the given head signed frame %d, which retention has removed; give a newer head", h.Offset)
	case v.agrees(h, "the given head"):
		v.res.External++
		if !v.signed || h.Offset >= v.signedTo {
			v.signed, v.signedTo, v.signedAt = true, h.Offset, h.At
		}
	}
}
