package detectors

// names gives names from the records numbers, so that keys are short. It keeps
// a limited number: what comes after them is number 0, "other".
type names struct {
	by   map[string]uint32
	list []string
}

const mostNames = 1024

func newNames(first []string) names {
	n := names{by: map[string]uint32{}, list: []string{"other"}}
	for _, s := range first {
		n.number(s)
	}
	return n
}

func (n *names) has(s string) bool {
	_, ok := n.by[s]
	return ok
}

func (n *names) number(s string) uint32 {
	if i, ok := n.by[s]; ok {
		return i
	}
	if len(n.list) > mostNames {
		return 0
	}
	s = clone(s)
	i := uint32(len(n.list))
	n.by[s] = i
	n.list = append(n.list, s)
	return i
}

func (n *names) save(e *Encoder) {
	e.Uint(uint64(len(n.list) - 1))
	for _, s := range n.list[1:] {
		e.Str(s)
	}
}

// load reads what save wrote. Names that are there already must be the first.
func (n *names) load(d *Decoder) {
	count := d.Len()
	for i := 1; i <= count && d.err == nil; i++ {
		if n.number(d.Str()) != uint32(i) {
			d.fail()
		}
	}
}
