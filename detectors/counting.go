package detectors

// What detectors that count in windows share of their state.

const countingVersion = 2

// saveCounting writes what comes before the counts themselves.
func saveCounting(e *Encoder, span, flushed int64, s *scopes) {
	e.Uint(countingVersion)
	e.Int(span)
	e.Int(flushed)
	s.save(e)
}

// loadCounting reads it. Counts of another window length are of no use.
func loadCounting(d *Decoder, span int64, flushed *int64, s *scopes) error {
	if v := d.Uint(); d.err == nil && v != countingVersion {
		return errVersion(v, countingVersion)
	}
	if d.Int() != span {
		return errWindow
	}
	*flushed = d.Int()
	s.load(d)
	return nil
}

func (v *vote) save(e *Encoder) {
	e.Str(v.id)
	e.Uint(uint64(v.lead))
}

func (v *vote) load(d *Decoder) { v.id, v.lead = d.Str(), uint32(d.Uint()) }
