package journal

// Status is where a Disk stands: what readyz and an operator ask.
type Status struct {
	First        Offset       `json:"first"` // the oldest batch that is kept
	Next         Offset       `json:"next"`  // the batch that is appended next
	Bytes        int64        `json:"bytes"`
	MaxBytes     int64        `json:"max_bytes"`
	Spares       int          `json:"spares"` // allocated segments in the reserve
	SparesWanted int          `json:"spares_wanted"`
	Refusing     string       `json:"refusing,omitempty"` // why intake is refused; empty if it is not
	Full         bool         `json:"full"`               // for lack of space: the reserve still works
	Abandoned    []CursorInfo `json:"abandoned,omitempty"`
	Unclaimed    []CursorInfo `json:"unclaimed,omitempty"` // nobody opened them since the start: their consumers may be gone from the config
}

// Status says where the journal stands.
func (d *Disk) Status() Status {
	s := Status{First: d.First(), Next: d.Head(), Bytes: d.bytes(), MaxBytes: d.o.MaxBytes, SparesWanted: d.reserve.want}
	if names, err := d.reserve.spares(); err == nil {
		s.Spares = len(names)
	}
	if c := d.state.Load(); c != nil {
		s.Refusing, s.Full = c.err.Error(), c.full
	}
	for _, c := range d.Cursors() {
		if c.Abandoned {
			s.Abandoned = append(s.Abandoned, c)
		} else if !c.Claimed {
			s.Unclaimed = append(s.Unclaimed, c)
		}
	}
	return s
}
