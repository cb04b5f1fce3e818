package sigma

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/agentrail/agentrail/detectors"
)

const stateVersion = 1

// sign describes what the entries of a correlation's groups mean. State that
// was kept under another one is dropped.
func (x *correlation) sign() string {
	return fmt.Sprint(x.kind, x.refs, x.groupBy, x.aliases, x.span, x.fields, x.percent != nil)
}

// Save writes the windows, the group that rests longest first. Equal state
// gives equal bytes.
func (e *Evaluator) Save(enc *detectors.Encoder) {
	enc.Uint(stateVersion)
	enc.Int(e.clock)
	scopes := slices.SortedFunc(maps.Keys(e.marks), func(a, b scope) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.source, b.source))
	})
	enc.Uint(uint64(len(scopes)))
	for _, s := range scopes {
		enc.Str(s.tenant)
		enc.Str(s.source)
		enc.Int(*e.marks[s])
	}
	enc.Uint(uint64(e.recent.Len()))
	for el := e.recent.Back(); el != nil; el = el.Prev() {
		g := el.Value.(*group)
		enc.Str(g.rule.ID)
		enc.Str(g.rule.corr.sign())
		enc.Str(g.key)
		enc.Uint(uint64(len(g.shown)))
		for _, s := range g.shown {
			enc.Str(s)
		}
		enc.Bool(g.firing)
		enc.Int(g.fired)
		enc.Int(g.touched)
		enc.Uint(uint64(len(g.entries)))
		for i := range g.entries {
			en := &g.entries[i]
			enc.Int(en.at)
			enc.Uint(uint64(en.ref))
			enc.Uint(en.sum)
			enc.Float(en.num)
		}
	}
}

// Load reads what Save wrote into a fresh evaluator. Groups of correlations
// that are gone, or mean something else now, are left out.
func (e *Evaluator) Load(d *detectors.Decoder) error {
	if v := d.Uint(); d.Err() == nil && v != stateVersion {
		return fmt.Errorf("state has version %d, this program reads %d", v, stateVersion)
	}
	e.clock = d.Int()
	for n := d.Len(); n > 0 && d.Err() == nil; n-- {
		s := scope{d.Str(), d.Str()}
		at := d.Int()
		e.marks[s] = &at
	}
	byID := map[string]*Rule{}
	for _, r := range e.set.Rules {
		if r.corr != nil {
			byID[r.ID] = r
		}
	}
	for n := d.Len(); n > 0 && d.Err() == nil; n-- {
		if err := e.loadGroup(d, byID); err != nil {
			return err
		}
	}
	return d.Err()
}

func (e *Evaluator) loadGroup(d *detectors.Decoder, byID map[string]*Rule) error {
	r, sign := byID[d.Str()], d.Str()
	g := &group{rule: r, key: d.Str()}
	for n := d.Len(); n > 0 && d.Err() == nil; n-- {
		g.shown = append(g.shown, d.Str())
	}
	g.firing, g.fired, g.touched = d.Bool(), d.Int(), d.Int()
	for n := d.Len(); n > 0 && d.Err() == nil; n-- {
		g.entries = append(g.entries, entry{at: d.Int(), ref: int32(d.Uint() & 0xffff), sum: d.Uint(), num: d.Float()})
	}
	if d.Err() != nil {
		return d.Err()
	}
	if r == nil || r.corr.sign() != sign {
		return nil
	}
	x := r.corr
	if len(g.shown) != len(x.groupBy) || len(g.entries) == 0 || len(g.entries) > mostGroupEntries || e.groups[x.number][g.key] != nil {
		return errors.New("state of a correlation is damaged")
	}
	g.agg = newTally(x)
	last := g.entries[len(g.entries)-1].at
	for i := range g.entries {
		en := &g.entries[i]
		if int(en.ref) >= len(x.refs) || i > 0 && en.at < g.entries[i-1].at {
			return errors.New("state of a correlation is damaged")
		}
		if en.ref == 0 {
			g.firsts++
		}
		if en.at < last-x.span {
			g.lo = i + 1
		} else {
			g.agg.add(x, en)
		}
	}
	e.groups[x.number][g.key] = g
	g.place = e.recent.PushFront(g)
	e.entries += len(g.entries)
	return nil
}
