package sqlread

import "github.com/agentrail/agentrail/collector/store/engine"

// TrustText switches the check of the text off, to see what the others refuse.
func (d *Reader) TrustText() {
	d.read = func(sql string) (engine.Select, error) { return engine.Select{SQL: sql}, nil }
}
