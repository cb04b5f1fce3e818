package detectors

import "github.com/agentrail/agentrail/schemas"

// scopes gives each source of each tenant a number, so that keys are short. A
// source's events are counted apart from another's: both may tell of the same
// calls.
type scopes struct {
	by         map[scope]uint32
	list       []scope
	last       scope
	lastNumber uint32
}

type scope struct{ tenant, source string }

func newScopes() scopes { return scopes{by: map[scope]uint32{}} }

func (s *scopes) of(ev *schemas.Event) uint32 {
	if ev.Tenant == s.last.tenant && ev.Source == s.last.source && len(s.list) > 0 {
		return s.lastNumber
	}
	k := scope{ev.Tenant, ev.Source}
	n, ok := s.by[k]
	if !ok {
		n = s.put(scope{clone(k.tenant), clone(k.source)})
	}
	s.last, s.lastNumber = s.list[n], n
	return n
}

func (s *scopes) put(k scope) uint32 {
	n := uint32(len(s.list))
	s.by[k] = n
	s.list = append(s.list, k)
	return n
}

func (s *scopes) names(n uint32) (tenant, source string) { return s.list[n].tenant, s.list[n].source }

func (s *scopes) save(e *Encoder) {
	e.Uint(uint64(len(s.list)))
	for _, k := range s.list {
		e.Str(k.tenant)
		e.Str(k.source)
	}
}

func (s *scopes) load(d *Decoder) {
	for n := d.Len(); n > 0 && d.err == nil; n-- {
		k := scope{d.Str(), d.Str()}
		if _, twice := s.by[k]; twice {
			d.fail()
			return
		}
		s.put(k)
	}
}

// number reads the number of a scope that is there.
func (s *scopes) number(d *Decoder) uint32 {
	n := d.Uint()
	if n >= uint64(len(s.list)) {
		d.fail()
		return 0
	}
	return uint32(n)
}
